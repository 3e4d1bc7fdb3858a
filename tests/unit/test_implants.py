"""The measurements on lesions of known volume and on CT series: what goes in is what is counted."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from benchmarks import implants, phantom_lesions, series
from benchmarks.implant_imaging import box_around, share_in_voxels
from benchmarks.implant_judgement import judge
from benchmarks.implanting import (
    SIZES_ML,
    TARGET_HU,
    Density,
    Host,
    Implant,
    Place,
    Wanted,
    implanted,
    place_lesions,
)
from benchmarks.opened import open_model
from benchmarks.phantom_patients import Scan, lesion_mask, scans
from core.domain import FINDING_LABEL, CtVolume, LesionClass, LungMask, Side
from core.errors import ModelIntegrity
from core.geometry import Geometry
from lesionnode.phantom.dicom import write_phantom
from lesionnode.phantom.generate import generate_phantom
from lesionnode.phantom.lesions import PlacedLesion
from lesionnode.phantom.patient import Patient
from lesionnode.phantom.spec import Phantom, PhantomLesion, PhantomSpec

#: Thin slices with gaps between them: the quickest phantom with a whole chest.
HEALTHY = PhantomSpec(
    shape_zyx=(60, 160, 160),
    spacing_zyx_mm=(5.0, 2.2, 2.2),
    slice_thickness_mm=1.3,
    lesions=(),
    noise_sd_hu=25.0,
)
WANTED = [Wanted(density, size, place) for density, size, place in zip(
    (Density.CONSOLIDATION, Density.GROUND_GLASS, Density.FAINT_GROUND_GLASS, Density.GROUND_GLASS),
    ("10–50", "10–50", "3–10", "1–3"),
    (Place.SUBPLEURAL, Place.CENTRAL, Place.CENTRAL, Place.SUBPLEURAL),
    strict=True,
)]  # fmt: skip


@pytest.fixture(scope="module")
def healthy() -> Phantom:
    """A patient without lesions."""
    return generate_phantom(HEALTHY)


@pytest.fixture(scope="module")
def host(healthy: Phantom) -> Host:
    """The patient as lesions are put into it."""
    volume = CtVolume(healthy.hu_zyx, healthy.geometry, (), ())
    return Host.of(volume, LungMask(healthy.truth.lungs_zyx))


@pytest.fixture(scope="module")
def placed(host: Host) -> list[Implant]:
    """Four lesions of chosen density and size."""
    return place_lesions(host, WANTED, np.random.default_rng(5))


def body(
    centre_mm: tuple[float, ...], radii_mm: tuple[float, ...], irregularity: float = 0.0
) -> PlacedLesion:
    """An ellipsoid at a place of the patient."""
    lesion = PhantomLesion(LesionClass.GROUND_GLASS, Side.RIGHT, 0.5, 0.5, 0.5, radii_mm, irregularity)
    return PlacedLesion(lesion, centre_mm, radii_mm, (1,))


# --- imaging ----------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(
    st.tuples(*[st.floats(5.0, 16.0)] * 3),
    st.tuples(*[st.floats(-3.0, 3.0)] * 3),
    st.tuples(st.floats(0.8, 8.0), st.floats(0.6, 1.5)),
    st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    st.permutations([0, 1, 2]),
)
def test_a_lesion_keeps_its_volume_on_every_grid(
    radii: tuple[float, ...],
    centre: tuple[float, ...],
    spacing: tuple[float, float],
    signs: tuple[float, ...],
    axes: list[int],
) -> None:
    """The shares of the voxels add up to the ellipsoid's own volume, in any orientation and thickness."""
    spacing_zyx = np.array([spacing[0], spacing[1], spacing[1]])
    shape = tuple(int(length) for length in np.ceil(70.0 / spacing_zyx))
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, axes] * (spacing_zyx * signs)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    volume = CtVolume(np.zeros(shape, np.int16), Geometry(affine, shape, ""), (), ())
    one = body(centre, radii)
    share = share_in_voxels(volume, one, box_around(volume, one))
    expected_ml = 4.0 / 3.0 * math.pi * math.prod(radii) / 1000.0
    assert float(share.sum()) * volume.geometry.voxel_ml == pytest.approx(expected_ml, rel=0.04)
    assert share.min() >= 0.0
    assert share.max() <= 1.0 + 1e-5


