"""Earlier scans from real archives: Orthanc and DCMTK's dcmqrscp are queried and retrieved from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import delete, select

from config import DimsePeerSettings, Settings
from core.patient import Person
from custody.holdings import Holdings
from custody.ledger import Ledger
from custody.ledger.reception import Caller
from custody.ledger.tables import association, instance, job, prior_series
from custody.spool import Spool
from lesionnode.demo.pacs import free_port
from scp.completion import Completion
from scp.prior_patient import CurrentScan
from scp.prior_query import PriorCandidates, PriorSeries, find_priors
from scp.prior_retrieval import retrieve
from scp.prior_seeker import PriorSeeker
from scp.reception import Reception, StoreRequest
from scp.retrieval import Retrieval, SeriesToFetch
from tests.helpers.commitment import receiving, until
from tests.helpers.dcmqrscp import AE_TITLE as QRSCP
from tests.helpers.dcmqrscp import running_dcmqrscp
from tests.helpers.dicom_peers import LEAVES_SOCKETS, Scanner, network_defaults
from tests.helpers.instances import Clock, ct_series, fresh_ledger, open_caller, peer, settings_for, source
from tests.helpers.orthanc import AE_TITLE as ORTHANC
from tests.helpers.orthanc import running_orthanc

pytestmark = [pytest.mark.interop, LEAVES_SOCKETS]

COUNT = 24
WHO = {"PatientID": "P-1", "PatientBirthDate": "19600517", "PatientSex": "F"}
CURRENT = CurrentScan(Person("P-1", "", "19600517", "F"), "1.2.3", datetime(2024, 6, 1, 12, 0))


def images() -> list[Dataset]:
    """Return three studies: an earlier one with a scout, one of another birth date, one of another ID."""
    earlier = {**WHO, "StudyDate": "20230501", "StudyTime": "101500"}
    return [
        *ct_series(COUNT, study="earlier", SeriesDescription="Chest 3.0 B31f", **earlier),
        *ct_series(2, study="earlier", series="scout", SeriesDescription="Topogram", **earlier),
        *ct_series(COUNT, study="other", **{**earlier, "PatientBirthDate": "19700101"}),
        *ct_series(COUNT, study="third", **{**earlier, "PatientID": "P-11"}),
    ]


@dataclass
class Bench:
    """A node's receiver, and the archive that it asks."""

    settings: Settings
    ledger: Ledger
    archive: DimsePeerSettings
    clock: Clock
    port: int

    def ask(self) -> PriorCandidates:
        """Ask for earlier scans."""
        return find_priors(self.settings, self.archive, CURRENT, at_most=5, within_s=20)

    def fetch(self, prior: PriorSeries, message_id: int, **changes: str) -> Retrieval:
        """Fetch one of them, from a peer with these settings."""
        asked = self.archive.model_validate({**self.archive.model_dump(), **changes})
        wanted = SeriesToFetch(prior.study_instance_uid, prior.series_instance_uid, message_id)
        spool = Spool(self.settings.node.data_folder)
        reception = Reception(spool, self.ledger)
        caller: list[Caller] = []

        def take(request: StoreRequest) -> object:
            caller[:] = caller or [open_caller(self.ledger, 0.0, calling=self.archive.ae_title)]
            return reception.take(request, caller[0])

        return retrieve(self.settings, asked, wanted, within_s=20, take=take)

    def send(self, scan: list[Dataset]) -> None:
        """Send the current scan, and let it be complete."""
        assert set(Scanner(self.port).send_images(scan)) == {0x0000}
        self._seal()

    def seek(self) -> None:
        """Look for earlier scans until there is nothing more to do, and let what came be complete."""
        spool = Spool(self.settings.node.data_folder)
        taking = Reception(spool, self.ledger, now=self.clock)
        holdings = Holdings(spool, self.ledger)
        seeker = PriorSeeker(self.settings, self.archive, self.ledger, holdings, taking, "seeker", self.clock)
        while seeker.step():
            pass
        self._seal()

    def _seal(self) -> None:
        until(lambda: all(row.closed_at for row in self._rows(association)))
        self.clock.advance(10)
        holdings = Holdings(Spool(self.settings.node.data_folder), self.ledger)
        Completion(self.settings, self.ledger, holdings, self.clock).step()

    def asked_for(self) -> list[Any]:
        """Return the series that were asked for."""
        return self._rows(prior_series)

    def purposes(self) -> set[str]:
        """Return what the jobs are for."""
        return {row.purpose for row in self._rows(job)}

    def originators(self) -> dict[tuple[str, int], int]:
        """Return how many images were kept by who asked for them; those of the scanner are left out."""
        originators = [
            (row.move_originator_ae_title, row.move_originator_message_id) for row in self._rows(instance)
        ]
        return dict(Counter(one for one in originators if one[0] is not None))

    def _rows(self, table: Any) -> list[Any]:
        with self.ledger.read() as connection:
            return list(connection.execute(select(table)).all())

    def forget(self) -> None:
        """Take what was received for never received."""
        with self.ledger.write() as connection:
            connection.execute(delete(instance))


