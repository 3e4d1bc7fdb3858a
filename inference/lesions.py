"""Volumes, densities, single lesions and the zone score of an analysed series."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from skimage.measure import label as label_components

from core.domain import (
    FINDING_LABEL,
    LUNG_LABEL,
    BoxedMask,
    CtVolume,
    Finding,
    Lesion,
    LesionClass,
    LesionMask,
    LesionMeasurements,
    LungMask,
    Region,
    RegionMeasurement,
    Side,
    Zone,
    ZoneMeasurement,
)
from core.errors import InferenceError
from core.geometry import CanonicalOrder, Geometry
from core.layers import Layers
from core.regions import Box, bounding_box, zone_layers
from inference.lesion_axes import axes_mm
from inference.straightening import Straightening

_FINDINGS = len(FINDING_LABEL) + 1
#: Number of pairs of labels; the pair of a voxel is its lung label × `_FINDINGS` + its lesion label.
_PAIRS = (len(LUNG_LABEL) + 1) * _FINDINGS
#: int16 values, and what maps the lowest to 0.
_HU_VALUES, _HU_OFFSET = 65536, 32768
#: Slices counted at once; bounds the memory of the wide integers that counting needs.
_SLAB = 16
#: Percent of a zone from which its score is 2, 3, 4; any lesion below scores 1.
_SCORE_STEPS_PERCENT = (25.0, 50.0, 75.0)


@dataclass(frozen=True, slots=True)
class MeasurementRules:
    """What a site may choose about measuring.

    Parameters
    ----------
    smallest_lesion_ml
        Lesions below it count in the volumes but are not listed.
    mixed_from, mixed_to
        Share of consolidation voxels: below the first a lesion is ground glass, above the second it is
        consolidation, between them (both included) mixed.
    """

    smallest_lesion_ml: float = 0.05
    mixed_from: float = 0.25
    mixed_to: float = 0.75


_DEFAULT_RULES = MeasurementRules()


def measure(
    volume: CtVolume, lungs: LungMask, lesions: LesionMask, rules: MeasurementRules = _DEFAULT_RULES
) -> LesionMeasurements:
    """Measure every region, lesion and zone.

    The voxels of each region are those of `core.regions.region_mask_zyx`. Zones are thirds of each lung's
    own height along the patient's long axis, whatever way the slices lie (`core.layers`); the published
    six-zone score (upper, middle and lower zone, 0–4 each, total 24) divides at the carina and the inferior
    pulmonary veins instead.

    Parameters
    ----------
    volume
        The analysed volume.
    lungs, lesions
        Masks on its grid.
    rules
        Site's choices.

    Returns
    -------
    LesionMeasurements
        Volumes in ml, attenuation in HU (population standard deviation), centroids in LPS mm, axes in mm.

    Raises
    ------
    InferenceError
        A mask is not on the volume's grid or holds an unknown label.
    """
    _check(volume, lungs, lesions)
    box = bounding_box(lungs.labels_zyx)
    pairs = lungs.labels_zyx[box] * np.uint8(_FINDINGS)
    pairs += lesions.labels_zyx[box]
    regions = _regions(_histograms(volume.hu_zyx[box], pairs), volume.geometry.voxel_ml)
    zones = _zones(_by_layer(pairs, box, volume.geometry), volume.geometry.voxel_ml)
    return LesionMeasurements(
        regions=regions,
        lesions=_single_lesions(volume, pairs, box, rules),
        zones=zones,
        severity_score=sum(zone.score for zone in zones),
        listed_from_ml=rules.smallest_lesion_ml,
    )


def _check(volume: CtVolume, lungs: LungMask, lesions: LesionMask) -> None:
    """Raise unless both masks fit the volume and hold known labels only."""
    for name, labels, highest in (
        ("lung", lungs.labels_zyx, max(LUNG_LABEL.values())),
        ("lesion", lesions.labels_zyx, max(FINDING_LABEL.values())),
    ):
        if labels.shape != volume.hu_zyx.shape:
            raise InferenceError(
                f"The {name} mask has shape {labels.shape}, the series {volume.hu_zyx.shape}: "
                "nothing was measured; report this as a fault of the program."
            )
        if labels.size and int(labels.max()) > highest:
            raise InferenceError(
                f"The {name} mask holds the unknown label {int(labels.max())}: nothing was measured; "
                "check that the model package's labels are those of its manifest."
            )


def _histograms(hu_zyx: NDArray[np.int16], pairs_zyx: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count voxels by (pair, HU), shape (`_PAIRS`, `_HU_VALUES`): exact sums whatever the voxels' order."""
    counts = np.zeros(_PAIRS * _HU_VALUES, np.int64)
    for start in range(0, len(pairs_zyx), _SLAB):
        pairs = pairs_zyx[start : start + _SLAB]
        inside = pairs >= _FINDINGS
        index = pairs[inside].astype(np.int64) * _HU_VALUES
        index += hu_zyx[start : start + _SLAB][inside]
        index += _HU_OFFSET
        counts += np.bincount(index, minlength=counts.size)
    return counts.reshape(_PAIRS, _HU_VALUES)


