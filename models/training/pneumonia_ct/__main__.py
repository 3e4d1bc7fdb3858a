"""``python -m models.training.pneumonia_ct COMMAND``: from the data folder to the package and its figures."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.metrics import spread
from models.training.pneumonia_ct.class_rules import class_figures
from models.training.pneumonia_ct.evaluation import THRESHOLDS, fold_figures
from models.training.pneumonia_ct.export import digest, exported, largest_difference
from models.training.pneumonia_ct.folds import FOLDS, UNSEEN_SERIES
from models.training.pneumonia_ct.hu_slices import healthy_volume, phantom_volume
from models.training.pneumonia_ct.preparations import preparation_figures
from models.training.pneumonia_ct.provenance import provenance
from models.training.pneumonia_ct.sampling import read_sources, split
from models.training.pneumonia_ct.training import Setup, setup_of, train, trained
from models.training.pneumonia_ct.variants import variant_figures

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)

Data = Annotated[Path, typer.Option(help="Folder with pneumonia-slices, class-slices and ct-series.")]
Work = Annotated[Path, typer.Option(help="Where prepared slices and checkpoints are kept.")]
Classes = Annotated[bool, typer.Option(help="Whether the networks saw the slices with classes.")]
Figures = Annotated[Path, typer.Option(help="JSON file to write.")]
_WORK = Path("build/pneumonia-ct")
#: Phantoms that neither training nor the benchmarks use.
_PHANTOMS_FROM = 2000
_TEMPLATE = Path(__file__).parent / "package"
_PACKAGE = Path(__file__).resolve().parents[2] / "pneumonia-ct"


@app.command("train")
def train_command(
    data: Data,
    work: Work = _WORK,
    fold: Annotated[int, typer.Option(min=0, max=FOLDS, help="Patients kept apart; 0 for none.")] = 0,
    classes: Annotated[bool, typer.Option(help="Whether to train on the slices with classes.")] = True,
    steps: Annotated[int, typer.Option(min=100, help="Batches.")] = Setup().steps,
    edge: Annotated[int, typer.Option(min=64, max=256, help="Window of a slice, a multiple of 32.")] = 192,
) -> None:
    """Train one network, or go on where its checkpoint ends."""
    sources, _ = split(read_sources(data, work / "slices.pickle", _tell), fold, classes=classes)
    setup = Setup(steps=steps, edge=edge)
    _tell(f"fold {fold}, {sum(len(one.pictures) for one in sources.pneumonia)} published slices, {setup}")
    train(sources, setup, _checkpoint(work, fold, classes), _tell)


@app.command()
def evaluate(
    data: Data,
    figures: Figures,
    work: Work = _WORK,
    classes: Classes = True,
) -> None:
    """Judge each fold's network on the patients that it never saw."""
    sources = read_sources(data, work / "slices.pickle", _tell)
    folds, setups = [], []
    for fold, checkpoint in _trained_folds(work, classes):
        _, apart = split(sources, fold, classes=classes)
        cases = fold_figures(trained(checkpoint), apart.pneumonia)
        for case in cases:
            _tell(
                f"fold {fold} {case['case']:24} lesion {case['lesion_dice']:.3f} lung {case['lung_dice']:.3f}"
            )
        folds.append({"fold": fold, "cases": cases})
        setups.append(setup_of(checkpoint))
    if any(setup != setups[0] for setup in setups):
        raise SystemExit("The folds were trained with different set-ups; train them with the same options.")
    for key in ("lesion_dice", "lung_dice"):
        mean = spread(case[key] for fold in folds for case in fold["cases"])["mean"]
        _tell(f"mean {key} over the cases {mean:.4f}")
    setup = setups[0] | {"threshold": THRESHOLDS[1], "slices with classes": classes}
    _write(figures, {"setup": setup, "folds": folds})