def test_nothing_changes_outside_the_lungs_and_nothing_becomes_darker(
    host: Host, placed: list[Implant]
) -> None:
    """Only lung, and 2 mm of partial volume around it, is touched; the host's own voxels stay as they are."""
    before = host.volume.hu_zyx.copy()
    after = implanted(host, placed).hu_zyx
    np.testing.assert_array_equal(host.volume.hu_zyx, before)
    assert np.count_nonzero(after != before) > 1000
    assert (after >= before).all()
    touched = np.zeros(before.shape, bool)
    for implant in placed:
        touched[implant.box] = True
    assert not (after != before)[~touched].any()
    away_mm = ndimage.distance_transform_edt(~host.lungs_zyx, sampling=(1e3, *HEALTHY.spacing_zyx_mm[1:]))
    assert not (after != before)[away_mm > 2.5].any()


def test_density_noise_and_vessels_are_as_asked_for(host: Host, placed: list[Implant]) -> None:
    """Inside, the median is the target, the noise is the scan's, and blood stays blood."""
    after = implanted(host, placed).hu_zyx
    for implant in placed:
        inside = implant.share_zyx > 0.97
        old, new = host.volume.hu_zyx[implant.box][inside], after[implant.box][inside]
        parenchyma = old < -700
        assert np.median(new[parenchyma]) == pytest.approx(implant.target_hu, abs=25)
        assert np.std(new[parenchyma]) > 0.7 * np.std(old[parenchyma])
        assert new.max() < 250
    glass = next(one for one in placed if one.wanted == WANTED[1])
    old = host.volume.hu_zyx[glass.box][glass.share_zyx > 0.97]
    new = after[glass.box][glass.share_zyx > 0.97]
    vessel = old > -400
    assert vessel.any()
    assert new[vessel].mean() > new[~vessel].mean() + 100


# --- placing ----------------------------------------------------------------------------------------------


def test_lesions_have_the_size_and_density_asked_for(placed: list[Implant], host: Host) -> None:
    """The known volume is the sum of the shares inside the lungs and lies in its class."""
    assert sorted(one.wanted.size for one in placed) == sorted(one.size for one in WANTED)
    for implant in placed:
        low_ml, high_ml = SIZES_ML[implant.wanted.size]
        assert low_ml <= implant.volume_ml < high_ml
        total = float(implant.share_zyx.sum()) * host.volume.geometry.voxel_ml
        assert implant.volume_ml == pytest.approx(total, rel=1e-5)
        assert not implant.share_zyx[~host.lungs_zyx[implant.box]].any()
        low_hu, high_hu = TARGET_HU[implant.wanted.density]
        assert low_hu <= implant.target_hu <= high_hu


def test_lesions_stay_apart(placed: list[Implant], host: Host) -> None:
    """Grown by 4 mm they are still as many as were placed."""
    together = np.zeros(host.lungs_zyx.shape, bool)
    for implant in placed:
        together[implant.box] |= implant.share_zyx >= 0.5
    away_mm = ndimage.distance_transform_edt(~together, sampling=HEALTHY.spacing_zyx_mm)
    _, count = ndimage.label(away_mm <= 4.0)
    assert count == len(placed) == len(WANTED)