@contextmanager
def bench(folder: Path, archive: str) -> Iterator[Bench]:
    """Run a receiver, and an archive that knows it as a destination and is no source of it."""
    name, title = ("orthanc", ORTHANC) if archive == "orthanc" else ("dcmqrscp", QRSCP)
    with fresh_ledger(folder) as ledger:
        settings = settings_for(
            folder / "data",
            peers=(peer(name, free_port(), ae_title=title),),
            sources=(source("scanner", "CT1", send_to=[name], priors="pacs", priors_from=name),),
        )
        clock = Clock()
        with receiving(settings, ledger, clock) as port:
            runs = _orthanc if archive == "orthanc" else _dcmqrscp
            with runs(folder, settings.dimse_peers[0].port, port):
                yield Bench(settings, ledger, settings.dimse_peers[0], clock, port)


@contextmanager
def _orthanc(folder: Path, own_port: int, node_port: int) -> Iterator[None]:
    options: dict[str, Any] = {
        "DicomPort": own_port,
        "DicomModalities": {"node": ["LESIONNODE", "127.0.0.1", node_port]},
        "DicomCheckModalityHost": False,
        **{f"DicomAlwaysAllow{what}": True for what in ("Find", "Move", "Get", "Store", "Echo")},
    }
    with running_orthanc(folder / "orthanc", **options):
        scanner = Scanner(own_port, calling="LESIONNODE", called=ORTHANC)
        assert set(scanner.send_images(images())) == {0x0000}
        yield


@contextmanager
def _dcmqrscp(folder: Path, own_port: int, node_port: int) -> Iterator[None]:
    with running_dcmqrscp(folder / "dcmqrscp", images(), {"LESIONNODE": node_port}, own_port):
        yield


@pytest.mark.parametrize("archive", ["orthanc", "dcmqrscp"])
def test_an_earlier_scan_is_found_and_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: str
) -> None:
    """Only the axial series of the right patient, by C-MOVE and by C-GET; every image names its request."""
    network_defaults(monkeypatch)
    with bench(tmp_path, archive) as at:
        found = at.ask()
        (prior,) = found.candidates
        assert (prior.series_instance_uid, prior.instances) == (images()[0].SeriesInstanceUID, COUNT)
        assert prior.studied_at == datetime(2023, 5, 1, 10, 15)
        assert ["another birth date" in note for note in found.notes] == [True]

        # The archive says what is missing where it does not know the destination; nothing comes.
        unknown = at.fetch(prior, 1, calling_ae_title="NOBODY")
        assert unknown.arrived == 0
        assert "know this node as a move destination" in (unknown.reason or "")
        assert '"NOBODY", host 127.0.0.1' in (unknown.reason or "")
        # It is no source: what the ledger knows nothing of is not taken from it.
        assert at.fetch(prior, 2).arrived == 0
        assert at.originators() == {}

        at.send(ct_series(COUNT, study="current", StudyDate="20240601", **WHO))
        at.seek()
        (moved,) = at.asked_for()
        assert (moved.state, moved.series_instance_uid) == ("came", prior.series_instance_uid)
        assert at.originators() == {("LESIONNODE", moved.message_id): COUNT}
        assert at.purposes() == {"report", "prior"}

        at.forget()
        assert at.fetch(prior, 78, priors_by="get") == Retrieval(78, COUNT)
        assert at.originators() == {("LESIONNODE", 78): COUNT}

        gone = PriorSeries("1.2.3", "1.2.3.4", prior.studied_at)
        for way in ("move", "get"):
            nothing = at.fetch(gone, 79, priors_by=way)
            assert nothing.arrived == 0
            assert nothing.reason
