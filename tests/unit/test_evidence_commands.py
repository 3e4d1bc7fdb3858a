"""The commands about custody as people see them: what is printed, exit statuses, no patient identifiers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from config import load_settings
from core.errors import NodeError, SpoolError
from custody.ledger import Ledger
from custody.ledger.states import JobState
from custody.ledger.tables import job
from custody.ledger.tables import series as series_table
from lesionnode.cli import app
from lesionnode.locks import take_lock
from lesionnode.roles import Role
from tests.helpers.instances import ct_image, fresh_ledger
from tests.helpers.postgres import Postgres
from tests.helpers.station import Station

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A node with a delivered, a refused, a chosen-against and an open series."""
    folder = tmp_path_factory.mktemp("station") / "data"
    folder.mkdir()
    with fresh_ledger(folder) as ledger:
        built = Station(folder, ledger)
        for stage in ("half delivered", "refused", "second scan", "aside", "open"):
            built.bring(stage, stage)
        yield built


@pytest.fixture
def run(station: Station) -> Run:
    """The command line on that node."""
    return runner(station.folder)


def runner(data_folder: Path, ledger_url: str = "", columns: int = 100) -> Run:
    """Return what runs a command on a data folder."""
    config = data_folder.parent / "node.toml"
    peers = "".join(
        f'[[peers]]\nname = "{name}"\nae_title = "{name.upper()}"\nhost = "127.0.0.1"\nport = {port}\n'
        for name, port in (("pacs", 1), ("research", 2))
    )
    config.write_text(
        f'[node]\nlisten = "127.0.0.1"\nport = 0\ndata_folder = "{data_folder}"\n{peers}'
        '[[sources]]\nname = "scanner"\nae_titles = ["CT1"]\nnetworks = ["127.0.0.1"]\n'
        f'send_to = ["pacs", "research"]\n[ledger]\nurl = "{ledger_url}"\n'
    )

    def invoke(*arguments: str, **options: Any) -> Any:
        return CliRunner(env={"COLUMNS": str(columns)}).invoke(
            app, [*arguments, "--config", str(config)], **options
        )

    return invoke


def told(result: Any) -> str:
    """Return what was printed, in one line."""
    return " ".join(result.output.split())


def series_uid(station: Station, stage: str, series: str = "series") -> str:
    """Return the Series Instance UID of a stage's series; which one is not chosen, the ledger knows."""
    if series == "not chosen":
        with station.ledger.read() as connection:
            state = job.c.state == JobState.NOT_SELECTED.value
            found = select(series_table.c.series_instance_uid).join_from(job, series_table).where(state)
            return str(connection.execute(found).scalar_one())
    return str(ct_image(1, study=stage, series=series).SeriesInstanceUID)


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize(
    ("stage", "series", "verdict"),
    [
        ("half delivered", "series", "Analysed. pacs: 1 of 2 objects not delivered yet (no space)"),
        (
            "refused",
            "series",
            "No result: it cannot be analysed. 2 slices missing. A page says so; pacs: ",
        ),
        ("second scan", "not chosen", "No result, on purpose: it was not chosen. Series"),
        ("aside", "series", "No result: nothing of it can be analysed. Set aside: "),
        ("open", "series", "No result yet: 3 images so far, the series is not complete."),
    ],
)
def test_the_first_line_says_why(
    station: Station, stage: str, series: str, verdict: str, columns: int
) -> None:
    """Whatever became of a series, `trace` begins with the reason, and fits the screen."""
    uid = series_uid(station, stage, series)
    result = runner(station.folder, columns=columns)("trace", uid[-12:])
    assert result.exit_code == 0
    assert told(result).startswith(verdict)
    assert "Example" not in result.output
    assert "P-1" not in result.output
    uids = [line for line in result.output.splitlines() if not line.startswith(("Series", "Study", "Kept"))]
    assert max(len(line) for line in uids) <= columns


def test_a_trace_tells_what_happened_when(station: Station, run: Run) -> None:
    """First image, last, sealing, attempt, objects with digests, deliveries."""
    result = run("trace", series_uid(station, "half delivered"))
    for part in (
        "first image from CT1 (scanner)",
        "last of 3 images",
        "sealed as generation 1: 3 images; 100.5 s without another one",
        "chosen for densitometry",
        "images listed in manifest",
        "attempt 1 begins",
        "analysed; s: read 1.2 (attempt 1, 7.0 s)",
        "segmentation delivered to pacs, attempt 1",
    ):
        assert part in told(result), part
    (story,) = json.loads(run("trace", series_uid(station, "half delivered"), "--json").stdout)
    assert story["verdict"].startswith("Analysed.")
    assert [len(one["sha256"]) for one in story["jobs"][0]["objects"]] == [64, 64]
    assert "patient" not in json.dumps(story)


