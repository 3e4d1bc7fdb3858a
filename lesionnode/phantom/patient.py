"""One phantom patient: anatomy, vessels and lesions of a seed, painted plane by plane and measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.domain import Finding, Side
from lesionnode.phantom import bones, thorax, tissues, trees
from lesionnode.phantom.breathing import Breathing
from lesionnode.phantom.canvas import Canvas, Window
from lesionnode.phantom.lesions import PlacedLesion, place_all
from lesionnode.phantom.shapes import FloatArray, Points, capsule_mm, lattice, occupancy, waves
from lesionnode.phantom.spec import PhantomSpec

PARENCHYMA_HU = -862.0
GROUND_GLASS_HU = -600.0
CONSOLIDATION_HU = 30.0

_PLACING_STEP_MM = 3.0
_VESSEL_ENDS, _VESSEL_TIP_MM = 420, 0.8
_AIRWAY_ENDS, _AIRWAY_TIP_MM = 14, 1.15
_GROUND_GLASS_EDGE_MM = 2.5
_NOWHERE_MM = np.float32(1e3)

InView = Callable[[Points], NDArray[np.bool_]]


@dataclass(frozen=True, slots=True, eq=False)
class PlaneShares:
    """One painted plane.

    Parameters
    ----------
    hu
        (rows, columns) float32, HU.
    lung, ground_glass, consolidation
        (rows, columns) float32, share of each pixel, 0…1.
    """

    hu: FloatArray
    lung: FloatArray
    ground_glass: FloatArray
    consolidation: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Patient:
    """Anatomy of one seed; all mm are those of the unscaled anatomy, trees of the patient at rest.

    Parameters
    ----------
    vessels, airways
        Trees inside the lungs.
    lesions
        In the order asked for.
    spec
        What was asked for.
    """

    vessels: trees.Segments
    airways: trees.Segments
    lesions: tuple[PlacedLesion, ...]
    spec: PhantomSpec

    @classmethod
    def of(cls, spec: PhantomSpec) -> Patient:
        """Grow the trees and place the lesions."""
        points, distance, lungs = lungs_at_rest()
        roots = {Side.RIGHT: thorax.HILUM_RIGHT, Side.LEFT: thorax.HILUM_LEFT}
        rng = np.random.default_rng((spec.seed, 1))
        vessels, airways = [], []
        for side, lung in lungs.items():
            ends = trees.scatter(lung & (distance < -4.0), points, _VESSEL_ENDS, rng)
            vessels.append(trees.grow(roots[side], ends, _VESSEL_TIP_MM))
            ends = trees.scatter(lung & (distance < -18.0), points, _AIRWAY_ENDS, rng)
            airways.append(trees.grow(roots[side], ends, _AIRWAY_TIP_MM))
        lesions = tuple(place_all(spec, lungs, points))
        return cls(trees.join(*vessels), trees.join(*airways), lesions, spec)

    @property
    def _breathing(self) -> Breathing:
        return Breathing(self.spec.inspiration)

    def _lungs_mm(self, points: Points) -> FloatArray:
        """Return the distance to both lungs at points of the breathing patient."""
        return thorax.lungs_mm(self._breathing.at_rest(points), points)

    def paint(self, points: Points, pixel_mm: float) -> PlaneShares:
        """Paint one plane without blur and noise.

        Parameters
        ----------
        points
            Pixel centres in mm of the anatomy.
        pixel_mm
            Pixel width in mm of the anatomy.
        """
        canvas = Canvas(points, pixel_mm, tissues.AIR_HU)
        organs = canvas.over(self._breathing.at_rest(points))
        blood = tissues.Blood.of(self.spec.contrast)
        if self.spec.table:
            tissues.paint_table(canvas, self.spec.patient_position.prone)
        tissues.paint_body(canvas, organs, blood, self.spec.arms)
        bones.paint_bones(canvas)
        tissues.paint_airways(organs)
        empty = np.zeros(points.shape, dtype=np.float32)
        shares = PlaneShares(canvas.hu_yx, empty, empty.copy(), empty.copy())
        window = organs.window(*thorax.LUNG_BOX)
        if window is not None:
            distance = self._lungs_mm(points.crop(window))
            lesions = self._lesions_mm(canvas, window, distance)
            self._paint_lungs(organs, window, shares, distance, lesions)
        return shares

    def _paint_lungs(
        self,
        canvas: Canvas,
        window: Window,
        shares: PlaneShares,
        distance: FloatArray,
        lesions_mm: tuple[FloatArray, FloatArray],
    ) -> None:
        """Paint lungs and lesions, given by their distances over the window, on the canvas of the organs."""
        points, (dense, outer) = canvas.points.crop(window), lesions_mm
        vessel_hu = tissues.Blood.of(self.spec.contrast).lung_vessel
        lung = occupancy(distance, canvas.pixel_mm)
        solid = occupancy(dense, canvas.pixel_mm)
        shares.lung[window] = lung
        shares.consolidation[window] = solid
        # outer holds dense, so that the difference is what remains for ground glass.
        shares.ground_glass[window] = occupancy(outer, canvas.pixel_mm) - solid
        canvas.lay(window, lung, self._parenchyma_hu(points))
        edge_mm = max(canvas.pixel_mm, _GROUND_GLASS_EDGE_MM)
        canvas.lay(window, occupancy(outer, edge_mm) * lung, self._ground_glass_hu(points))
        # Branches show in the lung and at the hilum, where they join the great vessels and main bronchi.
        room = np.maximum(lung, _hila_share(points))
        canvas.lay(window, canvas.segments_share(self.vessels)[window] * room, vessel_hu)
        canvas.lay(window, solid, CONSOLIDATION_HU)
        canvas.lay(window, canvas.segments_share(self.airways, 0.8)[window] * room, tissues.AIRWAY_WALL_HU)
        canvas.lay(window, canvas.segments_share(self.airways)[window] * room, tissues.LUMEN_HU)

    def _lesions_mm(
        self, canvas: Canvas, window: Window, lung_mm: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the distances to all consolidation and to all lesions, cut by the lungs, over the window."""
        dense, outer = np.full_like(lung_mm, _NOWHERE_MM), np.full_like(lung_mm, _NOWHERE_MM)
        for lesion in self.lesions:
            box = canvas.window(lesion.low_mm, lesion.high_mm)
            box = None if box is None else _inside(box, window)
            if box is None:
                continue
            points = canvas.points.crop(window).crop(box)
            lung = own_lung_mm(lesion, points, lung_mm[box])
            np.minimum(dense[box], np.maximum(lesion.dense_mm(points), lung), out=dense[box])
            np.minimum(outer[box], np.maximum(lesion.outer_mm(points), lung), out=outer[box])
        return dense, np.minimum(outer, dense)

    def _parenchyma_hu(self, points: Points) -> FloatArray:
        """Return normal lung: denser where gravity presses it together, faintly mottled, with fissures."""
        down = np.float32(-0.35 if self.spec.patient_position.prone else 0.35)
        texture = waves(points, np.random.default_rng((self.spec.seed, 3)), 14.0, 3)
        hu = np.float32(PARENCHYMA_HU) + down * points.y + np.float32(9.0) * texture
        oblique = (points.z + 20.0 - np.float32(1.1) * (points.y - 10.0)) * np.float32(1 / 1.49)
        fissure = occupancy(np.asarray(np.abs(oblique) - 0.35, dtype=np.float32), 1.4)
        hu = hu + np.float32(130.0) * fissure
        if self.spec.inspiration != 1.0:  # the same mass in another volume
            hu = (hu + np.float32(1000.0)) / self._breathing.stretch(points) - np.float32(1000.0)
        return np.asarray(hu, dtype=np.float32)

    def _ground_glass_hu(self, points: Points) -> FloatArray:
        texture = waves(points, np.random.default_rng((self.spec.seed, 4)), 9.0, 6)
        return np.asarray(np.float32(GROUND_GLASS_HU) + np.float32(32.0) * texture, dtype=np.float32)

    def lung_ml(self, step_mm: float, in_view: InView) -> dict[Side, float]:
        """Measure each lung on a lattice of its own, as far as it is in view; ml of the scaled patient."""
        total = dict.fromkeys(Side, 0.0)
        low, high = self._breathing.lung_box()
        for bottom in np.arange(low[2], high[2], 32 * step_mm):
            points = lattice((*low[:2], bottom), (*high[:2], min(bottom + 32 * step_mm, high[2])), step_mm)
            if 0 in points.shape:  # less than half a step is left at the top
                continue
            share = occupancy(self._lungs_mm(points), step_mm) * in_view(points)
            right = thorax.right_side(points) < 0
            total[Side.RIGHT] += float(np.sum(share * right, dtype=np.float64))
            total[Side.LEFT] += float(np.sum(share * ~right, dtype=np.float64))
        cell_ml = (step_mm * self.spec.size) ** 3 / 1000.0
        return {side: cells * cell_ml for side, cells in total.items()}

    def lesion_ml(self, number: int, in_view: InView) -> dict[Finding, float]:
        """Measure one lesion on a lattice of its own: what lies in its lung and in no lesion before it.

        Consolidation of any lesion takes its voxels from ground glass of any other.
        """
        lesion = self.lesions[number]
        step_mm = float(np.clip(min(lesion.radii) / 16.0, 0.3, 1.0))
        points = lattice(lesion.low_mm, lesion.high_mm, step_mm)
        lung = own_lung_mm(lesion, points, self._lungs_mm(points))
        dense, outer = lesion.dense_mm(points), lesion.outer_mm(points)
        # What others hold, so that every point belongs to one lesion and one finding.
        dense_before = dense_any = outer_before = np.full((1, 1, 1), _NOWHERE_MM)
        for at, other in enumerate(self.lesions):
            if at == number or other.lesion.side is not lesion.lesion.side or not _touch(lesion, other):
                continue
            dense_any = np.minimum(dense_any, other.dense_mm(points))
            if at < number:
                dense_before = np.minimum(dense_before, other.dense_mm(points))
                outer_before = np.minimum(outer_before, other.outer_mm(points))
        taken = np.minimum(np.minimum(dense_any, dense), outer_before)
        view_ml = in_view(points) * ((step_mm * self.spec.size) ** 3 / 1000.0)

        def added_ml(part: FloatArray, before: FloatArray) -> float:
            with_part = occupancy(np.maximum(np.minimum(part, before), lung), step_mm)
            without = occupancy(np.maximum(before, lung), step_mm)
            return float(np.sum((with_part - without) * view_ml, dtype=np.float64))

        return {
            Finding.GROUND_GLASS: added_ml(outer, taken),
            Finding.CONSOLIDATION: added_ml(dense, dense_before),
        }


