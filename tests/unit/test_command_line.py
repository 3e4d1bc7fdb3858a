"""The command line as IT staff meet it: exit statuses, messages, files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread

from config import load_settings
from custody.ledger import Ledger, incidents
from custody.ledger.incidents import IncidentKind
from lesionnode.paths import ledger_location
from lesionnode.phantom.spec import Phantom
from tests.helpers.ct_series import CtSpec, ct_datasets, write
from tests.helpers.postgres import Postgres

ROOT = Path(__file__).parents[2]


def lesion_node(*arguments: object, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "lesionnode", *(str(one) for one in arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def configured(tmp_path: Path) -> Path:
    """Write the example configuration with a data folder of the test's own."""
    text = (ROOT / "config" / "example.toml").read_text()
    path = tmp_path / "node.toml"
    path.write_text(text.replace("/var/lib/lesion-node", str(tmp_path / "data")))
    return path


def test_version() -> None:
    """`version` prints name and version."""
    run = lesion_node("version")
    assert run.returncode == 0
    assert run.stdout.startswith("lesion-node 0.")


def test_check_config_says_sound_or_every_fault(tmp_path: Path) -> None:
    """A sound file gives 0; a faulty one 78 and a line for each fault, without a traceback."""
    path = configured(tmp_path)
    assert lesion_node("check-config", "--config", path).returncode == 0
    path.write_text(path.read_text().replace("port = 11112", "port = 111120").replace('"CT1"', '""'))
    run = lesion_node("check-config", "--config", path)
    assert run.returncode == 78
    assert "node.port" in run.stderr
    assert "ae_titles" in run.stderr
    assert "Traceback" not in run.stderr


def test_an_unknown_model_is_a_configuration_fault(tmp_path: Path) -> None:
    """A source that names a package which is not there gets the list of those that are; so does `run`."""
    path = configured(tmp_path)
    path.write_text(path.read_text().replace('model = "densitometry"', 'model = "densitometri"'))
    for command in ("check-config", "run"):
        run = lesion_node(command, "--config", path)
        assert run.returncode == 78
        assert "densitometri" in run.stderr
        assert "found: densitometry" in run.stderr


def test_a_node_without_sources_does_not_start(tmp_path: Path) -> None:
    """A node that nobody may send to would be a silent failure."""
    path = tmp_path / "node.toml"
    path.write_text(f'[node]\ndata_folder = "{tmp_path}"\n')
    run = lesion_node("run", "--config", path)
    assert run.returncode == 78
    assert "sources: none is configured" in run.stderr
    assert "peers: none is configured" in run.stderr


def test_echo_says_what_is_wrong_with_each_peer(tmp_path: Path) -> None:
    """A peer that does not answer gives 1 and a verdict that names it."""
    path = configured(tmp_path)
    path.write_text(path.read_text().replace("192.0.2.10", "127.0.0.1").replace("port = 104", "port = 9"))
    run = lesion_node("echo", "--config", path)
    assert run.returncode == 1
    assert "FAILED" in run.stdout
    assert "nothing listens there" in run.stdout


def test_status_shows_the_lines_that_admit_a_caller(tmp_path: Path) -> None:
    """What `status` prints of a refusal can be pasted: brackets are not taken for markup."""
    path = configured(tmp_path)
    settings = load_settings(path, {})
    settings.node.data_folder.mkdir()
    ledger = Ledger(ledger_location(settings))
    ledger.migrate()
    with ledger.write() as connection:
        lines = '[[sources]] name = "ct9" ae_titles = ["CT9"]'
        incidents.note(connection, IncidentKind.ASSOCIATION_REFUSED, "CT9@192.0.2.9", lines, 0.0)
    ledger.close()
    run = lesion_node("status", "--config", path)
    assert run.returncode == 0
    shown = " ".join(run.stdout.replace("│", " ").split())
    assert "[[sources]]" in shown
    assert '["CT9"]' in shown
    assert "GiB free (room is made below" in shown
    assert "(kept 30 days), results since - (kept 90 days)" in shown
    as_json = json.loads(lesion_node("status", "--json", "--config", path).stdout)
    assert as_json["incidents"][0]["subject"] == "CT9@192.0.2.9"
    days = {"received": 30, "results": 90, "time_points": 1825, "set_aside": 30, "quarantine": 90}
    assert as_json["disk"]["days"] == days


