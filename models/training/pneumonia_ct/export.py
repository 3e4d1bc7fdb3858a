"""From a checkpoint to `model.onnx`, the same bytes each time, and proof that both give the same."""

from __future__ import annotations

import hashlib
import io
import warnings

import numpy as np
import onnx
import onnxruntime
import torch

from models.training.pneumonia_ct.network import CHANNELS, Mirrored
from models.training.pneumonia_ct.slices import SIZE

OPSET = 17
INPUT, OUTPUT = "picture", "logits"
#: Slices of one run of the exported graph.
BATCH = 4
#: Largest difference of probabilities between PyTorch and ONNX Runtime.
TOLERANCE = 1e-3


def exported(network: Mirrored) -> bytes:
    """Return the graph in ONNX: (BATCH, 2, 256, 256) float32 in, (BATCH, 3, 256, 256) float32 logits out.

    Parameters
    ----------
    network
        In use, not in training.

    Raises
    ------
    ValueError
        ONNX Runtime and PyTorch differ by more than `TOLERANCE`.
    """
    example = torch.from_numpy(_example())
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter without torch.dynamo says at each call that it is old
        torch.onnx.export(
            network,
            (example,),
            stream,
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(stream.getvalue())
    model.producer_name, model.producer_version = "lesion-node", ""
    onnx.checker.check_model(model, full_check=True)
    graph = model.SerializeToString(deterministic=True)
    difference = largest_difference(network, graph)
    if difference > TOLERANCE:
        raise ValueError(f"ONNX Runtime and PyTorch differ by {difference:.2g}, more than {TOLERANCE:g}")
    return graph


@torch.no_grad()
def largest_difference(network: Mirrored, graph: bytes) -> float:
    """Return the largest difference of probabilities between PyTorch and ONNX Runtime."""
    values = _example()
    wanted = torch.sigmoid(network(torch.from_numpy(values))).numpy()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    found = 1.0 / (1.0 + np.exp(-session.run([OUTPUT], {INPUT: values})[0]))
    if found.shape[1] != len(CHANNELS):
        raise ValueError(f"the graph gives {found.shape[1]} channels, not {len(CHANNELS)}")
    return float(np.abs(found - wanted).max())


def digest(graph: bytes) -> str:
    """Return the SHA-256 of a graph, hexadecimal."""
    return hashlib.sha256(graph).hexdigest()


def _example() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return prepared values as they occur: smooth, with edges, about standardised."""
    rng = np.random.default_rng(0)
    rough = rng.standard_normal((BATCH, 1, SIZE // 16, SIZE // 16), dtype=np.float32)
    grey = np.kron(rough, np.ones((16, 16), np.float32)).astype(np.float32)
    calibrated = np.zeros_like(grey)
    calibrated[::2] = 1.0
    return np.concatenate([grey, calibrated], axis=1)
