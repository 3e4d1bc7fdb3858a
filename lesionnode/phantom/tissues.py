"""Everything around the lungs, painted from the outside in: table, body wall, abdomen, mediastinum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lesionnode.phantom import thorax
from lesionnode.phantom.canvas import Canvas, Window
from lesionnode.phantom.shapes import (
    FloatArray,
    Points,
    Solid,
    ellipsoid,
    ellipsoid_mm,
    smooth_min,
    tube,
    vector,
)

AIR_HU = -1000.0
FAT_HU = -104.0
MEDIASTINAL_FAT_HU = -92.0
MUSCLE_HU = 54.0
SKIN_HU = 15.0
LUMEN_HU = -985.0
AIRWAY_WALL_HU = -10.0

_FAR = 1e4
_BODY_BOX = ((-240.0, -150.0, -_FAR), (240.0, 180.0, _FAR))
_ARMS = tuple(tube([(side * 215, 20, 200), (side * 222, 15, -200)], [48, 44]) for side in (-1.0, 1.0))
_HUMERI = tuple(tube([(side * 215, 20, 200), (side * 222, 15, -200)], [12, 11]) for side in (-1.0, 1.0))
_LIVER = ellipsoid((-52.0, -8.0, -182.0), (104.0, 100.0, 96.0))
_LEFT_LIVER = ellipsoid((30.0, -46.0, -140.0), (58.0, 36.0, 34.0))
_SPLEEN = ellipsoid((94.0, 48.0, -150.0), (34.0, 38.0, 44.0))
_STOMACH = ellipsoid((60.0, -14.0, -152.0), (44.0, 46.0, 42.0))
_GASTRIC_FOLD_MM = 4.0


@dataclass(frozen=True, slots=True)
class Blood:
    """Attenuation of what contrast medium changes, HU."""

    vessel: float
    heart: float
    lung_vessel: float
    liver: float
    spleen: float

    @classmethod
    def of(cls, contrast: bool) -> Blood:
        """Choose the unenhanced or the enhanced (late arterial) values."""
        return cls(225.0, 190.0, 210.0, 92.0, 120.0) if contrast else cls(42.0, 44.0, 40.0, 58.0, 48.0)


def paint_table(canvas: Canvas, prone: bool) -> None:
    """Paint a curved carbon-fibre shell with foam inside, behind a supine and in front of a prone patient."""
    sign = -1.0 if prone else 1.0
    low, high = (-280.0, sign * 140.0 - 60.0, -_FAR), (280.0, sign * 140.0 + 60.0, _FAR)
    window = canvas.window(low, high)
    if window is None:
        return
    points = canvas.points.crop(window)
    down = (points.y - np.float32(11.0)) * np.float32(sign) - np.float32(126.0)
    sag = down + np.float32(0.0009) * points.x**2
    edge = np.abs(points.x) - np.float32(215.0)
    top = np.maximum(np.maximum(-sag, sag - np.float32(26.0)), edge)
    canvas.fill(window, top, -940.0)
    canvas.fill(window, np.abs(top + np.float32(1.0)) - np.float32(1.0), -180.0)


def body_mm(points: Points) -> FloatArray:
    """Return the distance to the skin; the shoulders widen above the arm pits."""
    half_width = np.float32(171.0) + np.float32(0.9) * np.maximum(points.z - 82.0, 0.0)
    half_depth = np.float32(123.0) - np.float32(0.28) * np.maximum(points.z - 40.0, 0.0)
    u = (points.x / half_width) ** 2
    v = ((points.y - np.float32(9.0) - np.float32(0.04) * points.z) / half_depth) ** 2
    length = np.sqrt(np.sqrt(u * u + v * v + np.float32(1.35) * u * v))
    steep = np.sqrt(u / half_width**2 + v / half_depth**2 + np.float32(1e-9))
    groove = (
        np.float32(2.5) * np.cos(points.x * np.float32(1 / 17.0)) * np.sin(points.y * np.float32(1 / 40.0))
    )
    return np.asarray(length * (length - 1.0) / steep + groove, dtype=np.float32)


def paint_body(canvas: Canvas, organs: Canvas, blood: Blood, arms: bool) -> None:
    """Paint skin, fat, muscle and everything inside the rib cage except lungs and airways.

    The canvas has the points of skin and bones, that of the organs those of the patient at rest.
    """
    if arms:
        for arm, bone in zip(_ARMS, _HUMERI, strict=True):
            _paint_arm(canvas, arm, bone)
    window = canvas.window(*_BODY_BOX)
    if window is None:
        return
    points = canvas.points.crop(window)
    skin, cage = body_mm(points), thorax.cage_mm(points)
    _paint_wall(canvas, window, points, skin, cage)
    _paint_abdomen(organs, canvas.points, blood)
    _paint_mediastinum(organs, blood)


def _paint_arm(canvas: Canvas, arm: Solid, bone: Solid) -> None:
    window = canvas.window(arm.low_mm, arm.high_mm)
    if window is None:
        return
    points = canvas.points.crop(window)
    distance = arm.distance_mm(points)
    for depth_mm, hu in ((0.0, SKIN_HU), (1.5, FAT_HU), (9.0, MUSCLE_HU)):
        canvas.fill(window, distance + np.float32(depth_mm), hu)
    shaft = bone.distance_mm(points)
    canvas.fill(window, shaft, 1100.0)
    canvas.fill(window, shaft + np.float32(5.0), -60.0)


def _paint_wall(canvas: Canvas, window: Window, points: Points, skin: FloatArray, cage: FloatArray) -> None:
    canvas.fill(window, skin, SKIN_HU)
    canvas.fill(window, skin + np.float32(1.8), FAT_HU)
    # Subcutaneous fat is thickest in front of and behind the arm pits.
    fat_mm = np.float32(12.0) + np.float32(4.0) * np.cos(points.x * np.float32(1 / 38.0))
    canvas.fill(window, skin + fat_mm, MUSCLE_HU)
    plane_mm = np.float32(19.0) + np.float32(5.0) * np.sin(points.x * np.float32(1 / 23.0) + points.z / 61.0)
    between_muscles = np.maximum(np.abs(cage - plane_mm) - np.float32(1.1), skin + fat_mm + 1.0)
    between_muscles = np.maximum(between_muscles, (points.z - np.float32(52.0)) * np.float32(0.5))
    canvas.fill(window, between_muscles, -75.0)
    for side in (-1.0, 1.0):
        canvas.paint(ellipsoid((side * 140.0, 4.0, 62.0), (17.0, 36.0, 52.0)), FAT_HU)
    canvas.fill(window, cage - np.float32(9.5), 30.0)
    canvas.fill(window, cage - np.float32(1.0), MEDIASTINAL_FAT_HU)


def _paint_abdomen(canvas: Canvas, frame: Points, blood: Blood) -> None:
    window = canvas.window((-150.0, -115.0, -_FAR), (150.0, 110.0, -70.0))
    if window is None:
        return
    points = canvas.points.crop(window)
    domes, cage = thorax.domes_mm(points), thorax.cage_mm(frame.crop(window))
    under = smooth_min(domes, thorax.base_mm(points) + np.float32(1.5), 8.0)
    under = np.maximum(under, cage + np.float32(1.0))
    canvas.fill(window, under, 45.0)
    inside = under + np.float32(3.0)
    canvas.fill(window, inside, -98.0)
    liver = smooth_min(_LIVER.distance_mm(points), _LEFT_LIVER.distance_mm(points), 15.0)
    canvas.fill(window, np.maximum(liver, inside), blood.liver)
    canvas.fill(window, np.maximum(_SPLEEN.distance_mm(points), inside + 1.0), blood.spleen)
    stomach = np.maximum(_STOMACH.distance_mm(points), inside + 1.0)
    canvas.fill(window, np.maximum(stomach, -liver), 38.0)
    lumen = np.maximum(stomach + np.float32(_GASTRIC_FOLD_MM), -liver + np.float32(_GASTRIC_FOLD_MM))
    canvas.fill(window, lumen, 12.0)
    canvas.fill(window, np.maximum(lumen, points.y + np.float32(30.0)), -930.0)


def _paint_mediastinum(canvas: Canvas, blood: Blood) -> None:
    window = canvas.window((-70.0, -90.0, -140.0), (110.0, 60.0, -10.0))
    if window is not None:
        points = canvas.points.crop(window)
        heart = np.maximum(thorax.heart_mm(points), -thorax.domes_mm(points) - np.float32(2.0))
        canvas.fill(window, heart, 50.0)
        chambers = np.minimum(
            ellipsoid_mm(points, *thorax.LEFT_VENTRICLE), ellipsoid_mm(points, *thorax.RIGHT_ATRIUM) + 3.0
        )
        chambers = np.minimum(chambers, ellipsoid_mm(points, *thorax.LEFT_ATRIUM) + 2.0)
        canvas.fill(window, np.maximum(chambers, heart + np.float32(4.0)), blood.heart)
    for solid in (
        thorax.SUPERIOR_VENA_CAVA,
        thorax.INFERIOR_VENA_CAVA,
        thorax.AZYGOS,
        *thorax.NECK_VESSELS,
        *thorax.PULMONARY_VEINS,
        thorax.RIGHT_PULMONARY_ARTERY,
        thorax.PULMONARY_TRUNK,
        thorax.AORTA,
    ):
        canvas.paint(solid, blood.vessel)
    canvas.paint(thorax.OESOPHAGUS, 36.0)


def paint_airways(canvas: Canvas) -> None:
    """Paint trachea and main bronchi with their walls."""
    airways = (thorax.TRACHEA, thorax.RIGHT_MAIN_BRONCHUS, thorax.LEFT_MAIN_BRONCHUS)
    for cover_mm, hu in ((1.6, 20.0), (0.0, LUMEN_HU)):
        for solid in airways:
            grown = np.float32(cover_mm)
            low, high = vector(np.subtract(solid.low_mm, cover_mm)), vector(np.add(solid.high_mm, cover_mm))
            window = canvas.window(low, high)
            if window is not None:
                canvas.fill(window, solid.distance_mm(canvas.points.crop(window)) - grown, hu)
