"""Data elements copied from a source byte by byte, and references to instances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO

from pydicom import config, dcmwrite
from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import PersonName

from core.errors import ResultEncodingError
from sr_writer.character_sets import TextPlan, plan_text

#: Value representations that Specific Character Set governs (PS3.5 6.1.2.2).
TEXT_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
# Other character strings: always the default repertoire, so their bytes are the same in every encoding.
_STRING_VRS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})
_LOSSY_ATTRIBUTES = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
_SPECIFIC_CHARACTER_SET = Tag("SpecificCharacterSet")
# PS3.5 7.1.2: tag, value representation, two reserved bytes, length.
_SEQUENCE_HEADER_BYTES = 12


def part_10(dataset: Dataset) -> bytes:
    """Return a data set as the bytes of its file (PS3.10 7.1)."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def character_set_terms(source: Dataset) -> tuple[str, ...]:
    """Return the values of Specific Character Set (0008,0005) as they stand; empty where it is absent."""
    value = source.get("SpecificCharacterSet")
    if value is None or value == "":
        return ()
    values = value if isinstance(value, (list, MultiValue)) else [value]
    return tuple("" if item is None else str(item) for item in values)


def text_plan(source: Dataset, keywords: Iterable[str]) -> TextPlan:
    """Choose how the text of some attributes gets from a source into its results."""
    return plan_text(character_set_terms(source), _raw_texts(source, [Tag(keyword) for keyword in keywords]))


def copied(source: Dataset, keywords: Iterable[str], plan: TextPlan) -> Dataset:
    """Return a data set of the named attributes of a source, in the character set of the result.

    Values are copied as bytes wherever the source still holds bytes, so that values which break the rules
    of their value representation come out as they went in.

    Parameters
    ----------
    source
        Parsed header; attributes that it lacks are left out.
    keywords
        Attributes to copy.
    plan
        How text is copied.

    Raises
    ------
    ResultEncodingError
        Where text cannot be written without loss.
    """
    result = Dataset()
    for keyword in keywords:
        tag = Tag(keyword)
        if tag in source:
            result[tag] = _copied_element(source, tag, plan)
    write_as_is(result)
    return result


def write_as_is(dataset: Dataset, terms: Sequence[str] = ()) -> None:
    """Have the raw elements of a data set written as they are in Explicit VR Little Endian.

    The library does so only with a data set that claims to have been read like that, in the same character
    set; otherwise it decodes every element and encodes it again.

    Parameters
    ----------
    dataset
        Data set to be written; an item of a sequence as well.
    terms
        Values of its own Specific Character Set, where it has one.
    """
    dataset.set_original_encoding(False, True, convert_encodings(list(terms)) if terms else default_encoding)


def raw_text(source: Dataset, keyword: str, plan: TextPlan) -> bytes:
    """Return the bytes of a string attribute in the character set of the result, for comparing.

    Padding is left out, and so are empty components at the end of a name, which mean nothing (PS3.5 6.2.1)
    and which the library drops once somebody has looked at the name.
    """
    tag = Tag(keyword)
    if tag not in source:
        return b""
    return _string_bytes(source, tag, plan).rstrip(b" \0=^" if dictionary_VR(tag) == "PN" else b" \0")


def reference(sop_class_uid: str, sop_instance_uid: str, frame_number: int | None = None) -> Dataset:
    """Return an item of the SOP Instance Reference macro (PS3.3 10.8), or with a frame (10.3).

    UIDs of sources are written as they are, even where they break the grammar: any other UID would refer to
    nothing.
    """
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.add(uid_element("ReferencedSOPInstanceUID", sop_instance_uid))
    if frame_number is not None:
        item.ReferencedFrameNumber = frame_number
    return item


def refer_to_sources(result: Dataset, series_instance_uid: str, images: Sequence[Dataset]) -> None:
    """Name the images that a result was made from: General Image and Common Instance Reference modules.

    Parameters
    ----------
    result
        An image or a segmentation.
    series_instance_uid
        Of the series that they all belong to.
    images
        Items of the SOP Instance Reference macro, with or without a frame.
    """
    result.SourceImageSequence = list(images)
    series = Dataset()
    series.add(uid_element("SeriesInstanceUID", series_instance_uid))
    classes = {str(one.ReferencedSOPInstanceUID): str(one.ReferencedSOPClassUID) for one in images}
    series.ReferencedInstanceSequence = [reference(sop_class, uid) for uid, sop_class in classes.items()]
    result.ReferencedSeriesSequence = [series]


