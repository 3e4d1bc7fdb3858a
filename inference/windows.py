"""A model over an array of any size: window by window, blended where windows overlap."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from core.errors import InferenceError
from inference.activation import probability_fault, to_probabilities
from inference.manifest import Manifest
from inference.preparation import AIR_HU, prepare
from inference.session import ModelSession
from inference.tiles import Tile, tiles


def run_windows(
    session: ModelSession,
    manifest: Manifest,
    values_zyx: NDArray[np.float32],
    channels: Sequence[int],
    progress: Callable[[float], None],
) -> NDArray[np.float32]:
    """Run the model window by window.

    Parameters
    ----------
    session, manifest
        The opened model and what its package says.
    values_zyx
        (z, y, x) float32 in HU, canonical, on the model's grid, any size.
    channels
        Output channels to keep.
    progress
        Called with 0…1, in rising order.

    Returns
    -------
    ndarray
        (channel, z, y, x) float32 probabilities, in the order of `channels`.

    Raises
    ------
    InferenceError
        The model failed, or gave values that are no probabilities.
    """
    wanted = manifest.input
    shape = (values_zyx.shape[0], values_zyx.shape[1], values_zyx.shape[2])
    windows = list(tiles(shape, wanted.patch_zyx, wanted.overlap))
    shares_czyx = np.zeros((len(channels), *shape), dtype=np.float32)
    done = 0
    for batch in _batches(iter(windows), wanted.batch):
        patches = np.full((wanted.batch, *wanted.patch_zyx), AIR_HU, dtype=np.float32)
        for place, tile in enumerate(batch):
            patches[(place, *tile.at)] = values_zyx[tile.inside]
        prepared = prepare(patches.reshape(wanted.image_shape), wanted.preparation)
        probabilities = run_batch(session, manifest, prepared, calibrated=True)
        for place, tile in enumerate(batch):
            weights_zyx = tile.weights_zyx()
            for at, channel in enumerate(channels):
                patch_zyx = probabilities[place, channel].reshape(wanted.patch_zyx)
                shares_czyx[(at, *tile.inside)] += patch_zyx[tile.at] * weights_zyx
        done += len(batch)
        progress(done / len(windows))
    return shares_czyx


def run_batch(
    session: ModelSession, manifest: Manifest, prepared: NDArray[np.float32], *, calibrated: bool
) -> NDArray[np.float32]:
    """Run one batch of prepared patches; refuse what cannot be probabilities.

    Parameters
    ----------
    session, manifest
        The opened model and what its package says.
    prepared
        float32 of the manifest's `image_shape`, in the model's own values.
    calibrated
        Whether they come from Hounsfield units, for models that want to know.

    Returns
    -------
    ndarray
        (n, c, …) float32 probabilities of every output channel.

    Raises
    ------
    InferenceError
        The model failed, or gave values that are no probabilities.
    """
    output = manifest.output
    if manifest.input.calibrated_channel:
        prepared = np.concatenate([prepared, np.full_like(prepared, float(calibrated))], axis=1)
    probabilities = to_probabilities(session.run(prepared), output.activation)
    fault = probability_fault(probabilities)
    if fault:
        raise InferenceError(f"Output {output.name}: {fault}")
    return probabilities


def _batches(windows: Iterator[Tile], size: int) -> Iterator[list[Tile]]:
    """Cut windows into batches; the last one may be short."""
    while batch := list(itertools.islice(windows, size)):
        yield batch
