"""`python -m benchmarks.accuracy`: figures of painted slices whose answer is known."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks import unseen_slices
from benchmarks.accuracy.__main__ import main
from benchmarks.accuracy.orientation import Orientation
from benchmarks.metrics import Overlap, dice, spread
from tests.helpers.packages import TinyModel, write_package

ROOT = Path(__file__).parents[2]
EDGE = 64
#: Grey of the body, of healthy lung, and of the two findings.
BODY, AIR, GLASS, DENSE = 230, 40, 110, 180

Picture = NDArray[np.uint8]
Box = tuple[int, int, int, int]

GLASS_BOX: Box = (36, 50, 40, 52)
DENSE_BOX: Box = (40, 44, 44, 48)

_PREPARATION = """[[input.preparation]]
step = "clip"
low_hu = -1024
high_hu = 1024

[[input.preparation]]
step = "rescale"
from = [-1024, 1024]
to = [0, 1]
"""
_SLICE_PREPARATION = """[[input.preparation]]
step = "stretch"

[[input.preparation]]
step = "equalise"
clip_limit = 0.01
tiles = 1

[[input.preparation]]
step = "rescale"
from = [0, 255]
to = [0, 1]
"""
_SECOND_LABEL = """[[output.labels]]
channel = 1
finding = "consolidation"
category = { value = "49755003", scheme = "SCT", meaning = "Morphologically Altered Structure" }
type = { value = "3415004", scheme = "SCT", meaning = "Consolidation" }

[algorithm]"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slice model that names what it sees by its grey.

    Channels: lung, lesion, consolidation. It sees lesion in the lower right quarter only, so that slices
    which stand in another way cost it the lesion.
    """
    quarter = np.zeros((1, 1, EDGE, EDGE), np.float32)
    quarter[..., EDGE // 2 :, EDGE // 2 :] = 1.0
    limits = {"black": 20.0, "low": 75.0, "middle": 145.0, "high": 205.0}
    nodes = [
        helper.make_node("Less", ["x", "high"], ["is_below"]),
        helper.make_node("Greater", ["x", "black"], ["is_above"]),
        helper.make_node("And", ["is_below", "is_above"], ["is_lung"]),
        helper.make_node("Greater", ["x", "low"], ["is_dark"]),
        helper.make_node("Greater", ["x", "middle"], ["is_dense"]),
        helper.make_node("And", ["is_lung", "is_dark"], ["is_lesion"]),
        *(
            helper.make_node("Cast", [f"is_{name}"], [name], to=TensorProto.FLOAT)
            for name in ("lung", "lesion", "dense")
        ),
        helper.make_node("Mul", ["lesion", "quarter"], ["seen"]),
        helper.make_node("Concat", ["lung", "seen", "dense"], ["y"], axis=1),
    ]
    constants = [numpy_helper.from_array(quarter, "quarter")]
    constants += [
        numpy_helper.from_array(np.array(grey / 255, np.float32), name) for name, grey in limits.items()
    ]
    model = TinyModel(
        nodes,
        constants,
        axes="NCYX",
        patch_zyx=(1, EDGE, EDGE),
        batch=2,
        spacing=('"native"', '"fit"'),
        extra="field_of_view = 1.35",
        channels=3,
        label_channel=1,
        restriction="research",
        replace={
            'decision = "each"': 'decision = "density"\nlung_channel = 0\nconsolidation_channel = 2',
            _PREPARATION: _SLICE_PREPARATION,
            "[algorithm]": _SECOND_LABEL,
        },
    )
    return write_package(tmp_path_factory.mktemp("models") / "greys", model)


# --- slices -----------------------------------------------------------------------------------------------


def filled(box: Box | None) -> NDArray[np.bool_]:
    """A mask that holds one box: first and last row, first and last column."""
    mask = np.zeros((EDGE, EDGE), dtype=bool)
    if box is not None:
        mask[box[0] : box[1], box[2] : box[3]] = True
    return mask


LUNG = filled((10, 54, 6, 28)) | filled((10, 54, 36, 58))


def painted(glass: Box | None = GLASS_BOX, dense: Box | None = None) -> Picture:
    """A slice with two lungs, spine at the bottom, and a lesion in the lower right quarter."""
    picture = np.where(LUNG, AIR, BODY).astype(np.uint8)
    picture[filled(glass)] = GLASS
    picture[filled(dense)] = DENSE
    picture[0, 0], picture[0, 1] = 0, 255  # so that stretching changes nothing
    return picture


def write_picture(path: Path, values: NDArray[Any]) -> None:
    """Write a picture in the format that its name tells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.ascontiguousarray(values).astype(np.uint8))


