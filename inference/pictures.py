"""A slice model on pictures: CT slices of 8 bits, as data sets publish them, without Hounsfield units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import InferenceError
from inference.decisions import by_channel
from inference.framing import Square
from inference.greys import dense_by_grey
from inference.lung_union import LUNG_THRESHOLD
from inference.manifest import Manifest
from inference.preparation import AnyStep, Equalise, Stretch, Window, prepare
from inference.session import ModelSession
from inference.windows import run_batch

#: Probability from which lesion is consolidation.
_CONSOLIDATION_THRESHOLD = 0.5
#: Smoothing before greys decide, pixels of the model's patch.
_SMOOTHING_PX = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class PictureMasks:
    """What a model finds in pictures, one entry for each, on the picture's own pixels.

    Parameters
    ----------
    lung
        (y, x) bool; None where the model gives no lungs.
    lesion
        (y, x) bool, wherever the model says so: lungs by density, which bound it in a scan, are not known.
    consolidation
        (y, x) bool, the part of the lesions that is consolidation, by the model's own channel, else by greys
        where density would decide in a scan and the model gives lungs; None where nothing tells.
    probabilities
        (channel, y, x) float32, every channel of the output; None unless asked for.
    """

    lung: tuple[NDArray[np.bool_], ...] | None
    lesion: tuple[NDArray[np.bool_], ...]
    consolidation: tuple[NDArray[np.bool_], ...] | None
    probabilities: tuple[NDArray[np.float32], ...] | None


def segment_pictures(
    session: ModelSession,
    manifest: Manifest,
    pictures: Sequence[NDArray[np.uint8]],
    *,
    equalised: bool,
    fit: float,
    keep_probabilities: bool = False,
) -> PictureMasks:
    """Run a slice model on pictures.

    Parameters
    ----------
    session, manifest
        The opened model and what its package says.
    pictures
        (y, x) uint8 of any size, one CT slice each, the spine at the bottom, the patient's right at the left.
    equalised
        Whether the pictures have been stretched and equalised already. Else they are stretched, and
        equalised if the model's steps say so. Either way only the model's steps after `window`, `stretch`
        and `equalise` follow: those before need Hounsfield units.
    fit
        Share of the patch that the longer side of a picture takes, 0 < fit ≤ 1; black fills the rest. 1 for
        whole slices; for pictures cropped to the lungs one divided by the model's field of view.
    keep_probabilities
        Whether to return the probabilities too.

    Raises
    ------
    InferenceError
        The model does not see whole slices as pictures, a picture is none, `fit` is out of range, or the
        model failed.
    """
    steps = _steps_for_pictures(manifest, equalised)
    if not 0.0 < fit <= 1.0:
        raise InferenceError(
            f"fit: found {fit:g}, wanted the share of the patch that a picture takes, above 0 and up to 1."
        )
    for number, picture in enumerate(pictures, start=1):
        if picture.ndim != 2 or picture.dtype != np.uint8 or picture.size == 0:
            raise InferenceError(
                f"Picture {number}: found {picture.dtype} {picture.shape}, wanted (y, x) values of uint8."
            )
    output = manifest.output
    tells_classes = output.consolidation_channel is not None or (
        output.decision == "density" and output.lung_channel is not None
    )
    lung, lesion, kept = [], [], []
    consolidation: list[NDArray[np.bool_]] = []
    found = _probabilities(session, manifest, pictures, steps, fit)
    for picture, probabilities in zip(pictures, found, strict=True):
        lesion.append(by_channel(probabilities[list(output.lesion_channels)], output) > 0)
        if output.lung_channel is not None:
            lung.append(probabilities[output.lung_channel] >= LUNG_THRESHOLD)
        if tells_classes:
            consolidation.append(lesion[-1] & _dense(picture, probabilities, lesion[-1], manifest, fit))
        if keep_probabilities:
            kept.append(probabilities)
    return PictureMasks(
        lung=tuple(lung) if output.lung_channel is not None else None,
        lesion=tuple(lesion),
        consolidation=tuple(consolidation) if tells_classes else None,
        probabilities=tuple(kept) if keep_probabilities else None,
    )


def _dense(
    picture: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    lesion_yx: NDArray[np.bool_],
    manifest: Manifest,
    fit: float,
) -> NDArray[np.bool_]:
    """Tell where a picture is dense: by a channel of the model, else by its greys."""
    output = manifest.output
    if output.consolidation_channel is not None:
        return np.asarray(probabilities[output.consolidation_channel] >= _CONSOLIDATION_THRESHOLD)
    inside = probabilities[output.lung_channel] >= LUNG_THRESHOLD
    smoothing_px = _SMOOTHING_PX * max(picture.shape) / fit / manifest.input.patch_zyx[1]
    return dense_by_grey(picture, inside & ~lesion_yx, ~inside & ~lesion_yx, smoothing_px)


def _steps_for_pictures(manifest: Manifest, equalised: bool) -> Sequence[AnyStep]:
    """Return the steps that a picture still needs; refuse models that do not see whole slices as pictures."""
    if manifest.input.axes != "NCYX" or manifest.input.spacing_mm.in_plane != "fit":
        raise InferenceError(
            f'Model {manifest.name} does not see whole slices (axes NCYX, in_plane = "fit"): '
            "it cannot be run on pictures."
        )
    steps = manifest.input.preparation
    made = [at for at, step in enumerate(steps) if isinstance(step, Window | Stretch | Equalise)]
    if not made:
        raise InferenceError(
            f'Model {manifest.name} has no step "window" or "stretch": it takes Hounsfield units, '
            "which pictures do not have."
        )
    last = steps[made[-1] + 1 :]
    if equalised:
        return last
    equalising = [step for step in steps if isinstance(step, Equalise)]
    return [Stretch(step="stretch"), *equalising, *last]


def _probabilities(
    session: ModelSession,
    manifest: Manifest,
    pictures: Sequence[NDArray[np.uint8]],
    steps: Sequence[AnyStep],
    fit: float,
) -> Iterator[NDArray[np.float32]]:
    """Yield (channel, y, x) probabilities on the pixels of each picture."""
    size = manifest.input.patch_zyx[1]
    for first in range(0, len(pictures), manifest.input.batch):
        batch = pictures[first : first + manifest.input.batch]
        squares = [_square(picture, fit) for picture in batch]
        shown = np.zeros(manifest.input.image_shape, dtype=np.float32)
        for place, (picture, square) in enumerate(zip(batch, squares, strict=True)):
            # Cubic interpolation overshoots beyond black and white.
            cut = square.cut(picture.astype(np.float32), size, beyond=0.0)
            shown[place, 0] = np.clip(np.rint(cut), 0, 255)
        outputs = run_batch(session, manifest, prepare(shown, steps), calibrated=False)
        for picture, square, channels in zip(batch, squares, outputs, strict=False):
            planes = np.zeros((len(channels), *picture.shape), dtype=np.float32)
            for plane, values in zip(planes, channels, strict=True):
                square.paste(values, plane)
            yield planes


def _square(picture: NDArray[np.uint8], fit: float) -> Square:
    """Return the square in whose middle the picture stands, its longer side taking the given share."""
    edge = round(max(picture.shape) / fit)
    top, left = ((count - edge) // 2 for count in picture.shape)
    return Square((top, top + edge), (left, left + edge))
