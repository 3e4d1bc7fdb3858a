"""A time point as a file: exactly what was kept comes back, or an error."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.domain import BoxedMask, Lesion, LesionMask, LungMask
from core.errors import SpoolDamaged
from core.geometry import Geometry
from core.time_point import TimePoint
from custody.time_point_file import KeptFor, decode, encode
from tests.helpers.comparisons import Pair

KEPT_FOR = KeptFor("job", "series", 2, "aa" * 32, "bb" * 32)


@cache
def point() -> TimePoint:
    """Return a small time point with everything in it: lesions, tracking UIDs, results."""
    return Pair().time_point()


@cache
def content() -> bytes:
    """Return its file."""
    return encode(point(), KEPT_FOR)


def resealed(header: dict[str, Any], arrays: dict[str, NDArray[Any]] | None = None) -> bytes:
    """Return the file with another header or other arrays, and a checksum that fits."""
    members: dict[str, bytes] = {}
    if header:
        members["header.json"] = json.dumps({**written_header(), **header}).encode()
    for name, values in (arrays or {}).items():
        array = io.BytesIO()
        np.save(array, values, allow_pickle=True)
        members[name] = array.getvalue()
    return rewritten(members)


def rewritten(members: dict[str, bytes], packing: int = zipfile.ZIP_STORED) -> bytes:
    """Return the file with other members, and a checksum that fits."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content())) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            new.writestr(name, members.get(name, old.read(name)), packing)
        new.comment = b"0" * 64
    return sealed(stream.getvalue())


def sealed(file: bytes) -> bytes:
    """Return a file with the checksum that fits."""
    return file[:-64] + hashlib.sha256(file[:-64]).hexdigest().encode()


def written_header() -> dict[str, Any]:
    """Return what the header says."""
    with zipfile.ZipFile(io.BytesIO(content())) as file:
        return dict(json.loads(file.read("header.json")))


def measured(**changes: Any) -> dict[str, Any]:
    """Return a header with other measurements."""
    return {"measurements": {**written_header()["measurements"], **changes}}


def first_lesion(**changes: Any) -> dict[str, Any]:
    """Return a header whose first lesion is another one."""
    first, *others = written_header()["measurements"]["lesions"]
    return measured(lesions=[{**first, **changes}, *others])


@pytest.mark.parametrize("resealing", [False, True], ids=["as written", "by the helper of this module"])
def test_everything_comes_back(resealing: bool) -> None:
    """Facts, numbers, masks, densities, lesions' voxels, references, digest; whose it is."""
    found, kept_for = decode(resealed({}) if resealing else content())
    wanted = point()
    assert kept_for == KEPT_FOR
    for name in ("facts", "model", "measurements", "tracking_uids", "results", "digest"):
        assert getattr(found, name) == getattr(wanted, name)
    assert found.results
    assert found.tracking_uids
    for one, other in ((found.geometry, wanted.geometry), (found.density_geometry, wanted.density_geometry)):
        assert one.shape_zyx == other.shape_zyx
        assert one.frame_of_reference_uid == other.frame_of_reference_uid
        np.testing.assert_array_equal(one.affine_lps, other.affine_lps)
    np.testing.assert_array_equal(found.lungs.labels_zyx, wanted.lungs.labels_zyx)
    np.testing.assert_array_equal(found.lesions.labels_zyx, wanted.lesions.labels_zyx)
    np.testing.assert_array_equal(found.density_hu_zyx, wanted.density_hu_zyx)
    assert len(found.measurements.lesions) > 3
    for lesion, kept in zip(found.measurements.lesions, wanted.measurements.lesions, strict=True):
        assert lesion.voxels.start_zyx == tuple(kept.voxels.start_zyx)
        np.testing.assert_array_equal(lesion.voxels.mask_zyx, kept.voxels.mask_zyx)


