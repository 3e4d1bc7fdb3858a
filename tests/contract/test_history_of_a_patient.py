"""Two scans of one patient go through the parts of a node: the second one is compared with the first."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from sqlalchemy import select
from typer.testing import CliRunner

from core.uid import patient_digest
from custody.ledger import Ledger
from custody.ledger.tables import job, time_point
from lesionnode.cli import app
from lesionnode.forgetting import Forgetting
from lesionnode.phantom.random_pairs import COARSE_GRID, PairKind, random_pair
from lesionnode.phantom.time_points import generate_pair, write_pair
from lesionnode.reproduction import Reproduction
from lesionnode.worker import Worker
from tests.helpers.instances import Clock, fresh_ledger
from tests.helpers.station import Station

SEG, SR = "segmentation", "measurement_report"


@dataclass(slots=True)
class Visits:
    """A node that has analysed two scans of a patient and one of another person under the same Patient ID.

    Parameters
    ----------
    station
        Its parts.
    config
        Its configuration file, for commands.
    patient
        Header of the first scan.
    jobs
        Ids of the three jobs, in that order: first, second, other person.
    """

    station: Station
    config: Path
    patient: Dataset
    jobs: list[str]

    @property
    def ledger(self) -> Ledger:
        """The node's."""
        return self.station.ledger

    def result(self, number: int) -> dict[str, Any]:
        """Return what the ledger holds of a job."""
        with self.ledger.read() as connection:
            found = connection.execute(select(job.c.result).where(job.c.id == self.jobs[number]))
            return dict(found.scalar_one())

    def results(self, number: int, kind: str) -> list[Dataset]:
        """Read the result objects of a kind, in every encoding."""
        return [
            dcmread(path) for path in (self.station.spool.results / self.jobs[number]).glob(f"{kind}*.dcm")
        ]

    def points(self) -> list[tuple[Any, ...]]:
        """Return the rows of the time points, but for their ids."""
        columns = [one for one in time_point.c if one.name not in ("id", "written_at")]
        with self.ledger.read() as connection:
            return [tuple(row) for row in connection.execute(select(*columns).order_by(time_point.c.job_id))]

    def command(self, *arguments: str) -> str:
        """Run a command of the node and return what it prints."""
        ran = CliRunner().invoke(app, [*arguments, "--config", str(self.config)])
        assert ran.exit_code == 0, ran.output
        return ran.output


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visits]:
    """Everything is received, sealed and analysed by the real parts, one after the other."""
    folder = tmp_path_factory.mktemp("visits")
    pair = generate_pair(random_pair(3, PairKind.PROGRESSION, COARSE_GRID))
    first, second = ([dcmread(path) for path in paths] for paths in write_pair(folder / "scans", pair))
    other = [_of_another_person(one) for one in first]
    data = folder / "data"
    data.mkdir()
    config = folder / "node.toml"
    config.write_text(f'[node]\ndata_folder = "{data}"\n')
    with fresh_ledger(data) as ledger:
        station = Station(data, ledger, Clock(time.time() - 10_000))
        worker = Worker(station.settings, "w")
        jobs = []
        for images in (first, second, other):
            station.receive(images)
            station.seal()
            assert worker.step()
            with ledger.read() as connection:
                newest = select(job.c.id).order_by(job.c.sealed_at.desc()).limit(1)
                jobs.append(connection.execute(newest).scalar_one())
        worker._ledger.close()
        yield Visits(station, config, first[0], jobs)


def _of_another_person(image: Dataset) -> Dataset:
    """Return an image of somebody else, a year later, who was given the same Patient ID."""
    copy = dcmread(image.filename)
    copy.PatientBirthDate = "19010203"
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        setattr(copy, keyword, f"{copy[keyword].value}.9"[-64:].lstrip(".0"))
    copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
    return copy


