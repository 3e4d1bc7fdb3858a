"""From a volume and its lungs to lesions: the one path on which every model runs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from core.domain import CtVolume, LesionMask, LungMask, Segmentation
from core.errors import InferenceError
from core.geometry import CanonicalOrder
from inference.decisions import CONSOLIDATION_FROM_HU, decision
from inference.lung_union import add_dense_lung, looks_like_dense_lung
from inference.model_package import ModelPackage
from inference.resampling import Sampling, choose_sampling
from inference.session import ModelSession
from inference.straightening import require_straight
from inference.windows import run_windows

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
    consolidation_from_hu
        Attenuation from which lesion is consolidation, for models that leave this to density.
    """

    def __init__(
        self,
        package: ModelPackage,
        session: ModelSession,
        consolidation_from_hu: float = CONSOLIDATION_FROM_HU,
    ) -> None:
        self._package = package
        self._session = session
        self._consolidation_from_hu = consolidation_from_hu

    @property
    def parameters(self) -> str:
        """What was set, one short line for SEG and SR."""
        wanted, output = self._package.manifest.input, self._package.manifest.output
        parts = [f"threshold {output.threshold:g}"]
        if wanted.field_of_view is None:
            spacing = wanted.spacing_mm
            parts += [f"spacing z {spacing.z}, in-plane {spacing.in_plane} mm", f"overlap {wanted.overlap:g}"]
        else:
            parts += [
                f"spacing z {wanted.spacing_mm.z} mm",
                f"field of view {wanted.field_of_view:g} x lungs",
            ]
        if output.lesion_from_hu is not None:
            parts.append(f"lesion from {output.lesion_from_hu:g} HU")
        if output.decision == "density":
            parts.append(f"consolidation from {self._consolidation_from_hu:g} HU")
        return "; ".join([*parts, self._session.provider])

    def segment(
        self,
        volume: CtVolume,
        lungs: LungMask,
        progress: Callable[[float], None] | None = None,
    ) -> Segmentation:
        """Find the lesions inside the lungs.

        Parameters
        ----------
        volume
            The scan, in any orientation, on a straight grid.
        lungs
            Its lungs on the same grid, as density and shape give them.
        progress
            Called with 0…1, in rising order.

        Returns
        -------
        Segmentation
            On the grid and in the order of the volume. Its lungs are the given ones, and where the model
            gives lungs too, with the dense lung that only the model recognises; no lesion lies outside them.

        Raises
        ------
        InferenceError
            Lungs of another shape, slices that slide sideways, or the model failed; OutOfDeviceMemory where
            memory was the reason.
        """
        if lungs.labels_zyx.shape != volume.hu_zyx.shape:
            raise InferenceError(
                f"Lungs have shape {lungs.labels_zyx.shape}, the volume {volume.hu_zyx.shape}; "
                f"they must lie on one grid."
            )
        require_straight(volume.geometry)
        report = progress or _ignore
        report(0.0)
        order = CanonicalOrder.of(volume.geometry)
        spacing = order.apply_geometry(volume.geometry).spacing_zyx_mm
        inside_zyx = order.apply(lungs.labels_zyx)
        sampling = choose_sampling(inside_zyx, spacing, self._package.manifest.input)
        labels_zyx = np.zeros(volume.hu_zyx.shape, dtype=np.uint8)
        remarks: tuple[str, ...] = ()
        if sampling is not None:
            hu_zyx, found_zyx = order.apply(volume.hu_zyx), order.apply(labels_zyx)
            self._find(hu_zyx, inside_zyx, sampling, (spacing[1], spacing[2]), found_zyx, report)
            if self._package.manifest.output.lung_channel is not None:
                lungs = LungMask(lungs.labels_zyx.copy())
                inside_zyx = order.apply(lungs.labels_zyx)
                remarks = add_dense_lung(inside_zyx, found_zyx, spacing)
                for found, inside in zip(found_zyx, inside_zyx, strict=True):
                    found[inside == 0] = 0
        report(1.0)
        lesions = LesionMask(labels_zyx, self._package.identity(self.parameters))
        return Segmentation(lungs, lesions, remarks)

    def _find(
        self,
        hu_zyx: NDArray[np.int16],
        inside_zyx: NDArray[np.uint8],
        sampling: Sampling,
        spacing_yx_mm: tuple[float, float],
        found_zyx: NDArray[np.uint8],
        report: Callable[[float], None],
    ) -> None:
        """Fill `found_zyx` with findings inside the lungs, and in what the model takes for dense lung."""
        manifest = self._package.manifest
        output = manifest.output
        channels = list(output.lesion_channels)
        if output.lung_channel is not None:
            channels.append(output.lung_channel)
        values_zyx = sampling.to_model(hu_zyx, inside_zyx)
        report(_RESAMPLED)
        shares_czyx = run_windows(
            self._session,
            manifest,
            values_zyx,
            channels,
            lambda share: report(_RESAMPLED + (_INFERRED - _RESAMPLED) * share),
        )
        del values_zyx
        decide = decision(output, spacing_yx_mm, self._consolidation_from_hu)
        box_z, box_y, box_x = sampling.box
        for plane, z in enumerate(range(box_z.start, box_z.stop)):
            hu = hu_zyx[z, box_y, box_x]
            inside = inside_zyx[z, box_y, box_x] > 0
            if not inside.any() and output.lung_channel is None:
                continue
            shares = sampling.on_scan(shares_czyx, plane)
            if output.lung_channel is not None:
                inside |= looks_like_dense_lung(shares[-1], hu)
            labels = decide(shares[: len(output.lesion_channels)], hu)
            found_zyx[z, box_y, box_x] = np.where(inside, labels, 0)


def _ignore(_share: float) -> None:
    """Report progress to nobody."""