def _regions(histograms: NDArray[np.int64], voxel_ml: float) -> tuple[RegionMeasurement, ...]:
    """Measure every region from the histograms of its pairs."""
    by_pair = histograms.sum(axis=1)
    measured = []
    for region in Region:
        sides = [region.side] if region.side else list(Side)
        in_lung = [LUNG_LABEL[side] * _FINDINGS for side in sides]
        diseased = [pair + label for pair in in_lung for label in FINDING_LABEL.values()]
        whole = in_lung + diseased
        if region.finding is not None:
            own = [pair + FINDING_LABEL[region.finding] for pair in in_lung]
        else:
            own = diseased if region is Region.LESIONS else whole
        share = own if region.finding is not None else diseased
        mean_hu, sd_hu = _mean_and_sd(histograms[own].sum(axis=0))
        measured.append(
            RegionMeasurement(
                region=region,
                volume_ml=float(by_pair[own].sum()) * voxel_ml,
                percent_of_lung=_percent(int(by_pair[share].sum()), int(by_pair[whole].sum())),
                mean_hu=mean_hu,
                sd_hu=sd_hu,
            )
        )
    return tuple(measured)


def _mean_and_sd(histogram: NDArray[np.int64]) -> tuple[float | None, float | None]:
    """Return mean and population standard deviation in HU of a histogram, None where it is empty."""
    count = int(histogram.sum())
    if count == 0:
        return None, None
    present = np.flatnonzero(histogram)
    hu = present - _HU_OFFSET
    weight = histogram[present]
    mean = float(np.sum(hu * weight)) / count
    return mean, float(np.sqrt(np.sum((hu - mean) ** 2 * weight) / count))


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 0.0


def _by_layer(pairs_zyx: NDArray[np.uint8], box: Box, geometry: Geometry) -> NDArray[np.int64]:
    """Count voxels by (layer, pair); layers rise to the head."""
    layers = Layers.rising_to_head(geometry)
    if layers.are_slices:
        canonical = CanonicalOrder.of(geometry).apply(pairs_zyx)
        by_slice = np.zeros((len(canonical), _PAIRS), np.int64)
        for z, plane in enumerate(canonical):
            by_slice[z] = np.bincount(plane.ravel(), minlength=_PAIRS)
        return by_slice
    counts = np.zeros(layers.count * _PAIRS, np.int64)
    for z, plane in enumerate(pairs_zyx, start=box[0].start):
        y, x = np.nonzero(plane)
        layer = layers.at(z, y + box[1].start, x + box[2].start)
        counts += np.bincount(layer * _PAIRS + plane[y, x], minlength=counts.size)
    return counts.reshape(layers.count, _PAIRS)


def _zones(by_layer: NDArray[np.int64], voxel_ml: float) -> tuple[ZoneMeasurement, ...]:
    """Measure the thirds of each lung from its voxels by (layer, pair)."""
    voxels: dict[Zone, tuple[int, int, int]] = {}
    for side in Side:
        first = LUNG_LABEL[side] * _FINDINGS
        lung = by_layer[:, first : first + _FINDINGS].sum(axis=1)
        lesion = lung - by_layer[:, first]
        dense = by_layer[:, first + FINDING_LABEL[Finding.CONSOLIDATION]]
        for zone, own in zone_layers(lung > 0, side).items():
            voxels[zone] = int(lung[own].sum()), int(lesion[own].sum()), int(dense[own].sum())
    return tuple(_zone(zone, *voxels[zone], voxel_ml) for zone in Zone)


