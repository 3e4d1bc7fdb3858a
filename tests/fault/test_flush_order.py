"""A power cut after 0x0000 loses nothing: the system calls of a real node, in their order, show why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import pytest

from lesionnode.demo.pacs import free_port
from tests.helpers.dicom_peers import LEAVES_SOCKETS, Scanner
from tests.helpers.flush_order import Kept, is_success, missing_steps, steps_of
from tests.helpers.instances import ct_image
from tests.helpers.programs import require_tracer
from tests.helpers.running_node import RunningNode
from tests.helpers.system_calls import Call, calls_in, tracing, wait_for_end

pytestmark = [pytest.mark.fault, LEAVES_SOCKETS]

FIRST, SECOND = (str(ct_image(number).SOPInstanceUID) for number in (1, 2))
SEALED = "series_sealed"
STEPS = (
    "flush of the file",
    "rename",
    "flush of the folder",
    "flush of the parent folder",
    "write of the ledger's row",
    "flush of the ledger",
    "answer 0x0000",
)


@dataclass(frozen=True)
class Trace:
    """What a node did while it received the first two instances of a series."""

    calls: list[Call]

    def without(self, step: str, uid: str) -> list[Call]:
        """Return the calls as they were had a step been left out."""
        does = next(one.does for one in steps_of(Kept.of(self.calls, uid), uid) if one.name == step)
        return [call for call in self.calls if not does(call)]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """Trace a node as it is by default, which seals nothing meanwhile."""
    return traced(tmp_path_factory.mktemp("traced"), quiet_s=3600.0)


@pytest.fixture(scope="module")
def late_trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """Trace a node that flushes when a series is sealed, until that is done."""
    options = 'durability = "seal"'
    return traced(tmp_path_factory.mktemp("late"), quiet_s=0.5, reception_options=options, until=SEALED)


def traced(folder: Path, until: str = "", **options: Any) -> Trace:
    """Run a node under strace, send it two instances, wait until it says so, and stop it."""
    output = folder / "trace"
    launcher = tracing(require_tracer(), output)
    node = RunningNode(folder / "node", [("pacs", "NOWHERE", free_port())], launcher=launcher, **options)
    node.start()
    try:
        statuses = Scanner(node.port, calling="SCANNER").send_images([ct_image(1), ct_image(2)])
        assert statuses == [0x0000, 0x0000]
        node.wait(lambda: not until or any(event["event"] == until for event in node.log), 60)
    finally:
        node.stop()
    assert node.process is not None
    wait_for_end(output, node.process.pid)
    with output.open(encoding="utf-8", errors="replace") as lines:
        return Trace(calls_in(lines))


def test_an_instance_is_on_disk_before_it_is_acknowledged(trace: Trace) -> None:
    """File, its name, the folder of a new series, and the ledger's row are flushed before 0x0000 leaves."""
    assert Kept.of(trace.calls, FIRST).new_folder
    assert missing_steps(trace.calls, FIRST) == []


def test_the_next_instance_of_a_series_as_well(trace: Trace) -> None:
    """The folder is there already and is flushed again, for the new name."""
    assert not Kept.of(trace.calls, SECOND).new_folder
    assert missing_steps(trace.calls, SECOND) == []


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_is_left_out_is_found(trace: Trace, step: str) -> None:
    """The check names exactly the step that was taken out of the trace."""
    assert missing_steps(trace.without(step, FIRST), FIRST) == [step]


@pytest.mark.parametrize("step", STEPS[:-1])
def test_a_step_after_the_answer_is_too_late(trace: Trace, step: str) -> None:
    """What is done when the answer has left does not count."""
    does = next(one.does for one in steps_of(Kept.of(trace.calls, FIRST), FIRST) if one.name == step)
    after = next(call.ended for call in trace.calls if is_success(call, FIRST)) + 1
    late = [replace(call, began=after, ended=after) if does(call) else call for call in trace.calls]
    assert step in missing_steps(late, FIRST)


def test_flushed_late_is_named_for_what_it_is(late_trace: Trace) -> None:
    """With durability = "seal" the ledger is on disk at the answer, and the image is not."""
    missing = [step for step in STEPS[:4] if step != "rename"]
    assert missing_steps(late_trace.calls, FIRST) == missing


@pytest.mark.parametrize("uid", [FIRST, SECOND])
def test_flushed_late_is_flushed_before_the_series_is_sealed(late_trace: Trace, uid: str) -> None:
    """Each image, its folder and the folder of that are on disk before the ledger holds a job."""
    calls = late_trace.calls
    kept = Kept.of(calls, uid)
    sealed = min(
        call.began for call in calls if call.file.endswith("-wal") and b"2 images; " in b"".join(call.texts)
    )
    flushed = [
        call.file
        for call in calls
        if call.name == "fsync" and kept.written < call.began and call.ended < sealed
    ]
    folder = PurePath(kept.final).parent
    assert {kept.final, str(folder), str(folder.parent)} <= set(flushed)
    assert flushed.index(kept.final) < flushed.index(str(folder))
