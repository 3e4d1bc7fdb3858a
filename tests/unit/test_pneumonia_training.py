"""How training slices for `models/pneumonia-ct` are made and kept apart; PyTorch is not needed here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.training.pneumonia_ct.augment import augmented
from models.training.pneumonia_ct.folds import FOLDS, fold_of_cases, patient_of
from models.training.pneumonia_ct.hu_slices import phantom_case
from models.training.pneumonia_ct.implants import with_lesions
from models.training.pneumonia_ct.pasting import Donor, with_pasted
from models.training.pneumonia_ct.provenance import provenance
from models.training.pneumonia_ct.sampling import Sampler, Sources, network_input, split
from models.training.pneumonia_ct.slices import (
    CONSOLIDATION,
    LESION,
    LUNG,
    SIZE,
    UNSURE,
    WINDOW,
    SliceSet,
    class_cases,
    place,
    toned,
)

CASES = {
    "coronacases_001": 159,
    "coronacases_002": 120,
    "coronacases_003": 118,
    "coronacases_005": 116,
    "coronacases_006": 70,
    "radiopaedia_10_85902_1": 11,
    "radiopaedia_10_85902_3": 118,
    "radiopaedia_29_86490_1": 3,
    "radiopaedia_29_86491_1": 9,
}


def _set(case: str, label: int = LUNG, *, lungs: bool = True, classes: bool = False) -> SliceSet:
    pictures = np.full((2, SIZE, SIZE), 128, np.uint8)
    labels = np.full((2, SIZE, SIZE), label, np.uint8)
    return SliceSet(case, pictures, labels, lungs_known=lungs, classes_known=classes)


def test_two_scans_of_one_patient_are_kept_apart_together() -> None:
    """Cases whose names differ only in the scan belong to one patient and to one fold."""
    folds = fold_of_cases(CASES)
    assert folds["radiopaedia_10_85902_1"] == folds["radiopaedia_10_85902_3"]
    assert folds["radiopaedia_29_86490_1"] == folds["radiopaedia_29_86491_1"]
    assert set(folds.values()) == set(range(1, FOLDS + 1))


@given(
    st.dictionaries(
        st.from_regex(r"(corona|radio)_[0-9]{1,2}_[0-9]", fullmatch=True), st.integers(1, 200), min_size=1
    )
)
def test_every_case_has_one_fold_and_patients_are_never_shared(cases: dict[str, int]) -> None:
    """Whatever the names and sizes, no patient stands in two folds and the order does not matter."""
    folds = fold_of_cases(cases)
    assert set(folds) == set(cases)
    assert folds == fold_of_cases(dict(reversed(cases.items())))
    of_patient: dict[str, set[int]] = {}
    for case, fold in folds.items():
        of_patient.setdefault(patient_of(case), set()).add(fold)
    assert all(len(found) == 1 for found in of_patient.values())


@pytest.mark.parametrize("fold", range(1, FOLDS + 1))
def test_nothing_of_a_fold_is_trained_on(fold: int) -> None:
    """The cases of a fold, and the CT series that it must not see, are absent from its training."""
    series = ["philips-brilliance16-5mm", "siemens-biograph40-3mm", "siemens-sensation10-b40f-8mm"]
    sources = Sources(
        pneumonia=[_set(case) for case in CASES],
        toned=[_set(case) for case in CASES],
        classes=[_set(f"class_{number}") for number in range(12)],
        series=[_set(name) for name in series],
    )
    seen, apart = split(sources, fold, classes=True)
    patients = {patient_of(case.case) for case in apart.pneumonia}
    assert patients
    assert patients.isdisjoint(patient_of(case.case) for case in [*seen.pneumonia, *seen.toned])
    assert len(seen.series) == len(series) - 1
    held = {case.case for case in apart.classes}
    assert held
    assert held.isdisjoint(case.case for case in seen.classes)
    assert split(sources, fold, classes=False)[0].classes == []


def test_all_is_trained_on_without_a_fold() -> None:
    """Fold 0, the final training, keeps nothing apart."""
    sources = Sources(pneumonia=[_set(case) for case in CASES], classes=[_set("class_1")], series=[_set("a")])
    seen, apart = split(sources, 0, classes=True)
    assert (len(seen.pneumonia), len(seen.classes), len(seen.series)) == (len(CASES), 1, 1)
    assert apart == Sources()


@pytest.mark.parametrize("values", [(1, 2), (38, 75)])
def test_class_labels_are_read_in_both_codings(tmp_path: Path, values: tuple[int, int]) -> None:
    """Ground glass and consolidation are found whether the files hold 1 and 2 or 38 and 75."""
    _write_class_slice(tmp_path, values)
    (case,) = class_cases(tmp_path)
    assert set(np.unique(case.labels)) == {0, LESION, LESION | CONSOLIDATION}
    # Rows and columns are exchanged: what stood at the right-hand edge comes to the bottom.
    rows = np.flatnonzero((case.labels[0] & CONSOLIDATION).any(axis=1))
    others = np.flatnonzero((case.labels[0] == LESION).any(axis=1))
    assert rows.min() > others.max()


def test_an_unknown_class_label_is_named(tmp_path: Path) -> None:
    """A label value without a meaning stops the training with the file's name."""
    _write_class_slice(tmp_path, (38, 99))
    with pytest.raises(ValueError, match=r"7\.png: unknown label values \[99\]"):
        class_cases(tmp_path)