@given(
    shape=st.tuples(*[st.integers(1, 7)] * 3),
    density_shape=st.tuples(*[st.integers(1, 7)] * 3),
    seed=st.integers(0, 2**32 - 1),
    numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=16, max_size=16),
    scanned_at=st.none() | st.datetimes(),
    text=st.text(max_size=20),
    segments=st.integers(0, 10**6),
)
def test_every_time_point_comes_back(
    shape: tuple[int, int, int],
    density_shape: tuple[int, int, int],
    seed: int,
    numbers: list[float],
    scanned_at: datetime | None,
    text: str,
    segments: int,
) -> None:
    """Any grid, densities over all of int16, any finite affine, any text, lesions in any box; to the bit."""
    random = np.random.default_rng(seed)
    start = [int(random.integers(0, length)) for length in shape]
    box = [int(random.integers(1, length - at + 1)) for at, length in zip(start, shape, strict=True)]
    frame = point().geometry.frame_of_reference_uid
    wanted = replace(
        point(),
        facts=replace(point().facts, scanned_at=scanned_at, kernel=text, slice_thickness_mm=numbers[0]),
        geometry=Geometry(np.array(numbers).reshape(4, 4), shape, frame),
        lungs=LungMask(random.integers(0, 3, shape, np.uint8)),
        lesions=LesionMask(random.integers(0, 3, shape, np.uint8), point().model),
        density_geometry=Geometry(np.array(numbers[::-1]).reshape(4, 4), density_shape, frame),
        density_hu_zyx=random.integers(-(2**15), 2**15, density_shape, np.int16),
        measurements=replace(point().measurements, lesions=(boxed(start, random.random(box) < 0.5),)),
        tracking_uids={1: text},
        results=tuple(replace(one, segments=segments) for one in point().results),
    )
    file = encode(wanted, KEPT_FOR)
    found, _ = decode(file)
    assert encode(found, KEPT_FOR) == file
    for name in ("facts", "measurements", "tracking_uids", "results"):
        assert getattr(found, name) == getattr(wanted, name)
    pairs = (
        (found.geometry.affine_lps, wanted.geometry.affine_lps),
        (found.lungs.labels_zyx, wanted.lungs.labels_zyx),
        (found.lesions.labels_zyx, wanted.lesions.labels_zyx),
        (found.density_hu_zyx, wanted.density_hu_zyx),
        (found.measurements.lesions[0].voxels.mask_zyx, wanted.measurements.lesions[0].voxels.mask_zyx),
    )
    for one, other in pairs:
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def boxed(start: list[int], mask: NDArray[np.bool_]) -> Lesion:
    """Return a lesion of these voxels."""
    z, y, x = start
    return replace(point().measurements.lesions[0], number=1, voxels=BoxedMask((z, y, x), mask))


def test_numbers_come_without_masks_where_that_is_wanted() -> None:
    """Fifty scans in a trend must not take the memory of fifty scans."""
    found, _ = decode(content(), numbers_only=True)
    assert found.measurements == point().measurements
    assert found.geometry.shape_zyx == point().geometry.shape_zyx
    assert found.digest == point().digest
    assert found.lungs.labels_zyx.size == found.lesions.labels_zyx.size == found.density_hu_zyx.size == 0


def test_a_scan_without_a_date_comes_back() -> None:
    """None stays None; a date keeps its seconds."""
    for moment in (None, datetime(2026, 3, 29, 2, 30, 59)):
        undated = replace(point(), facts=replace(point().facts, scanned_at=moment))
        assert decode(encode(undated, KEPT_FOR))[0].facts.scanned_at == moment


def test_the_same_time_point_gives_the_same_bytes() -> None:
    """What was written again after a crash has the checksum that the ledger expects."""
    assert encode(point(), KEPT_FOR) == content()


def test_other_tools_can_read_the_arrays() -> None:
    """It is a ZIP archive of .npy files."""
    with np.load(io.BytesIO(content()), allow_pickle=False) as file:
        np.testing.assert_array_equal(file["lungs"], point().lungs.labels_zyx)