def test_the_seed_decides_everything(host: Host, placed: list[Implant]) -> None:
    """The same seed gives the same voxels, another one others."""
    first, again, other = (
        implanted(host, lesions).hu_zyx
        for lesions in (
            placed,
            place_lesions(host, WANTED, np.random.default_rng(5)),
            place_lesions(host, WANTED, np.random.default_rng(6)),
        )
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


# --- judging ----------------------------------------------------------------------------------------------


def test_a_perfect_model_a_blind_one_and_a_marked_place(host: Host, placed: list[Implant]) -> None:
    """Marking the lesion is detection with its volume; marking nothing is 0 ml; marked before is no test."""
    for implant in placed:
        nothing = np.zeros(host.lungs_zyx.shape, np.uint8)
        exact = nothing.copy()
        label = FINDING_LABEL[implant.wanted.density.finding]
        exact[implant.box][implant.share_zyx >= 0.5] = label
        found = judge(implant, nothing, exact, host.volume)
        assert found is not None
        assert found["detected"]
        assert found["correct_share"] == 1.0
        assert found["found_ml"] == pytest.approx(implant.volume_ml, rel=0.25)
        missed = judge(implant, nothing, nothing, host.volume)
        assert missed is not None
        assert (missed["detected"], missed["found_ml"], missed["correct_share"]) == (False, 0.0, None)
        assert judge(implant, exact, exact, host.volume) is None


def test_marks_far_away_are_not_counted(host: Host, placed: list[Implant]) -> None:
    """What a model marks elsewhere in the lungs adds nothing to a lesion's volume."""
    nothing = np.zeros(host.lungs_zyx.shape, np.uint8)
    everywhere = host.lungs_zyx.astype(np.uint8)
    found = judge(placed[0], nothing, everywhere, host.volume)
    assert found is not None
    radius_mm = (placed[0].volume_ml * 750.0 / math.pi) ** (1.0 / 3.0)
    # A ball that is 3 mm and half a voxel diagonal larger, made generous for the irregular surface.
    assert (
        placed[0].volume_ml < found["found_ml"] < placed[0].volume_ml * ((radius_mm + 6.5) / radius_mm) ** 3
    )


# --- the phantoms -----------------------------------------------------------------------------------------


def test_the_phantoms_of_a_seed_are_always_the_same() -> None:
    """Default, varied and healthy; three seeds see all slice distances, four all positions."""
    assert [scan.kind for scan in scans(3)] == ["default", "varied", "healthy"]
    assert scans(3) == scans(3)
    varied = [scans(seed)[1].spec for seed in (1, 2, 3, 4)]
    assert {spec.spacing_zyx_mm[0] for spec in varied} == {1.0, 2.5, 5.0}
    assert len({spec.patient_position for spec in varied}) == 4
    assert all(spec.lesions for spec in varied)
    assert scans(3)[2].spec.lesions == ()


def test_the_mask_of_a_phantom_lesion_has_its_volume() -> None:
    """Also in a small patient who lies prone, feet first, every voxel is where the lesion is."""
    spec = replace(
        HEALTHY,
        lesions=scans(2)[0].spec.lesions,
        size=0.9,
        patient_position=scans(2)[1].spec.patient_position,
    )
    phantom = generate_phantom(spec)
    for truth, one in zip(phantom.truth.lesions, Patient.of(spec).lesions, strict=True):
        _, mask = lesion_mask(phantom, one)
        assert np.count_nonzero(mask) * phantom.geometry.voxel_ml == pytest.approx(truth.volume_ml, rel=0.1)


def test_a_phantom_is_measured_against_its_truth() -> None:
    """Densitometry finds a large ground-glass lesion and next to nothing else."""
    lesion = PhantomLesion(LesionClass.GROUND_GLASS, Side.RIGHT, 0.5, 0.6, 0.8, (30.0, 30.0, 30.0))
    model = open_model("densitometry", threads=1)
    row = phantom_lesions.measure(
        model, Scan("default", replace(HEALTHY, lesions=(lesion,), noise_sd_hu=15.0))
    )
    assert (row["lesions"], row["detected"]) == (1, 1)
    assert 0.8 * row["truth_ml"]["total"] < row["found_ml"]["total"] < 1.7 * row["truth_ml"]["total"]
    error = 100.0 * (row["found_ml"]["total"] / row["truth_ml"]["total"] - 1.0)
    assert row["burden_error_percent"] == pytest.approx(error, abs=0.2)
    assert row["burden_percent"]["right"] == pytest.approx(row["truth_percent"]["right"], abs=2.5)
    assert row["burden_percent"]["left"] < 1.5
    assert row["truth_ml"]["consolidation"] == 0.0
    all_of_them = phantom_lesions.summary([row])
    assert all_of_them["sensitivity"] == 1.0
    assert all_of_them["consolidation_error_percent"] is None
    assert all_of_them["healthy_burden_percent"] is None


def test_only_the_seeds_kept_for_measuring_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """A seed that a model may have been trained on is refused."""
    with pytest.raises(SystemExit):
        phantom_lesions.main(["--model", "densitometry", "--seeds", "1,1000"])
    assert "from 1 to 20" in capsys.readouterr().err


# --- the commands -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose scans are phantoms: one with contours, two kernels, and a stub."""
    folder = tmp_path_factory.mktemp("data")
    root = folder / "ct-series"
    lesion = PhantomLesion(LesionClass.CONSOLIDATION, Side.LEFT, 0.5, 0.6, 0.6, (26.0, 26.0, 26.0))
    drawn = generate_phantom(replace(HEALTHY, lesions=(lesion,)))
    write_phantom(root / "siemens-biograph40-3mm", drawn)
    labels = np.where(drawn.truth.lesions_zyx > 0, 3, drawn.truth.lungs_zyx).astype(np.uint8)
    np.savez(root / "siemens-biograph40-3mm-lungs.npz", labels_zyx=labels)
    for name, noise_seed in (("siemens-sensation10-b70f-8mm", 1), ("siemens-sensation10-b40f-8mm", 2)):
        write_phantom(
            root / name, generate_phantom(replace(HEALTHY, lesions=(lesion,), noise_seed=noise_seed))
        )
    write_phantom(root / "short", generate_phantom(replace(HEALTHY, shape_zyx=(3, 160, 160))))
    return folder


def test_series_are_measured_and_refusals_told(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lungs and tumour are judged against the contours, kernels against each other, a stub is refused."""
    assert series.main(["--model", "densitometry", "--data", str(data), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    rows = {row["series"]: row for row in figures["series"]}
    assert rows["short"]["refused"]
    assert rows["short"]["burden_ml"] is None
    assert rows["siemens-biograph40-3mm"]["refused"] is None
    expert = figures["expert"]
    assert min(expert["dice"].values()) > 0.95
    assert expert["inside_percent_of_tumour"] > 90
    assert expert["outside_percent_of_lung"] < 1
    parts = expert["burden_inside_tumour_ml"] + expert["burden_outside_tumour_ml"]
    assert parts == pytest.approx(rows["siemens-biograph40-3mm"]["burden_ml"], abs=0.3)
    kernels = figures["kernels"]
    assert kernels["lungs_dice"] > 0.98
    assert abs(kernels["difference_points"]) < 0.5
    series.print_figures(figures)
    printed = capsys.readouterr().out
    assert "short was refused" in printed
    assert "…  " not in printed


def test_implants_are_measured_from_files(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table counts every lesion once, and the same command gives the same figures."""
    command = [
        "--model",
        "densitometry",
        "--data",
        str(data),
        "--only",
        "siemens-biograph",
        "--runs",
        "1",
        "--json",
    ]
    outputs = []
    for _ in range(2):
        assert implants.main(command) == 0
        outputs.append(json.loads(capsys.readouterr().out))
    assert outputs[0] == outputs[1]
    figures = outputs[0]
    assert figures["series"] == ["siemens-biograph40-3mm"]
    for groups in (figures["cells"], figures["places"], figures["by_series"]):
        assert sum(group["n"] for group in groups) == len(figures["lesions"])
    assert 5 <= len(figures["lesions"]) + figures["not_judged"] <= 8
    large = [cell for cell in figures["cells"] if cell["size"] in ("10–50", ">50") and cell["n"]]
    assert all(cell["sensitivity"] == 1.0 for cell in large if cell["density"] != "faint_ground_glass")
    implants.print_figures(figures)
    assert "faint ground glass" in capsys.readouterr().out


def test_what_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No data and no model end with status 2 and a sentence, not with a traceback."""
    for command in (series.main, implants.main):
        assert command(["--model", "densitometry", "--data", str(tmp_path)]) == 2
        assert "No CT series" in capsys.readouterr().err
    assert phantom_lesions.main(["--model", "no-such-model"]) == 2
    assert "no-such-model" in capsys.readouterr().err
    with pytest.raises(ModelIntegrity, match="no model package is there"):
        open_model(str(tmp_path))
