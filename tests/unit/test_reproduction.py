"""An old result is made again: the same bytes, or the reasons why they are others."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian

from config import Settings
from core.errors import NodeError
from custody.holdings import Holdings
from custody.ledger.find import the_series
from lesionnode.reproduction import Reproduced, Reproduction
from lesionnode.worker import Worker
from scp.completion import Completion
from tests.helpers.instances import Clock, fresh_ledger
from tests.helpers.station import Station


def test_a_result_is_reproduced_or_the_reason_is_named(
    tmp_path: Path, small_phantom_files: list[Path]
) -> None:
    """Identical with the settings of the time; under another AE title only the Station Name differs."""
    with fresh_ledger(tmp_path) as ledger:
        station = Station(tmp_path, ledger, Clock(time.time() - 1000))
        gap = [path for at, path in enumerate(small_phantom_files) if at not in (20, 21)]
        station.receive([dcmread(path) for path in gap])
        station.seal()
        Completion(station.settings, ledger, Holdings(station.spool, ledger), station.clock).step()
        worker = Worker(station.settings, "w")
        assert worker.step()
        worker._ledger.close()
        (uid,) = {str(dcmread(path).SeriesInstanceUID) for path in gap}
        series_id = the_series(ledger, uid).id
        again = _again(station, series_id, tmp_path)

        same = again(station.settings)
        assert same.same
        assert (same.state, len(same.objects), dict(same.circumstances)) == ("refused", 3, {})

        node = station.settings.node.model_copy(update={"ae_title": "OTHER"})
        other = again(station.settings.model_copy(update={"node": node}))
        assert not other.same
        assert dict(other.circumstances) == {"ae_title": ("LESIONNODE", "OTHER")}
        differs_in = {name.rpartition(".")[2] for one in other.objects for name in one.differs_in}
        assert differs_in == {"StationName"}

        for path in station.spool.results.glob("*/film.dcm"):
            path.write_bytes(b"damaged")
        assert again(station.settings).same, "the digests of the ledger are what counts"
        with pytest.raises(NodeError, match="no result to reproduce"):
            Reproduction(station.settings, ledger).run(series_id, 7, tmp_path, lambda _step, _share: None)


def _again(station: Station, series_id: str, folder: Path) -> Callable[[Settings], Reproduced]:
    scratch = folder / "scratch"
    scratch.mkdir()

    def run(settings: Settings) -> Reproduced:
        reproduction = Reproduction(settings, station.ledger)
        return reproduction.run(series_id, None, scratch, lambda _step, _share: None)

    return run


def test_the_phantom_is_in_the_syntax_that_the_station_expects(small_phantom_files: list[Path]) -> None:
    """Else the test above would compare refusals of another kind."""
    assert dcmread(small_phantom_files[0]).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
