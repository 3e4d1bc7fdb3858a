"""One ONNX graph on one execution provider, chosen by policy and never changed silently."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from core.errors import InferenceError, ModelIntegrity, ProviderUnavailable
from inference.device_errors import RUNTIME_ERRORS, as_inference_error, in_short, names_memory
from inference.manifest import Manifest
from inference.model_package import MODEL_FILE, ModelPackage
from inference.onnx_graph import graph_faults
from inference.preparation import AIR_HU, prepare

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"

# ONNX Runtime's severities: 3 lets errors through, 4 only what ends the process.
_ERRORS_ONLY, _SILENT = 3, 4


class ExecutionPolicy(StrEnum):
    """Where the model may run."""

    REQUIRE_GPU = "require-gpu"
    PREFER_GPU = "prefer-gpu"
    CPU = "cpu"


@dataclass(frozen=True, slots=True)
class CudaOptions:
    """Settings of the CUDA provider; what each costs was measured (docs/gpu.md).

    Parameters
    ----------
    device_id
        Which GPU.
    convolution_search
        How cuDNN chooses its algorithm: EXHAUSTIVE takes a second more at the first batch and gains little.
    memory_limit_mb
        Upper bound of the provider's arena, 1024² bytes; None for all there is.
    tf32
        Whether convolutions may round their factors to 10 bits: faster, and not the CPU's masks.
    """

    device_id: int = 0
    convolution_search: Literal["EXHAUSTIVE", "HEURISTIC"] = "HEURISTIC"
    memory_limit_mb: int | None = None
    tf32: bool = False

    def as_provider_options(self) -> dict[str, str]:
        """Return the options as ONNX Runtime spells them."""
        options = {
            "device_id": str(self.device_id),
            # Doubling takes more than a fixed patch shape ever needs, and the arena never shrinks.
            "arena_extend_strategy": "kSameAsRequested",
            "cudnn_conv_algo_search": self.convolution_search,
            "use_tf32": str(int(self.tf32)),
        }
        if self.memory_limit_mb is not None:
            options["gpu_mem_limit"] = str(self.memory_limit_mb * 1024 * 1024)
        return options


class ModelSession:
    """An opened model that takes batches of one fixed shape.

    Not for use by several threads at once: one process owns one session.

    Parameters
    ----------
    session
        The opened graph; its inputs and outputs are compared with the manifest.
    manifest
        What the package says about it.
    fallback_reason
        Why the model does not run where the policy would rather have it, None where it does.

    Raises
    ------
    ModelIntegrity
        The graph is not what the manifest says: one line for every difference.
    """

    def __init__(self, session: Any, manifest: Manifest, fallback_reason: str | None = None) -> None:
        faults = graph_faults(session, manifest)
        if faults:
            raise ModelIntegrity("\n".join(faults))
        self._session = session
        self._manifest = manifest
        self.fallback_reason = fallback_reason
        self.input_shape = manifest.input.tensor_shape
        self.output_shape = (self.input_shape[0], manifest.output.channels, *self.input_shape[2:])

    @property
    def provider(self) -> str:
        """The provider that really runs the graph."""
        return str(self._session.get_providers()[0])

    def warm_up(self) -> None:
        """Run air, so that the first patient does not pay for tuning and allocation."""
        air = np.full(self.input_shape, AIR_HU, dtype=np.float32)
        # On a GPU a second time: the runtime sees in the first batch what memory it needs, and takes that in
        # one piece at the second. What is taken at the start cannot be missing later.
        for _ in range(2 if self.provider == CUDA_PROVIDER else 1):
            self.run(prepare(air, self._manifest.input.preparation))

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run one batch.

        Parameters
        ----------
        batch
            (n, c, y, x) or (n, c, z, y, x) float32, prepared; exactly `input_shape`.

        Returns
        -------
        ndarray
            float32, `output_shape`, as the graph gives it: no activation applied, every value finite.

        Raises
        ------
        OutOfDeviceMemory
            The device's memory did not suffice.
        DeviceFailed
            The device is of no use to this process any more.
        InferenceError
            The graph failed, or gave another shape or values that are not finite.
        """
        if batch.shape != self.input_shape or batch.dtype != np.float32:
            raise InferenceError(
                f"The model takes float32 {self.input_shape}, but was given {batch.dtype} {batch.shape}."
            )
        names = self._manifest
        try:
            output = self._session.run([names.output.name], {names.input.name: batch})[0]
        except (*RUNTIME_ERRORS, MemoryError) as error:
            raise as_inference_error(error, self.provider) from error
        if output.shape != self.output_shape:
            raise InferenceError(
                f"Output {names.output.name} has shape {output.shape}, wanted {self.output_shape}; "
                f"run 'lesion-node model check' on the package."
            )
        # A sum is not finite as soon as one value is not, and costs a fraction of looking at each.
        if not np.isfinite(output.sum(dtype=np.float64)):
            raise InferenceError(f"Output {names.output.name} holds values that are not numbers.")
        return np.asarray(output, dtype=np.float32)


