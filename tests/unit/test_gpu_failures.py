"""What becomes of an analysis when the GPU fails: told apart, tried again, in a new process where needed."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian
from structlog.testing import capture_logs

from config import ModelSettings, Settings
from core.errors import DeviceFailed, InferenceError, OutOfDeviceMemory, ProviderUnavailable
from custody.holdings import Holdings
from custody.ledger import Ledger, reception
from custody.ledger.report import status
from custody.spool import Spool
from inference.device_errors import as_inference_error
from inference.session import CPU_PROVIDER, CUDA_PROVIDER
from lesionnode import worker
from lesionnode.engine import Engine
from lesionnode.worker import Worker
from lesionnode.worker_process import EXIT_DEVICE_FAILED
from scp.completion import Completion
from scp.reception import Reception, StoreRequest
from tests.helpers.broken_worker import broken_worker_main
from tests.helpers.failing_gpu import (
    ARENA_FULL,
    CARD_FULL,
    ILLEGAL_ADDRESS,
    NO_CONTEXT,
    NO_CUBLAS,
    NO_CUDNN,
    NO_DEVICE,
    pretend_gpu,
)
from tests.helpers.instances import Clock, encoded, fresh_ledger, open_caller, settings_for
from tests.helpers.packages import tiny_package

# --- what a message means ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NO_CONTEXT, OutOfDeviceMemory),
        (NO_CUBLAS, OutOfDeviceMemory),
        (CARD_FULL, OutOfDeviceMemory),
        (ARENA_FULL, OutOfDeviceMemory),
        (MemoryError(), OutOfDeviceMemory),
        (ILLEGAL_ADDRESS, DeviceFailed),
        (RuntimeError("CUDNN failure 5000: CUDNN_STATUS_EXECUTION_FAILED ; GPU=0"), DeviceFailed),
        (NO_CUDNN, InferenceError),
        (ValueError(""), InferenceError),
    ],
)
def test_failures_are_told_apart(error: Exception, kind: type[Exception]) -> None:
    """Memory comes back, a broken device does not, and neither is a fault of the model."""
    assert type(as_inference_error(error, CUDA_PROVIDER)) is kind


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ILLEGAL_ADDRESS, "The device failed: CUDA failure 700: an illegal memory access was encountered"),
        (NO_CUDNN, "dlopen failed for libcudnn.so"),
    ],
)
def test_a_failure_is_told_in_short(error: Exception, words: str) -> None:
    """The reason stands behind hundreds of characters of C++, which nobody can use."""
    told = str(as_inference_error(error, CUDA_PROVIDER))
    assert words in told
    assert "onnxruntime_src" not in told


# --- at the start -----------------------------------------------------------------------------------------


def engine(folder: Path, execution: str) -> Engine:
    """An engine with one small model, ``tiny``."""
    tiny_package(folder / "tiny")
    settings = ModelSettings.model_validate({"execution": execution, "accept_licence": "non-commercial"})
    return Engine(settings, [folder])


@pytest.mark.parametrize(
    ("opening", "words"),
    [
        (NO_CONTEXT, "here: CUDA failure 2: out of memory. End what else uses its memory, or"),
        (NO_CUBLAS, "here: CUBLAS failure 3: the resource allocation failed. End what else uses"),
        (NO_DEVICE, "here: CUDA failure 100: no CUDA-capable device is detected. Install the NVIDIA"),
    ],
)
def test_a_required_gpu_that_does_not_open_is_refused_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opening: Exception, words: str
) -> None:
    """A full card needs another remedy than a missing driver."""
    pretend_gpu(monkeypatch.setattr, opening=opening)
    with pytest.raises(ProviderUnavailable) as caught:
        engine(tmp_path, "require-gpu").open("tiny")
    assert words in str(caught.value)


@pytest.mark.parametrize("failure", [CARD_FULL, NO_CUDNN, ILLEGAL_ADDRESS])
def test_a_preferred_gpu_that_fails_its_first_batch_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """The model opened on the GPU and cannot run there: it runs on the CPU, and the log says why."""
    pretend_gpu(monkeypatch.setattr, runs=(failure,))
    with capture_logs() as logs:
        _package, session = engine(tmp_path, "prefer-gpu").open("tiny")
    assert session.provider == CPU_PROVIDER
    told = [one["reason"] for one in logs if one["event"] == "model_runs_on_cpu"]
    assert told == [str(as_inference_error(failure, CUDA_PROVIDER))]


def test_a_required_gpu_that_fails_its_first_batch_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No fall-back behind the back of a site that asked for the GPU."""
    pretend_gpu(monkeypatch.setattr, runs=(None, CARD_FULL))
    with pytest.raises(OutOfDeviceMemory):
        engine(tmp_path, "require-gpu").open("tiny")


# --- during an analysis -----------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A node that must run on the GPU."""
    changes = {"models": ModelSettings(execution="require-gpu", max_attempts=3)}
    return settings_for(tmp_path).model_copy(update=changes)


@pytest.fixture
def ledger(tmp_path: Path, settings: Settings, small_phantom_files: list[Path]) -> Iterator[Ledger]:
    """A ledger in which one series waits for its analysis."""
    with fresh_ledger(tmp_path) as opened:
        clock, spool = Clock(), Spool(tmp_path)
        taking = Reception(spool, opened, now=clock)
        caller = open_caller(opened, clock.now)
        for path in small_phantom_files:
            ds = dcmread(path)
            names = (str(ds.SOPClassUID), str(ds.SOPInstanceUID))
            request = StoreRequest(encoded(ds, ExplicitVRLittleEndian), ExplicitVRLittleEndian, *names)
            taking.take(request, caller)
        reception.close_association(opened, caller.association_id, "released", clock.now)
        clock.advance(60)
        assert Completion(settings, opened, Holdings(spool, opened), clock).step() == 1
        yield opened


def waiting(ledger: Ledger) -> dict[str, Any]:
    """Return the one job."""
    (job,) = status(ledger)["series"]
    return dict(job)


def test_exhausted_memory_costs_one_attempt(
    settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same process does the next attempt, and succeeds when the memory is back."""
    pretend_gpu(monkeypatch.setattr, runs=(None, None, CARD_FULL))
    monkeypatch.setattr(worker, "_RETRY_S", 0.0)
    working = Worker(settings, "w")
    working.warm_up()
    working.step()
    failed = waiting(ledger)
    assert (failed["state"], failed["attempt"]) == ("queued", 1)
    assert "OutOfDeviceMemory" in failed["reason"]
    working.step()
    done = waiting(ledger)
    assert (done["state"], done["attempt"]) == ("analysed", 2)
    assert done["result"]["provider"] == CUDA_PROVIDER


def test_a_broken_device_ends_the_process(settings: Settings, ledger: Ledger) -> None:
    """The attempt is given back and counts; the process leaves, because the device stays broken in it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=broken_worker_main, args=(settings, "w", theirs))
    process.start()
    theirs.close()
    assert ours.recv() == {"densitometry": CUDA_PROVIDER}
    process.join(60)
    assert process.exitcode == EXIT_DEVICE_FAILED
    failed = waiting(ledger)
    assert (failed["state"], failed["attempt"]) == ("queued", 1)
    assert "CUDA failure 700: an illegal memory access was encountered" in failed["reason"]
