"""The thorax: rib cage, mediastinum, diaphragm and the lungs that remain between them.

Millimetres of an adult of average size; the origin is the carina, axes are LPS. Sizes follow what textbooks
give as normal: transverse cage about 26 cm, heart half of it, right lung larger and its dome higher.
"""

from __future__ import annotations

import numpy as np

from lesionnode.phantom.shapes import (
    FloatArray,
    Points,
    Solid,
    Vector,
    capsule_mm,
    ellipsoid_mm,
    smooth_max,
    smooth_min,
    tube,
)

#: Box that holds both lungs.
LUNG_BOX: tuple[Vector, Vector] = ((-140.0, -106.0, -176.0), (140.0, 112.0, 106.0))

TRACHEA = tube([(2, 2, 165), (2, 8, 90), (1, 19, 40), (0, 26, 4)], [9, 9, 9, 9])
RIGHT_MAIN_BRONCHUS = tube([(0, 26, 4), (-20, 28, -12), (-40, 30, -27)], [8, 7.5, 6.5])
LEFT_MAIN_BRONCHUS = tube([(0, 26, 4), (24, 31, -13), (47, 37, -25)], [7, 6.5, 6])
AORTA = tube(
    [
        (2, -10, -52),
        (-18, -20, -18),
        (-20, -16, 12),
        (-8, -4, 30),
        (10, 14, 36),
        (24, 36, 28),
        (30, 44, 8),
        (30, 45, -40),
        (22, 36, -105),
        (8, 14, -200),
    ],
    [15, 16, 16, 15, 14, 13, 12.5, 12, 11.5, 10.5],
)
PULMONARY_TRUNK = tube([(22, -24, -42), (20, -8, -14), (34, 22, -6), (48, 32, -14)], [14, 14, 12, 9])
RIGHT_PULMONARY_ARTERY = tube([(18, -6, -16), (-6, 4, -18), (-34, 16, -21), (-50, 24, -32)], [12, 11, 10, 8])
SUPERIOR_VENA_CAVA = tube([(-26, -6, 50), (-28, -6, 0), (-30, -8, -50)], [9, 9, 10])
INFERIOR_VENA_CAVA = tube([(-26, 2, -85), (-24, 8, -120), (-22, 18, -200)], [13, 12, 12])
AZYGOS = tube([(-6, 34, -190), (-9, 42, 0), (-12, 36, 12), (-26, 4, 8)], [3.5, 4, 4.5, 4.5])
OESOPHAGUS = tube(
    [(3, 22, 165), (6, 33, 60), (9, 41, 0), (10, 38, -60), (16, 24, -120), (28, 6, -145)],
    [6, 7, 7, 7.5, 8, 9],
)
PULMONARY_VEINS = (
    tube([(20, 14, -46), (56, 26, -44)], [8, 6]),
    tube([(-20, 12, -48), (-50, 20, -48)], [8, 6]),
)
NECK_VESSELS = (
    tube([(-6, -4, 34), (-14, -1, 70), (-24, 4, 165)], [6.5, 6, 5]),
    tube([(8, 8, 38), (12, 4, 80), (24, 4, 165)], [4.5, 4, 4]),
    tube([(18, 22, 36), (24, 22, 75), (60, 12, 100)], [5.5, 5, 4.5]),
    tube([(-24, 4, 80), (-60, 12, 100)], [5, 4.5]),
    tube([(44, -22, 84), (6, -28, 58), (-24, -10, 46)], [6.5, 6.5, 7]),
    tube([(-36, -16, 88), (-26, -6, 50)], [7, 8]),
)
LEFT_ATRIUM: tuple[Vector, Vector] = ((2.0, 13.0, -54.0), (31.0, 18.0, 23.0))
RIGHT_ATRIUM: tuple[Vector, Vector] = ((-22.0, -12.0, -68.0), (25.0, 30.0, 36.0))
LEFT_VENTRICLE: tuple[Vector, Vector] = ((32.0, -22.0, -82.0), (40.0, 26.0, 26.0))
RIGHT_DOME: tuple[Vector, Vector] = ((-64.0, -8.0, -182.0), (82.0, 100.0, 92.0))
LEFT_DOME: tuple[Vector, Vector] = ((70.0, -8.0, -190.0), (76.0, 96.0, 86.0))

#: Where the vessel and airway trees of each lung start, LPS mm.
HILUM_RIGHT: Vector = (-46.0, 27.0, -29.0)
HILUM_LEFT: Vector = (51.0, 35.0, -23.0)

#: Direction of the heart's long axis, a unit vector.
_HEART_AXIS: Vector = (0.7596, -0.4398, -0.4797)
#: Distances beyond this are not asked for: they decide nothing at any surface.
_REACH_MM = 25.0


def cage_mm(points: Points) -> FloatArray:
    """Return the distance to the inside of the rib cage: a squared oval under a dome."""
    rise = points.z + np.float32(42.0)
    half_width, half_depth = np.float32(136.0), np.float32(92.0)
    u = (points.x / half_width) ** 2
    v = ((points.y - np.float32(7.0) - np.float32(0.11) * points.z) / half_depth) ** 2
    w = (np.maximum(rise, 0.0) * np.float32(1 / 143.0)) ** 2
    length_squared = np.sqrt(u * u + v * v + np.float32(1.25) * u * v) + w
    steep = u / half_width**2 + v / half_depth**2 + w * np.float32(1 / 143.0**2)
    length = np.sqrt(length_squared)
    return np.asarray(length * (length - 1.0) / np.sqrt(steep + np.float32(1e-9)), dtype=np.float32)