def open_session(
    package: ModelPackage,
    policy: ExecutionPolicy,
    *,
    threads: int = 0,
    cuda: CudaOptions | None = None,
) -> ModelSession:
    """Open a package's model where the policy wants it.

    Parameters
    ----------
    package
        A loaded package; the digest of its model is verified once more on the bytes that are opened.
    policy
        Where it may run.
    threads
        CPU threads per operator, 0 for one per core.
    cuda
        Settings of the CUDA provider.

    Raises
    ------
    ProviderUnavailable
        Policy require-gpu, and CUDA does not run here.
    ModelIntegrity
        The file is not the described one, cannot be opened, or differs from the manifest.
    """
    content = package.model_bytes()
    ort.set_default_logger_severity(_ERRORS_ONLY)
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads
    # Spinning threads would take the cores from the receiver next door, and gain nothing on large patches.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    ort.disable_telemetry_events()
    if policy is ExecutionPolicy.CPU:
        return ModelSession(_create(content, options, [CPU_PROVIDER], package), package.manifest)
    provider_options = (cuda or CudaOptions()).as_provider_options()
    with _cuda_loading() as complaints:
        providers: list[Any] = [CPU_PROVIDER]
        if CUDA_PROVIDER in ort.get_available_providers():
            providers = [(CUDA_PROVIDER, provider_options), CPU_PROVIDER]
        session = _create_on_gpu(content, options, providers, complaints)
    if session is not None and session.get_providers()[0] == CUDA_PROVIDER:
        return ModelSession(session, package.manifest)
    reason = complaints[0] if complaints else "ONNX Runtime found no CUDA device"
    if policy is ExecutionPolicy.REQUIRE_GPU:
        remedy = (
            "End what else uses its memory"
            if names_memory(reason)
            else "Install the NVIDIA driver and pip install 'lesion-node[gpu]'"
        )
        raise ProviderUnavailable(
            f"Policy require-gpu, but the model cannot run on a GPU here: {reason}. "
            f"{remedy}, or set the policy to prefer-gpu or cpu."
        )
    if session is None:
        session = _create(content, options, [CPU_PROVIDER], package)
    return ModelSession(session, package.manifest, fallback_reason=reason)


def _create(content: bytes, options: Any, providers: list[Any], package: ModelPackage) -> Any:
    """Create the ONNX Runtime session; its own fall-back is off, because it would go unnoticed."""
    try:
        return ort.InferenceSession(content, options, providers=providers, enable_fallback=0)
    except RUNTIME_ERRORS as error:
        raise ModelIntegrity(f"{package.folder / MODEL_FILE}: cannot be opened: {in_short(error)}") from error


def _create_on_gpu(content: bytes, options: Any, providers: list[Any], complaints: list[str]) -> Any | None:
    """Create the session with CUDA first; None and a complaint where the device refuses."""
    try:
        return ort.InferenceSession(content, options, providers=providers, enable_fallback=0)
    except RUNTIME_ERRORS as error:
        # A broken model fails on the CPU as well, and is reported there.
        complaints.append(in_short(error))
        return None


@contextlib.contextmanager
def _cuda_loading() -> Iterator[list[str]]:
    """Load CUDA and cuDNN quietly; yields what was complained about, to be told in our words."""
    complaints: list[str] = []
    spoken = io.StringIO()
    ort.set_default_logger_severity(_SILENT)
    try:
        if hasattr(ort, "preload_dlls"):
            with contextlib.redirect_stdout(spoken):
                ort.preload_dlls()
        complaints.extend(line.strip() for line in spoken.getvalue().splitlines() if "ailed to load" in line)
        yield complaints
    finally:
        ort.set_default_logger_severity(_ERRORS_ONLY)
