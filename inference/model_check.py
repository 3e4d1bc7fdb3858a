"""Everything that can be told about a model package without a patient: `lesion-node model check PATH`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.errors import InferenceError, ModelError, ModelIntegrity
from inference.model_package import MODEL_FILE, ModelPackage, load_package
from inference.onnx_graph import read_header
from inference.preparation import AIR_HU, prepare
from inference.session import ExecutionPolicy, open_session
from inference.windows import run_batch

#: Operator set from which the graph's operators have kept their meaning; ONNX Runtime reads older ones too.
OLDEST_OPSET = 11


def check_package(folder: Path) -> list[str]:
    """Tell what is wrong with a package.

    Reads the manifest, compares the digest, opens the graph on the CPU, compares names, ranks, channels and
    patch, and runs one patch of air.

    Parameters
    ----------
    folder
        The package's folder.

    Returns
    -------
    list of str
        One line for every fault, in plain words; empty for a sound package.
    """
    try:
        package = load_package(folder)
    except ModelIntegrity as error:
        return str(error).splitlines()
    faults = _header_faults(package)
    try:
        _dummy_run(package)
    except (ModelError, InferenceError) as error:
        faults.extend(str(error).splitlines())
    return faults


def _header_faults(package: ModelPackage) -> list[str]:
    """Judge the versions that the file asks for."""
    try:
        header = read_header(package.model_bytes())
    except ValueError as error:
        return [f"{MODEL_FILE}: not an ONNX file: {error}"]
    opset = header.opsets.get("", 0)
    faults = []
    if opset < OLDEST_OPSET:
        faults.append(
            f"{MODEL_FILE}: found opset {opset or 'none'}, wanted {OLDEST_OPSET} or later; export again"
        )
    foreign = sorted(set(header.opsets) - {"", "ai.onnx", "ai.onnx.ml"})
    # Exporters import domains that no node uses; only opening the graph tells whether one is missing.
    if foreign and not opset:
        faults.append(f"{MODEL_FILE}: needs the operators of {', '.join(foreign)}")
    return faults


def _dummy_run(package: ModelPackage) -> None:
    """Open the graph and let it look at one patch of air; raise where it cannot or gives no probabilities."""
    session = open_session(package, ExecutionPolicy.CPU)
    manifest = package.manifest
    air = np.full(manifest.input.image_shape, AIR_HU, dtype=np.float32)
    run_batch(session, manifest, prepare(air, manifest.input.preparation), calibrated=True)