@given(at=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_every_changed_bit_is_found(at: int, bit: int) -> None:
    """A disk that lies must not lead to a change that is none."""
    changed = bytearray(content())
    changed[at % len(changed)] ^= 1 << bit
    with pytest.raises(SpoolDamaged):
        decode(bytes(changed))


@given(length=st.integers(0, 10**9))
def test_a_file_that_was_cut_off_is_found(length: int) -> None:
    """Down to nothing at all."""
    with pytest.raises(SpoolDamaged):
        decode(content()[: length % len(content())])


HUGE = {"affine_lps": np.eye(4).tolist(), "shape_zyx": [10**6] * 3, "frame_of_reference_uid": ""}


def labels(value: int, dtype: type[Any] = np.uint8) -> dict[str, NDArray[Any]]:
    """Return lungs of one label everywhere."""
    return {"lungs.npy": np.full(point().geometry.shape_zyx, value, dtype)}


WRONG: dict[str, Callable[[], bytes]] = {
    "newer": lambda: resealed({"format": "lesion-node time point 99"}),
    "huge": lambda: resealed({"geometry": HUGE}),
    "empty": lambda: resealed({"geometry": {**HUGE, "shape_zyx": [1, 1, 0]}}),
    "half a voxel": lambda: resealed({"geometry": {**HUGE, "shape_zyx": [1, 1, 1.5]}}),
    "no affine": lambda: resealed({"geometry": {**HUGE, "affine_lps": [[1.0]]}}),
    "no facts": lambda: resealed({"facts": {}}),
    "facts in a list": lambda: resealed({"facts": []}),
    "no kind": lambda: resealed({"results": [{"kind": "nothing"}]}),
    "uids in a list": lambda: resealed({"tracking_uids": ["1.2"]}),
    "no text": lambda: resealed({"digest": 5}),
    "more": lambda: resealed({"more": 1}),
    "nobody's": lambda: resealed({"kept_for": {"job_id": "job"}}),
    "no number": lambda: resealed(measured(severity_score="9")),
    "not finite": lambda: resealed(measured(listed_from_ml=float("nan"))),
    "no zones": lambda: resealed(measured(zones=[])),
    "lesion outside": lambda: resealed(first_lesion(start_zyx=[10**6, 0, 0])),
    "lesion too large": lambda: resealed(first_lesion(shape_zyx=[1290, 1290, 1290])),
    "lesion without voxels": lambda: resealed(first_lesion(number=77)),
    "small": lambda: resealed({}, {"lungs.npy": np.zeros((1, 1, 1), np.uint8)}),
    "large": lambda: resealed({}, {"lungs.npy": np.zeros((200, 200, 200), np.uint8)}),
    "unknown label": lambda: resealed({}, labels(3)),
    "other type": lambda: resealed({}, labels(1, np.float64)),
    "a pickle": lambda: resealed({}, {"density.npy": np.array([object()])}),
    "no archive": lambda: sealed(b"no archive" + b"0" * 64),
    "deep": lambda: rewritten({"header.json": b"[" * 200_000}),
    "null": lambda: rewritten({"header.json": b"null"}),
    "spaces": lambda: rewritten({"header.json": b" " * 2**25}, zipfile.ZIP_DEFLATED),
    "a petabyte": lambda: rewritten({"lungs.npy": claiming(2**50)}),
    "a byte": lambda: rewritten({"lungs.npy": b"x"}),
    "bomb": lambda: rewritten({"lungs.npy": b"\0" * 2**25}, zipfile.ZIP_DEFLATED),
    "packed otherwise": lambda: rewritten({}, zipfile.ZIP_LZMA),
    "no header": lambda: sealed(content().replace(b"header.json", b"reader.json")),
    "not deflated": lambda: sealed(content()[:60] + b"\xff" * 20 + content()[80:]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_whole_and_wrong_is_refused(case: str) -> None:
    """A checksum does not make it one of ours; nothing is unpickled, and no memory taken for nonsense."""
    with pytest.raises(SpoolDamaged, match="cannot be read"):
        decode(WRONG[case]())


def claiming(length: int) -> bytes:
    """Return a `.npy` file that says it has so many bytes, and has none."""
    stream = io.BytesIO()
    values = {"descr": "|u1", "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(stream, values)
    return stream.getvalue()