@app.command()
def preparations(
    data: Data,
    figures: Figures,
    work: Work = _WORK,
    classes: Classes = True,
) -> None:
    """Compare ways from Hounsfield units to the network, on CT series that each fold did not see."""
    rows = []
    for fold, checkpoint in _trained_folds(work, classes):
        folders = sorted((data / "ct-series").glob(f"{UNSEEN_SERIES[fold]}*/"))
        volumes = [*(healthy_volume(folder) for folder in folders), phantom_volume(_PHANTOMS_FROM + fold)]
        for row in preparation_figures(trained(checkpoint), volumes):
            rows.append({"fold": fold, **row})
            _tell(
                f"fold {fold} {row['series']:28} {row['preparation']:32} "
                f"false {row['false_percent']:5.2f} % painted {row['painted_dice']:.3f} "
                f"lung {row['lung_dice']:.3f}"
            )
    _write(figures, {"rows": rows})


@app.command("classes")
def classes_command(data: Data, figures: Figures, work: Work = _WORK) -> None:
    """Compare the learned class with a rule of greys, on slices with classes that no network of these saw."""
    cases = read_sources(data, work / "slices.pickle", _tell).classes
    folds = []
    for fold, checkpoint in _trained_folds(work, False):
        folds.append({"fold": fold, **class_figures(trained(checkpoint), cases)})
        _tell(json.dumps(folds[-1]))
    _write(figures, {"slices": len(cases), "folds": folds})


@app.command()
def variants(
    data: Data,
    figures: Figures,
    work: Work = _WORK,
    fold: Annotated[int, typer.Option(min=1, max=FOLDS, help="Whose patients Dice is taken on.")] = 1,
    classes: Classes = True,
) -> None:
    """Compare fp32, fp16 and int8 of one fold's network in speed and Dice."""
    sources = read_sources(data, work / "slices.pickle", _tell)
    seen, apart = split(sources, fold, classes=classes)
    graph = exported(trained(_checkpoint(work, fold, classes)))
    threads = os.cpu_count() or 1
    rows = variant_figures(graph, [*seen.pneumonia, *seen.series], apart.pneumonia, threads)
    for row in rows:
        _tell(json.dumps(row))
    _write(figures, {"fold": fold, "rows": rows})


@app.command()
def export(
    data: Data,
    package: Annotated[Path, typer.Option(help="Folder to write; made where it is not there.")] = _PACKAGE,
    work: Work = _WORK,
    fold: Annotated[int, typer.Option(min=0, max=FOLDS, help="Which network; 0 for the one of all.")] = 0,
    classes: Classes = True,
) -> None:
    """Write a package: network as ONNX, manifest with its digest, provenance, a card where there is none."""
    checkpoint = _checkpoint(work, fold, classes)
    network = trained(checkpoint)
    graph = exported(network)
    manifest = (_TEMPLATE / "model.toml").read_text(encoding="utf-8")
    manifest = manifest.replace("PACKAGE", package.resolve().name).replace("DIGEST", digest(graph))
    package.mkdir(parents=True, exist_ok=True)
    (package / "model.onnx").write_bytes(graph)
    (package / "model.toml").write_text(manifest, encoding="utf-8")
    if not (package / "MODEL_CARD.md").exists():
        shutil.copy(_TEMPLATE / "MODEL_CARD.md.template", package / "MODEL_CARD.md")
    sources, _ = split(read_sources(data, work / "slices.pickle", _tell), fold, classes=classes)
    version = str(tomllib.loads(manifest)["version"])
    today = datetime.now(UTC).date().isoformat()
    _write(
        package / "figures" / "provenance.json",
        provenance(
            sum(part.numel() for part in network.parameters()),
            sources,
            setup_of(checkpoint),
            version,
            digest(graph),
            today,
        ),
    )
    _tell(
        f"{package / 'model.onnx'}: {len(graph) / 1e6:.1f} MB, sha256 {digest(graph)}, "
        f"within {largest_difference(network, graph):.1g} of PyTorch"
    )


def _trained_folds(work: Path, classes: bool) -> list[tuple[int, Path]]:
    """Return number and checkpoint of every fold; tell which are missing."""
    found = []
    for fold in range(1, FOLDS + 1):
        checkpoint = _checkpoint(work, fold, classes)
        if checkpoint.is_file():
            found.append((fold, checkpoint))
        else:
            _tell(f"fold {fold} has not been trained")
    if not found:
        raise SystemExit(f"No fold has been trained in {work}.")
    return found


def _checkpoint(work: Path, fold: int, classes: bool) -> Path:
    kind = "" if classes else "-without-classes"
    return work / (f"fold-{fold}{kind}.pt" if fold else f"all{kind}.pt")


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    app()
