"""From a volume and its lungs to lesions: the one path on which every model runs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from core.domain import FINDING_LABEL, CtVolume, LesionMask, LungMask
from core.errors import InferenceError
from core.geometry import CanonicalOrder
from inference.activation import probability_fault, to_probabilities
from inference.manifest import ModelOutput
from inference.model_package import ModelPackage
from inference.preparation import AIR_HU, prepare
from inference.resampling import WorkingGrid, plane_on_scan, to_working_grid, working_grid
from inference.session import ModelSession
from inference.tiles import Tile, tiles

# Shares of the whole at which a stage ends, from timing the shipped model.
_RESAMPLED, _INFERRED = 0.2, 0.8


class Segmenter:
    """Runs one model on whole volumes.

    Parameters
    ----------
    package
        What the model is and wants.
    session
        The opened model.
    """

    def __init__(self, package: ModelPackage, session: ModelSession) -> None:
        self._package = package
        self._session = session

    @property
    def parameters(self) -> str:
        """What was set, one short line for SEG and SR."""
        manifest = self._package.manifest
        spacing = manifest.input.spacing_mm
        return (
            f"threshold {manifest.output.threshold:g}; "
            f"spacing z {spacing.z}, in-plane {spacing.in_plane} mm; "
            f"overlap {manifest.input.overlap:g}; {self._session.provider}"
        )

    def segment(
        self,
        volume: CtVolume,
        lungs: LungMask,
        progress: Callable[[float], None] | None = None,
    ) -> LesionMask:
        """Find the lesions inside the lungs.

        Parameters
        ----------
        volume
            The scan, in any orientation.
        lungs
            Its lungs on the same grid; nothing is ever found outside them.
        progress
            Called with 0…1, in rising order.

        Returns
        -------
        LesionMask
            On the grid and in the order of the volume.

        Raises
        ------
        InferenceError
            Lungs of another shape, or the model failed; OutOfDeviceMemory where memory was the reason.
        """
        if lungs.labels_zyx.shape != volume.hu_zyx.shape:
            raise InferenceError(
                f"Lungs have shape {lungs.labels_zyx.shape}, the volume {volume.hu_zyx.shape}; "
                f"they must lie on one grid."
            )
        report = progress or _ignore
        report(0.0)
        order = CanonicalOrder.of(volume.geometry)
        hu_zyx = order.apply(volume.hu_zyx)
        inside_zyx = order.apply(lungs.labels_zyx)
        spacing = order.apply_geometry(volume.geometry).spacing_zyx_mm
        wanted = self._package.manifest.input
        found_zyx = np.zeros(hu_zyx.shape, dtype=np.uint8)
        grid = working_grid(inside_zyx, spacing, wanted)
        if grid is not None:
            values_zyx = to_working_grid(hu_zyx, inside_zyx, grid, wanted.outside_lungs_hu)
            report(_RESAMPLED)
            shares_czyx = self.infer(
                values_zyx, lambda share: report(_RESAMPLED + (_INFERRED - _RESAMPLED) * share)
            )
            del values_zyx
            self._decide(shares_czyx, inside_zyx, grid, found_zyx)
        report(1.0)
        labels = np.ascontiguousarray(order.restore(found_zyx))
        return LesionMask(labels, self._package.identity(self.parameters))

    def infer(
        self, values_zyx: NDArray[np.float32], progress: Callable[[float], None] | None = None
    ) -> NDArray[np.float32]:
        """Run the model window by window and blend where windows overlap.

        Parameters
        ----------
        values_zyx
            (z, y, x) float32 in HU, canonical, at the model's spacing, any size.
        progress
            Called with 0…1, in rising order.

        Returns
        -------
        ndarray
            (label, z, y, x) float32 probabilities, one per label of the manifest in its order.

        Raises
        ------
        InferenceError
            The model failed, or gave values that are no probabilities.
        """
        report = progress or _ignore
        wanted = self._package.manifest.input
        shape = (values_zyx.shape[0], values_zyx.shape[1], values_zyx.shape[2])
        windows = list(tiles(shape, wanted.patch_zyx, wanted.overlap))
        shares_czyx = np.zeros((len(self._package.manifest.output.labels), *shape), dtype=np.float32)
        done = 0
        for batch in _batches(iter(windows), wanted.batch):
            probabilities = self._probabilities(self._gather(values_zyx, batch))
            for place, tile in enumerate(batch):
                self._blend(probabilities[place], tile, shares_czyx)
            done += len(batch)
            report(done / len(windows))
        return shares_czyx

    def _probabilities(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run one batch; refuse what cannot be probabilities."""
        output = self._package.manifest.output
        probabilities = to_probabilities(self._session.run(patches), output.activation)
        fault = probability_fault(probabilities)
        if fault:
            raise InferenceError(f"Output {output.name}: {fault}")
        return probabilities

    def _blend(
        self, probabilities: NDArray[np.float32], tile: Tile, shares_czyx: NDArray[np.float32]
    ) -> None:
        """Add the labelled channels of one patch where its window stands, one channel at a time."""
        manifest = self._package.manifest
        weights_zyx = tile.weights_zyx()
        for place, label in enumerate(manifest.output.labels):
            patch_zyx = probabilities[label.channel].reshape(manifest.input.patch_zyx)
            shares_czyx[(place, *tile.inside)] += patch_zyx[tile.at] * weights_zyx

    def _gather(self, values_zyx: NDArray[np.float32], batch: list[Tile]) -> NDArray[np.float32]:
        """Cut patches, fill what lies beyond the scan with air, and prepare them."""
        wanted = self._package.manifest.input
        patches = np.full((wanted.batch, *wanted.patch_zyx), AIR_HU, dtype=np.float32)
        for place, tile in enumerate(batch):
            patches[(place, *tile.at)] = values_zyx[tile.inside]
        return prepare(patches.reshape(wanted.tensor_shape), wanted.preparation)

    def _decide(
        self,
        shares_czyx: NDArray[np.float32],
        inside_zyx: NDArray[np.uint8],
        grid: WorkingGrid,
        found_zyx: NDArray[np.uint8],
    ) -> None:
        """Bring the probabilities back to the scan slice by slice, and fill `found_zyx` with findings."""
        box_z, box_y, box_x = grid.box
        for plane, plane_z in enumerate(range(box_z.start, box_z.stop)):
            inside = inside_zyx[plane_z, box_y, box_x] > 0
            if inside.any():
                labels = decide(plane_on_scan(shares_czyx, grid, plane), self._package.manifest.output)
                found_zyx[plane_z, box_y, box_x] = np.where(inside, labels, 0)


def decide(probabilities: NDArray[np.float32], output: ModelOutput) -> NDArray[np.uint8]:
    """Choose what each voxel is.

    Parameters
    ----------
    probabilities
        (label, …) float32, in the order of the manifest's labels.
    output
        Its threshold, decision and labels.

    Returns
    -------
    ndarray
        uint8 without the label axis: 0 or `FINDING_LABEL`. Equal findings go to the first label.
    """
    codes = np.array([FINDING_LABEL[label.finding] for label in output.labels], dtype=np.uint8)
    strength = probabilities.sum(axis=0) if output.decision == "sum" else probabilities.max(axis=0)
    named = codes[probabilities.argmax(axis=0)]
    return np.where(strength >= np.float32(output.threshold), named, np.uint8(0))


def _batches(windows: Iterator[Tile], size: int) -> Iterator[list[Tile]]:
    """Cut windows into batches; the last one may be short."""
    while batch := list(itertools.islice(windows, size)):
        yield batch


def _ignore(_share: float) -> None:
    """Report progress to nobody."""
