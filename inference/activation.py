"""From what a graph gives to probabilities."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

# Rounding in half-precision graphs; more than that is a missing activation.
_TOLERANCE = 1e-2


def to_probabilities(
    output: NDArray[np.float32], activation: Literal["none", "sigmoid", "softmax"]
) -> NDArray[np.float32]:
    """Apply the activation that the graph itself leaves out.

    Parameters
    ----------
    output
        (n, c, …) float32.
    activation
        As the manifest says; softmax runs along axis c.

    Returns
    -------
    ndarray
        float32 of the same shape.
    """
    if activation == "sigmoid":
        return np.asarray(expit(output), dtype=np.float32)
    if activation == "softmax":
        return np.asarray(softmax(output, axis=1), dtype=np.float32)
    return output


def probability_fault(probabilities: NDArray[np.float32]) -> str | None:
    """Tell what is wrong with values that should be probabilities, None where nothing is."""
    low, high = float(probabilities.min()), float(probabilities.max())
    if low >= -_TOLERANCE and high <= 1 + _TOLERANCE:
        return None
    return (
        f"found values from {low:.3g} to {high:.3g}, which are no probabilities; "
        f'set activation to "sigmoid" or "softmax" as the model was trained'
    )
