"""The demo from start to end: phantom, node, PACS, what came back, and whether it is true."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage, SegmentationStorage
from rich.console import Console
from rich.table import Table

from config import DimsePeerSettings, Settings
from core.domain import Finding, Region, Side
from lesionnode.demo.pacs import Arrival, SmallPacs, free_port, send
from lesionnode.phantom.dicom import write_phantom
from lesionnode.phantom.generate import generate_phantom
from lesionnode.phantom.spec import Phantom, PhantomSpec
from scp.echo import echo

_SCANNER, _NODE = "DEMO_CT", "DEMO_NODE"
#: The measured total burden has to be within this share of the truth.
TOLERANCE = 0.10
_WANTED = {SegmentationStorage, Comprehensive3DSRStorage, SecondaryCaptureImageStorage}

_CONFIG = """\
[node]
ae_title = "{node}"
port = {port}
listen = "127.0.0.1"
data_folder = "{data}"

[[peers]]
name = "small-pacs"
ae_title = "{pacs}"
host = "127.0.0.1"
port = {pacs_port}

[[sources]]
name = "phantom-scanner"
ae_titles = ["{scanner}"]
networks = ["127.0.0.1"]
send_to = ["small-pacs"]

[reception]
disk_floor_mb = 64
"""


def run_demo(output: Path, slices: int) -> bool:
    """Run the demo; return whether all results arrived and the burden is true within the tolerance."""
    console = Console(highlight=False, soft_wrap=True)
    output.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="lesion-node-demo-"))
    try:
        console.print(f"Making a phantom patient: {slices} slices of 512 x 512 with known lesions ...")
        phantom = generate_phantom(
            PhantomSpec(shape_zyx=(slices, 512, 512), spacing_zyx_mm=(300.0 / slices, 0.7, 0.7))
        )
        images = write_phantom(work / "phantom", phantom)
        with SmallPacs(output / "pacs") as pacs, _node(work, pacs, output, console) as port:
            console.print(f"Sending {len(images)} images by C-STORE from {_SCANNER} to {_NODE} ...")
            started = time.monotonic()
            accepted = send(images, port, calling=_SCANNER, called=_NODE)
            sent = time.monotonic()
            console.print(f"  {accepted} of {len(images)} accepted in {sent - started:.1f} s")
            arrivals = pacs.wait_for(len(_WANTED), timeout_s=180)
        return _tell(phantom, arrivals, sent, output, console)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _node(work: Path, pacs: SmallPacs, output: Path, console: Console) -> Iterator[int]:
    """Run a real node as a process of its own; yield its port."""
    port = free_port()
    config = work / "lesion-node.toml"
    config.write_text(
        _CONFIG.format(
            node=_NODE,
            port=port,
            data=work / "data",
            pacs=pacs.ae_title,
            pacs_port=pacs.port,
            scanner=_SCANNER,
        )
    )
    console.print(f"Starting a PACS ({pacs.ae_title}) and a node ({_NODE}) on this machine ...")
    log_path = output / "node.log"
    with log_path.open("w") as log:
        command = [sys.executable, "-m", "lesionnode", "run", "--config", str(config)]
        process = subprocess.Popen(command, stderr=log, stdout=log)
        try:
            _wait_until_ready(port, process, log_path)
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(port: int, process: subprocess.Popen[bytes], log_path: Path) -> None:
    """Wait until the node answers C-ECHO."""
    settings = Settings.model_validate({"node": {"ae_title": _SCANNER}, "delivery": {"timeout_s": 2}})
    node = DimsePeerSettings.model_validate(
        {"name": "node", "ae_title": _NODE, "host": "127.0.0.1", "port": port}
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ConnectionError(f"the node ended at its start:\n{log_path.read_text()[-2000:]}")
        if echo(settings, node).ok:
            return
        time.sleep(0.3)
    raise ConnectionError(f"the node did not get ready; see {log_path}")


def _tell(phantom: Phantom, arrivals: list[Arrival], sent: float, output: Path, console: Console) -> bool:
    """Print what came back and compare it with the truth."""
    found = {arrival.sop_class_uid: arrival for arrival in arrivals}
    if not found.keys() >= _WANTED:
        console.print(f"[red]SEG, SR and film did not all arrive; see {output / 'node.log'}[/]")
        return False
    report, film = found[Comprehensive3DSRStorage], found[SecondaryCaptureImageStorage]
    console.print(
        f"[green]SEG, SR and film are in the PACS[/], {film.accepted_at - sent:.1f} s after the last image "
        "(3 s of them spent waiting for stragglers)"
    )
    deviation = _print_table(phantom, volumes_in_report(dcmread(report.path)), console)
    picture = output / "film.png"
    cv2.imwrite(str(picture), cv2.cvtColor(dcmread(film.path).pixel_array, cv2.COLOR_RGB2BGR))
    console.print(f"Film: {picture}   objects: {output / 'pacs'}   log: {output / 'node.log'}")
    good = abs(deviation) <= TOLERANCE
    verdict = "[green]within" if good else "[red]NOT within"
    console.print(f"Total burden is {100 * deviation:+.1f} % off the truth: {verdict} {TOLERANCE:.0%}[/]")
    return good


def volumes_in_report(report: Dataset) -> dict[int, float]:
    """Return the volume in ml of each measurement group of the SR, by the Segment Number it refers to."""
    volumes: dict[int, float] = {}

    def visit(item: Dataset) -> None:
        children = item.get("ContentSequence", [])
        segment = next(
            (
                int(reference.ReferencedSegmentNumber)
                for child in children
                for reference in child.get("ReferencedSOPSequence", [])
                if "ReferencedSegmentNumber" in reference
            ),
            None,
        )
        for child in children:
            names = child.get("ConceptNameCodeSequence") or [Dataset()]
            code = names[0].get("CodeValue", "")
            if segment is not None and code == "118565006" and child.ValueType == "NUM":
                volumes[segment] = float(child.MeasuredValueSequence[0].NumericValue)
            visit(child)

    visit(report)
    return volumes


def _print_table(phantom: Phantom, measured: dict[int, float], console: Console) -> float:
    table = Table(
        title="Measured by the node (from the SR in the PACS) against the truth", title_justify="left"
    )
    for heading in ("", "measured ml", "true ml", "difference"):
        table.add_column(heading, justify="left" if not heading else "right")
    truth = phantom.truth
    for finding in Finding:
        for side in Side:
            region = Region[f"{finding.name}_{side.name}"]
            name = f"{finding.value.replace('_', '-')}, {side.value} lung"
            _row(table, name, measured.get(region.value, 0.0), truth.finding_ml[finding, side])
    total = sum(truth.finding_ml.values())
    measured_total = measured.get(Region.LESIONS.value, 0.0)
    table.add_section()
    deviation = _row(table, "all lesions", measured_total, total)
    for side, region in ((Side.RIGHT, Region.LUNG_RIGHT), (Side.LEFT, Region.LUNG_LEFT)):
        _row(table, f"{side.value} lung", measured.get(region.value, 0.0), truth.lung_ml[side])
    console.print(table)
    return deviation


def _row(table: Table, name: str, measured: float, true: float) -> float:
    deviation = (measured - true) / true if true else 0.0
    table.add_row(name, f"{measured:.1f}", f"{true:.1f}", f"{100 * deviation:+.1f} %" if true else "-")
    return deviation