def lossy_attributes(headers: Iterable[Dataset]) -> Dataset:
    """Return how the images of a source were compressed with loss, empty where none was (C.7.6.1.1.5)."""
    lossy = next((one for one in headers if one.get("LossyImageCompression") == "01"), Dataset())
    result = Dataset()
    for keyword in _LOSSY_ATTRIBUTES:
        if keyword in lossy:
            result[keyword] = lossy[keyword]
    return result


def uid_element(keyword: str, uid: str) -> DataElement:
    """Return a UID element without judging its value."""
    return DataElement(Tag(keyword), "UI", uid, validation_mode=config.IGNORE)


def _copied_element(source: Dataset, tag: BaseTag, plan: TextPlan) -> DataElement | RawDataElement:
    vr = dictionary_VR(tag)
    if vr == "SQ":
        return DataElement(tag, "SQ", [_copied_item(item, plan) for item in source[tag].value])
    if vr in TEXT_VRS or vr in _STRING_VRS:
        return raw_element(tag, vr, _string_bytes(source, tag, plan))
    return source[tag]


def raw_element(tag: BaseTag, vr: str, value: bytes) -> RawDataElement:
    """Return an element that is written with exactly these bytes, padded to even length (PS3.5 6.2)."""
    if len(value) % 2:
        value += b"\0" if vr == "UI" else b" "
    return RawDataElement(tag, vr, len(value), value, 0, False, True)


def raw_sequence(keyword: str, items: list[Dataset]) -> RawDataElement:
    """Return a sequence encoded once, for use in many items of a result in Explicit VR Little Endian."""
    holder = Dataset()
    setattr(holder, keyword, items)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = False
    buffer.is_little_endian = True
    write_dataset(buffer, holder)
    value = buffer.getvalue()[_SEQUENCE_HEADER_BYTES:]
    return RawDataElement(Tag(keyword), "SQ", len(value), value, 0, False, True)


def _copied_item(item: Dataset, plan: TextPlan) -> Dataset:
    keywords = [keyword_for_tag(tag) for tag in item.keys() if not tag.is_private]  # noqa: SIM118
    keywords = [keyword for keyword in keywords if keyword and keyword != "SpecificCharacterSet"]
    if _SPECIFIC_CHARACTER_SET not in item:
        return copied(item, keywords, plan)
    own_plan = text_plan(item, keywords)
    result = copied(item, keywords, own_plan)
    if own_plan.result_terms != plan.result_terms:
        result[_SPECIFIC_CHARACTER_SET] = character_set_element(own_plan)
        write_as_is(result, own_plan.result_terms)
    return result


def character_set_element(plan: TextPlan) -> RawDataElement:
    """Return Specific Character Set (0008,0005) of a result."""
    return raw_element(_SPECIFIC_CHARACTER_SET, "CS", "\\".join(plan.result_terms).encode("ascii"))


def _string_bytes(source: Dataset, tag: BaseTag, plan: TextPlan) -> bytes:
    vr = dictionary_VR(tag)
    is_text = vr in TEXT_VRS
    element = source.get_item(tag)
    if isinstance(element, RawDataElement):
        raw = element.value or b""
        return plan.convert(raw, person_name=vr == "PN") if is_text else raw
    values = element.value if isinstance(element.value, (list, MultiValue)) else [element.value]
    if vr == "PN":
        kept = [value.original_string for value in values if isinstance(value, PersonName)]
        as_read = [value for value in kept if isinstance(value, bytes)]
        if as_read and len(as_read) == len(values):
            return plan.convert(b"\\".join(as_read), person_name=True)
    text = "\\".join("" if value is None else str(value) for value in values)
    if is_text:
        return plan.encode(text)
    try:
        return text.encode("ascii")
    except UnicodeEncodeError as error:
        raise ResultEncodingError(
            f"{keyword_for_tag(tag)} of the source holds characters that its value representation {vr} does "
            "not allow. Have the sender corrected."
        ) from error


def _raw_texts(source: Dataset, tags: Iterable[BaseTag]) -> Iterator[tuple[bytes, bool]]:
    """Yield the raw text values among some elements, nested ones included, with whether they are names."""
    for tag in tags:
        if tag not in source:
            continue
        vr = dictionary_VR(tag) if not tag.is_private else "UN"
        if vr == "SQ":
            for item in source[tag].value:
                if _SPECIFIC_CHARACTER_SET not in item:
                    known = [nested for nested in item.keys() if keyword_for_tag(nested)]  # noqa: SIM118
                    yield from _raw_texts(item, known)
        elif vr in TEXT_VRS:
            element = source.get_item(tag)
            if isinstance(element, RawDataElement):
                yield element.value or b"", vr == "PN"