def test_what_machines_share_is_tried_by_check_config(tmp_path: Path, postgres: Postgres) -> None:
    """The database and the storage answer, or it is said which does not and what to look at."""
    path = configured(tmp_path)
    with path.open("a") as config:
        config.write(f'[ledger]\nurl = "{postgres.url}"\n[storage]\nshared = "{tmp_path / "shared"}"\n')
    run = lesion_node("check-config", "--config", path)
    assert run.returncode == 69
    assert str(tmp_path / "shared") in run.stderr
    (tmp_path / "shared").mkdir()
    run = lesion_node("check-config", "--config", path)
    assert run.returncode == 0
    assert "reachable" in run.stdout
    assert "a file was written, read and removed" in run.stdout


def test_status_without_a_ledger_is_one_clear_line(tmp_path: Path) -> None:
    """A node that never ran has no ledger; that is said."""
    run = lesion_node("status", "--config", configured(tmp_path))
    assert run.returncode == 69
    assert "has the node ever run" in run.stderr


def test_model_list_and_check() -> None:
    """The shipped package is listed and sound; a folder that is none is explained."""
    assert "densitometry" in lesion_node("model", "list").stdout
    assert lesion_node("model", "check", ROOT / "models" / "densitometry").returncode == 0
    run = lesion_node("model", "check", ROOT / "docs")
    assert run.returncode == 1
    assert "model.toml" in run.stderr


def test_analyse_writes_every_result(
    tmp_path: Path, small_phantom: Phantom, small_phantom_files: list[Path]
) -> None:
    """A folder with a chest CT gives all files; result.json holds every promised key."""
    run = lesion_node("analyse", small_phantom_files[0].parent, "--output", tmp_path / "out")
    assert run.returncode == 0, run.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "fhir.json",
        "film.dcm",
        "key-objects.dcm",
        "report.dcm",
        "report.pdf",
        "report.pdf.dcm",
        "result.json",
        "segmentation.dcm",
    ]
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["status"] == "analysed"
    assert result["reason"] is None
    assert result["model"] == "densitometry"
    assert result["provider"].endswith("ExecutionProvider")
    assert result["lungs"].keys() == {"right_ml", "left_ml"}
    parts = {"total_ml", "percent_of_lung", "ground_glass_ml", "consolidation_ml"}
    assert parts <= result["burden"].keys()
    assert parts == result["burden"]["right"].keys() == result["burden"]["left"].keys()
    assert 0 <= result["severity_score"] <= 24
    assert {"read", "lungs", "lesions", "measure", "write"} <= result["timings_s"].keys()
    true_ml = sum(small_phantom.truth.finding_ml.values())
    assert result["burden"]["total_ml"] == pytest.approx(true_ml, rel=0.15)
    assert dcmread(tmp_path / "out" / "segmentation.dcm").Modality == "SEG"
    inside = dcmread(tmp_path / "out" / "report.pdf.dcm").EncapsulatedDocument
    assert (tmp_path / "out" / "report.pdf").read_bytes() == inside
    bundle = json.loads((tmp_path / "out" / "fhir.json").read_text(encoding="utf-8"))
    assert bundle["resourceType"] == "Bundle"
    assert "reading ..." in run.stderr.splitlines()