def _write_class_slice(folder: Path, values: tuple[int, int]) -> None:
    for name in ("ct", "labels"):
        (folder / name).mkdir()
    picture = np.full((90, 120), 60, np.uint8)
    label = np.zeros((90, 120), np.uint8)
    label[20:60, 20:40] = values[0]
    label[20:60, 80:110] = values[1]
    cv2.imwrite(str(folder / "ct" / "7.jpg"), picture)
    cv2.imwrite(str(folder / "labels" / "7.png"), label)


def test_a_cropped_picture_keeps_its_shape_in_the_middle() -> None:
    """A picture cropped to the lungs is shown as large as lungs usually are, not stretched, centred."""
    placed = place(np.full((300, 400), 200, np.uint8), cv2.INTER_AREA)
    rows, columns = (np.flatnonzero(placed.any(axis=axis)) for axis in (1, 0))
    assert columns.size == pytest.approx(SIZE / 1.35, abs=1)
    assert rows.size / columns.size == pytest.approx(0.75, abs=0.01)
    assert rows[0] + rows[-1] == pytest.approx(SIZE - 1, abs=1)


@given(st.integers(0, 10_000))
def test_picture_and_label_move_together(seed: int) -> None:
    """Whatever the change, what is bright in the picture is what the label says."""
    label = np.zeros((SIZE, SIZE), np.uint8)
    label[70:190, 60:120] = LUNG | LESION
    picture = np.where(label > 0, 230, 20).astype(np.uint8)
    values, moved = augmented(picture, label, 192, np.random.default_rng(seed))
    assert values.shape == moved.shape == (192, 192)
    assert values.min() >= 0.0
    assert values.max() <= 1.0
    inside = cv2.erode((moved > 0).astype(np.uint8), np.ones((7, 7))) > 0
    outside = cv2.dilate((moved > 0).astype(np.uint8), np.ones((7, 7))) == 0
    assert inside.any()
    assert values[inside].mean() > values[outside].mean() + 0.3


def test_a_batch_is_the_same_each_time_and_judges_only_what_is_known() -> None:
    """A batch depends on step and seed alone; lungs, classes and unsure places weigh nothing if not known."""
    sources = Sources(
        pneumonia=[_set("coronacases_001", LUNG | LESION)],
        classes=[_set("class_1", LESION | CONSOLIDATION, lungs=False, classes=True)],
        series=[_set("philips", LUNG | UNSURE, classes=True)],
    )
    sampler = Sampler(sources, 11, 64)
    first, again, other = sampler.batch(3, 0), sampler.batch(3, 0), sampler.batch(4, 0)
    np.testing.assert_array_equal(first.pictures, again.pictures)
    assert not np.array_equal(first.pictures, other.pictures)
    assert first.pictures.shape == (11, 2, 64, 64)
    for target, weight in zip(first.targets, first.weights, strict=True):
        if target[0].any() and target[1].any():  # a published slice: lung and lesion, no classes
            assert weight[0].all()
            assert not weight[2].any()
        elif target[2].any():  # a slice with classes: lesion and class, no lungs
            assert not weight[0].any()
            np.testing.assert_array_equal(weight[2] > 0, target[1] > 0)
        elif target[0].any():  # tumour
            assert not weight[target[:1].repeat(3, 0) > 0].any()


