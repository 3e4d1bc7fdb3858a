"""Walking a data set: a whole one is whole, a cut one is noticed, and nothing a stranger sends can hurt."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from scp import dataset_walk
from scp.dataset_walk import walk
from tests.helpers.instances import ct_image, encoded

PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
EVERY = (*PLAIN, DeflatedExplicitVRLittleEndian, JPEG2000Lossless)

_EVEN_BYTES = st.binary(max_size=24).map(lambda data: data + b"\0" * (-len(data) % 8))
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("AE", "SH", "LO", "CS", "LT", "ST", "UT", "UC", "PN"), st.just("A B") | st.just("")),
    **dict.fromkeys(("OB", "OD", "OF", "OL", "OV", "OW", "UN"), _EVEN_BYTES),
    **dict.fromkeys(("US", "UL", "UV"), st.integers(0, 65535)),
    **dict.fromkeys(("SS", "SL", "SV"), st.integers(-32768, 32767)),
    **dict.fromkeys(("FL", "FD"), st.floats(-1e3, 1e3, width=32)),
    "AS": st.just("045Y"),
    "AT": st.just(0x00100010),
    "DA": st.just("20240131"),
    "DS": st.just("1.5"),
    "DT": st.just("20240131120000"),
    "IS": st.just("7"),
    "TM": st.just("1200"),
    "UI": st.just("1.2.840"),
    "UR": st.just("http://example.org"),
}


@st.composite
def datasets(draw: st.DrawFn, depth: int = 3) -> Dataset:
    """Draw a data set with elements of any VR and nested sequences; private, so that any VR is right."""
    ds = Dataset()
    vrs = [*_VALUES, "SQ", "SQ"] if depth else [*_VALUES]
    for vr in draw(st.lists(st.sampled_from(vrs), max_size=6)):
        group = draw(st.sampled_from((0x0009, 0x0029, 0x0041, 0x7FDF)))
        tag = group << 16 | draw(st.integers(0x1000, 0x10FF))
        if vr != "SQ":
            ds[tag] = DataElement(tag, vr, draw(_VALUES[vr]))
            continue
        items = draw(st.lists(datasets(depth=depth - 1), max_size=3))
        for item in items:
            item.is_undefined_length_sequence_item = draw(st.booleans())
        element = DataElement(tag, "SQ", Sequence(items))
        element.is_undefined_length = draw(st.booleans())
        ds[tag] = element
    return ds


def boundaries(ds: Dataset, syntax: str) -> list[int]:
    """Return the byte offsets between the top-level elements, 0 and the end included."""
    part = Dataset()
    offsets = [0]
    for element in ds:
        part[element.tag] = element
        offsets.append(len(encoded(part, syntax)))
    return offsets


@given(datasets(), st.sampled_from(EVERY), st.booleans())
@settings(max_examples=150)
def test_a_whole_data_set_has_no_fault(ds: Dataset, syntax: str, with_pixels: bool) -> None:
    """Whatever elements it has and however it is encoded, a whole data set is whole; pixels begin at 7FE0."""
    start_of_pixels = len(encoded(ds, ExplicitVRLittleEndian if syntax in EVERY[3:] else syntax))
    if with_pixels and syntax == JPEG2000Lossless:
        ds.PixelData = encapsulate([b"\xff\x4f" * 9, b"\xff\x4f"])
        ds["PixelData"].is_undefined_length = True
    elif with_pixels:
        ds.add_new(0x7FE00010, "OW", b"\1\2" * 8)
    walked = walk(encoded(ds, syntax), syntax)
    assert walked.fault is None
    assert walked.header_end == start_of_pixels
    assert walked.implicit_vr is (syntax == ImplicitVRLittleEndian)
    assert walked.little_endian is (syntax != ExplicitVRBigEndian)


@given(datasets(), st.sampled_from((*PLAIN, JPEG2000Lossless)), st.data())
@settings(max_examples=200)
def test_a_cut_is_noticed_unless_it_falls_between_elements(
    ds: Dataset, syntax: str, data: st.DataObject
) -> None:
    """Cut at any byte inside an element there is a fault; the sound part before it is never overrun."""
    ds.add_new(0x7FE00010, "OW", b"\1\2" * 8)
    if syntax == JPEG2000Lossless:
        ds.PixelData = encapsulate([b"\xff\x4f" * 9])
        ds["PixelData"].is_undefined_length = True
    whole = encoded(ds, syntax)
    offsets = boundaries(ds, syntax)
    cut = data.draw(st.integers(0, len(whole) - 1) | st.sampled_from(offsets))
    walked = walk(whole[:cut], syntax)
    assert (walked.fault is None) == (cut in offsets)
    assert walked.header_end in offsets
    assert walked.header_end <= cut


@given(datasets(), st.data())
@settings(max_examples=60)
def test_a_cut_deflated_data_set_is_noticed(ds: Dataset, data: st.DataObject) -> None:
    """A deflate stream that was cut anywhere never ends properly."""
    whole = encoded(ds, DeflatedExplicitVRLittleEndian).rstrip(b"\0")
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert walk(whole[:cut], DeflatedExplicitVRLittleEndian).fault is not None


@given(st.binary(max_size=600), st.sampled_from(EVERY))
@settings(max_examples=300)
def test_any_bytes_are_walked_without_an_exception(data: bytes, syntax: str) -> None:
    """Random bytes give a result, never an exception, and never a header beyond their end."""
    walked = walk(data, syntax)
    assert 0 <= walked.header_end <= len(walked.data)


@given(datasets(), st.data())
@settings(max_examples=100)
def test_any_flipped_byte_is_walked_without_an_exception(ds: Dataset, data: st.DataObject) -> None:
    """One wrong byte in a sound data set gives a result, never an exception."""
    syntax = data.draw(st.sampled_from(EVERY))
    whole = bytearray(encoded(ds, syntax) + b"\0\0")
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    walk(bytes(whole), syntax)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_bottomless_nesting_is_a_fault(syntax: str) -> None:
    """A hundred thousand nested sequences end in a fault, not in a stack overflow."""
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    head = struct.pack(f"{order}HH", 0x0040, 0xA730)
    vr = b"" if syntax == ImplicitVRLittleEndian else b"SQ\0\0"
    item = struct.pack(f"{order}HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    level = head + vr + struct.pack(f"{order}I", 0xFFFFFFFF) + item
    walked = walk(level * 100_000, syntax)
    assert walked.fault is not None
    assert "nested" in walked.fault
    assert walked.header_end == 0


def test_a_private_sequence_of_unknown_vr_is_followed() -> None:
    """UN of undefined length is implicit VR inside (PS3.5 6.2.2); what follows is explicit again."""
    inside = struct.pack("<HHI", 0x0029, 0x1001, 4) + b"abcd"
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inside + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    unknown = struct.pack("<HH2s2xI", 0x0029, 0x1000, b"UN", 0xFFFFFFFF) + item
    unknown += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    after = encoded(Dataset(), ExplicitVRLittleEndian) + struct.pack("<HH2sH", 0x0040, 1, b"SH", 2) + b"ab"
    walked = walk(unknown + after, ExplicitVRLittleEndian)
    assert walked.fault is None
    assert walked.header_end == len(unknown + after)


def test_implicit_vr_under_an_explicit_context_is_recognised() -> None:
    """Some senders negotiate explicit VR and send implicit; how it really is encoded is reported."""
    data = encoded(ct_image(), ImplicitVRLittleEndian)
    walked = walk(data, ExplicitVRLittleEndian)
    assert walked.fault is None
    assert walked.implicit_vr is True
    assert walked.header_end == data.index(b"\xe0\x7f\x10\x00")


def test_the_fault_says_how_much_is_there() -> None:
    """The message for cut pixel data names the element and the byte counts."""
    walked = walk(encoded(ct_image(), ExplicitVRLittleEndian)[:-8], ExplicitVRLittleEndian)
    assert walked.fault == "the data set ends inside (7FE0,0010): 24 of 32 bytes are there"


def test_a_deflate_bomb_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deflated data set that grows beyond the bound is a fault that says so; the rest stays deflated."""
    monkeypatch.setattr(dataset_walk, "MAX_INFLATED_BYTES", 4096)
    data = encoded(ct_image(PixelData=bytes(1_000_000)), DeflatedExplicitVRLittleEndian)
    walked = walk(data, DeflatedExplicitVRLittleEndian)
    assert len(walked.data) == 4096
    assert walked.fault is not None
    assert "4096 bytes" in walked.fault


@pytest.mark.parametrize("syntax", EVERY[:-1])
def test_wanted_elements_are_put_together(syntax: str) -> None:
    """They are a data set of their own, in the encoding of the whole; what is not there is left out."""
    image = ct_image()
    item = Dataset()
    item.ManufacturerModelName = "x"
    image.ContributingEquipmentSequence = [item]
    image["ContributingEquipmentSequence"].is_undefined_length = True
    wanted = Dataset()
    for keyword in ("SOPInstanceUID", "Rows", "ContributingEquipmentSequence"):
        wanted[keyword] = image[keyword]
    tags = {0x00080018, 0x00280010, 0x0018A001, 0x00081030, 0x7FE00010}
    plain = ExplicitVRLittleEndian if syntax == DeflatedExplicitVRLittleEndian else syntax
    assert walk(encoded(image, syntax), syntax, tags).wanted == encoded(wanted, plain)