def test_the_second_scan_is_compared_with_the_first(visits: Visits) -> None:
    """The first with nothing; the report of the second cites the objects that were made of the first."""
    assert visits.result(0)["comparison"] is None
    comparison = visits.result(1)["comparison"]
    assert comparison["course"] == "progression"
    assert comparison["prior"]["study_instance_uid"] == visits.patient.StudyInstanceUID
    made = [{str(one.SOPInstanceUID) for one in visits.results(0, kind)} for kind in (SEG, SR)]
    for report in visits.results(1, SR):
        cited = {
            str(one.ReferencedSOPInstanceUID)
            for study in report.PertinentOtherEvidenceSequence
            for series in study.ReferencedSeriesSequence
            for one in series.ReferencedSOPSequence
        }
        assert [len(cited & of_kind) for of_kind in made] == [1, 1]
        assert len(cited) == 2


def test_trace_says_with_what_it_was_compared(visits: Visits) -> None:
    """In the line of its analysis; nothing of the kind in that of the first scan."""
    told = [visits.command("trace", str(visits.results(number, SR)[0].StudyInstanceUID)) for number in (0, 1)]
    assert "compared with" not in told[0]
    assert "compared with the scan of 2026-01-05: progression" in " ".join(told[1].split())


def test_another_person_under_the_same_patient_id_is_not(visits: Visits) -> None:
    """And the report says why."""
    assert visits.result(2)["comparison"] is None
    (note,) = [one for one in visits.result(2)["remarks"] if "not compared" in one]
    assert "2 earlier scans under this Patient ID have another birth date or sex" in note


def test_the_compared_result_can_be_made_again(visits: Visits) -> None:
    """Every byte, though other scans of the patient are known by now."""
    scratch = visits.station.folder.parent / "scratch"
    scratch.mkdir()
    with visits.ledger.read() as connection:
        found = select(job.c.series_id).where(job.c.id == visits.jobs[1])
        series_id = connection.execute(found).scalar_one()
    reproduction = Reproduction(visits.station.settings, visits.ledger)
    again = reproduction.run(series_id, None, scratch, lambda _step, _share: None)
    assert (again.same, dict(again.circumstances)) == (True, {})


def test_history_shows_each_person_apart(visits: Visits, tmp_path: Path) -> None:
    """A table with the peak, a picture of the trend, and the same for programs."""
    identity = [str(visits.patient.PatientID), "--issuer", str(visits.patient.get("IssuerOfPatientID", ""))]
    shown = visits.command("history", *identity, "--png", str(tmp_path / "trend.png"))
    assert shown.count("peak") == 1, "of one scan alone there is no peak"
    assert "Person 1 of 2" in shown
    assert (tmp_path / "trend.png").read_bytes().startswith(b"\x89PNG")
    (persons,) = [json.loads(visits.command("history", *identity, "--json"))]
    assert sorted(len(one) for one in persons) == [1, 2]
    (two,) = [one for one in persons if len(one) == 2]
    assert [one["lesion_ml"] for one in two] == [
        visits.result(number)["burden"]["total_ml"] for number in (0, 1)
    ]


def test_history_of_nobody_says_what_to_look_at(visits: Visits) -> None:
    """An issuer that was left out is the usual reason."""
    ran = CliRunner().invoke(app, ["history", "NOBODY", "--config", str(visits.config)])
    assert ran.exit_code == 1
    assert "--issuer" in ran.output


def test_verify_agrees_and_finds_what_is_damaged(visits: Visits) -> None:
    """A time point that is gone, or not what was written."""
    assert visits.station.disagreements() == []
    paths = [visits.station.spool.time_point_folder(one) / "time-point.zip" for one in visits.jobs]
    contents = [path.read_bytes() for path in paths]
    paths[0].unlink()
    paths[1].write_bytes(contents[1][:-1] + b"x")
    assert visits.station.disagreements() == ["time_point_damaged", "time_point_missing"]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)


def test_a_ledger_that_is_made_anew_knows_them_again(visits: Visits) -> None:
    """From the files alone: whose they are, of which person, when the scan was."""
    before = visits.points()
    assert len(before) == 3
    visits.station.lose_ledger()
    visits.station.rebuild()
    assert visits.points() == before


def test_forgetting_the_patient_takes_them_all(visits: Visits) -> None:
    """Rows and files; last, because nothing is left."""
    digest = patient_digest(str(visits.patient.PatientID), str(visits.patient.get("IssuerOfPatientID") or ""))
    Forgetting(visits.station.settings, visits.ledger, digest).forget("test", force=True)
    assert visits.points() == []
    assert list(visits.station.spool.time_points.rglob("*.zip")) == []
