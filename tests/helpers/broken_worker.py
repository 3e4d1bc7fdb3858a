"""The worker's process on a GPU that breaks in its first analysis."""

from __future__ import annotations

from multiprocessing.connection import Connection as Pipe

from config import Settings
from lesionnode.worker_process import worker_main
from tests.helpers.failing_gpu import ILLEGAL_ADDRESS, pretend_gpu


def broken_worker_main(settings: Settings, owner: str, ready: Pipe) -> None:
    """Warm up well (two batches), then fail."""
    pretend_gpu(setattr, runs=(None, None, ILLEGAL_ADDRESS))
    worker_main(settings, owner, ready)
