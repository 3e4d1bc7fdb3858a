"""The parts of a model card that are figures: one function each, from a JSON file's content to Markdown.

Layouts of the files: `benchmarks.accuracy`, `benchmarks.inference`, `benchmarks.series`,
`benchmarks.implants` and `benchmarks.phantom_lesions` print theirs; those of `cross-validation.json` and
`provenance.json` stand in `benchmarks.model_card`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks.metrics import spread

Figures = Mapping[str, Any]

_NONE = "–"
#: Figures as the tables call them.
NAMES = {
    "lesion_dice": "lesion, Dice",
    "lung_dice": "lung, Dice",
    "sensitivity": "lesion, sensitivity",
    "precision": "lesion, precision",
    "percent_error": "percent of lung, absolute error in points",
    "ground_glass_dice": "ground glass, Dice",
    "consolidation_dice": "consolidation, Dice",
    "faint_ground_glass": "faint ground glass",
    "ground_glass": "ground glass",
    "consolidation": "consolidation",
}


def cross_validation(figures: Figures) -> str:
    """Every patient, judged by the network that never saw it; averages below."""
    keys = ("lesion_dice", "lung_dice", "sensitivity", "precision", "percent_error")
    cases = [case | {"fold": fold["fold"]} for fold in figures["folds"] for case in fold["cases"]]
    rows = [
        [case["case"], str(case["slices"]), str(case["fold"]), *(_figure(key, case[key]) for key in keys)]
        for case in cases
    ]
    averages = {key: spread(case[key] for case in cases) for key in keys}
    rows.append(["**mean ± sd**", "", "", *(_mean_sd(key, averages[key]) for key in keys)])
    rows.append(["median", "", "", *(_figure(key, averages[key]["median"]) for key in keys)])
    heads = [
        "case",
        "slices",
        "fold",
        "lesion Dice",
        "lung Dice",
        "sensitivity",
        "precision",
        "error, points",
    ]
    setup = [f"{key} {value}" for key, value in figures.get("setup", {}).items() if _is_plain(value)]
    closing = f"\n\nSetup: {', '.join(setup)}." if setup else ""
    return markdown_table(heads, rows) + closing


def series(figures: Figures) -> str:
    """What is marked in whole series of patients without labelled pneumonia."""
    heads = ["series", "slices", "lungs, ml", "marked, ml", "of lung", "ground glass", "consolidation", "s"]
    rows = []
    for one in figures["series"]:
        name = [one["series"], str(one["slices"])]
        if one["refused"] is not None:
            rows.append([*name, f"refused: {one['refused']}", *[_NONE] * 5])
            continue
        lungs = f"{one['lungs_ml']['right']:,.0f} + {one['lungs_ml']['left']:,.0f}"
        volumes = [_ml(one[key]) for key in ("ground_glass_ml", "consolidation_ml")]
        share = f"{one['burden_percent']:.1f} %"
        rows.append([*name, lungs, _ml(one["burden_ml"]), share, *volumes, f"{one['seconds']:.1f}"])
    table = markdown_table(heads, rows)
    expert = figures["expert"]
    if expert is None:
        return table
    return (
        f"{table}\n\nAgainst the contours that come with {expert['series']}: lungs' Dice right "
        f"{expert['dice']['right']:.3f}, left {expert['dice']['left']:.3f}; of the tumour "
        f"({_ml(expert['tumour_ml'])} ml) {expert['inside_percent_of_tumour']:.0f} % is marked; "
        f"outside it and its surroundings of 5 mm {_ml(expert['burden_outside_tumour_ml'])} ml, "
        f"{expert['outside_percent_of_lung']:.2f} % of the lungs."
    )


def kernels(figures: Figures) -> str:
    """Two reconstructions of one scan."""
    pair = figures["kernels"]
    if pair is None:
        return "Not measured."
    burden = pair["burden_percent"]
    return (
        f"One scan, two kernels: {burden['sharp']:.1f} % of the lungs with the lung kernel "
        f"({pair['sharp']}), {burden['soft']:.1f} % with the soft one ({pair['soft']}): "
        f"{_signed(pair['difference_points'], 1)} points, "
        f"{_signed(pair['difference_relative_percent'], 0)} %. "
        f"Dice of both pairs of lungs {pair['lungs_dice']:.3f}."
    )


def implants(figures: Figures) -> str:
    """Lesions of known volume in real series, by size and density."""
    cells = {(cell["density"], cell["size"]): cell for cell in figures["cells"]}
    densities = list(dict.fromkeys(cell["density"] for cell in figures["cells"]))
    sizes = list(dict.fromkeys(cell["size"] for cell in figures["cells"]))
    heads = ["", *(f"{size} ml" for size in sizes)]

    def by_density(show: Callable[[Figures], str]) -> str:
        return markdown_table(
            heads,
            (
                [
                    NAMES[density],
                    *(show(cells[density, size]) if (density, size) in cells else _NONE for size in sizes),
                ]
                for density in densities
            ),
        )

    right = [
        f"{NAMES[one['density']]} {100 * one['correct_share']:.0f} %"
        for one in figures["classes"]
        if one["correct_share"] is not None
    ]
    return (
        f"Found, of all implanted lesions:\n\n{by_density(_found)}\n\n"
        f"Error of the volume, median (quartiles); a missed lesion counts as −100 %:\n\n"
        f"{by_density(lambda cell: _quartiles(cell['volume_error_percent']))}\n\n"
        f"Voxels found that carry the right finding: {', '.join(right) or 'none found'}."
    )


def phantom(figures: Figures) -> str:
    """Synthetic chests with known truth."""
    heads = [
        "chest",
        "seed",
        "slices",
        "position",
        "kernel",
        "found",
        "true share",
        "found share",
        "error of volume",
    ]
    rows = [
        [
            one["kind"],
            str(one["seed"]),
            f"{one['spacing_mm']:g} mm",
            one["position"],
            one["kernel"],
            f"{one['detected']} of {one['lesions']}",
            f"{one['truth_percent']['both']:.1f} %",
            f"{one['burden_percent']['both']:.1f} %",
            _NONE if one["burden_error_percent"] is None else f"{_signed(one['burden_error_percent'], 1)} %",
        ]
        for one in figures["phantoms"]
    ]
    summary = figures["summary"]
    healthy = summary["healthy_burden_percent"]
    closing = [
        f"{_quotient(summary['sensitivity'])} of {summary['lesions']} lesions above 1 ml found",
        f"error of the total volume {_quartiles(summary['burden_error_percent'])}",
        f"of ground glass {_quartiles(summary['ground_glass_error_percent'])}",
        f"of consolidation {_quartiles(summary['consolidation_error_percent'])} (medians, quartiles)",
    ]
    if healthy is not None:
        closing.append(
            f"without lesions {healthy['mean']:.2f} % of the lungs are marked, "
            f"at most {healthy['largest']:.2f} %"
        )
    return f"{markdown_table(heads, rows)}\n\n{'; '.join(closing)}."


def speed(figures: Figures) -> str:
    """Milliseconds of the graph, seconds of a whole volume, memory."""
    rows = [
        [str(one["threads"]), f"{one['ms_per_run']:.1f}", f"{one['ms_per_slice']:.1f}"]
        for one in figures["session"]
    ]
    volume, machine = figures["volume"], figures["machine"]
    edges = " × ".join(str(edge) for edge in figures["patch"]["zyx"])
    return (
        markdown_table(
            ["threads", f"ms a run of {figures['patch']['batch']} × ({edges})", "ms a slice"], rows
        )
        + f"\n\n{volume['slices']} slices of 512 × 512 at {volume['spacing_zyx_mm'][0]:g} mm: lesions in "
        f"{volume['segment_s']:.1f} s, after {volume['lungs_s']:.1f} s for the lungs; "
        f"{volume['peak_mib']} MiB at most, volume and model included. "
        f"{machine['cpus']} cores, {machine['processor']}."
    )


def provenance(figures: Figures) -> str:
    """Name, version, digest and date of the file that the figures belong to, and what it was trained on."""
    facts = [
        ("model", f"{figures['name']} {figures['version']}"),
        ("digest of model.onnx", f"`{figures['sha256']}`"),
        ("date", figures["date"]),
    ]
    if "parameters" in figures:
        facts.append(("parameters", f"{figures['parameters']:,}"))
    if "training" in figures:
        facts.append(("training", figures["training"]))
    table = markdown_table(["", ""], ([name, value] for name, value in facts))
    rows = [
        [
            one["data"],
            _NONE if one["patients"] is None else str(one["patients"]),
            str(one["slices"]),
            one["licence"],
        ]
        for one in figures["trained_on"]
    ]
    return f"{table}\n\n{markdown_table(['trained on', 'patients', 'slices', 'licence'], rows)}"


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _figure(key: str, value: float | None) -> str:
    """Show a share with three decimals, points with one."""
    if value is None:
        return _NONE
    return f"{value:.1f}" if key == "percent_error" else f"{value:.3f}"


def _mean_sd(key: str, values: Mapping[str, Any]) -> str:
    sd = "" if values["sd"] is None else f" ± {_figure(key, values['sd'])}"
    return f"**{_figure(key, values['mean'])}**{sd}"


def _found(cell: Figures) -> str:
    return f"{cell['detected']} of {cell['n']}" if cell["n"] else _NONE


def _quotient(share: float | None) -> str:
    return _NONE if share is None else f"{100 * share:.0f} %"


def _quartiles(values: Mapping[str, float] | None) -> str:
    if values is None:
        return _NONE
    low, high = (_signed(values[key], 0) for key in ("q1", "q3"))
    return f"{_signed(values['median'], 0)} % ({low}…{high})"


def _signed(value: float | None, decimals: int) -> str:
    """Show a difference with its sign, 0 without one."""
    if value is None:
        return _NONE
    rounded = round(value, decimals)
    return f"{rounded:+.{decimals}f}".replace("-", "−") if rounded else f"{0:.{decimals}f}"


def _ml(value: float) -> str:
    """Show a volume: small ones with a decimal."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)
