"""The entry point of the spawned process that owns the GPU."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from multiprocessing.connection import Connection as Pipe

from config import Settings
from core.errors import InferenceError, ModelError
from core.log import configure_logging, get_logger

#: The device does not work any more in this process; a new one may find it sound.
EXIT_DEVICE_FAILED = 3


def worker_main(settings: Settings, owner: str, ready: Pipe) -> None:
    """Run the worker; the entry point of the spawned process.

    Parameters
    ----------
    settings
        Of the node.
    owner
        Identity in claims; the parent releases them when this process dies.
    ready
        Gets one message: a mapping of model name to provider, or the text of what stands in the way.
    """
    # Only this process loads the libraries for images and models; the receiver's process stays small.
    from lesionnode.worker import Worker

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    configure_logging(settings.node.log_level)
    worker = Worker(settings, owner)
    signal.signal(signal.SIGTERM, lambda _number, _frame: worker.stop())
    answer: Mapping[str, str] | str
    try:
        answer = worker.warm_up()
    except (ModelError, InferenceError) as error:
        answer = str(error)
    try:
        with ready:
            ready.send(answer)
    except BrokenPipeError:
        return  # the parent died meanwhile; whoever comes after it has a worker of its own
    if not isinstance(answer, str) and not worker.run():
        # Not by way of the interpreter: clean-up on a broken device may hang, or end in an abort.
        get_logger().error("worker_leaves_broken_device")
        os._exit(EXIT_DEVICE_FAILED)