def spine_y_mm(z: FloatArray) -> FloatArray:
    """Return how far back the middle of the vertebral bodies lies at a height: the thoracic kyphosis."""
    return np.asarray(62.0 - 0.0009 * (z + 20.0) ** 2, dtype=np.float32)


def heart_mm(points: Points) -> FloatArray:
    """Return the distance to the heart without the great vessels."""
    dx, dy, dz = points.x - 26.0, points.y + 24.0, points.z + 80.0
    along = dx * _HEART_AXIS[0] + dy * _HEART_AXIS[1] + dz * _HEART_AXIS[2]
    square = dx * dx + dy * dy + dz * dz
    across = np.maximum(square - along * along, 0.0)
    length = np.sqrt((along / 64.0) ** 2 + across / 43.0**2)
    steep = np.sqrt((along / 64.0**2) ** 2 + across / 43.0**4 + 1e-9)
    ventricles = np.asarray(length * (length - 1.0) / steep, dtype=np.float32)
    atria = np.minimum(ellipsoid_mm(points, *RIGHT_ATRIUM), ellipsoid_mm(points, *LEFT_ATRIUM))
    return smooth_min(ventricles, atria, 12.0)


def domes_mm(points: Points) -> FloatArray:
    """Return the distance to everything under the diaphragm: the two domes."""
    return smooth_min(ellipsoid_mm(points, *RIGHT_DOME), ellipsoid_mm(points, *LEFT_DOME), 25.0)


def base_mm(points: Points) -> FloatArray:
    """Return the distance to everything under the lungs' lower border, which falls towards the back."""
    height = points.z + np.float32(126.0) + np.float32(0.38) * points.y
    return np.asarray(height * np.float32(0.935), dtype=np.float32)


def septum_x_mm(points: Points) -> FloatArray:
    """Return the x of the line where the lungs would meet; right of it (smaller x) is the right lung."""
    return np.asarray(np.float32(3.0) + np.float32(0.03) * points.y, dtype=np.float32)


def mediastinum_mm(points: Points, frame: Points) -> FloatArray:
    """Return the distance to the mediastinum with spine and hila, as the pleura covers it.

    Points and frame are as for `lungs_mm`.
    """
    inf = float("inf")
    spine_y = spine_y_mm(frame.z)
    across = (frame.x * np.float32(1 / 25.0)) ** 2 + ((frame.y - spine_y - 8.0) * np.float32(1 / 30.0)) ** 2
    spine = (np.sqrt(across) - 1.0) * np.float32(27.0)
    behind_sternum = ellipsoid_mm(points, (0.0, -92.0, 0.0), (26.0, 16.0, inf))
    upper = ellipsoid_mm(points, (0.0, -2.0, 112.0), (34.0, 62.0, 80.0))
    lower = ellipsoid_mm(points, (4.0, -16.0, -128.0), (40.0, 62.0, 42.0))
    thymus = ellipsoid_mm(points, (0.0, -30.0, 5.0), (15.0, 42.0, 50.0))
    result = smooth_min(heart_mm(points) - 5.0, np.asarray(spine, dtype=np.float32), 10.0)
    vessels: tuple[tuple[Solid, float], ...] = (
        (AORTA, 3.0),
        (PULMONARY_TRUNK, 3.0),
        (RIGHT_PULMONARY_ARTERY, 3.0),
        (RIGHT_MAIN_BRONCHUS, 4.0),
        (LEFT_MAIN_BRONCHUS, 4.0),
    )
    for solid, cover_mm in vessels:
        if points.z.min() > solid.high_mm[2] + _REACH_MM or points.z.max() < solid.low_mm[2] - _REACH_MM:
            continue
        result = smooth_min(result, solid.distance_mm(points) - np.float32(cover_mm), 8.0)
    cava = capsule_mm(points, (-27.0, -6.0, 50.0), (-29.0, -8.0, -50.0), (12.0, 13.0))
    oesophagus = capsule_mm(points, (6.0, 40.0, 30.0), (10.0, 36.0, -140.0), (13.0, 16.0))
    for part in (cava, behind_sternum, upper, lower, thymus, oesophagus):
        result = smooth_min(result, part, 9.0)
    septum = np.abs(points.x - septum_x_mm(points)) - np.float32(1.3)
    return smooth_min(result, np.asarray(septum, dtype=np.float32), 5.0)


def lungs_mm(points: Points, frame: Points | None = None) -> FloatArray:
    """Return the distance to both lungs: the cage without mediastinum, domes and what lies under the base.

    Parameters
    ----------
    points
        Points of the patient at rest.
    frame
        The same points as skin and bones see them, which do not breathe; None for those of rest.

    Returns
    -------
    ndarray
        float32, mm.
    """
    frame = points if frame is None else frame
    result = cage_mm(frame) + np.float32(1.5)
    result = smooth_max(result, -base_mm(points), 8.0)
    result = smooth_max(result, -domes_mm(points), 8.0)
    window = _near_midline(points)
    near = result[window]
    result[window] = smooth_max(near, -mediastinum_mm(points.crop(window), frame.crop(window)), 9.0)
    return result


def right_side(points: Points) -> FloatArray:
    """Return the signed distance to the patient's right of the septum."""
    return np.asarray(points.x - septum_x_mm(points), dtype=np.float32)


def _near_midline(points: Points) -> tuple[slice, ...]:
    """Return the window that the mediastinum can reach, all of it where x varies along several axes."""
    rank = len(points.shape)
    if points.x.size != points.x.shape[-1]:
        return (slice(None),) * rank
    columns = np.flatnonzero(np.abs(points.x.ravel() - 14.0) < 100.0)
    last = slice(int(columns[0]), int(columns[-1]) + 1) if columns.size else slice(0, 0)
    return (slice(None),) * (rank - 1) + (last,)
