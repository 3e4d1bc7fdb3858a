"""An earlier scan that cannot be used costs the comparison with it, never the analysis; and it is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from config import Settings
from core.errors import SpoolDamaged, StorageUnreachable
from core.forms import ResultForm
from core.time_point import TimePoint
from lesionnode.comparing import Earlier, compared, written
from lesionnode.engine import Engine
from lesionnode.installed_models import model_folders
from lesionnode.pipeline import Analysed
from tests.helpers.analyses import context_of
from tests.helpers.comparisons import Pair, later_analysis

UNREADABLE = "An earlier scan cannot be read on the node any more: not compared."
BROKE = "The comparison with an earlier scan failed: the log of the node says why."
OTHER = "Another study is not compared with: it has no date."


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The models that come with the node."""
    return Engine(Settings().models, model_folders(Settings()))


@pytest.fixture(scope="module")
def prior() -> TimePoint:
    """An earlier scan."""
    return Pair().time_point()


def again(engine: Engine, earlier: Earlier) -> Analysed:
    """Compare the current scan with what is known."""
    analysed = Analysed(later_analysis(), "densitometry", "CPUExecutionProvider", {})
    return compared(analysed, earlier, engine, Settings().comparison)


def older(point: TimePoint, days: float) -> TimePoint:
    """Return another scan, so many days before."""
    scanned_at = point.facts.scanned_at
    assert scanned_at is not None
    facts = replace(
        point.facts, series_instance_uid=f"2.25.8{days:.0f}", scanned_at=scanned_at - timedelta(days=days)
    )
    return replace(point, facts=facts, digest=f"{days:064.0f}")


def failing(error: Exception, *points: TimePoint) -> Callable[[TimePoint], TimePoint]:
    """Return what completes scans but those."""

    def whole(point: TimePoint) -> TimePoint:
        if any(point is one for one in points):
            raise error
        return point

    return whole


def test_where_the_newest_scan_is_damaged_the_one_before_is_compared_with(
    engine: Engine, prior: TimePoint
) -> None:
    """Its damage is told once, and it is not among what the result was made from."""
    first, second = older(prior, 20), older(prior, 10)
    whole = failing(SpoolDamaged("damaged"), prior, second)
    found = again(engine, Earlier((first, second, prior), (OTHER,), whole))
    comparison = found.analysis.comparison
    assert comparison is not None
    assert comparison.prior is first
    assert comparison.inputs == (first.digest,)
    assert found.notes == (OTHER, "2 earlier scans cannot be read on the node any more: not compared.")
    assert found.analysis.volume.remarks[-2:] == found.notes


def test_where_none_can_be_read_there_is_no_comparison(engine: Engine, prior: TimePoint) -> None:
    """The analysis stands, with a note."""
    found = again(engine, Earlier((prior,), (), failing(SpoolDamaged("damaged"), prior)))
    assert found.analysis.comparison is None
    assert found.notes == (UNREADABLE,)
    assert found.time_point is not None


def test_a_comparison_that_broke_is_said_and_can_be_said_again(engine: Engine, prior: TimePoint) -> None:
    """With the notes that were kept the same analysis comes out, without the scan that broke it."""
    broken = again(engine, Earlier((prior,), (OTHER,), failing(RuntimeError("a fault"), prior)))
    assert broken.analysis.comparison is None
    assert broken.notes == (OTHER, BROKE)
    reproduced = again(engine, Earlier((), broken.notes))
    assert reproduced.analysis.volume.remarks == broken.analysis.volume.remarks


def test_storage_that_is_away_makes_the_job_wait(engine: Engine, prior: TimePoint) -> None:
    """It answers later, and then the scan is compared."""
    with pytest.raises(StorageUnreachable):
        again(engine, Earlier((prior,), (), failing(StorageUnreachable("away"), prior)))


def test_a_comparison_that_cannot_be_written_is_left_out_and_said(engine: Engine, prior: TimePoint) -> None:
    """The report comes without it; what is kept for a reproduction names it too."""
    analysed = again(engine, Earlier((prior,), (OTHER,)))
    damaged = replace(analysed.analysis.comparison, prior=None)  # type: ignore[type-var, arg-type]
    analysed = replace(analysed, analysis=replace(analysed.analysis, comparison=damaged))
    done = written(analysed, context_of(analysed.analysis), [ResultForm()])
    assert done.analysed.analysis.comparison is None
    assert done.analysed.notes == done.analysed.analysis.volume.remarks[-2:] == (OTHER, BROKE)
    assert done.results.objects
