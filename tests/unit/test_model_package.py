"""Model packages: what is checked before a model may see a patient."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from core.errors import ModelIntegrity, ModelNotLicensed
from inference.manifest import Manifest
from inference.model_check import check_package
from inference.model_package import (
    find_packages,
    load_package,
    require_licence,
    shipped_models_folder,
)
from inference.onnx_graph import read_header
from tests.helpers.packages import AS_PICTURES, TinyModel, slice_model, tiny_package, write_package


def faults_of(folder: Path) -> list[str]:
    """Load a package that must not load; return its faults."""
    with pytest.raises(ModelIntegrity) as caught:
        load_package(folder)
    return str(caught.value).splitlines()


def test_every_shipped_package_is_sound() -> None:
    """What comes with the product passes its own check."""
    packages = find_packages([shipped_models_folder()])
    assert "densitometry" in packages
    assert [fault for folder in packages.values() for fault in check_package(folder)] == []


def test_a_sound_package_loads(tmp_path: Path) -> None:
    """The manifest's values arrive unchanged."""
    package = tiny_package(tmp_path / "tiny", TinyModel(patch_zyx=(4, 6, 8), batch=3))
    assert package.manifest.input.tensor_shape == (3, 1, 4, 6, 8)
    assert [step.step for step in package.manifest.input.preparation] == ["clip", "rescale"]


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    """A misspelt key, a wrong digest's file and a missing card do not hide one another."""
    folder = write_package(tmp_path / "tiny", TinyModel(extra='colour = "blue"'))
    (folder / "MODEL_CARD.md").unlink()
    (folder / "model.onnx").unlink()
    text = "\n".join(faults_of(folder))
    assert "input.colour: no such key" in text
    assert "MODEL_CARD.md: not found" in text
    assert "model.onnx: not found" in text


def test_a_changed_model_is_not_loaded(tmp_path: Path) -> None:
    """One changed byte is found, with both digests and what to do."""
    folder = write_package(tmp_path / "tiny")
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")
    (fault,) = faults_of(folder)
    assert "sha256: found" in fault
    assert "wanted" in fault
    assert "restore the file" in fault


def test_a_model_changed_after_loading_is_not_opened(tmp_path: Path) -> None:
    """The bytes that are run are the bytes that were verified."""
    package = tiny_package(tmp_path / "tiny")
    (package.folder / "model.onnx").write_bytes(b"something else")
    with pytest.raises(ModelIntegrity, match="sha256"):
        package.model_bytes()


@pytest.mark.parametrize(
    ("replace", "words"),
    [
        ({'name = "tiny"': 'name = "huge"'}, 'wanted "tiny" as the folder is called'),
        ({"patch_zyx = [8, 16, 16]": "patch_zyx = [8, 0, 16]"}, "input.patch_zyx.1: found 0"),
        ({'axes = "NCZYX"': 'axes = "NCYX"'}, "axes NCYX take one slice"),
        ({'step = "clip"': 'step = "magic"'}, "input.preparation.0"),
        ({"low_hu = -1024": "low_hu = 2000"}, "low_hu (2000) must lie below high_hu (1024)"),
        ({"from = [-1024, 1024]": "from = [5, 5]"}, "from must be an interval"),
        ({'finding = "ground_glass"': 'finding = "fluff"'}, "output.labels.0.finding: found fluff"),
        ({"channel = 0": "channel = 1"}, "channel 1 does not exist"),
        ({'activation = "none"': 'activation = "softmax"'}, "softmax needs a background channel"),
        ({"age_min_years = 18": "age_min_years = 99"}, "age_min_years lies above age_max_years"),
        ({'version = "1.0"': ""}, "version: not found, but needed"),
        ({"channels = 1\nspacing": "channels = 3\nspacing"}, "input.channels: found 3"),
        ({"threshold = 0.5": "threshold = nan"}, "output.threshold"),
        ({"[licence]": "[licence"}, "not valid TOML"),
    ],
)
def test_a_faulty_manifest_names_the_key(tmp_path: Path, replace: dict[str, str], words: str) -> None:
    """Each fault says where it is, what was found and what is wanted."""
    folder = write_package(tmp_path / "tiny", TinyModel(replace=replace))
    assert any(words in fault for fault in faults_of(folder)), faults_of(folder)


