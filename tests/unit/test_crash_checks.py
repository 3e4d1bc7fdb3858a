"""The fault campaign sees what is lost, damaged or done twice: its checks can fail."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from benchmarks.crash.checks import Campaign, broken_promises
from benchmarks.crash.evidence import Evidence, LedgerRows, data_set_digest, gather
from benchmarks.crash.pacs import Arrival
from benchmarks.crash.series import Image, SentSeries
from tests.helpers.instances import ct_image, encoded

PAIRS = frozenset({("1.1", "aa"), ("1.2", "bb")})
OBJECT = {"id": "o", "kind": "segmentation", "sop_instance_uid": "2.1", "path": "/gone/o.dcm"}
JOB = {
    "id": "j",
    "series_id": "s",
    "generation": 1,
    "state": "analysed",
    "reason": None,
    "finished_at": 100.0,
}
DELIVERIES = [
    {"id": f"d{number}", "job_id": "j", "result_object_id": "o", "state": "delivered", "reason": None}
    for number in range(3)
]


def kept(path: Path, image: Dataset) -> None:
    """Write a data set as a Part 10 file."""
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(path, image, enforce_file_format=True)


def kept_instance(folder: Path, number: int) -> dict[str, Any]:
    """Write a received file and return what the ledger says of it."""
    image = ct_image(number)
    kept(folder / f"{number}.dcm", image)
    return {
        "sop_instance_uid": str(image.SOPInstanceUID),
        "sha256": hashlib.sha256(encoded(image, ExplicitVRLittleEndian)).hexdigest(),
        "generation": 1,
        "file": f"{number}.dcm",
    }


def started(second: int) -> dict[str, Any]:
    """Return the event of an analysis that began so many seconds after 1970."""
    return {
        "event": "analysis_started",
        "job": "j",
        "attempt": 2,
        "timestamp": f"1970-01-01T00:{second // 60:02}:{second % 60:02}Z",
    }


@pytest.fixture
def sound(tmp_path: Path) -> Campaign:
    """A campaign in which everything went well, repeated sends and analyses included."""
    path = tmp_path / "o.dcm"
    kept(path, ct_image())
    digest = data_set_digest(path)
    evidence = Evidence(
        jobs=[JOB],
        series=[{"id": "s", "series_instance_uid": "1", "generation": 1}],
        deliveries=DELIVERIES,
        commitments=[{"delivery_id": f"d{number}", "state": "committed"} for number in range(3)],
        objects={"o": {**OBJECT, "path": str(path)}},
        in_spool=PAIRS,
        in_ledger=PAIRS,
        sealed={"s": set(PAIRS)},
        damaged=[],
        parts=[],
        unrecorded=1,
    )
    images = [Image(uid, b"", sha256) for uid, sha256 in sorted(PAIRS)]
    arrival = Arrival("2.1", "9", digest, 0)
    ended = {"event": "analysis_ended", "job": "j"}
    return Campaign(
        [SentSeries(1, "9", "1", images)],
        PAIRS,
        [arrival, arrival],
        [started(50), started(99), ended],
        evidence,
    )


def with_evidence(**changes: Any) -> Callable[[Campaign], Campaign]:
    """Return a change of what is left."""
    return lambda campaign: replace(campaign, evidence=replace(campaign.evidence, **changes))


CHANGES: list[tuple[str, Callable[[Campaign], Campaign]]] = [
    ("acknowledged_lost", with_evidence(in_spool=frozenset({("1.1", "aa")}))),
    ("acknowledged_lost", with_evidence(in_ledger=frozenset({("1.1", "aa"), ("1.2", "cc")}))),
    ("files_damaged", with_evidence(damaged=["x"])),
    ("files_damaged", with_evidence(parts=["x.part"])),
    ("results_lost", with_evidence(sealed={"s": {("1.1", "aa")}})),
    ("results_lost", with_evidence(jobs=[{**JOB, "state": "failed"}])),
    ("results_lost", with_evidence(deliveries=DELIVERIES[:2])),
    ("results_lost", with_evidence(deliveries=[*DELIVERIES[:2], {**DELIVERIES[2], "state": "superseded"}])),
    ("results_lost", with_evidence(series=[])),
    (
        "results_lost",
        lambda campaign: replace(campaign, arrivals=[replace(campaign.arrivals[0], status=0xA700)]),
    ),
    ("not_committed", with_evidence(commitments=[])),
    ("not_committed", with_evidence(commitments=[{"delivery_id": "d0", "state": "failed"}])),
    (
        "results_unknown",
        lambda campaign: replace(
            campaign, arrivals=[*campaign.arrivals, replace(campaign.arrivals[0], sop_instance_uid="2.9")]
        ),
    ),
    (
        "uids_with_two_contents",
        lambda campaign: replace(
            campaign,
            arrivals=[*campaign.arrivals, replace(campaign.arrivals[0], sha256="other", status=0xA700)],
        ),
    ),
    ("uids_with_two_contents", with_evidence(objects={"o": OBJECT})),
    (
        "analysed_again_after_recording",
        lambda campaign: replace(campaign, events=[*campaign.events, started(101)]),
    ),
    (
        "analysed_again_after_recording",
        lambda campaign: replace(campaign, events=[*campaign.events, campaign.events[-1]]),
    ),
]


def test_a_sound_campaign_breaks_no_promise(sound: Campaign) -> None:
    """Repeated sends of the same bytes and analyses repeated before their end are allowed."""
    assert not any(broken_promises(sound).values())


@pytest.mark.parametrize(("promise", "change"), CHANGES)
def test_a_broken_promise_is_seen(
    sound: Campaign, promise: str, change: Callable[[Campaign], Campaign]
) -> None:
    """Whatever goes wrong breaks the promise that it belongs to."""
    assert broken_promises(change(sound))[promise]


def test_spool_and_ledger_are_read_by_bytes(tmp_path: Path) -> None:
    """Rows and manifests are compared with the files; a changed file, a lost and a forged one are seen."""
    folder = tmp_path / "received" / "s"
    folder.mkdir(parents=True)
    instances = [kept_instance(folder, number) for number in range(4)]
    body = {"series_id": "s", "instances": instances[2:]}
    checksum = hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    manifest = folder / "manifest-1.json"
    manifest.write_text(json.dumps({"sha256": checksum, "body": body}))
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    _write_ledger(url, folder, instances[:2], manifest.relative_to(tmp_path), checksum)

    def look() -> Evidence:
        rows = LedgerRows(url)
        try:
            return gather(rows, [tmp_path])
        finally:
            rows.close()

    everything = {(one["sop_instance_uid"], one["sha256"]) for one in instances}
    whole = look()
    assert whole.in_spool == whole.in_ledger == whole.sealed["s"] == everything
    assert whole.damaged == []
    (folder / "0.dcm").unlink()
    with (folder / "2.dcm").open("ab") as file:
        file.write(b"\0\0")
    (folder / "9.part").touch()
    harmed = look()
    assert len(everything - harmed.in_spool) == 2
    assert len(harmed.damaged) == 2
    assert len(harmed.parts) == 1
    manifest.write_text(manifest.read_text().replace(instances[3]["sha256"], "0" * 64))
    assert any("checksum" in one for one in look().damaged)


def _write_ledger(
    url: str, folder: Path, instances: list[dict[str, Any]], manifest: Path, checksum: str
) -> None:
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE instance (series_id, sop_instance_uid, sha256, generation, path)"
        )
        for one in instances:
            connection.exec_driver_sql(
                "INSERT INTO instance VALUES (?, ?, ?, ?, ?)",
                ("s", one["sop_instance_uid"], one["sha256"], 1, str(folder / one["file"])),
            )
        connection.exec_driver_sql("CREATE TABLE manifest (path, sha256)")
        connection.exec_driver_sql("INSERT INTO manifest VALUES (?, ?)", (str(manifest), checksum))
        connection.exec_driver_sql("CREATE TABLE result_object (id)")
    engine.dispose()
