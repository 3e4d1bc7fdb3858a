"""Series that come again after their images were deleted: no second analysis, and none of a part."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection

from custody.ledger import completion, instances
from custody.ledger.completion import OpenSeries
from custody.manifest import KeptInstance


def why_not_again(connection: Connection, one: OpenSeries) -> str | None:
    """Return why an open series is not analysed, because images of it were deleted; None where it is.

    It is where all that was deleted has come again, and there is something new or no result any more.
    """
    deleted = instances.deleted_images(connection, one.series_id)
    if not deleted:
        return None
    here = [kept for kept in instances.of_series(connection, one.series_id) if kept.set_aside is None]
    result = completion.newest_result(connection, one.series_id)
    if result is not None:
        generation, finished_at = result
        analysed = {
            _content(kept)
            for kept in (*deleted, *here)
            if kept.generation is not None and kept.generation <= generation
        }
        if {_content(kept) for kept in here} <= analysed:
            day = datetime.fromtimestamp(finished_at, UTC).astimezone().strftime("%Y-%m-%d")
            return f"the same images were analysed on {day}; the result stands"
    images = {kept.sop_instance_uid for kept in here}
    missing = {kept.sop_instance_uid for kept in deleted} - images
    if not missing:
        return None
    return (
        f"{len(images)} images are here, {len(missing)} more of the series were deleted since they came "
        "(retention): send the whole series again"
    )


def _content(kept: KeptInstance) -> tuple[str, str]:
    return kept.sop_instance_uid, kept.sha256
