"""Random changes of a slice: where it lies, how large, how bright, how noisy."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.pneumonia_ct.slices import LUNG, SIZE

#: Standard deviations or ends of what is drawn.
_TURN_DEG = 15.0
_SCALE = 0.18
_STRETCH = 0.08
_ELASTIC_PX = 3.0
_ELASTIC_NODES = 6
_TONE_KNOTS = 6


def augmented(
    picture: NDArray[np.uint8],
    label: NDArray[np.uint8],
    edge: int,
    rng: np.random.Generator,
    *,
    calibrated: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Cut a random, randomly changed window from a slice.

    Parameters
    ----------
    picture, label
        (256, 256) uint8.
    edge
        Pixels along either edge of the window.
    rng
        Where the chance comes from.
    calibrated
        Whether greys stand for Hounsfield units: they are hardly changed then.

    Returns
    -------
    tuple of ndarray
        (edge, edge) float32 from 0 to 1, and uint8 labels.
    """
    x_map, y_map = _window(label, edge, rng)
    shown = cv2.remap(picture, x_map, y_map, cv2.INTER_LINEAR, borderValue=0)
    marked = cv2.remap(label, x_map, y_map, cv2.INTER_NEAREST, borderValue=0)
    values = _other_scanner(shown.astype(np.float32) / np.float32(255.0), rng)
    values = _other_calibration(values, rng) if calibrated else _other_viewer(values, rng)
    return np.clip(values, 0.0, 1.0).astype(np.float32), np.asarray(marked, np.uint8)


def _window(
    label: NDArray[np.uint8], edge: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return where each pixel of the window comes from, x and y."""
    centre = _centre(label, rng)
    turn = np.deg2rad(rng.normal(0.0, _TURN_DEG))
    scale = np.exp(rng.normal(0.0, _SCALE))
    stretch = np.exp(rng.normal(0.0, _STRETCH))
    flip_x, flip_y = (-1.0 if rng.random() < 0.5 else 1.0 for _ in range(2))
    line = np.arange(edge, dtype=np.float32) - np.float32((edge - 1) / 2)
    x, y = np.meshgrid(line, line)
    x, y = x * np.float32(flip_x / (scale * stretch)), y * np.float32(flip_y * stretch / scale)
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    bend = rng.normal(0.0, _ELASTIC_PX, (2, _ELASTIC_NODES, _ELASTIC_NODES)).astype(np.float32)
    bend_x, bend_y = (cv2.resize(one, (edge, edge), interpolation=cv2.INTER_CUBIC) for one in bend)
    return (
        (cosine * x - sine * y + bend_x + np.float32(centre[1])).astype(np.float32),
        (sine * x + cosine * y + bend_y + np.float32(centre[0])).astype(np.float32),
    )


def _centre(label: NDArray[np.uint8], rng: np.random.Generator) -> tuple[float, float]:
    """Return the middle of the window: most often in a lung."""
    lung = np.flatnonzero(label & LUNG)
    if lung.size and rng.random() < 0.6:
        row, column = divmod(int(rng.choice(lung)), SIZE)
        middle = (SIZE - 1) / 2
        # Half way to the middle of the slice: the whole lung stays in view more often than not.
        return (row + middle) / 2, (column + middle) / 2
    low, high = 0.3 * SIZE, 0.7 * SIZE
    return float(rng.uniform(low, high)), float(rng.uniform(low, high))


def _other_scanner(values: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Change sharpness and noise."""
    if rng.random() < 0.35:
        values = cv2.GaussianBlur(values, (0, 0), float(rng.uniform(0.4, 1.3)))
    elif rng.random() < 0.2:
        values = values + np.float32(rng.uniform(0.3, 1.0)) * (values - cv2.GaussianBlur(values, (0, 0), 1.0))
    if rng.random() < 0.5:
        noise = rng.standard_normal(values.shape, dtype=np.float32)
        if rng.random() < 0.5:
            noise = cv2.GaussianBlur(noise, (0, 0), 0.8) * np.float32(2.0)
        values = values + noise * np.float32(rng.uniform(0.01, 0.06))
    return values


def _other_calibration(values: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Change greys as much as scanners and inspiration differ: about 20 HU of the 1,500 of the window."""
    return values * np.float32(rng.normal(1.0, 0.015)) + np.float32(rng.normal(0.0, 0.013))


def _other_viewer(values: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Change greys as much as windows and export differ."""
    values = np.clip(values, 0.0, 1.0) ** np.float32(np.exp(rng.uniform(-0.45, 0.6)))
    if rng.random() < 0.5:
        # Equalising brightens healthy lung by another amount in every slice, most where little of it is left.
        knots = np.concatenate([[0.0], np.cumsum(rng.dirichlet(np.full(_TONE_KNOTS, 4.0)))])
        values = np.interp(values, np.linspace(0.0, 1.0, knots.size), knots).astype(np.float32)
    middle = np.float32(values.mean())
    values = (values - middle) * np.float32(rng.uniform(0.75, 1.25)) + middle
    return values + np.float32(rng.uniform(-0.1, 0.1))