def write_lesions(
    folder: Path, cases: dict[str, Sequence[tuple[Picture, NDArray[np.bool_]]]], *, lungs: bool = True
) -> Path:
    """Write a folder of whole slices: each a picture and its true lesion."""
    lines = ["file,case"]
    for case, slices in cases.items():
        for picture, lesion in slices:
            file = f"{len(lines) - 1:04d}.png"
            lines.append(f"{file},{case}")
            write_picture(folder / "ct" / file, picture)
            write_picture(folder / "lesions" / file, lesion * 255)
            if lungs:
                write_picture(folder / "lungs" / file, LUNG * 255)
    (folder / "cases.csv").write_text("\n".join(lines) + "\n")
    return folder


def one_slice(folder: Path) -> Path:
    """Write the smallest folder of whole slices."""
    return write_lesions(folder, {"a": [(painted(), filled(GLASS_BOX))]})


def write_labels(folder: Path, slices: Sequence[tuple[Picture, NDArray[Any]]]) -> Path:
    """Write a folder of labelled pictures, rows and columns exchanged as in the published ones."""
    for number, (picture, labels) in enumerate(slices):
        write_picture(folder / "ct" / f"{number}.png", picture.T)
        write_picture(folder / "labels" / f"{number}.png", labels.T)
    return folder