def test_slices_with_lesions_are_drawn_three_times_out_of_four() -> None:
    """A scan with a lesion in one slice of twenty does not teach that there are none; a healthy one does."""
    labels = np.full((20, SIZE, SIZE), LUNG, np.uint8)
    labels[4, 90:120, 90:120] |= LESION
    pictures = np.full(labels.shape, 60, np.uint8)
    scan = SliceSet("scan", pictures, labels, lungs_known=True, classes_known=True)
    healthy = SliceSet("healthy", pictures, labels & LUNG, lungs_known=True, classes_known=True)
    shares = {}
    for case in (scan, healthy):
        sampler = Sampler(Sources(series=[case]), 20, 256)
        targets = np.concatenate([sampler.batch(step, 0).targets[:, 1] for step in range(6)])
        shares[case.case] = targets.any(axis=(1, 2)).mean()
    assert 0.6 < shares["scan"] < 0.9
    assert shares["healthy"] == 0.0


def test_the_network_is_told_what_a_grey_means_and_the_grey_is_kept() -> None:
    """The second channel says calibrated or not; calibrated greys move by little, others by much."""
    label = np.full((SIZE, SIZE), LUNG, np.uint8)
    picture = np.full((SIZE, SIZE), 85, np.uint8)
    means = {}
    for calibrated in (True, False):
        drawn = [
            augmented(picture, label, 64, np.random.default_rng(seed), calibrated=calibrated)[0]
            for seed in range(60)
        ]
        # Windows at the edge of the slice hold black that is no grey of the picture.
        means[calibrated] = np.array([np.median(values) for values in drawn if np.median(values) > 0.02])
        (grey, flag) = network_input(drawn[0], calibrated=calibrated)
        assert (flag == float(calibrated)).all()
        assert grey.shape == flag.shape == (64, 64)
    assert np.abs(means[True] - 85 / 255).max() < 0.08
    assert means[False].std() > 3 * means[True].std()


def test_toned_slices_have_the_densities_of_lung_and_tissue() -> None:
    """Whatever greys a slice shows, healthy lung and soft tissue come near their usual Hounsfield units."""
    label = np.zeros((2, SIZE, SIZE), np.uint8)
    label[:, 60:200, 60:120] = LUNG
    label[:, 100:140, 70:100] |= LESION
    pictures = np.zeros((2, SIZE, SIZE), np.uint8)
    for picture, (lung, lesion, tissue) in zip(pictures, ((30, 90, 140), (80, 120, 190)), strict=True):
        picture[30:230, 30:230] = tissue
        picture[60:200, 60:120] = lung
        picture[100:140, 70:100] = lesion
    case = SliceSet("corona_1", pictures, label, lungs_known=True, classes_known=False)
    shown = toned(case, seed=3)
    assert shown.calibrated
    np.testing.assert_array_equal(shown.labels, label)
    hu = WINDOW.low_hu + shown.pictures / 255.0 * (WINDOW.high_hu - WINDOW.low_hu)
    for one in hu:
        assert -905 < np.median(one[80:95, 70:110]) < -795
        assert 5 < np.median(one[100:140, 160:220]) < 65
        assert -795 < np.median(one[110:130, 78:92]) < 5


def test_painted_lesions_stay_inside_the_lungs_and_never_darken() -> None:
    """Painting adds density inside the lungs, labels what it added, and leaves the rest of the body alone."""
    hu = np.full((12, 96, 96), 40.0, np.float32)
    lungs = np.zeros(hu.shape, bool)
    lungs[:, 20:76, 20:76] = True
    hu[lungs] = -860.0
    painted, labels = with_lesions(hu, lungs, (5.0, 1.4, 1.4), 6, np.random.default_rng(2))
    assert (painted >= hu).all()
    changed = painted != hu
    assert changed.any()
    assert not changed[~_grown(lungs)].any()
    assert not (labels[~lungs]).any()
    assert (labels & LESION).any()
    assert ((labels & CONSOLIDATION) == 0)[(labels & LESION) == 0].all()
    assert painted[(labels & LESION) > 0].mean() > -800.0


def _grown(mask_zyx: np.ndarray) -> np.ndarray:
    """Grow a mask by two pixels in its slices: as far as soft edges reach."""
    return np.stack([cv2.dilate(plane.astype(np.uint8), np.ones((5, 5))) > 0 for plane in mask_zyx])


def _lesion_slice(grey: int, *, calibrated: bool = False) -> SliceSet:
    """A slice with two lungs of grey 60, in the left one a lesion of the given grey."""
    picture = np.full((1, SIZE, SIZE), 150, np.uint8)
    label = np.zeros((1, SIZE, SIZE), np.uint8)
    for columns in (slice(50, 115), slice(140, 205)):
        picture[:, 60:200, columns], label[:, 60:200, columns] = 60, LUNG
    picture[:, 100:150, 150:195] = grey
    label[:, 100:150, 150:195] |= LESION
    return SliceSet("coronacases_1", picture, label, True, classes_known=calibrated, calibrated=calibrated)