def test_analyse_leaves_out_what_is_no_image_and_says_so(
    tmp_path: Path, small_phantom_files: list[Path]
) -> None:
    """Empty files, text files and damaged ones beside a series are counted; the series is analysed."""
    folder = tmp_path / "in"
    folder.mkdir()
    for path in small_phantom_files:
        (folder / path.name).symlink_to(path)
    (folder / "empty.dcm").touch()
    (folder / "notes.txt").write_text("not DICOM")
    run = lesion_node("analyse", folder, "--output", tmp_path / "out")
    assert run.returncode == 0, run.stderr
    remarks = json.loads((tmp_path / "out" / "result.json").read_text())["remarks"]
    assert "1 file(s) left out: empty" in remarks
    assert "1 file(s) left out: not a DICOM file" in remarks


@pytest.mark.parametrize("content", ["nothing", "an empty file"])
def test_analyse_of_a_folder_without_images_is_refused(tmp_path: Path, content: str) -> None:
    """No image to analyse: exit status 3, the reason on the screen and in result.json, no DICOM written."""
    folder = tmp_path / "in"
    folder.mkdir()
    if content == "an empty file":
        (folder / "image.dcm").touch()
    run = lesion_node("analyse", folder, "--output", tmp_path / "out")
    assert run.returncode == 3
    assert "no CT images to analyse" in run.stdout
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["status"] == "refused"
    assert "no CT images" in result["reason"]
    assert not list((tmp_path / "out").glob("*.dcm"))


def test_a_refusal_removes_the_results_of_an_earlier_run(
    tmp_path: Path, small_phantom_files: list[Path]
) -> None:
    """Results of another series must not stay beside a refusal."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "segmentation.dcm").touch()
    for name in ("report.dcm", "report.pdf", "report.pdf.dcm", "fhir.json"):
        (out / name).touch()
    folder = tmp_path / "in"
    folder.mkdir()
    for path in (*small_phantom_files[:20], *small_phantom_files[24:]):
        (folder / path.name).symlink_to(path)
    run = lesion_node("analyse", folder, "--output", out)
    assert run.returncode == 3
    assert "4 slices" in run.stdout
    assert sorted(path.name for path in out.iterdir()) == ["film.dcm", "report.dcm", "result.json"]
    assert dcmread(out / "report.dcm").SeriesDescription.startswith("NOT ANALYSED")


def head_hu_zyx() -> NDArray[np.int16]:
    """Return a head: skull, brain and air in the sinuses, 40 slices of 128 × 128 at 4 × 1.8 mm."""
    z, y, x = np.mgrid[-1:1:40j, -1:1:128j, -1:1:128j]
    hu_zyx = np.full(z.shape, -1000, np.int16)
    outside = np.hypot(y / 0.8, x / 0.65) + 0.2 * z**2
    hu_zyx[outside < 1.0] = 40
    hu_zyx[(outside < 0.95) & (outside > 0.87)] = 1100
    for side in (-0.15, 0.15):
        hu_zyx[np.hypot(np.hypot((x - side) / 0.1, (y + 0.45) / 0.12), (z + 0.5) / 0.3) < 1] = -1000
    return hu_zyx


def test_a_head_is_refused(tmp_path: Path) -> None:
    """A head CT is no chest; the reason says so."""
    spec = CtSpec(shape_zyx=(40, 128, 128), spacing_zyx_mm=(4.0, 1.8, 1.8))
    datasets = ct_datasets(spec)
    for dataset, hu_yx in zip(datasets, head_hu_zyx(), strict=True):
        dataset.PixelData = (hu_yx - int(spec.intercept)).astype("<u2").tobytes()
    (tmp_path / "in").mkdir()
    write(tmp_path / "in", datasets)
    run = lesion_node("analyse", tmp_path / "in", "--output", tmp_path / "out")
    assert run.returncode == 3, run.stderr
    assert "lungs" in json.loads((tmp_path / "out" / "result.json").read_text())["reason"]
    # What a PACS would get in place of results.
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"result.json", "report.dcm", "film.dcm"}
    assert dcmread(tmp_path / "out" / "film.dcm").SeriesDescription.startswith("NOT ANALYSED")
