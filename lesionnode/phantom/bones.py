"""Spine, ribs, sternum and shoulder girdle."""

from __future__ import annotations

import numpy as np

from lesionnode.phantom import thorax
from lesionnode.phantom.canvas import Canvas
from lesionnode.phantom.shapes import FloatArray, Points, Solid, tube

CORTEX_HU = 640.0
MARROW_HU = 190.0
_DISC_HU = 92.0
_CARTILAGE_HU = 105.0
_VERTEBRA_MM = 24.0
_RIB_DISTANCE_MM = 25.0
_RIB_FALL = 0.55
_FAR = 1e4

_CLAVICLES = tuple(
    tube(
        [(side * 17, -63, 58), (side * 62, -60, 78), (side * 110, -18, 96), (side * 170, 15, 108)],
        [8, 6, 6, 7],
    )
    for side in (-1.0, 1.0)
)
_SCAPULAR_SPINES = tuple(
    tube([(side * 82, 104, 62), (side * 125, 84, 78), (side * 168, 40, 104)], [4, 6, 8])
    for side in (-1.0, 1.0)
)
_HUMERAL_HEADS = tuple(tube([(side * 162, 20, 122), (side * 190, -5, 175)], [23, 18]) for side in (-1.0, 1.0))


def paint_bones(canvas: Canvas) -> None:
    """Paint the skeleton of the chest."""
    _paint_ribs_and_sternum(canvas)
    _paint_scapulae(canvas)
    for solid in (*_CLAVICLES, *_SCAPULAR_SPINES, *_HUMERAL_HEADS):
        _paint_bone(canvas, solid)
    _paint_spine(canvas)


def _paint_bone(canvas: Canvas, solid: Solid) -> None:
    window = canvas.window(solid.low_mm, solid.high_mm)
    if window is not None:
        distance = solid.distance_mm(canvas.points.crop(window))
        canvas.fill(window, distance, CORTEX_HU)
        canvas.fill(window, distance + np.float32(2.2), MARROW_HU)


def _oval_mm(across: FloatArray, along: FloatArray, half_across: float, half_along: float) -> FloatArray:
    """Return the first-order distance to an ellipse in two local coordinates."""
    u, v = (across / np.float32(half_across)) ** 2, (along / np.float32(half_along)) ** 2
    length = np.sqrt(u + v)
    steep = np.sqrt(u / half_across**2 + v / half_along**2 + 1e-9)
    return np.asarray(length * (length - 1.0) / steep, dtype=np.float32)


def _paint_ribs_and_sternum(canvas: Canvas) -> None:
    window = canvas.window((-152.0, -110.0, -_FAR), (152.0, 122.0, 118.0))
    if window is None:
        return
    points = canvas.points.crop(window)
    shell = thorax.cage_mm(points) - np.float32(5.0)
    height = (points.z + np.float32(_RIB_FALL) * (75.0 - points.y)) * np.float32(1 / _RIB_DISTANCE_MM)
    along = (height - np.rint(height)) * np.float32(_RIB_DISTANCE_MM / np.hypot(1.0, _RIB_FALL))
    rib = _oval_mm(shell, np.asarray(along), 3.7, 6.8)
    # Ribs turn to cartilage in front, and stop beside the sternum and before the spine.
    cartilage_mm = np.abs(points.x) + np.float32(0.9) * (points.y + np.float32(62.0)) - np.float32(62.0)
    rib = np.maximum(rib, np.float32(16.0) - np.abs(points.x))
    canvas.fill(window, np.maximum(rib, cartilage_mm), _CARTILAGE_HU)
    canvas.fill(window, np.maximum(rib, -cartilage_mm), CORTEX_HU)
    canvas.fill(window, np.maximum(rib + np.float32(1.7), -cartilage_mm), MARROW_HU)
    half_width = np.where(points.z > 18.0, 28.0, np.where(points.z > -70.0, 17.0, 8.0)).astype(np.float32)
    if points.z.max() > -95.0 and points.z.min() < 58.0:
        sternum = _oval_mm(shell - np.float32(3.0), points.x * (np.float32(17.0) / half_width), 5.5, 17.0)
        inside = np.maximum(points.y + np.float32(20.0), np.maximum(points.z - 56.0, -points.z - 92.0))
        sternum = np.maximum(sternum, inside)
        canvas.fill(window, sternum, 420.0)
        canvas.fill(window, sternum + np.float32(1.6), 120.0)


