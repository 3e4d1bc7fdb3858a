"""The measured repeatability of a model as `model.toml` has it: one `[[repeatability]]` for each limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from core.repeatability import Condition, Limit, Quantity, Repeatability
from inference.manifest_base import Section


class RepeatabilityLimit(Section):
    """One row of the table: 95 % of the differences without any change are smaller.

    Parameters
    ----------
    quantity
        What was measured.
    condition
        In what the two scans differed.
    floor_ml
        Part that does not depend on the volume, ml.
    percent
        Part that grows with the volume, percent of the larger of the two.
    """

    quantity: Quantity
    condition: Condition
    floor_ml: Annotated[float, Field(ge=0)]
    percent: Annotated[float, Field(ge=0)]


def require_one_limit_each(rows: Sequence[RepeatabilityLimit]) -> None:
    """Make sure that the table can be read in one way only.

    Raises
    ------
    ValueError
        A quantity has two limits under one condition, or none for the plain repetition, which every other
        limit builds on.
    """
    seen: set[tuple[Quantity, Condition]] = set()
    for row in rows:
        key = row.quantity, row.condition
        if key in seen:
            raise ValueError(f"{row.quantity} under {row.condition} has two limits; leave one")
        seen.add(key)
    for quantity in sorted({quantity for quantity, _ in seen}):
        if (quantity, Condition.SAME_PROTOCOL) not in seen:
            raise ValueError(
                f'{quantity} has no limit for condition = "{Condition.SAME_PROTOCOL}", which the others '
                "build on; measure it too, or remove the others"
            )


def as_repeatability(rows: Sequence[RepeatabilityLimit]) -> Repeatability:
    """Return the table as what comparisons ask."""
    return Repeatability(tuple(Limit(row.quantity, row.condition, row.floor_ml, row.percent) for row in rows))
