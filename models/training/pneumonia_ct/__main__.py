"""``python -m models.training.pneumonia_ct train | evaluate | export``."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from models.training.pneumonia_ct.evaluation import THRESHOLD, fold_figures
from models.training.pneumonia_ct.export import digest, exported, largest_difference
from models.training.pneumonia_ct.folds import FOLDS, UNSEEN_SERIES
from models.training.pneumonia_ct.hu_slices import healthy_volume, phantom_volume
from models.training.pneumonia_ct.preparations import preparation_figures
from models.training.pneumonia_ct.sampling import read_sources, split
from models.training.pneumonia_ct.training import Setup, train, trained

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)

Data = Annotated[Path, typer.Option(help="Folder with pneumonia-slices, class-slices and ct-series.")]
Work = Annotated[Path, typer.Option(help="Where prepared slices and checkpoints are kept.")]
_WORK = Path("build/pneumonia-ct")
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
    figures: Annotated[Path, typer.Option(help="JSON file to write.")],
    work: Work = _WORK,
    classes: Annotated[bool, typer.Option(help="Whether the networks saw the slices with classes.")] = True,
    flips: Annotated[bool, typer.Option(help="Average with the mirror picture.")] = False,
) -> None:
    """Judge each fold's network on the patients that it never saw."""
    sources = read_sources(data, work / "slices.pickle", _tell)
    folds = []
    for fold in range(1, FOLDS + 1):
        checkpoint = _checkpoint(work, fold, classes)
        if not checkpoint.is_file():
            _tell(f"fold {fold} has not been trained")
            continue
        _, apart = split(sources, fold, classes=classes)
        cases = fold_figures(trained(checkpoint), apart.pneumonia, flips=flips)
        for case in cases:
            _tell(
                f"fold {fold} {case['case']:24} lesion {case['lesion_dice']:.3f} lung {case['lung_dice']:.3f}"
            )
        folds.append({"fold": fold, "cases": cases})
    dices = [case["lesion_dice"] for fold in folds for case in fold["cases"]]
    _tell(f"mean lesion Dice of {len(dices)} cases {sum(dices) / max(len(dices), 1):.3f}")
    figures.parent.mkdir(parents=True, exist_ok=True)
    setup = asdict(Setup()) | {"threshold": THRESHOLD, "flips": flips, "classes": classes}
    figures.write_text(json.dumps({"setup": setup, "folds": folds}, indent=1) + "\n")


@app.command()
def preparations(
    data: Data,
    figures: Annotated[Path, typer.Option(help="JSON file to write.")],
    work: Work = _WORK,
) -> None:
    """Compare ways from Hounsfield units to the network, on CT series that each fold did not see."""
    rows = []
    for fold, unseen in UNSEEN_SERIES.items():
        checkpoint = _checkpoint(work, fold, True)
        if checkpoint.is_file():
            folders = sorted((data / "ct-series").glob(f"{unseen}*/"))
            volumes = [*(healthy_volume(folder) for folder in folders), phantom_volume(fold)]
            for row in preparation_figures(trained(checkpoint), volumes):
                rows.append({"fold": fold, **row})
                _tell(
                    f"fold {fold} {row['series']:28} {row['preparation']:32} "
                    f"false {row['false_percent']:5.2f} % painted {row['painted_dice']:.3f} "
                    f"lung {row['lung_dice']:.3f}"
                )
    figures.parent.mkdir(parents=True, exist_ok=True)
    figures.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


@app.command()
def export(
    package: Annotated[Path, typer.Option(help="Folder to write; made where it is not there.")] = _PACKAGE,
    work: Work = _WORK,
    fold: Annotated[int, typer.Option(min=0, max=FOLDS, help="Which network; 0 for the one of all.")] = 0,
    classes: Annotated[bool, typer.Option(help="Whether it saw the slices with classes.")] = True,
) -> None:
    """Write a package: the network as ONNX, the manifest with its digest, and a card where there is none."""
    network = trained(_checkpoint(work, fold, classes))
    graph = exported(network)
    manifest = (_TEMPLATE / "model.toml").read_text(encoding="utf-8")
    manifest = manifest.replace("PACKAGE", package.resolve().name).replace("DIGEST", digest(graph))
    package.mkdir(parents=True, exist_ok=True)
    (package / "model.onnx").write_bytes(graph)
    (package / "model.toml").write_text(manifest, encoding="utf-8")
    if not (package / "MODEL_CARD.md").exists():
        shutil.copy(_TEMPLATE / "MODEL_CARD.md", package)
    _tell(
        f"{package / 'model.onnx'}: {len(graph) / 1e6:.1f} MB, sha256 {digest(graph)}, "
        f"within {largest_difference(network, graph):.1g} of PyTorch"
    )


def _checkpoint(work: Path, fold: int, classes: bool) -> Path:
    kind = "" if classes else "-without-classes"
    return work / (f"fold-{fold}{kind}.pt" if fold else f"all{kind}.pt")


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    app()