def _paint_scapulae(canvas: Canvas) -> None:
    window = canvas.window((-160.0, 50.0, -30.0), (160.0, 125.0, 98.0))
    if window is None:
        return
    points = canvas.points.crop(window)
    side = np.abs(points.x)
    across = (side - 104.0) * 0.503 + (points.y - 91.0) * 0.864
    along = (side - 104.0) * 0.864 - (points.y - 91.0) * 0.503
    outline = np.sqrt((along / 33.0) ** 2 + ((points.z - 34.0) / 60.0) ** 2)
    bent = np.abs(across - np.float32(0.0022) * along**2) - np.float32(2.6)
    plate = np.maximum(bent, (outline - 1.0) * 33.0).astype(np.float32)
    canvas.fill(window, plate, 520.0)
    # The thick lateral border.
    border = np.asarray(np.hypot(across - 2.0, along - 27.0) - 5.5, dtype=np.float32)
    border = np.maximum(border, ((outline - 1.15) * 33.0).astype(np.float32))
    canvas.fill(window, border, CORTEX_HU)
    canvas.fill(window, border + np.float32(2.0), MARROW_HU)


def _paint_spine(canvas: Canvas) -> None:
    window = canvas.window((-45.0, 10.0, -_FAR), (45.0, 150.0, _FAR))
    if window is None:
        return
    points = canvas.points.crop(window)
    back = points.y - thorax.spine_y_mm(points.z)
    phase = points.z * np.float32(1 / _VERTEBRA_MM)
    from_disc_mm = np.abs(phase - np.rint(phase)) * np.float32(_VERTEBRA_MM)
    body = _oval_mm(points.x, back, 17.5, 14.5)
    canvas.fill(window, body, _DISC_HU)
    bone = np.maximum(body, np.float32(2.6) - from_disc_mm)
    canvas.fill(window, bone, 430.0)
    canvas.fill(window, bone + np.float32(1.6), 185.0)
    for part in _arch(points, back, from_disc_mm):
        canvas.fill(window, part, 480.0)
        canvas.fill(window, part + np.float32(2.4), 230.0)
    canal = np.asarray(np.hypot(points.x, back - 22.0), dtype=np.float32)
    canvas.fill(window, canal - np.float32(9.0), 8.0)
    canvas.fill(window, np.asarray(np.hypot(points.x / 1.3, back - 22.0) - 4.2, dtype=np.float32), 38.0)


def _arch(points: Points, back: FloatArray, from_disc_mm: FloatArray) -> tuple[FloatArray, ...]:
    """Return pedicles with laminae, transverse processes and spinous process of the vertebral arches."""
    side = np.abs(points.x)
    ring = np.abs(np.hypot(points.x, back - 22.0) - 11.5) - 3.0
    ring = np.maximum(ring, 4.0 - from_disc_mm)
    transverse = np.maximum(
        np.abs(back - 24.0 - 0.35 * (side - 12.0)) - 4.5, np.maximum(side - 36.0, 10.0 - side)
    )
    transverse = np.maximum(transverse, 5.0 - from_disc_mm)
    # Thoracic spinous processes slope downwards.
    slope = (points.z + 0.8 * (back - 34.0)) / _VERTEBRA_MM
    level = np.abs(slope - np.rint(slope)) * _VERTEBRA_MM
    spinous = np.maximum(side - 3.6, np.maximum(np.abs(back - 47.0) - 15.0, 4.5 - level))
    return (
        np.asarray(ring, dtype=np.float32),
        np.asarray(transverse, dtype=np.float32),
        np.asarray(spinous, dtype=np.float32),
    )
