"""What happens to Hounsfield units before the model sees them: an ordered list of small, typed steps.

Training and the node run the same steps, so that a model meets in a hospital what it was taught with.

A manifest names each step by its `step` key. A new kind of preparation is a new class in this module and a
new member of `PreparationStep`; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

#: Hounsfield units of air: what lies outside the scanned field.
AIR_HU = -1024.0


class _Step(BaseModel):
    """A step of the preparation; knows its parameters, holds no state."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the prepared values; axes (…, y, x), shape unchanged."""
        raise NotImplementedError


class _Interval(_Step):
    """A step with an interval of Hounsfield units."""

    low_hu: float
    high_hu: float

    @model_validator(mode="after")
    def _ends_in_order(self) -> Self:
        if self.low_hu >= self.high_hu:
            raise ValueError(f"low_hu ({self.low_hu:g}) must lie below high_hu ({self.high_hu:g})")
        return self


class Clip(_Interval):
    """Limit values to an interval.

    Parameters
    ----------
    low_hu, high_hu
        Its ends, HU.
    """

    step: Literal["clip"]

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return values limited to [low_hu, high_hu]."""
        return np.clip(values, np.float32(self.low_hu), np.float32(self.high_hu))


class Rescale(_Step):
    """Map one interval to another by a straight line; values outside follow the same line.

    Parameters
    ----------
    source, target
        The interval before and after; `from` and `to` in the manifest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    step: Literal["rescale"]
    source: tuple[float, float] = Field(alias="from")
    target: tuple[float, float] = Field(alias="to")

    @model_validator(mode="after")
    def _source_is_an_interval(self) -> Rescale:
        if self.source[0] == self.source[1]:
            raise ValueError(f"from must be an interval, found {self.source[0]:g} twice")
        return self

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return values on the target interval's scale."""
        slope = (self.target[1] - self.target[0]) / (self.source[1] - self.source[0])
        offset = self.target[0] - slope * self.source[0]
        return values * np.float32(slope) + np.float32(offset)


class ZScore(_Step):
    """Subtract a mean and divide by a standard deviation, both fixed at training.

    Parameters
    ----------
    mean, sd
        Of the training data, in the unit that the steps before leave.
    """

    step: Literal["zscore"]
    mean: float
    sd: float = Field(gt=0)

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return standardised values."""
        return (values - np.float32(self.mean)) / np.float32(self.sd)


class Window(_Interval):
    """Show an interval of Hounsfield units as an 8-bit picture does: 0…255, in whole numbers.

    Parameters
    ----------
    low_hu, high_hu
        What becomes 0 and 255; values beyond are limited.
    """

    step: Literal["window"]

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return whole values from 0 to 255."""
        scale = np.float32(255.0 / (self.high_hu - self.low_hu))
        return np.asarray(
            np.rint(np.clip((values - np.float32(self.low_hu)) * scale, 0.0, 255.0)), dtype=np.float32
        )


class Stretch(_Step):
    """Map each slice from its own smallest and largest value to 0…255, in whole numbers.

    What a viewer does that exports slices as 8-bit pictures. An even slice becomes 0.
    """

    step: Literal["stretch"]

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return whole values from 0 to 255, each slice (the last two axes) by itself."""
        low = values.min(axis=(-2, -1), keepdims=True)
        span = values.max(axis=(-2, -1), keepdims=True) - low
        scale = np.divide(np.float32(255.0), span, out=np.zeros_like(span), where=span > 0)
        return np.asarray(np.rint((values - low) * scale), dtype=np.float32)


class Equalise(_Step):
    """Contrast-limited adaptive histogram equalisation of each slice (CLAHE).

    Zuiderveld, Graphics Gems IV, 1994, as OpenCV computes it.

    Parameters
    ----------
    clip_limit
        How far a histogram bin may rise above the mean of its tile's bins before it is cut.
    tiles
        Tiles along rows and along columns.
    """

    step: Literal["equalise"]
    clip_limit: float = Field(gt=0, le=100)
    tiles: int = Field(ge=1, le=64)

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return whole values from 0 to 255, each slice (last two axes) by itself; takes the same."""
        clahe = cv2.createCLAHE(clipLimit=self.clip_limit, tileGridSize=(self.tiles, self.tiles))
        pictures = np.clip(np.rint(values), 0, 255).astype(np.uint8).reshape(-1, *values.shape[-2:])
        equalised = [clahe.apply(np.ascontiguousarray(picture)) for picture in pictures]
        return np.stack(equalised).reshape(values.shape).astype(np.float32)


AnyStep = Clip | Rescale | ZScore | Window | Stretch | Equalise
PreparationStep = Annotated[AnyStep, Field(discriminator="step")]


def prepare(values_hu: NDArray[np.float32], steps: Sequence[AnyStep]) -> NDArray[np.float32]:
    """Apply the steps in their order.

    Parameters
    ----------
    values_hu
        (…, y, x) float32, HU.
    steps
        As the manifest lists them; none leaves Hounsfield units.

    Returns
    -------
    ndarray
        float32 of the same shape.
    """
    values = values_hu
    for step in steps:
        values = step.apply(values)
    return np.asarray(values, dtype=np.float32)