def test_pasted_lesions_lie_in_lungs_and_are_labelled() -> None:
    """Whatever is pasted is inside the lungs, brighter than before, and called lesion; the rest stays."""
    source = _lesion_slice(120)
    donors = [Donor("patient", source.pictures[0], source.labels[0], upside_down=False)]
    healthy = replace(
        source,
        case="radiopaedia_2",
        pictures=np.where(source.labels & LUNG, 60, 150).astype(np.uint8),
        labels=source.labels & LUNG,
    )
    areas = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        shown, label = with_pasted(healthy, healthy.pictures[0], healthy.labels[0], donors, rng)
        changed = shown != healthy.pictures[0]
        pasted = (label & LESION) > 0
        assert not (pasted & ((label & LUNG) == 0)).any()
        assert not (changed & ~pasted).any()
        assert (shown >= healthy.pictures[0]).all()
        areas.append(np.count_nonzero(pasted))
        if areas[-1] > 400:
            assert np.median(shown[pasted]) > 90
    assert np.median(areas) > 1000
    assert len(set(areas)) > 10


def test_pasted_consolidation_is_told_where_greys_are_densities() -> None:
    """In a scan, what is pasted as bright as consolidation gets that label, ground glass does not."""
    share = {}
    for name, grey in (("ground glass", 130), ("consolidation", 225)):
        case = _lesion_slice(grey, calibrated=True)
        donors = [Donor("patient", case.pictures[0], case.labels[0], upside_down=False)]
        healthy = replace(case, pictures=np.where(case.labels & LUNG, 60, 150).astype(np.uint8))
        rng = np.random.default_rng(4)
        _, label = with_pasted(healthy, healthy.pictures[0], case.labels[0] & LUNG, donors, rng)
        share[name] = np.count_nonzero(label & CONSOLIDATION) / np.count_nonzero(label & LESION)
    assert share["ground glass"] == 0
    assert share["consolidation"] > 0.6


def test_nothing_is_pasted_where_nothing_is_known() -> None:
    """A place that may be tumour keeps its picture and its label."""
    case = _lesion_slice(120, calibrated=True)
    donors = [Donor("patient", case.pictures[0], case.labels[0], upside_down=False)]
    unsure = (case.labels[0] & LUNG) | np.where(case.labels[0] & LUNG, UNSURE, 0).astype(np.uint8)
    shown, label = with_pasted(case, case.pictures[0], unsure, donors, np.random.default_rng(1))
    np.testing.assert_array_equal(shown, case.pictures[0])
    np.testing.assert_array_equal(label, unsure)


def test_a_fold_pastes_lesions_of_its_own_patients_only() -> None:
    """Donors are the slices that are trained on: none of a patient who is kept apart."""
    sources = Sources(
        pneumonia=[_set(case, LUNG | LESION) for case in CASES],
        toned=[_set(case, LUNG | LESION) for case in CASES],
        series=[_set("philips")],
    )
    seen, apart = split(sources, 2, classes=False)
    sampler = Sampler(seen, 6, 64)
    patients = {donor.patient for donors in sampler._donors.values() for donor in donors}
    assert patients
    assert patients.isdisjoint(patient_of(case.case) for case in apart.pneumonia)


def test_provenance_counts_patients_not_scans() -> None:
    """Two scans of one patient count once, painted copies of a scan not at all."""
    sources = Sources(
        pneumonia=[_set(case) for case in CASES],
        series=[
            _set(name) for name in ("philips-5mm", "philips-5mm", "siemens-x-b40f-8mm", "siemens-x-b70f-8mm")
        ],
    )
    found = provenance(1000, sources, {"steps": 3}, "1.0.0", "ab" * 32, "2026-01-31")
    rows = {row["data"].split(",")[0]: (row["patients"], row["slices"]) for row in found["trained_on"]}
    assert rows == {
        "COVID-19 CT Lung and Infection Segmentation (Ma et al. 2021)": (7, 2 * len(CASES)),
        "Lung-PET-CT-Dx": (2, 6),
    }
    assert (found["sha256"], found["parameters"], found["training"]) == ("ab" * 32, 1000, "steps 3")


def test_phantoms_kept_for_measuring_are_not_trained_on() -> None:
    """A seed that the benchmarks use is refused."""
    with pytest.raises(ValueError, match="kept for measuring"):
        phantom_case(20)
