"""Structured logging: JSON lines for machines, coloured lines on a terminal, never a patient identifier."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

#: Keys that must never reach a log, whoever passes them in.
PATIENT_KEYS = frozenset(
    {
        "patient_id",
        "patient_name",
        "patient_birth_date",
        "patient_sex",
        "issuer_of_patient_id",
        "other_patient_ids",
        "accession_number",
    }
)


def drop_patient_identifiers(
    _logger: Any, _method: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Remove patient identifiers from a log event (a structlog processor)."""
    for key in PATIENT_KEYS & event_dict.keys():
        del event_dict[key]
    return event_dict


def configure_logging(level: str = "info", *, json_lines: bool | None = None) -> None:
    """Set up structlog for this process; every event goes to standard error.

    Parameters
    ----------
    level
        Lowest level that is written: debug, info, warning or error.
    json_lines
        JSON lines, or readable lines; by default readable on a terminal only.
    """
    as_json = not sys.stderr.isatty() if json_lines is None else json_lines
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        # The default formatter shows the variables of every frame, data sets with their patients included.
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            drop_patient_identifiers,
            *([structlog.processors.format_exc_info] if as_json else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    # The libraries' own loggers name peers and sometimes patients; only their failures are let through.
    web = ("dicomweb_client", "retrying", "urllib3")
    for name in ("pynetdicom", "pydicom", "highdicom", "alembic", *web):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def get_logger(**bound: Any) -> structlog.typing.FilteringBoundLogger:
    """Return a logger with these keys bound."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(**bound)
    return logger
