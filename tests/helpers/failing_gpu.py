"""A GPU that fails when told to: the exceptions of a real card, the graph on the CPU.

Every text was read off ONNX Runtime 1.31.1 on an NVIDIA H100 that another process had filled, whose memory
was written to out of bounds, or whose cuDNN was taken away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from inference.session import CPU_PROVIDER, CUDA_PROVIDER

_CALL = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:{line} std::conditional_t<THRW, void, "
    "onnxruntime::common::Status> onnxruntime::CudaCall(ERRTYPE, const char*, const char*, SUCCTYPE, "
    "const char*, const char*, int) [with ERRTYPE = {kind}; bool THRW = true; SUCCTYPE = {kind}; "
    "std::conditional_t<THRW, void, common::Status> = void] "
)
_ARENA = (
    "/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:360 void* onnxruntime::BFCArena::"
    "AllocateRawInternal(size_t, bool, onnxruntime::Stream*) "
)
_CUDA = "/onnxruntime_src/onnxruntime/core/providers/cuda"


def _thrown(kind: str, text: str) -> str:
    return _CALL.format(line=154, kind=kind) + _CALL.format(line=146, kind=kind) + text


#: The card is full before the process has a context: nothing can be opened.
NO_CONTEXT = RuntimeError(
    _thrown(
        "cudaError",
        f"CUDA failure 2: out of memory ; GPU=0 ; hostname=node ; file={_CUDA}/cuda_execution_provider.cc ; "
        "line=355 ; expr=cudaSetDevice(info_.device_id); \n\n",
    )
)
#: There is a context, and not enough left for cuBLAS.
NO_CUBLAS = ort_state.Fail(
    "[ONNXRuntimeError] : 1 : FAIL : "
    + _thrown(
        "cublasStatus_t",
        f"CUBLAS failure 3: the resource allocation failed ; GPU=0 ; hostname=node ; "
        f"file={_CUDA}/cuda_stream_handle.cc ; line=79 ; expr=cublasCreate(&cublas_handle_); \n\n",
    )
)
#: The arena gets no more from the card.
CARD_FULL = ort_state.Fail(
    "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running MaxPool node. "
    f"Name:'dense_marker_0_z' Status Message: {_ARENA}"
    "Failed to allocate memory for requested buffer of size 12582912\n"
)
#: The arena has reached its limit.
ARENA_FULL = ort_state.Fail(
    "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Conv node. "
    f"Name:'/network/stem/stem.0/Conv' Status Message: {_ARENA}"
    "Available memory of 6584576 is smaller than requested bytes of 16777216\n"
)
#: A kernel wrote out of bounds; every later call of the process answers the same.
ILLEGAL_ADDRESS = ort_state.Fail(
    "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; "
    f"hostname=node ; file={_CUDA}/gpu_data_transfer.cc ; line=91 ; expr=cudaMemcpyAsync(dst_data, src_data, "
    "bytes, cudaMemcpyHostToDevice, static_cast<cudaStream_t>(stream.GetHandle())); "
)
#: CUDA is there and cuDNN is not: the model opens, and fails at its first convolution.
NO_CUDNN = ort_state.NotImplemented(
    "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Non-zero status code returned while running Conv node. "
    "Name:'/network/stem/stem.0/Conv' Status Message: "
    f"{_CUDA}/cuda_kernel.h:296 static cudnnContext* "
    "onnxruntime::cuda::CudaKernel::RequireCudnnHandle(cudnnHandle_t) [ONNXRuntimeError] : 9 : "
    "NOT_IMPLEMENTED : cuDNN is unavailable or disabled for CUDA Execution Provider: dlopen failed for "
    "libcudnn.so: /lib/x86_64-linux-gnu/libcudnn.so: file too short\n"
)
#: The driver shows no card.
NO_DEVICE = RuntimeError(
    f"{_CUDA}/cuda_execution_provider_info.cc:63 static onnxruntime::CUDAExecutionProviderInfo "
    "onnxruntime::CUDAExecutionProviderInfo::FromProviderOptions(const onnxruntime::ProviderOptions&) "
    "[ONNXRuntimeError] : 1 : FAIL : provider_options_utils.h:187 Parse Failed to parse provider option "
    '"device_id": CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; hostname=node ; '
    f"file={_CUDA}/cuda_execution_provider_info.cc ; line=70 ; expr=cudaGetDeviceCount(&num_devices); \n"
)


class _OnGpu:
    """A session that says it runs on the GPU, and fails in the order that it was told."""

    def __init__(self, real: Any, runs: list[Exception | None]) -> None:
        self._real = real
        self._runs = runs

    def __getattr__(self, name: str) -> Any:
        """As the real one."""
        return getattr(self._real, name)

    def get_providers(self) -> list[str]:
        """Return the GPU first."""
        return [CUDA_PROVIDER, CPU_PROVIDER]

    def run(self, names: Any, feed: Any) -> Any:
        """Fail, or run on the CPU."""
        failure = self._runs.pop(0) if self._runs else None
        if failure is not None:
            raise failure
        return self._real.run(names, feed)


def pretend_gpu(
    replace: Callable[[Any, str, Any], None],
    *,
    opening: Exception | None = None,
    runs: tuple[Exception | None, ...] = (),
) -> None:
    """Give this process a GPU.

    Parameters
    ----------
    replace
        ``setattr``, or that of pytest's ``monkeypatch``.
    opening
        What opening a model on it raises.
    runs
        What each batch on it raises, in order, None for one that succeeds; later ones succeed.
    """
    real, left = ort.InferenceSession, list(runs)

    def opened(content: bytes, options: Any, *, providers: list[Any], enable_fallback: int) -> Any:
        session = real(content, options, providers=[CPU_PROVIDER], enable_fallback=enable_fallback)
        if providers == [CPU_PROVIDER]:
            return session
        if opening is not None:
            raise opening
        return _OnGpu(session, left)

    replace(ort, "InferenceSession", opened)
    replace(ort, "preload_dlls", lambda: None)
    replace(ort, "get_available_providers", lambda: [CUDA_PROVIDER, CPU_PROVIDER])