def test_a_slice_model_with_lungs_passes_the_check(tmp_path: Path) -> None:
    """Fitted squares, pictures and the decision by density are a sound package; its keys arrive."""
    folder = write_package(tmp_path / "tiny", slice_model(preparation=AS_PICTURES, lesion_from_hu=-800))
    assert check_package(folder) == []
    output = load_package(folder).manifest.output
    assert (output.lesion_channels, output.lung_channel, output.consolidation_channel) == ((1,), 0, 2)
    assert output.lesion_from_hu == -800


@pytest.mark.parametrize(
    ("replace", "words"),
    [
        ({"field_of_view = 1.0": ""}, 'in_plane = "fit" needs it'),
        ({"field_of_view = 1.0": "field_of_view = 0.9"}, "input.field_of_view: found 0.9"),
        ({'in_plane = "fit"': 'in_plane = "native"'}, "any other spacing forbids it"),
        ({'in_plane = "fit"': 'in_plane = "fitted"'}, "in_plane"),
        ({'axes = "NCYX"': 'axes = "NCZYX"'}, "shows whole slices, write NCYX"),
        ({"patch_zyx = [1, 64, 64]": "patch_zyx = [1, 64, 48]"}, "shows a square, found 64 rows of 48"),
        ({'finding = "ground_glass"': 'finding = "consolidation"'}, "two channels have the same finding"),
        ({'channel = 1\nfinding = "cons': 'channel = 0\nfinding = "cons'}, "all with the same channel"),
        ({'decision = "density"': 'decision = "sum"'}, "a channel has two labels"),
        ({"lung_channel = 0": "lung_channel = 3"}, "lung_channel: channel 3 does not exist"),
        ({"lung_channel = 0": "lung_channel = 1"}, "a channel has two meanings"),
        ({"consolidation_channel = 2": "consolidation_channel = 0"}, "a channel has two meanings"),
        ({"lung_channel = 0": "lung_channel = 0\nlesion_from_hu = 5"}, "output.lesion_from_hu: found 5"),
        ({'activation = "none"': 'activation = "softmax"'}, "diseased lung is lung too"),
    ],
)
def test_a_faulty_slice_manifest_names_the_key(tmp_path: Path, replace: dict[str, str], words: str) -> None:
    """Keys of fitted squares, lungs and density stand together or not at all."""
    model = slice_model()
    folder = write_package(tmp_path / "tiny", slice_model(replace={**model.replace, **replace}))
    assert any(words in fault for fault in faults_of(folder)), faults_of(folder)


def test_density_keys_without_density_are_a_fault(tmp_path: Path) -> None:
    """A key that would have no effect is told, not ignored."""
    extra = {"threshold = 0.5": "threshold = 0.5\nlesion_from_hu = -800"}
    folder = write_package(tmp_path / "tiny", TinyModel(replace=extra))
    assert 'lesion_from_hu: only with decision "density"' in faults_of(folder)[0]


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    """A mistyped path is no stack trace."""
    assert "no such folder" in check_package(tmp_path / "nowhere")[0]
    (tmp_path / "empty").mkdir()
    assert "model.toml: not found" in "\n".join(check_package(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (TinyModel(output="other", nodes=[helper.make_node("Identity", ["x"], ["other"])]), "output.name"),
        (TinyModel(replace={'name = "x"': 'name = "image"'}), "input.name: found x; the manifest says image"),
        (
            TinyModel(
                channels=2,
                nodes=[helper.make_node("Concat", ["x", "x"], ["y"], axis=1)],
                replace={"channels = 2": "channels = 3"},
            ),
            "found shape ['n', 2, 'z', 'h', 'w'], the manifest leads to [1, 3, 8, 16, 16]",
        ),
        (TinyModel(element=TensorProto.DOUBLE), "found tensor(double), wanted tensor(float)"),
        (TinyModel(opset=10), "found opset 10, wanted 11 or later"),
        (
            TinyModel(
                nodes=[
                    helper.make_node("Neg", ["x"], ["n"]),
                    helper.make_node("Exp", ["n"], ["e"]),
                    helper.make_node("Add", ["e", "e"], ["y"]),
                ]
            ),
            'set activation to "sigmoid" or "softmax"',
        ),
        (
            TinyModel(nodes=[helper.make_node("Log", ["x"], ["y"])]),
            "holds values that are not numbers",
        ),
    ],
)
def test_the_graph_is_compared_with_the_manifest(tmp_path: Path, model: TinyModel, words: str) -> None:
    """Names, channels, element types, opset and a run on one patch."""
    faults = check_package(write_package(tmp_path / "tiny", model))
    assert any(words in fault for fault in faults), faults