def test_a_study_tells_the_stories_of_its_series(station: Station, run: Run) -> None:
    """Also a job's id finds its series; what nobody sent is said so; too short a tail finds nothing."""
    study = str(ct_image(1, study="second scan").StudyInstanceUID)
    stories = json.loads(run("trace", study, "--json").stdout)
    assert len(stories) == 2
    by_job = json.loads(run("trace", stories[0]["jobs"][0]["id"], "--json").stdout)
    assert by_job == stories[:1]
    for unknown in ("1.2.3.999", "1"):
        result = run("trace", unknown)
        assert isinstance(result.exception, NodeError)
        assert "ever received" in str(result.exception)
    assert "means several series" in str(run("resend", study).exception)


def test_verify_says_what_to_do(station: Station, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sound spool gives 0; a damaged one 1, with the file and the advice."""
    monkeypatch.setattr("custody.verification._SECOND_LOOK_S", 0.0)
    assert "Ledger and spool agree" in told(run("verify", "--quick"))
    path = next(station.spool.results.glob("*/film.dcm"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?")
    result, as_json = run("verify"), run("verify", "--json")
    path.write_bytes(content)
    assert result.exit_code == as_json.exit_code == 1
    assert "result damaged (1)" in result.output
    assert "check the disk" in told(result)
    (one,) = json.loads(as_json.stdout)["disagreements"]
    assert (one["kind"], one["subject"]) == ("result_damaged", str(path))
    assert run("verify", "--complete").exit_code == 0


def test_orders_are_checked(run: Run, station: Station) -> None:
    """A peer that is not configured, a retry of everything and nothing, drain both ways."""
    uid = series_uid(station, "half delivered")
    assert "configured: pacs, research" in str(run("resend", uid, "--to", "nobody").exception)
    assert run("retry").exit_code == 2
    assert run("drain", "--wait", "--end").exit_code == 2
    assert "Nothing to retry" in told(run("retry", "--all-failed"))
    assert "objects are due to pacs now" in told(run("resend", uid, "--to", "pacs"))


def test_draining_shows_in_status(run: Run) -> None:
    """Since when and by whom, and what is left; until it is ended."""
    assert "images that are not sealed yet: 3" in told(run("drain"))
    assert "Draining since" in told(run("status"))
    assert json.loads(run("status", "--json").stdout)["switches"]["draining"]["by"]
    assert "accepts again" in told(run("drain", "--end"))
    assert "was not draining" in told(run("drain", "--end"))
    assert json.loads(run("status", "--json").stdout)["switches"] == {}


def test_a_patient_is_forgotten_after_a_question(tmp_path: Path) -> None:
    """No answer deletes nothing; the Patient ID may be asked for, and is printed nowhere."""
    folder = tmp_path / "data"
    folder.mkdir()
    with fresh_ledger(folder) as ledger:
        Station(folder, ledger).bring("delivered", "study")
        run = runner(folder)
        assert run("forget", "P-1", input="n\n").exit_code == 1
        result = run("forget", "-", "--yes", input="P-1\n")
        assert "Deleted." in result.output
        assert "where they are: pacs" in told(result)
        again = run("forget", "P-1", "--yes")
        assert (again.exit_code, "Nothing of this patient" in again.output) == (1, True)
        assert "2 identities" in told(run("patient", "merge", "P-0", "P-1"))
    assert list((folder / "received").iterdir()) == []


def test_a_ledger_is_rebuilt_on_a_stopped_node_only(tmp_path: Path) -> None:
    """The old one is kept under a name with the time; what no file holds is taken over from it."""
    folder = tmp_path / "data"
    folder.mkdir()
    with fresh_ledger(folder) as ledger:
        Station(folder, ledger).bring("delivered", "study")
    run = runner(folder)
    run("patient", "merge", "P-0", "P-1")
    settings = load_settings(tmp_path / "node.toml", {})
    with take_lock(settings, Role.ANALYSE):
        assert isinstance(run("ledger", "rebuild").exception, SpoolError)
    result = run("ledger", "rebuild")
    assert "moved aside" in result.output
    assert "The ledger has 1 series: 1 manifests with 3 images" in told(result)
    assert len(list(folder.glob("ledger-*.sqlite"))) == 1
    assert run("verify").exit_code == 0
    assert "already" in str(run("patient", "merge", "P-0", "P-1").exception)
    (folder / "ledger.sqlite").write_bytes(b"damaged" * 1000)
    assert "The ledger has 1 series" in told(run("ledger", "rebuild"))
    assert run("verify").exit_code == 0


def test_a_ledger_on_postgresql_is_moved_into_a_schema(tmp_path: Path, postgres: Postgres) -> None:
    """The tables are kept there; the new ones take their place."""
    folder = tmp_path / "data"
    folder.mkdir()
    ledger = Ledger(postgres.fresh_database())
    ledger.migrate()
    station = Station(folder, ledger)
    station.bring("half delivered", "study")
    run = runner(folder, str(ledger.location))
    result = run("ledger", "rebuild")
    assert "schema before_rebuild_" in result.output
    assert run("verify").exit_code == 0
    assert "pacs: 1 of 2 objects not delivered yet" in told(run("trace", series_uid(station, "study")))
    ledger.close()
