"""Whether a smaller number format is worth it: speed and Dice of the same network in fp32, fp16 and int8."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from models.training.pneumonia_ct.evaluation import case_figures
from models.training.pneumonia_ct.export import BATCH, INPUT, OUTPUT
from models.training.pneumonia_ct.sampling import network_input
from models.training.pneumonia_ct.slices import SliceSet

_RUNS = 15
#: Slices that the ranges of int8 are taken from.
_CALIBRATING = 120


def variant_figures(
    graph: bytes, seen: Sequence[SliceSet], apart: Sequence[SliceSet], threads: int
) -> list[dict[str, Any]]:
    """Measure all three.

    Parameters
    ----------
    graph
        The exported network, fp32.
    seen
        Cases that it was trained on: the ranges of int8 are taken from them.
    apart
        Cases that it never saw: Dice is taken on them.
    threads
        CPU threads.

    Returns
    -------
    list of dict
        Per variant: name, megabytes, median milliseconds a slice, mean Dice of lesion and lung.
    """
    with tempfile.TemporaryDirectory(prefix="lesion-node-variants-") as folder:
        graphs = {
            "fp32": graph,
            "fp16": convert_float_to_float16(
                onnx.load_from_string(graph), keep_io_types=True
            ).SerializeToString(),
            "int8": _quantised(graph, seen, Path(folder)),
        }
    return [_measured(name, content, apart, threads) for name, content in graphs.items()]


def _measured(name: str, graph: bytes, apart: Sequence[SliceSet], threads: int) -> dict[str, Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    cases = [case_figures(case, _probabilities(session, case.pictures)) for case in apart]
    batch = np.random.default_rng(0).random((BATCH, 2, 256, 256), dtype=np.float32)
    times_ms = []
    for _ in range(_RUNS):
        start_s = time.perf_counter()
        session.run([OUTPUT], {INPUT: batch})
        times_ms.append(1000.0 * (time.perf_counter() - start_s) / BATCH)
    return {
        "variant": name,
        "megabytes": round(len(graph) / 1e6, 1),
        "threads": threads,
        "ms_per_slice": round(statistics.median(times_ms), 2),
        **{
            key: round(statistics.fmean(case[key] for case in cases), 4)
            for key in ("lesion_dice", "lung_dice")
        },
    }


def _probabilities(session: onnxruntime.InferenceSession, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    found = [session.run([OUTPUT], {INPUT: batch})[0] for batch in _batches(pictures)]
    logits: NDArray[np.float32] = np.concatenate(found)[: len(pictures)]
    return np.asarray(1.0 / (1.0 + np.exp(-logits)), np.float32)


def _batches(pictures: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
    """Yield the network's input in full batches; the last one is filled with its last picture."""
    for start in range(0, len(pictures), BATCH):
        values = [
            network_input(picture.astype(np.float32) / np.float32(255.0), calibrated=False)
            for picture in pictures[start : start + BATCH]
        ]
        yield np.stack(values + [values[-1]] * (BATCH - len(values)))


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Shows slices that the network was trained on."""

    def __init__(self, seen: Sequence[SliceSet]) -> None:
        pictures = np.concatenate([case.pictures for case in seen])
        chosen = np.linspace(0, len(pictures) - 1, _CALIBRATING).astype(int)
        self._batches = iter(list(_batches(pictures[chosen])))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next batch, None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def _quantised(graph: bytes, seen: Sequence[SliceSet], folder: Path) -> bytes:
    """Return the graph with int8 weights and activations, weights scaled by channel."""
    plain, ready, small = (folder / f"{name}.onnx" for name in ("plain", "ready", "small"))
    plain.write_bytes(graph)
    quant_pre_process(plain, ready)
    quantize_static(
        ready,
        small,
        _Calibration(seen),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        # The head's sub-pixel output is what the threshold looks at.
        nodes_to_exclude=[onnx.load(ready).graph.node[-2].name],
    )
    return small.read_bytes()
