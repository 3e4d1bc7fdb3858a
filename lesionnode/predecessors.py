"""What a new result cites as replaced, as the writers want it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from core.domain import Predecessor, ResultKind
from core.log import get_logger
from custody.ledger.jobs import StoredResult
from custody.ledger.replaced import Replaced


def predecessors_of(replaced: Sequence[Replaced]) -> Iterator[Predecessor]:
    """Yield what a new result replaces."""
    for earlier in replaced:
        one = earlier.stored
        series = one.series_instance_uid or _series_of_file(one)
        if series is not None:
            yield Predecessor(
                kind=ResultKind(one.kind),
                variant=one.variant,
                series_instance_uid=series,
                sop_class_uid=one.sop_class_uid,
                sop_instance_uid=one.sop_instance_uid,
                peers=earlier.peers,
            )


def _series_of_file(one: StoredResult) -> str | None:
    """Return the series of a result where the ledger does not name it: a corrected one, or an old one."""
    try:
        header = dcmread(one.path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
        return str(header.SeriesInstanceUID)
    except (OSError, InvalidDicomError, ValueError, AttributeError, KeyError):
        get_logger().warning("replaced_result_unreadable", object=one.sop_instance_uid)
        return None
