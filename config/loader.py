"""Read the configuration file and the environment into `Settings`, and report every fault at once."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from config.commitment import commitment_faults
from config.settings import Settings
from core.errors import ConfigurationError

#: ``LESION_NODE__NODE__PORT=104`` overrides ``port`` in ``[node]``; list items are counted from 0.
ENVIRONMENT_PREFIX = "LESION_NODE__"


def load_settings(path: Path | None, environment: Mapping[str, str]) -> Settings:
    """Read the settings.

    Parameters
    ----------
    path
        The TOML file; None to take everything from the environment and the defaults.
    environment
        Variables that override the file, see `ENVIRONMENT_PREFIX`.

    Returns
    -------
    Settings
        Checked and frozen.

    Raises
    ------
    ConfigurationError
        With one line for every fault: file, key, what was found, what is wanted.
    """
    name = str(path) if path is not None else "environment"
    data = _read_toml(path) if path is not None else {}
    faults = _override(data, environment)
    faults += [f"{name}: {fault}" for fault in _unknown_peers(data)]
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        details = _without_echoes(error.errors(include_url=False))
        raise ConfigurationError([f"{name}: {_explain(one)}" for one in details] + faults) from None
    faults += [f"{name}: {fault}" for fault in settings.cross_faults() + commitment_faults(settings)]
    if faults:
        raise ConfigurationError(faults)
    return settings


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigurationError([f"{path}: wanted a text file in UTF-8"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([f"{path}: not valid TOML: {error}"]) from None


def _override(data: dict[str, Any], environment: Mapping[str, str]) -> list[str]:
    """Write the environment's values into the data; return what could not be placed."""
    faults = []
    for variable in sorted(environment):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        keys = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        if not _place(data, keys, _parse(environment[variable])):
            faults.append(
                f"environment: {variable}: does not name a key, wanted for example "
                f"{ENVIRONMENT_PREFIX}NODE__PORT"
            )
    return faults


def _place(data: dict[str, Any], keys: list[str], value: Any) -> bool:
    here: Any = data
    for at, key in enumerate(keys):
        last = at == len(keys) - 1
        if isinstance(here, list):
            if not key.isdigit() or int(key) > len(here):
                return False
            position = int(key)
            if position == len(here):
                here.append({})
            if last:
                here[position] = value
            here = here[position]
        elif isinstance(here, dict):
            if last:
                here[key] = value
            else:
                here = here.setdefault(key, [] if keys[at + 1].isdigit() else {})
        else:
            return False
    return True


def _parse(text: str) -> Any:
    """Take the text for a TOML value where it is one (numbers, lists), else for a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _unknown_peers(data: dict[str, Any]) -> list[str]:
    """Name every destination that is no peer; told even where other values keep the file from loading."""
    tables = [data.get(key) for key in ("peers", "sources")]
    peers, sources = (table if isinstance(table, list) else [] for table in tables)
    known = [str(peer.get("name")) for peer in peers if isinstance(peer, dict)]
    listed = ", ".join(f'"{name}"' for name in sorted(known)) or "none is configured"
    faults = []
    for at, source in enumerate(sources):
        wanted = source.get("send_to") if isinstance(source, dict) else None
        for name in wanted if isinstance(wanted, list) else []:
            if str(name) not in known:
                faults.append(f'sources[{at}].send_to: found "{name}", wanted the name of a peer ({listed})')
    return faults


def _without_echoes(details: list[Any]) -> list[Any]:
    """Leave out what pydantic says of a list only because an item of it is wrong."""
    items = {detail["loc"][:-1] for detail in details if isinstance(detail["loc"][-1], int)}
    return [detail for detail in details if detail["type"] != "too_short" or detail["loc"] not in items]


def _explain(detail: Any) -> str:
    """Turn one pydantic error into a line for the person who typed the value."""
    location = detail["loc"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    kind = detail["type"]
    if kind == "extra_forbidden":
        return f"{key}: unknown key{_suggestion(location)}"
    if kind == "missing":
        return f"{key}: missing, wanted a value"
    wanted = str(detail["msg"]).removeprefix("Value error, ")
    if not wanted.startswith(("wanted", "found")):
        wanted = "wanted " + wanted.removeprefix("Input should be ").replace("Input should ", "to ")
    found = detail["input"]
    shown = f'"{found}"' if isinstance(found, str) else f"{found}"
    return f"{key}: found {shown[:80]}, {wanted}"


def _suggestion(location: tuple[Any, ...]) -> str:
    """Name the key that was probably meant."""
    section: Any = Settings
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        field = section.model_fields.get(part)
        if field is None:
            return ""
        section = next(
            (
                kind
                for kind in (field.annotation, *getattr(field.annotation, "__args__", ()))
                if isinstance(kind, type) and issubclass(kind, BaseModel)
            ),
            None,
        )
        if section is None:
            return ""
    known = list(section.model_fields)
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f', did you mean "{close[0]}"?' if close else f"; known keys: {', '.join(known)}"
