"""Write the measured parts of a model card from its figures, so that no number is copied by hand.

    python -m benchmarks.model_card models/NAME [--check]

Between ``<!-- begin:NAME -->`` and ``<!-- end:NAME -->`` in MODEL_CARD.md stands what a function of
`card_sections` makes of a file in the package's folder `figures/`:

================  =====================  ==========================================================
section           file                   written by
================  =====================  ==========================================================
cross-validation  cross-validation.json  training, see below
external          external.json          python -m benchmarks.unseen_slices --json
series, kernels   series.json            python -m benchmarks.series --json
implants          implants.json          python -m benchmarks.implants --json
phantom           phantom.json           python -m benchmarks.phantom_lesions --json
unseen            unseen.json            python -m benchmarks.unseen --json
preparations      preparations.json      python -m models.training.pneumonia_ct preparations
classes           classes.json           python -m models.training.pneumonia_ct classes
variants          variants.json          python -m models.training.pneumonia_ct variants
spacing           spacing.json           python -m benchmarks.spacing --json
repeatability     repeatability.json     python -m benchmarks.repeatability --json FILE
speed             speed.json             python -m benchmarks.inference --json
provenance        provenance.json        training, see below
================  =====================  ==========================================================

cross-validation.json::

    {"setup": {key: value}, "folds": [{"fold": 1, "cases": [{"case", "slices", "lesion_dice", "lung_dice",
     "sensitivity", "precision", "percent_error"}]}]}

provenance.json::

    {"name", "version", "sha256", "date": "2026-01-31",
     "trained_on": [{"data", "patients": number or null, "slices", "licence"}],
     optionally "parameters": number, "training": a sentence}

Figures that name another model file than the package's are not written. Exit status 1 where a section could
not be written, or, with --check, where the card is not what its figures say.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import card_choices, card_repeatability, card_sections, card_unseen
from core.errors import ModelError
from inference.model_package import CARD_FILE, load_package

_FIGURES = "figures"
_MARKER = re.compile(r"<!-- (begin|end):([a-z-]+) -->")


@dataclass(frozen=True, slots=True)
class Section:
    """One measured part of a card.

    Parameters
    ----------
    file
        Name of its figures, without ``.json``.
    render
        From their content to Markdown.
    shipped
        Whether the figures are of the package's own model file; else of one that was not trained on what it
        is judged by.
    """

    file: str
    render: Callable[[card_sections.Figures], str]
    shipped: bool = True


SECTIONS = {
    "cross-validation": Section("cross-validation", card_sections.cross_validation),
    "external": Section("external", card_unseen.external, shipped=False),
    "series": Section("series", card_sections.series),
    "kernels": Section("series", card_sections.kernels),
    "implants": Section("implants", card_sections.implants),
    "phantom": Section("phantom", card_sections.phantom),
    "unseen": Section("unseen", card_unseen.unseen, shipped=False),
    "preparations": Section("preparations", card_choices.preparations),
    "classes": Section("classes", card_choices.classes),
    "variants": Section("variants", card_choices.variants),
    "spacing": Section("spacing", card_choices.spacing),
    "repeatability": Section("repeatability", card_repeatability.repeatability),
    "speed": Section("speed", card_sections.speed),
    "provenance": Section("provenance", card_sections.provenance),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the card of a package; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.model_card", description="Write the measured parts of a model card."
    )
    parser.add_argument("package", type=Path, help="folder of the model package")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail where the card is out of date"
    )
    options = parser.parse_args(arguments)
    try:
        package = load_package(options.package)
    except ModelError as error:
        print(error, file=sys.stderr)
        return 1
    card = options.package / CARD_FILE
    text = card.read_text(encoding="utf-8")
    wanted, faults = written(text, options.package / _FIGURES, package.manifest.sha256)
    if wanted != text:
        if options.check:
            faults.append(f"{card} is out of date; run python -m benchmarks.model_card {options.package}")
        else:
            card.write_text(wanted, encoding="utf-8")
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def written(card: str, folder: Path, sha256: str) -> tuple[str, list[str]]:
    """Write the measured parts of a card.

    Parameters
    ----------
    card
        Its text.
    folder
        Where its figures are.
    sha256
        Digest of the package's model file.

    Returns
    -------
    str
        The text with every section that could be written; the others are as they were.
    list of str
        What is wrong with the others, one sentence each.
    """
    faults: list[str] = []
    pieces: list[str] = []
    end = 0
    seen = set()
    for name, start, stop in _marked(card, faults):
        seen.add(name)
        body = _rendered(name, folder, sha256, faults)
        pieces += [card[end:start], card[start:stop] if body is None else f"\n{body}\n"]
        end = stop
    faults += [
        f"{path}: no section of the card shows it; add <!-- begin:{name} --> and <!-- end:{name} -->"
        for name, section in SECTIONS.items()
        if name not in seen and (path := folder / f"{section.file}.json").is_file()
    ]
    return "".join([*pieces, card[end:]]), faults


def _marked(card: str, faults: list[str]) -> list[tuple[str, int, int]]:
    """Return name, start and end of what stands between each pair of markers."""
    found: list[tuple[str, int, int]] = []
    opened: re.Match[str] | None = None
    for marker in _MARKER.finditer(card):
        kind, name = marker.groups()
        if kind == "begin" and opened is None:
            opened = marker
        elif kind == "end" and opened is not None and opened[2] == name:
            found.append((name, opened.end(), marker.start()))
            opened = None
        else:
            faults.append(f"{CARD_FILE}: {marker[0]} does not belong to the marker before it")
            return []
    if opened is not None:
        faults.append(f"{CARD_FILE}: {opened[0]} has no end")
        return []
    return found


def _rendered(name: str, folder: Path, sha256: str, faults: list[str]) -> str | None:
    """Return a section's text; None and a fault where there is none."""
    section = SECTIONS.get(name)
    if section is None:
        faults.append(f"{CARD_FILE}: no section is called {name}; there are {', '.join(SECTIONS)}")
        return None
    path = folder / f"{section.file}.json"
    try:
        figures: Any = json.loads(path.read_text(encoding="utf-8"))
        measured = (
            figures["sha256"] if "sha256" in figures else figures.get("model", {}).get("sha256", sha256)
        )
        if section.shipped and measured != sha256:
            faults.append(
                f"{path}: measured with another model file ({measured[:12]}…, this one is {sha256[:12]}…); "
                f"measure again"
            )
            return None
        return section.render(figures)
    except FileNotFoundError:
        faults.append(f"{path}: not found, but the card has a section {name}")
    except (OSError, ValueError) as error:
        faults.append(f"{path}: cannot be read: {error}")
    except (KeyError, TypeError, AttributeError) as error:
        faults.append(f"{path}: not the figures of {name}: {type(error).__name__} {error}")
    return None


if __name__ == "__main__":
    sys.exit(main())