def test_a_file_that_is_no_model_is_told(tmp_path: Path) -> None:
    """Even with the right digest."""
    folder = write_package(tmp_path / "tiny")
    content = b"this is not a model"
    (folder / "model.onnx").write_bytes(content)
    wanted = faults_of(folder)[0].split("sha256: found ")[1].split(",")[0]
    text = (folder / "model.toml").read_text(encoding="utf-8")
    old = load_manifest_digest(text)
    (folder / "model.toml").write_text(text.replace(old, wanted), encoding="utf-8")
    assert "not an ONNX file" in "\n".join(check_package(folder))


def load_manifest_digest(text: str) -> str:
    """Cut the digest out of a manifest."""
    return text.split('sha256 = "')[1].split('"')[0]


@given(st.binary(max_size=64))
def test_any_bytes_give_a_header_or_a_value_error(content: bytes) -> None:
    """The small protobuf reader never leaves its message, whatever it is given."""
    try:
        header = read_header(content)
    except ValueError:
        return
    assert isinstance(header.ir_version, int)


def test_the_header_is_read(tmp_path: Path) -> None:
    """Opset and IR version are those that were written."""
    header = read_header(tiny_package(tmp_path / "tiny", TinyModel(opset=15)).model_bytes())
    assert (header.ir_version, header.opsets) == (8, {"": 15})


def test_a_sites_package_stands_in_for_a_shipped_one(tmp_path: Path) -> None:
    """The earlier folder wins; missing folders and stray files do no harm."""
    for parent in ("site", "shipped"):
        write_package(tmp_path / parent / "tiny")
    write_package(tmp_path / "shipped" / "other")
    (tmp_path / "shipped" / "training").mkdir()
    found = find_packages([tmp_path / "site", tmp_path / "absent", tmp_path / "shipped"])
    assert found == {"other": tmp_path / "shipped" / "other", "tiny": tmp_path / "site" / "tiny"}


def test_a_restricted_licence_must_be_accepted_by_name(tmp_path: Path) -> None:
    """The message holds the line to write; the accepted and the unrestricted pass."""
    package = tiny_package(tmp_path / "tiny", TinyModel(restriction="research"))
    with pytest.raises(ModelNotLicensed, match='accept_licence = "research"'):
        require_licence(package, frozenset())
    require_licence(package, frozenset({"research"}))
    require_licence(tiny_package(tmp_path / "free"), frozenset())


def test_identity_names_the_very_model(tmp_path: Path) -> None:
    """SEG and SR get name, version, digest, family and whether results are for research only."""
    package = tiny_package(tmp_path / "tiny")
    identity = package.identity("threshold 0.5")
    assert (identity.name, identity.version, identity.manufacturer) == ("Test model", "1.0", "Nobody")
    assert identity.sha256 == package.manifest.sha256
    assert identity.family_code == ("123110", "DCM", "Artificial Intelligence")
    assert identity.parameters == "threshold 0.5"
    assert identity.research_only


def test_manifest_is_frozen_and_closed() -> None:
    """Nothing can be set after loading, nothing unknown can be said."""
    assert Manifest.model_config["frozen"]
    assert Manifest.model_config["extra"] == "forbid"