def lungs_at_rest() -> tuple[Points, FloatArray, dict[Side, NDArray[np.bool_]]]:
    """Return the lattice on which trees and lesions find their places.

    Returns
    -------
    tuple
        Its points, mm of the anatomy; float32 (z, y, x) distance to both lungs, mm; bool (z, y, x) per lung.
    """
    points = lattice(*thorax.LUNG_BOX, _PLACING_STEP_MM)
    distance, right = thorax.lungs_mm(points), thorax.right_side(points) < 0
    return points, distance, {Side.RIGHT: (distance < 0) & right, Side.LEFT: (distance < 0) & ~right}


def _hila_share(points: Points) -> FloatArray:
    """Return the share of each pixel that lies within 2 cm of a hilum."""
    hila = (capsule_mm(points, at, at, (20.0, 20.0)) for at in (thorax.HILUM_RIGHT, thorax.HILUM_LEFT))
    return occupancy(np.minimum(*hila), 1.0)


def own_lung_mm(lesion: PlacedLesion, points: Points, lung_mm: FloatArray) -> FloatArray:
    """Cut the lungs, given by their distance at some points, to the one that holds a lesion, mm."""
    right = thorax.right_side(points)
    return np.maximum(lung_mm, right if lesion.lesion.side is Side.RIGHT else -right)


def _touch(one: PlacedLesion, other: PlacedLesion) -> bool:
    return bool(np.all(np.less(one.low_mm, other.high_mm)) and np.all(np.less(other.low_mm, one.high_mm)))


def _inside(box: Window, window: Window) -> Window | None:
    """Return the part of a box inside a window, in the window's own indices."""
    parts = [
        slice(max(b.start, w.start) - w.start, min(b.stop, w.stop) - w.start)
        for b, w in zip(box, window, strict=True)
    ]
    return (parts[0], parts[1]) if all(part.start < part.stop for part in parts) else None
