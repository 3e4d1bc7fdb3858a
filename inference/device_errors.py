"""What the runtime's exceptions mean for the process: exhausted memory passes, a broken device stays.

CUDA reports an error of the device (an illegal address, a failed launch, an uncorrectable memory error) to
every later call of the process, so that only a new process can use the device again. Exhausted memory is no
such error: it leaves the process usable.
"""

from __future__ import annotations

import re

from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from core.errors import DeviceFailed, InferenceError, OutOfDeviceMemory

#: What ONNX Runtime raises; its exceptions share no base class of their own.
RUNTIME_ERRORS = (
    ort_state.EPFail,
    ort_state.EngineError,
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
    RuntimeError,
    ValueError,
)

# Each was read off ONNX Runtime 1.31 on a full card, the last two lines apart; see docs/gpu.md.
_OUT_OF_MEMORY = (
    "out of memory",  # CUDA failure 2
    "the resource allocation failed",  # CUBLAS failure 3
    "failed to allocate memory",  # its own arena, where the card gives no more
    "available memory of",  # its own arena, where its limit is reached
    "bad_alloc",
    "bad allocation",
    "alloc_failed",
    "allocation_failed",
)
# "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=… ; file=… ; expr=…"
_OF_A_LIBRARY = re.compile(r"\b(?:CUDA|CUDNN|CUDNN_FE|CUBLAS|CUFFT|CURAND) failure -?\d+: [^;]+")
# "[ONNXRuntimeError] : 1 : FAIL : …", sometimes one inside another
_CODE = re.compile(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")
_LONGEST = 300


def as_inference_error(error: Exception, provider: str) -> InferenceError:
    """Turn an exception of the runtime into one of ours."""
    if isinstance(error, MemoryError) or names_memory(str(error)):
        return OutOfDeviceMemory(
            f"The memory of {provider} does not suffice for one batch; free it, or make batch or patch_zyx "
            f"of the model package smaller."
        )
    if _OF_A_LIBRARY.search(str(error)):
        return DeviceFailed(f"The device failed: {in_short(error)}")
    return InferenceError(f"The model failed on {provider}: {in_short(error)}")


def names_memory(text: str) -> bool:
    """Tell whether a message gives exhausted memory as the reason."""
    lower = text.lower()
    return any(sign in lower for sign in _OUT_OF_MEMORY)


def in_short(error: Exception) -> str:
    """Return what matters of the runtime's long messages."""
    text = str(error).strip()
    named = _OF_A_LIBRARY.search(text)
    if named:
        return named.group().strip()
    if names_memory(text):
        return "out of memory"
    innermost = _CODE.split(text)[-1]
    return innermost.splitlines()[0][:_LONGEST] if innermost else type(error).__name__
