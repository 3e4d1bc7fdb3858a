"""Which way from Hounsfield units to the network is most robust: measured on CT series a fold did not see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics import dice
from inference.framing import Square, square_around
from inference.preparation import AnyStep, Clip, prepare
from models.training.pneumonia_ct.evaluation import THRESHOLDS, probabilities
from models.training.pneumonia_ct.hu_slices import HealthyVolume
from models.training.pneumonia_ct.implants import with_lesions
from models.training.pneumonia_ct.network import Mirrored
from models.training.pneumonia_ct.slices import EQUALISE, FIELD_OF_VIEW, LESION, SIZE, STRETCH, WINDOW

#: Seed of the painted lesions; training uses the small ones.
_SEED = 77_000
_PAINTED = 10


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of preparing.

    Parameters
    ----------
    name
        For the table.
    window_hu
        Ends of a fixed window before stretching; None to stretch what the slice holds.
    equalised
        Whether contrast is equalised as in the published slices.
    field_of_view
        Edge of the square as a multiple of the lungs' extent.
    """

    name: str
    window_hu: tuple[float, float] | None = (-1024.0, 600.0)
    equalised: bool = False
    field_of_view: float = FIELD_OF_VIEW

    @property
    def calibrated(self) -> bool:
        """Whether the network is told that greys stand for Hounsfield units."""
        return not self.equalised and self.window_hu == (WINDOW.low_hu, WINDOW.high_hu)

    @property
    def steps(self) -> list[AnyStep]:
        """From Hounsfield units to grey values, 0 to 255."""
        if self.calibrated:
            return [WINDOW]
        clip = (
            []
            if self.window_hu is None
            else [Clip(step="clip", low_hu=self.window_hu[0], high_hu=self.window_hu[1])]
        )
        return [*clip, STRETCH, *([EQUALISE] if self.equalised else [])]


VARIANTS = (
    Variant("no window", window_hu=None),
    Variant("−1024 to 1200 HU", window_hu=(-1024.0, 1200.0)),
    Variant("−1024 to 600 HU"),
    Variant("−1024 to 300 HU", window_hu=(-1024.0, 300.0)),
    Variant("−1350 to 150 HU", window_hu=(-1350.0, 150.0)),
    Variant("−1024 to 600 HU, equalised", equalised=True),
    Variant("−1024 to 600 HU, square 1.15", field_of_view=1.15),
    Variant("−1024 to 600 HU, square 1.60", field_of_view=1.6),
)


def preparation_figures(network: Mirrored, volumes: Iterable[HealthyVolume]) -> list[dict[str, Any]]:
    """Run a network on volumes that it never saw, prepared in every way.

    Parameters
    ----------
    network
        In use, not in training.
    volumes
        Real CT without pneumonia, or phantoms.

    Returns
    -------
    list of dict
        Per volume and variant: percent of the lungs that is called lesion where there is none, Dice of
        painted lesions, Dice of the network's lungs against the geometric ones.
    """
    return [figures for volume in volumes for figures in _volume_figures(network, volume)]


def _volume_figures(network: Mirrored, volume: HealthyVolume) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(_SEED)
    painted, labels = with_lesions(volume.hu_zyx, volume.lungs_zyx, volume.spacing_zyx_mm, _PAINTED, rng)
    judged = volume.lungs_zyx & ~volume.unsure_zyx
    truth = ((labels & LESION) > 0) & judged
    for variant in VARIANTS:
        lung, false = _found(network, volume, volume.hu_zyx, variant)
        _, lesion = _found(network, volume, painted, variant)
        yield {
            "series": volume.name,
            "preparation": variant.name,
            "false_percent": 100.0 * np.count_nonzero(false & judged) / np.count_nonzero(judged),
            "painted_dice": dice(lesion & judged, truth),
            "lung_dice": dice(lung & ~volume.unsure_zyx, judged),
        }


def _found(
    network: Mirrored, volume: HealthyVolume, hu_zyx: NDArray[np.float32], variant: Variant
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return lung and lesion on the volume's own voxels."""
    square = square_around(
        volume.lungs_zyx.astype(np.uint8), volume.spacing_zyx_mm[1:], variant.field_of_view
    )
    found = np.zeros((2, *hu_zyx.shape), bool)
    rows = np.flatnonzero(volume.lungs_zyx.any(axis=(1, 2)))
    if square is None:
        return found[0], found[1]
    pictures = np.stack([prepare(square.cut(hu_zyx[z], SIZE), variant.steps) for z in rows]).astype(np.uint8)
    shares = probabilities(network, pictures, calibrated=variant.calibrated)
    for place, z in enumerate(rows):
        for channel in range(2):
            found[channel, z] = (
                _pasted(square, shares[place, channel], hu_zyx.shape[1:]) >= THRESHOLDS[channel]
            )
    return found[0], found[1]


def _pasted(square: Square, picture: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    plane = np.zeros(shape, np.float32)
    square.paste(np.ascontiguousarray(picture), plane)
    return plane