def _zone(zone: Zone, lung: int, lesion: int, dense: int, voxel_ml: float) -> ZoneMeasurement:
    """Build the measurement of a zone from its voxel counts."""
    percent = _percent(lesion, lung)
    score = 1 + sum(percent >= step for step in _SCORE_STEPS_PERCENT) if lesion else 0
    return ZoneMeasurement(zone, lung * voxel_ml, lesion * voxel_ml, dense * voxel_ml, percent, score)


def _single_lesions(
    volume: CtVolume, pairs_zyx: NDArray[np.uint8], box: Box, rules: MeasurementRules
) -> tuple[Lesion, ...]:
    """Return the connected lesions that are large enough, largest first."""
    lesion = (pairs_zyx > _FINDINGS) & (pairs_zyx % _FINDINGS > 0)
    inner = bounding_box(lesion)
    if not lesion[inner].size:
        return ()
    labels = _connected(lesion[inner], volume.geometry)
    where = np.flatnonzero(labels)
    numbers = labels.ravel()[where]
    pairs = pairs_zyx[inner].ravel()[where]
    sizes = np.bincount(numbers)
    # A hair below the limit, because the voxel volume of an oblique grid is rounded.
    limit_ml = rules.smallest_lesion_ml * (1.0 - 1e-9)
    listed = np.flatnonzero((sizes > 0) & (sizes * volume.geometry.voxel_ml >= limit_ml))
    index_zyx = np.unravel_index(where, labels.shape)
    values = (
        pairs % _FINDINGS == FINDING_LABEL[Finding.CONSOLIDATION],
        pairs // _FINDINGS == LUNG_LABEL[Side.RIGHT],
        volume.hu_zyx[box][inner].ravel()[where],
        *index_zyx,
    )
    totals = [np.bincount(numbers, weights=value.astype(np.float64))[listed] for value in values]
    means = np.stack(totals, axis=1) / sizes[listed, None]
    corner = tuple(outer.start + own.start for outer, own in zip(box, inner, strict=True))
    centroids = volume.geometry.to_lps_mm(means[:, 3:] + corner)
    # Equal sizes are ordered from head to foot and front to back: numbering ignores the storage order.
    order = np.lexsort((*np.round(centroids * [1, 1, -1], 3).T, -sizes[listed]))
    boxes = find_objects(labels)
    return tuple(
        _lesion(
            number,
            _cut_out(labels, int(listed[at]), boxes[listed[at] - 1], corner),
            means[at],
            centroids[at],
            volume.geometry,
            rules,
        )
        for number, at in enumerate(order, start=1)
    )


def _cut_out(labels_zyx: NDArray[np.intp], label: int, box: Box, corner: tuple[int, ...]) -> BoxedMask:
    """Return the voxels of one component; `corner` is where the labels begin in the volume."""
    z, y, x = (one.start + offset for one, offset in zip(box, corner, strict=True))
    return BoxedMask((z, y, x), labels_zyx[box] == label)


def _connected(lesion_zyx: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.int64]:
    """Number the connected lesions from 1 on.

    Voxels of slices that slide sideways are neighbours where they lie side by side in the patient, whatever
    their indices are.
    """
    part = replace(geometry, shape_zyx=lesion_zyx.shape)  # slides count, places do not
    straightening = Straightening.of(part)
    labels = label_components(straightening.placed(lesion_zyx), connectivity=3)
    return np.asarray(straightening.labels_on_source(labels), np.int64)


def _lesion(
    number: int,
    voxels: BoxedMask,
    means: NDArray[np.float64],
    centroid: NDArray[np.float64],
    geometry: Geometry,
    rules: MeasurementRules,
) -> Lesion:
    """Build a lesion from its voxels and the means over them: consolidation, right, HU."""
    share = float(means[0])
    if share < rules.mixed_from:
        lesion_class = LesionClass.GROUND_GLASS
    elif share > rules.mixed_to:
        lesion_class = LesionClass.CONSOLIDATION
    else:
        lesion_class = LesionClass.MIXED
    x, y, z = (float(value) for value in centroid)
    long_axis_mm, short_axis_mm = axes_mm(voxels.mask_zyx, geometry)
    return Lesion(
        number=number,
        lesion_class=lesion_class,
        side=Side.RIGHT if means[1] >= 0.5 else Side.LEFT,
        volume_ml=int(np.count_nonzero(voxels.mask_zyx)) * geometry.voxel_ml,
        consolidation_share=share,
        mean_hu=float(means[2]),
        centroid_lps_mm=(x, y, z),
        long_axis_mm=long_axis_mm,
        short_axis_mm=short_axis_mm,
        voxels=voxels,
    )
