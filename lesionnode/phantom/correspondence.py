"""Where the lungs and their tissue lie in a scan, and in another scan of the same patient."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lesionnode.phantom.breathing import Breathing
from lesionnode.phantom.generate import pose, scan_geometry
from lesionnode.phantom.shapes import Points
from lesionnode.phantom.spec import PhantomSpec


def corresponding_lps_mm(
    source: PhantomSpec, target: PhantomSpec, points_lps_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return where the tissue at points of one scan lies in another scan of the same patient.

    Parameters
    ----------
    source, target
        The scans.
    points_lps_mm
        (n, 3) points inside the lungs or the mediastinum, mm of the source's frame of reference; skin and
        bones do not breathe.

    Returns
    -------
    ndarray
        (n, 3) float64, mm of the target's frame of reference; exact to about 0.001 mm.
    """
    out, into = np.linalg.inv(pose(source)), pose(target)
    anatomy = (points_lps_mm @ out[:3, :3].T + out[:3, 3]) / source.size
    columns = [anatomy[:, axis].astype(np.float32) for axis in range(3)]
    at_rest = Breathing(source.inspiration).at_rest(Points(columns[0], columns[1], columns[2]))
    there = Breathing(target.inspiration).moved(at_rest)
    moved = np.stack([anatomy[:, 0], anatomy[:, 1], there.z.astype(np.float64)], axis=1) * target.size
    return np.asarray(moved @ into[:3, :3].T + into[:3, 3])


def lung_box_lps_mm(spec: PhantomSpec) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and highest x, y, z of a box that holds both lungs of a scan, LPS mm."""
    corners = _lung_corners(spec)
    return corners.min(axis=0), corners.max(axis=0)


def lungs_in_view(spec: PhantomSpec) -> bool:
    """Return whether the grid of a scan holds both lungs entirely."""
    geometry = scan_geometry(spec)
    inverse = np.linalg.inv(geometry.affine_lps)
    indices = _lung_corners(spec) @ inverse[:3, :3].T + inverse[:3, 3]
    return bool(np.all(indices >= -0.5) and np.all(indices <= np.array(geometry.shape_zyx) - 0.5))


def _lung_corners(spec: PhantomSpec) -> NDArray[np.float64]:
    """Return the (8, 3) corners of the box that holds both lungs, LPS mm."""
    box = np.array(Breathing(spec.inspiration).lung_box()) * spec.size
    corners = np.array([(x, y, z) for x in box[:, 0] for y in box[:, 1] for z in box[:, 2]])
    lies = pose(spec)
    return np.asarray(corners @ lies[:3, :3].T + lies[:3, 3])
