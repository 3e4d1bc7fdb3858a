"""No patient identifier in any log line, incident, ledger column, warning, answer or file name."""

from __future__ import annotations

import logging
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from core.log import PATIENT_KEYS, configure_logging, get_logger
from custody.holdings import Holdings
from custody.spool import Spool
from scp.completion import Completion
from scp.receiver import Receiver
from scp.reception import Reception
from tests.helpers.dicom_peers import LEAVES_SOCKETS, Scanner, Store, answer_to
from tests.helpers.instances import (
    Clock,
    ct_image,
    ct_series,
    encoded,
    fresh_ledger,
    own_segmentation,
    secondary_capture,
    settings_for,
)

pytestmark = [LEAVES_SOCKETS, pytest.mark.usefixtures("network")]

#: Parts of identifiers that occur nowhere else.
SECRETS = ("Zyxwvut", "QUENTINA", "PID-77QX", "ISSUERQX", "19420713", "ACC-4711")
LIBRARIES = ("pynetdicom", "pydicom", "highdicom", "alembic")


@pytest.fixture
def _own_logging() -> Iterator[None]:
    """Put the logging of the test session back afterwards."""
    before = structlog.get_config()
    levels = {name: logging.getLogger(name).level for name in LIBRARIES}
    yield
    structlog.configure(**before)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def named(ds: Dataset) -> Dataset:
    """Give a data set an unmistakable patient."""
    ds.PatientName, ds.PatientID = "Zyxwvut^QUENTINA", "PID-77QX"
    ds.IssuerOfPatientID, ds.PatientBirthDate = "ISSUERQX", "19420713"
    ds.AccessionNumber = "ACC-4711"
    return ds


def requests() -> list[Store]:
    """Return good, poor, damaged and hostile requests, all of the same patient."""
    good = [Store.of(named(ds)) for ds in ct_series(3)]
    data = good[0].data
    uid = good[0].sop_instance_uid
    return [
        *good,
        good[0],
        Store.of(named(ct_image(1, PixelData=bytes(32)))),
        Store.of(named(secondary_capture())),
        Store.of(named(own_segmentation())),
        Store(good[1].data[:-9], good[1].sop_instance_uid),
        Store(data[: len(data) // 3], uid),
        Store(data, "1.2.3"),
        Store(data.replace(b"PID-77QX", b"PID-77\xff\xfe"), uid),
        Store(encoded(named(ct_image(9, StudyInstanceUID=None)), ExplicitVRLittleEndian), "1.2.3"),
        Store.of(named(ct_image(8, PatientID="PID-77QX" * 20))),
        Store.of(named(ct_image(7, AcquisitionTime="Zyxwvut", SliceThickness=None))),
        Store(b"Zyxwvut^QUENTINA" * 10, "1.2.3"),
    ]


def run_everything(folder: Path, sent: list[Store], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Receive all of it, let something break inside, seal; return the comments that the sender got."""
    settings = settings_for(folder)
    clock = Clock()
    comments = []
    with fresh_ledger(folder) as ledger:
        spool = Spool(folder)
        receiver = Receiver(settings, ledger, Reception(spool, ledger, now=clock), "node-test", clock)
        receiver.start()
        contexts = [
            (name, [ExplicitVRLittleEndian]) for name in dict.fromkeys(one.sop_class_uid for one in sent)
        ]
        with Scanner(receiver.port).association(contexts) as link:
            for one in sent:
                comments.append(str(answer_to(link, one).ErrorComment))
            with monkeypatch.context() as patched:
                patched.setattr(spool, "keep_received", lambda *_: 1 // 0)
                comments.append(str(answer_to(link, Store.of(named(ct_image(50)))).ErrorComment))
        receiver.stop(2.0)
        clock.advance(60)
        Completion(settings, ledger, Holdings(spool, ledger), clock).step()
    return comments


def ledger_text(path: Path) -> str:
    """Return every value of every table, and the raw pages of the file and its log."""
    database = sqlite3.connect(path)
    dumped = "\n".join(database.iterdump())
    database.close()
    raw = b"".join(one.read_bytes() for one in path.parent.glob("ledger.sqlite*"))
    return dumped + raw.decode("latin-1")


def assert_no_secret(text: str, where: str) -> None:
    """Fail where any identifier occurs, in whatever case."""
    for secret in SECRETS:
        assert secret.lower() not in text.lower(), f"{secret} occurs in {where}"


@pytest.mark.usefixtures("_own_logging")
@pytest.mark.parametrize("json_lines", [True, False], ids=["machine", "terminal"])
def test_no_identifier_leaves_the_image_files(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    json_lines: bool,
) -> None:
    """Good, damaged, hostile data sets of one patient, an error inside, a sealing: the name is nowhere."""
    configure_logging("debug", json_lines=json_lines)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making bad data sets warns, too
        sent = requests()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        comments = run_everything(tmp_path, sent, monkeypatch)
    output = capfd.readouterr()
    assert "instance_failed" in output.err
    assert "series_sealed" in output.err
    assert "instance_set_aside" in output.err
    assert_no_secret(output.err + output.out, "the log")
    assert_no_secret(caplog.text, "the libraries' log")
    assert_no_secret(" ".join(str(one.message) for one in warned), "a warning")
    assert_no_secret(" ".join(comments), "an error comment")
    assert_no_secret(ledger_text(tmp_path / "ledger.sqlite"), "the ledger")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert_no_secret(" ".join(map(str, files)), "a file name")
    images = [path for path in files if path.suffix == ".dcm"]
    assert images
    assert all(b"Zyxwvut" in path.read_bytes() for path in images), "or the test proves nothing"


@pytest.mark.usefixtures("_own_logging")
def test_keys_that_name_a_patient_are_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    """Should somebody pass them in after all, the processor removes them, bound ones too."""
    configure_logging("info", json_lines=True)
    values: dict[str, Any] = dict.fromkeys(PATIENT_KEYS, "Zyxwvut")
    get_logger(patient_id="PID-77QX").info("something_happened", series="1", **values)
    line = capfd.readouterr().err
    assert "something_happened" in line
    assert_no_secret(line, "the log")
