"""Walk the element lengths of an encoded data set, so that a truncated one is noticed on arrival.

No value is interpreted and no pixel decoded. Encodings: PS3.5 7.1 (elements), 7.5 (sequences), A.4
(encapsulated pixel data), A.5 (deflated).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

Buffer: TypeAlias = bytes | memoryview

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED_TRANSFER_SYNTAXES = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.8.1"})
_DEFLATED_DATA_SET = "1.2.840.10008.1.2.1.99"

#: A deflated data set that grows beyond this is taken for an attack.
MAX_INFLATED_BYTES = 2**30

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_GROUP = 0x7FE0
#: VRs with a 32-bit length after two reserved bytes, PS3.5 table 7.1-1.
_LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
#: All others of that table: most elements of most headers.
_SHORT_VRS = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH"}
    | {b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}
)
_DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Walked:
    """What walking showed.

    Parameters
    ----------
    data
        The data set, inflated where it was deflated.
    header_end
        Where group 7FE0 (pixel data) begins, or how far the data set could be followed without it.
    implicit_vr, little_endian
        How it is really encoded.
    fault
        How it is damaged, in the user's words; None for a whole data set.
    wanted
        The elements that were asked for, one after the other, as they are encoded: a small data set.
    """

    data: Buffer
    header_end: int
    implicit_vr: bool
    little_endian: bool
    fault: str | None
    wanted: bytes = b""


class _Damage(Exception):
    """The data set cannot be followed any further."""


def walk(data: Buffer, transfer_syntax_uid: str, wanted: Collection[int] = ()) -> Walked:
    """Walk a data set as it came over the network (without File Meta Information).

    Parameters
    ----------
    data
        The encoded data set.
    transfer_syntax_uid
        As negotiated.
    wanted
        Tags of elements before the pixels that are to be put together.

    Returns
    -------
    Walked
        Never raises for damaged data: the damage is the `fault`.
    """
    fault: str | None = None
    if transfer_syntax_uid == _DEFLATED_DATA_SET:
        data, fault = _inflate(data)
    little = transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN
    implicit = transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
    if not implicit and little and not _looks_explicit(data):
        implicit = True  # some senders negotiate explicit VR and send implicit
    walker = _Walker(memoryview(data), implicit, little, wanted)
    try:
        walker.elements(len(data), depth=0)
    except _Damage as damage:
        fault = fault or str(damage)
    header_end = walker.pixels_at if walker.pixels_at is not None else walker.good_until
    return Walked(data, header_end, implicit, little, fault, b"".join(walker.found))


def _inflate(data: Buffer) -> tuple[bytes, str | None]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(data, MAX_INFLATED_BYTES)
    except zlib.error:
        return b"", "the deflated data set cannot be inflated"
    if inflater.eof:
        return inflated, None
    if len(inflated) >= MAX_INFLATED_BYTES:
        return inflated, f"the deflated data set grows beyond {MAX_INFLATED_BYTES} bytes"
    return inflated, "the deflated data set ends too early"


def _looks_explicit(data: Buffer) -> bool:
    return len(data) < 6 or (bytes(data[4:6]).isalpha() and bytes(data[4:6]).isupper())


class _Walker:
    """Follows one data set; remembers where the pixels begin and how far it was sound."""

    def __init__(self, data: memoryview, implicit: bool, little: bool, wanted: Collection[int]) -> None:
        self._data = data
        self._wanted = wanted
        self._implicit = implicit
        self._order = "<" if little else ">"
        self._short_head = struct.Struct(f"{self._order}HH2sH")
        self._at = 0
        self.pixels_at: int | None = None
        self.good_until = 0
        self.found: list[memoryview] = []

    def elements(self, end: int, *, depth: int) -> None:
        """Walk elements until `end`, or until an item delimiter inside an item of undefined length."""
        if depth > _DEEPEST:
            raise _Damage(f"sequences are nested more than {_DEEPEST} deep")
        while self._at < end:
            start = self._at
            if depth == 0:
                self.good_until = start
            tag = self._short_element()
            if tag is None:
                tag = self._tag()
                if tag == _ITEM_END and depth:
                    self._take("<I")
                    return
                if depth == 0 and tag >> 16 == _PIXEL_GROUP and self.pixels_at is None:
                    self.pixels_at = start
                self._value(tag, depth)
            if depth == 0 and tag in self._wanted and self.pixels_at is None:
                self.found.append(self._data[start : self._at])
        if depth == 0:
            self.good_until = self._at

    def _short_element(self) -> int | None:
        """Step over a whole element of a plain VR and return its tag; None before any other element."""
        if self._implicit or self._at + 8 > len(self._data):
            return None
        group, element, vr, length = self._short_head.unpack_from(self._data, self._at)
        end = self._at + 8 + length
        if vr not in _SHORT_VRS or group >= _PIXEL_GROUP or end > len(self._data):
            return None
        self._at = end
        return int(group) << 16 | int(element)

    def _value(self, tag: int, depth: int) -> None:
        vr, length = self._vr_and_length(tag)
        if length != _UNDEFINED:
            self._skip(length, tag)
        elif tag >> 16 == _PIXEL_GROUP:
            self._fragments(tag)
        else:
            # PS3.5 6.2.2: UN of undefined length holds a sequence in implicit VR little endian.
            explicit_again = vr == b"UN" and not self._implicit
            self._implicit = self._implicit or explicit_again
            self._items(tag, depth)
            if explicit_again:
                self._implicit = False

    def _vr_and_length(self, tag: int) -> tuple[bytes, int]:
        if self._implicit or tag >> 16 == 0xFFFE:
            return b"", int(self._take(self._order + "I")[0])
        vr = bytes(self._bytes(2))
        if not vr.isalpha() or not vr.isupper():
            raise _Damage(f"no readable element at byte {self._at}")
        if vr in _LONG_VRS:
            self._bytes(2)
            return vr, int(self._take(self._order + "I")[0])
        return vr, int(self._take(self._order + "H")[0])

    def _items(self, tag: int, depth: int) -> None:
        while True:
            inner = self._tag()
            length = int(self._take(self._order + "I")[0])
            if inner == _SEQUENCE_END:
                return
            if inner != _ITEM:
                raise _Damage(f"the sequence {_name(tag)} is damaged at byte {self._at}")
            if length == _UNDEFINED:
                self.elements(len(self._data) + 1, depth=depth + 1)
            else:
                self._skip(length, tag)

    def _fragments(self, tag: int) -> None:
        while True:
            inner = self._tag()
            length = int(self._take(self._order + "I")[0])
            if inner == _SEQUENCE_END:
                return
            if inner != _ITEM or length == _UNDEFINED:
                raise _Damage(f"the compressed pixel data are damaged at byte {self._at}")
            self._skip(length, tag)

    def _tag(self) -> int:
        group, element = self._take(self._order + "HH")
        return int(group) << 16 | int(element)

    def _take(self, layout: str) -> tuple[int, ...]:
        size = struct.calcsize(layout)
        if self._at + size > len(self._data):
            raise _Damage("the data set ends in the middle of an element")
        values = struct.unpack_from(layout, self._data, self._at)
        self._at += size
        return values

    def _bytes(self, count: int) -> memoryview:
        if self._at + count > len(self._data):
            raise _Damage("the data set ends in the middle of an element")
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def _skip(self, length: int, tag: int) -> None:
        present = len(self._data) - self._at
        if length > present:
            raise _Damage(f"the data set ends inside {_name(tag)}: {present} of {length} bytes are there")
        self._at += length


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