def measured(
    capsys: pytest.CaptureFixture[str], package: Path, folder: Path, *options: str
) -> dict[str, Any]:
    """Run the command; return what it prints."""
    assert main(["--slices", str(folder), "--model", str(package), "--json", *options]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


# --- whole slices -----------------------------------------------------------------------------------------


def test_a_model_that_is_right_everywhere_gets_full_marks(
    tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dice, sensitivity and precision are 1 and the percentage has no error; the report says what was run."""
    right = (painted(), filled(GLASS_BOX))
    folder = write_lesions(tmp_path / "slices", {"a": [right, right, right], "b": [right]})
    report = measured(capsys, package, folder)
    share = 100.0 * filled(GLASS_BOX).sum() / LUNG.sum()
    assert [(case["case"], case["slices"]) for case in report["cases"]] == [("a", 3), ("b", 1)]
    for case in report["cases"]:
        names = ("lesion_dice", "lung_dice", "sensitivity", "precision")
        assert [case[name] for name in names] == [1.0, 1.0, 1.0, 1.0]
        assert case["percent_truth"] == pytest.approx(share, abs=1e-5)
        assert case["percent_error"] == 0.0
    assert report["summary"]["lesion_dice"] == {"n": 2, "mean": 1.0, "median": 1.0, "sd": 0.0}
    assert report["slices"] == 4
    assert report["ms_per_slice"] > 0.0
    assert (report["folder"], report["kind"]) == ("slices", "lesions")
    model = report["model"]
    assert (model["name"], model["version"], model["restriction"]) == ("greys", "1.0", "research")
    assert f'sha256 = "{model["sha256"]}"' in (package / "model.toml").read_text()
    assert model["provider"] == "CPUExecutionProvider"
    assert model["licence"] == "No commercial use."


def test_figures_are_taken_over_all_voxels_of_a_case(
    tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A big slice counts more than a small one, and cases count alike."""
    small: Box = (36, 40, 40, 44)
    wrong = (painted(small), filled((36, 40, 40, 42)))  # half of what is found is true
    right = (painted(), filled(GLASS_BOX))
    folder = write_lesions(tmp_path, {"mixed": [wrong, right], "wrong": [wrong]})
    report = measured(capsys, package, folder)
    voxels = int(filled(GLASS_BOX).sum())
    dices = [2 * (8 + voxels) / (8 + voxels + 16 + voxels), 2 * 8 / 24]
    assert [case["lesion_dice"] for case in report["cases"]] == pytest.approx(dices, abs=1e-5)
    assert report["cases"][1]["precision"] == 0.5
    assert report["cases"][1]["sensitivity"] == 1.0
    assert report["cases"][1]["percent_error"] == pytest.approx(100 * 8 / LUNG.sum(), abs=1e-5)
    assert report["summary"]["lesion_dice"]["mean"] == pytest.approx(sum(dices) / 2, abs=1e-5)
    pooled = 2 * (16 + voxels) / (16 + voxels + 32 + voxels)
    assert report["pooled"]["lesion_dice"] == pytest.approx(pooled, abs=1e-5)


def test_a_slice_without_lesion_in_which_nothing_is_found_is_right(
    tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dice of two empty masks is 1; sensitivity and precision are not defined, and not averaged."""
    folder = write_lesions(tmp_path, {"healthy": [(painted(None), filled(None))]})
    report = measured(capsys, package, folder)
    case = report["cases"][0]
    assert (case["lesion_dice"], case["percent_error"]) == (1.0, 0.0)
    assert case["sensitivity"] is None
    assert case["precision"] is None
    assert "sensitivity" not in report["summary"]
    assert report["summary"]["lesion_dice"] == {"n": 1, "mean": 1.0, "median": 1.0, "sd": None}


def test_without_lung_masks_lesions_are_measured_all_the_same(
    tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no lungs are known, lung Dice and percentages are null."""
    folder = write_lesions(tmp_path, {"a": [(painted(), filled(GLASS_BOX))]}, lungs=False)
    case = measured(capsys, package, folder)["cases"][0]
    assert case["lesion_dice"] == 1.0
    assert [case[name] for name in ("lung_dice", "percent_truth", "percent_error")] == [None] * 3


def test_masks_may_hold_ones_or_be_jpegs_and_other_files_are_left_alone(
    tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """0/1 PNG and JPEG masks read like 0/255 PNG masks; files that nothing names are counted or ignored."""
    folder = one_slice(tmp_path)
    write_picture(folder / "lesions" / "0000.png", filled(GLASS_BOX))
    (folder / "lungs" / "0000.png").unlink()
    write_picture(folder / "lungs" / "0000.JPG", LUNG * 255)
    write_picture(folder / "ct" / "9999.png", painted())
    (folder / "ct" / "Thumbs.db").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("nothing")
    assert main(["--slices", str(folder), "--model", str(package), "--json"]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert report["cases"][0]["lesion_dice"] == 1.0
    assert report["cases"][0]["lung_dice"] > 0.98
    assert report["left_out"] == 1
    assert printed.err.startswith("1 picture ")


def test_cases_that_stand_upside_down_are_put_upright(
    tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The published cases with the spine at the top are turned by their names, unless told not to."""
    upside_down = (painted()[::-1], filled(GLASS_BOX)[::-1])
    folder = write_lesions(tmp_path, {"radiopaedia_1": [upside_down], "b": [(painted(), filled(GLASS_BOX))]})
    report = measured(capsys, package, folder)
    assert [case["lesion_dice"] for case in report["cases"]] == [1.0, 1.0]
    report = measured(capsys, package, folder, "--upside-down", "")
    assert [case["lesion_dice"] for case in report["cases"]] == [0.0, 1.0]


def test_options_reach_the_model(tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Turning, mirroring, size and threshold are as the command line says, and stand in the report."""
    sideways = (np.rot90(painted()[:, ::-1], -1), np.rot90(filled(GLASS_BOX)[:, ::-1], -1))
    folder = write_lesions(tmp_path, {"a": [sideways]}, lungs=False)
    report = measured(capsys, package, folder, "--rotate", "90", "--mirror", "--threshold", "0.25")
    assert report["cases"][0]["lesion_dice"] == 1.0
    assert report["orientation"] == {"upside_down": "radiopaedia_*", "rotate": 90, "mirror": True}
    assert report["threshold"] == 0.25
    smaller = measured(capsys, package, folder, "--rotate", "90", "--mirror", "--fit", "0.7")
    assert smaller["fit"] == 0.7
    assert 0.6 < smaller["cases"][0]["lesion_dice"] < 1.0


# --- labelled pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("glass", "dense"), [(1, 2), (38, 75)])
def test_labels_of_both_spellings_are_judged_by_class(
    glass: int, dense: int, tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each picture is a case; classes are averaged over the slices that have them, and pooled over all."""
    only_glass = glass * filled(GLASS_BOX)
    both = np.where(filled(DENSE_BOX), dense, only_glass)
    # The last picture has consolidation that the truth calls ground glass.
    slices = [
        (painted(), only_glass),
        (painted(dense=DENSE_BOX), both),
        (painted(dense=DENSE_BOX), only_glass),
    ]
    report = measured(capsys, package, write_labels(tmp_path, slices), "--fit", "1")
    assert report["kind"] == "labels"
    assert report["orientation"] == {"upside_down": "", "rotate": 270, "mirror": True}
    assert [case["case"] for case in report["cases"]] == ["0", "1", "2"]
    assert [case["lesion_dice"] for case in report["cases"]] == pytest.approx([1.0, 1.0, 1.0], abs=0.02)
    voxels, core = int(filled(GLASS_BOX).sum()), int(filled(DENSE_BOX).sum())
    wrong = 2 * (voxels - core) / (2 * voxels - core)
    dices = [case["ground_glass_dice"] for case in report["cases"]]
    assert dices == pytest.approx([1.0, 1.0, wrong], abs=0.02)
    assert report["cases"][0]["consolidation_dice"] is None
    assert report["summary"]["consolidation_dice"]["n"] == 1
    assert report["summary"]["ground_glass_dice"]["n"] == 3
    assert report["pooled"]["consolidation_dice"] == pytest.approx(2 * core / (3 * core), abs=0.02)
    assert "lung_dice" not in report["summary"]


def test_labelled_pictures_are_shown_smaller_by_themselves(
    tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pictures that were cropped to the lungs take 1/1.35 of what the model sees."""
    report = measured(capsys, package, write_labels(tmp_path, [(painted(), 1 * filled(GLASS_BOX))]))
    assert report["fit"] == pytest.approx(1 / 1.35, abs=1e-6)
    assert report["equalised"] is False


# --- what cannot be measured ------------------------------------------------------------------------------


def _other_size(folder: Path) -> None:
    write_picture(folder / "lesions" / "0000.png", filled(GLASS_BOX)[:50])


def _grey_mask(folder: Path) -> None:
    write_picture(folder / "lesions" / "0000.png", filled(GLASS_BOX) * 38)


def _no_picture(folder: Path) -> None:
    (folder / "ct" / "0000.png").write_bytes(b"\x89PNG but no more")


def _empty_picture(folder: Path) -> None:
    (folder / "ct" / "0000.png").write_bytes(b"")


def _missing_picture(folder: Path) -> None:
    (folder / "cases.csv").write_text("file,case\n0000.png,a\n0007.png,a\n")


def _missing_table(folder: Path) -> None:
    (folder / "cases.csv").unlink()


def _empty_table(folder: Path) -> None:
    (folder / "cases.csv").write_text("file,case\n")


def _other_columns(folder: Path) -> None:
    (folder / "cases.csv").write_text("name,patient\n0000.png,a\n")


def _nameless_case(folder: Path) -> None:
    (folder / "cases.csv").write_text("file,case\n0000.png,\n")


def _twice(folder: Path) -> None:
    (folder / "cases.csv").write_text("file,case\n0000.png,a\n0000.png,b\n")


def _binary_table(folder: Path) -> None:
    (folder / "cases.csv").write_bytes(b"\xff\xfe\x00\x00file,case")


def _no_masks(folder: Path) -> None:
    (folder / "lesions").rename(folder / "infections")


def _some_lungs(folder: Path) -> None:
    write_lesions(folder, {"a": [(painted(), filled(GLASS_BOX))] * 2})
    (folder / "lungs" / "0001.png").unlink()


def _unknown_labels(folder: Path) -> None:
    (folder / "cases.csv").unlink()
    (folder / "lesions").rename(folder / "labels")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_other_size, ("lesions/0000.png", "50 rows × 64 columns", "64 rows × 64 columns")),
        (_grey_mask, ("lesions/0000.png", "0 and 255", "found 0, 38")),
        (_no_picture, ("ct/0000.png", "not a picture")),
        (_empty_picture, ("ct/0000.png", "not a picture")),
        (_missing_picture, ("ct: no picture 0007.png", "cases.csv")),
        (_missing_table, ("cases.csv: not found", "file and case")),
        (_empty_table, ("no picture with a mask",)),
        (_other_columns, ("columns file and case", "found name, patient")),
        (_nameless_case, ("cases.csv: entry 2", "empty")),
        (_twice, ("cases.csv: entry 3", "0000.png is listed twice")),
        (_binary_table, ("cases.csv: cannot be read as a table",)),
        (_no_masks, ("ct and labels", "found cases.csv, ct, infections, lungs")),
        (_some_lungs, ("lungs: no picture 0001.png",)),
        (_unknown_labels, ("labels/0000.png", "found 0, 255")),
    ],
)
def test_a_folder_that_cannot_be_measured_is_told_in_words(
    spoil: Callable[[Path], None],
    words: Sequence[str],
    tmp_path: Path,
    package: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The message names the file, what was found and what is wanted; the exit status is 2."""
    folder = one_slice(tmp_path)
    spoil(folder)
    assert main(["--slices", str(folder), "--model", str(package), "--json"]) == 2
    printed = capsys.readouterr()
    assert [word for word in words if word not in printed.err] == []
    assert printed.out == ""


@pytest.mark.parametrize("name", ["", "none"])
def test_an_empty_or_absent_folder_is_told(
    name: str, tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2 and the folder's name."""
    folder = tmp_path / name
    assert main(["--slices", str(folder), "--model", str(package)]) == 2
    assert str(folder) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "words"), [("nosuch", 'no model package "nosuch"'), ("densitometry", "slice")]
)
def test_a_model_that_cannot_be_measured_is_told(
    model: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A package that is not installed, and one that takes blocks instead of slices, end with status 2."""
    assert main(["--slices", str(one_slice(tmp_path)), "--model", model]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--fit=0", "--fit=1.2", "--fit=nan", "--threshold=1", "--rotate=45"])
def test_options_out_of_range_are_refused(option: str, tmp_path: Path) -> None:
    """Exit status 2 before anything is read."""
    with pytest.raises(SystemExit) as end:
        main(["--slices", str(tmp_path), "--model", "densitometry", option])
    assert end.value.code == 2


# --- several models ---------------------------------------------------------------------------------------


def test_models_of_a_cross_validation_are_averaged(
    tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that is right and one that finds nothing: their mean, their range, and each by itself."""
    blind = tmp_path / "blind"
    shutil.copytree(package, blind)
    manifest = (blind / "model.toml").read_text().replace(f'name = "{package.name}"', 'name = "blind"', 1)
    # Where it looks for lesions there is only what is dense, of which the slice has nothing.
    manifest = manifest.replace("consolidation_channel = 2\n", "").replace("channel = 1\n", "channel = 2\n")
    (blind / "model.toml").write_text(manifest)
    folder = one_slice(tmp_path / "data")
    command = ["--slices", str(folder), str(package), str(blind)]
    assert unseen_slices.main([*command, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    right, nothing = (model["summary"]["lesion_dice"]["mean"] for model in figures["models"])
    assert right > 0.95
    assert nothing == 0
    assert figures["summary"]["lesion_dice"] == {
        "mean": pytest.approx(right / 2, abs=1e-3),
        "smallest": 0,
        "largest": pytest.approx(right, abs=1e-3),
    }
    assert [model["name"] for model in figures["models"]] == [package.name, "blind"]
    assert unseen_slices.main(command) == 0
    assert "lesion_dice" in capsys.readouterr().out


def test_slices_that_several_models_cannot_use_are_told(
    tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder without slices ends with status 2 and its name."""
    assert unseen_slices.main(["--slices", str(tmp_path / "none"), str(package)]) == 2
    assert "none" in capsys.readouterr().err


# --- the command and its table ----------------------------------------------------------------------------


def test_the_command_prints_one_json_object(tmp_path: Path, package: Path) -> None:
    """Run as people run it, standard output is one JSON object and nothing else."""
    command = [sys.executable, "-m", "benchmarks.accuracy", "--slices", str(one_slice(tmp_path)), "--json"]
    ended = subprocess.run(
        [*command, "--model", str(package)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["cases"][0]["lesion_dice"] == 1.0


def test_the_table_has_a_line_for_every_case_and_the_averages(
    tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cases, mean, median and sd stand below one another; the terms of the model stand above."""
    right, healthy = (painted(), filled(GLASS_BOX)), (painted(None), filled(None))
    folder = write_lesions(tmp_path, {"patient-1": [right], "patient-2": [healthy]})
    assert main(["--slices", str(folder), "--model", str(package)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("greys 1.0" in line for line in lines)
    assert "No commercial use." in lines
    firsts = [line.split()[0] for line in lines if line.strip()]
    at = firsts.index("patient-1")
    assert firsts[at : at + 5] == ["patient-1", "patient-2", "mean", "median", "sd"]
    row = next(line.split() for line in lines if line.startswith("patient-2"))
    assert row[1:] == ["1", "1.000", "1.000", "–", "–", "0.0", "0.0", "0.0"]


# --- measures and turns -----------------------------------------------------------------------------------

_masks = hnp.arrays(bool, (4, 5))


@given(_masks, _masks)
def test_dice_is_symmetric_and_a_share(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> None:
    """Dice lies between 0 and 1, is 1 for equal masks only, and does not care which mask is the truth."""
    assert 0.0 <= dice(one, other) <= 1.0
    assert dice(one, other) == dice(other, one)
    assert (dice(one, other) == 1.0) == bool((one == other).all())


@given(_masks, _masks, _masks, _masks)
def test_overlaps_add_up_like_masks_laid_together(
    one: NDArray[np.bool_], two: NDArray[np.bool_], three: NDArray[np.bool_], four: NDArray[np.bool_]
) -> None:
    """Counts of two slices, added, are the counts of both slices as one."""
    whole = Overlap.of(np.stack([one, three]), np.stack([two, four]))
    assert Overlap.of(one, two) + Overlap.of(three, four) == whole


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8))
def test_spread_leaves_out_what_is_not_defined(values: list[float | None]) -> None:
    """Number, mean and sd are those of the defined values; too few of them give None."""
    known = [value for value in values if value is not None]
    found = spread(values)
    assert found["n"] == len(known)
    assert (found["mean"] is None) == (not known)
    assert (found["sd"] is None) == (len(known) < 2)
    if known:
        assert found["mean"] == pytest.approx(np.mean(known))
        assert found["median"] == pytest.approx(np.median(known))
    if len(known) > 1:
        assert found["sd"] == pytest.approx(np.std(known, ddof=1))


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)))
def test_turning_labelled_pictures_exchanges_rows_and_columns(picture: Picture) -> None:
    """What is done to labelled pictures by default is exactly the exchange of rows and columns."""
    assert np.array_equal(Orientation(rotate=270, mirror=True).apply(picture, "1"), picture.T)


@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)),
    st.sampled_from([0, 90, 180, 270]),
)
def test_turns_are_counter_clockwise(picture: Picture, rotate: int) -> None:
    """The pixel at the right end of the first row comes to the corner that a turn to the left takes it to."""
    turned = Orientation(rotate=rotate).apply(picture, "1")
    corner = {0: (0, -1), 90: (0, 0), 180: (-1, 0), 270: (-1, -1)}[rotate]
    assert turned[corner] == picture[0, -1]
