"""Whose results these are: patient, study, characters, UIDs, times, and the mark of this product."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from core.domain import Analysis, CtVolume, LesionMask
from core.errors import ResultEncodingError
from core.own_results import is_own_result
from sr_writer.character_sets import decode_code_extensions, plan_text
from sr_writer.identity import SourceIdentity
from sr_writer.results import write_results
from tests.helpers.analyses import MODEL, Phantom, analysis_of, context_of, encoded

KOREAN = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
JAPANESE = (
    b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J"
)
CHINESE_58 = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="

# Specific Character Set, bytes of the name, what the name is, Specific Character Set of the results
READABLE = {
    "default repertoire": (None, b"Doe^Jane", "Doe^Jane", None),
    "Latin-1": ("ISO_IR 100", "Müller^Jörg".encode("latin-1"), "Müller^Jörg", "ISO_IR 100"),
    "Cyrillic": ("ISO_IR 144", "Иванов^Иван".encode("iso8859_5"), "Иванов^Иван", "ISO_IR 144"),
    "GB18030": ("GB18030", "Wang^Xiao=王^小东".encode("gb18030"), "Wang^Xiao=王^小东", "GB18030"),
    "GBK, a second byte is a backslash": ("GBK", "Li=誠^刓".encode("gbk"), "Li=誠^刓", "GBK"),
    "UTF-8": ("ISO_IR 192", "Wang=王^小东".encode(), "Wang=王^小东", "ISO_IR 192"),
    "GB 2312 by code extension": (
        ["", "ISO 2022 IR 58"],
        CHINESE_58,
        "Zhang^XiaoDong=张^小东=",
        "ISO_IR 192",
    ),
    "Korean": (["", "ISO 2022 IR 149"], KOREAN, "Hong^Gildong=洪^吉洞=홍^길동", "ISO_IR 192"),
    "Japanese": (
        ["ISO 2022 IR 13", "ISO 2022 IR 87"],
        JAPANESE,
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
        "ISO_IR 192",
    ),
}
MISLABELLED = {
    "GBK as Latin-1": ("ISO_IR 100", "王^小东".encode("gbk")),
    "GBK without a character set": (None, "王^小东".encode("gbk")),
    "GBK as UTF-8": ("ISO_IR 192", "王^小东".encode("gbk")),
    "UTF-8 as Latin-1": ("ISO_IR 100", "王^小东".encode()),
    "Latin-1 as code extensions": (["", "ISO 2022 IR 58"], "Müller".encode("latin-1")),
}


def results_of(analysis: Analysis, **changes: object) -> list[Dataset]:
    """Return the written objects of an analysis, read back from their bytes."""
    return [item.dataset for item in write_results(analysis, context_of(analysis, **changes)).objects]


def named(character_set: object, name: bytes) -> Analysis:
    """Return an analysis of a source whose patient's name has these bytes."""
    return analysis_of(Phantom(attributes={"SpecificCharacterSet": character_set}, raw={"PatientName": name}))


def raw_name(dataset: Dataset) -> bytes:
    """Return the bytes of the patient's name in a result's file."""
    element = dcmread(BytesIO(encoded(dataset))).get_item("PatientName")
    assert isinstance(element, RawDataElement)
    return (element.value or b"").rstrip()


@pytest.mark.parametrize(("character_set", "raw", "name", "written"), READABLE.values(), ids=READABLE.keys())
def test_names_survive(character_set: object, raw: bytes, name: str, written: str | None) -> None:
    """A name in any character set reads the same in every result."""
    for result in results_of(named(character_set, raw)):
        assert result.get("SpecificCharacterSet") == written
        codec = {None: "ascii", "ISO_IR 192": "utf-8", "ISO_IR 100": "latin-1", "ISO_IR 144": "iso8859_5"}
        assert raw_name(result).decode(codec.get(written, written)) == name


@pytest.mark.parametrize(("character_set", "raw"), MISLABELLED.values(), ids=MISLABELLED.keys())
def test_mislabelled_names_are_copied_unharmed(character_set: object, raw: bytes) -> None:
    """Bytes that are not what the character set says come out as they went in."""
    for result in results_of(named(character_set, raw)):
        assert raw_name(result) == raw


def test_text_that_was_read_before_survives() -> None:
    """It makes no difference whether somebody has looked at some of the headers' values already."""
    for case in ("Latin-1", "GB18030", "GB 2312 by code extension", "Japanese"):
        character_set, raw, _, _ = READABLE[case]
        untouched = [raw_name(result).rstrip(b"=") for result in results_of(named(character_set, raw))]
        analysis = named(character_set, raw)
        for header in analysis.volume.headers[:6]:
            assert str(header.PatientName)
            assert header.PatientID == "P-0001"
        assert [raw_name(result).rstrip(b"=") for result in results_of(analysis)] == untouched


def test_text_inside_sequences_survives() -> None:
    """Text in items has the character set of the results, also when that changes."""
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "HIS"
    other = Dataset()
    other.PatientID, other.TypeOfPatientID = "X-1", "TEXT"
    other.IssuerOfPatientID = "医院"
    attributes = {"SpecificCharacterSet": "GB18030", "OtherPatientIDsSequence": [other]}
    for result in results_of(analysis_of(Phantom(attributes=attributes))):
        assert result.OtherPatientIDsSequence[0].IssuerOfPatientID == "医院"


def test_unknown_character_set_is_refused_unless_plain() -> None:
    """An undefined character set matters only where text needs one; a misspelt one is understood."""
    assert plan_text(["NONSENSE"], [(b"Doe", True)]).result_terms == ()
    assert plan_text(["ISO_IR_100"], [(b"M\xfcller", True)]).result_terms == ("ISO_IR 100",)
    with pytest.raises(ResultEncodingError, match="NONSENSE"):
        plan_text(["NONSENSE"], [(b"M\xfcller", True)])


@given(name=st.text(alphabet="王小东张李 abcXYZ^=", max_size=30))
def test_code_extensions_decode_as_they_were_encoded(name: str) -> None:
    """Any name written with the designation of GB 2312 decodes to itself."""
    raw = b"".join(
        character.encode("ascii") if character.isascii() else b"\x1b$)A" + character.encode("gb2312")
        for character in name
    )
    assert decode_code_extensions(raw, ("", "ISO 2022 IR 58"), person_name=True) == name


def test_patient_and_study_are_copied() -> None:
    """Patient, study, frame of reference and institution are those of the source."""
    analysis = analysis_of()
    source = analysis.volume.headers[0]
    results = results_of(analysis)
    seg = results[0]
    for result in results:
        for keyword in ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"):
            assert result[keyword].value == source[keyword].value
        for keyword in ("PatientAge", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID"):
            assert result[keyword].value == source[keyword].value
        for keyword in ("AccessionNumber", "ReferringPhysicianName", "InstitutionName", "StudyDescription"):
            assert result[keyword].value == source[keyword].value
        assert result.TimezoneOffsetFromUTC == "+0100"
        assert result.SeriesInstanceUID != source.SeriesInstanceUID
    for keyword in (
        "FrameOfReferenceUID",
        "PositionReferenceIndicator",
        "BodyPartExamined",
        "PatientPosition",
    ):
        assert seg[keyword].value == source[keyword].value
    assert [int(result.SeriesNumber) for result in results] == [9001, 9002, 9003, 9004, 9005]


def test_missing_attributes_are_written_empty() -> None:
    """A study without accession number gets results without one, never with a made-up one."""
    missing = dict.fromkeys(("AccessionNumber", "PatientBirthDate", "StudyTime", "ReferringPhysicianName"))
    for result in results_of(analysis_of(Phantom(attributes=missing))):
        for keyword in missing:
            assert keyword in result
            assert not result[keyword].value


@pytest.mark.parametrize(
    ("keyword", "other", "named_in_message"),
    [
        ("PatientID", "P-0002", "Patient ID"),
        ("IssuerOfPatientID", "ELSEWHERE", "Issuer of Patient ID"),
        ("PatientName", "Doe^John", "Patient's Name"),
        ("PatientBirthDate", "19700101", "Patient's Birth Date"),
        ("StudyInstanceUID", "1.2.3", "Study Instance UID"),
        ("FrameOfReferenceUID", "1.2.3", "Frame of Reference UID"),
    ],
)
def test_mixed_sources_are_refused(keyword: str, other: str, named_in_message: str) -> None:
    """One image of another patient, study or frame of reference stops everything; nobody is named."""
    analysis = analysis_of()
    setattr(analysis.volume.headers[5], keyword, other)
    with pytest.raises(ResultEncodingError, match=named_in_message) as caught:
        results_of(analysis)
    assert other not in str(caught.value)


def test_missing_frame_of_reference_is_refused() -> None:
    """Without a frame of reference a mask lies nowhere."""
    with pytest.raises(ResultEncodingError, match="Frame of Reference UID"):
        results_of(analysis_of(Phantom(attributes={"FrameOfReferenceUID": None})))


def test_tampered_file_is_not_sent() -> None:
    """A written file that names another patient than the source is caught on reading it back."""
    analysis = analysis_of()
    seg = results_of(analysis)[0]
    identity = SourceIdentity.of(analysis.volume)
    whole = encoded(seg)
    identity.verify(whole)
    with pytest.raises(ResultEncodingError, match="PatientName"):
        identity.verify(whole.replace(b"Doe^Jane", b"D?e^Jane"))
    with pytest.raises(ResultEncodingError, match="character set"):
        identity.verify(whole.replace(b"ISO_IR 100", b"ISO_IR 101"))


def uids_of(analysis: Analysis, **changes: object) -> list[str]:
    """Return the SOP Instance UIDs of the results of an analysis."""
    return [str(result.SOPInstanceUID) for result in results_of(analysis, **changes)]


def test_same_inputs_give_the_same_bytes() -> None:
    """Two runs over the same inputs write the same files."""
    first = [encoded(result) for result in results_of(analysis_of())]
    assert [encoded(result) for result in results_of(analysis_of())] == first


def test_other_inputs_give_other_uids() -> None:
    """Whatever could change a result or its patient changes its UIDs."""
    analysis = analysis_of()
    digests = dict(context_of(analysis).source_digests)
    digests[next(iter(digests))] = "00" * 32
    retrained = Analysis(
        analysis.volume,
        analysis.lungs,
        LesionMask(analysis.lesions.labels_zyx, replace(MODEL, sha256="99" * 32)),
        analysis.measurements,
    )
    variants = [
        uids_of(analysis),
        uids_of(analysis_of(Phantom(attributes={"PatientID": "P-0002"}))),
        uids_of(analysis_of(Phantom(attributes={"IssuerOfPatientID": "ELSEWHERE"}))),
        uids_of(analysis, source_digests=digests),
        uids_of(analysis, generation=2),
        uids_of(analysis, settings_digest="11" * 32),
        uids_of(analysis, software_version="0.2.0"),
        uids_of(analysis, provider="CUDAExecutionProvider"),
        uids_of(retrained),
    ]
    every = [uid for uids in variants for uid in uids]
    assert len(set(every)) == len(every)


def test_unknown_digest_is_refused() -> None:
    """UIDs cannot be derived for images whose bytes nobody has digested."""
    with pytest.raises(ResultEncodingError, match="digest"):
        results_of(analysis_of(), source_digests={})


def test_tracking_is_the_same_over_time_and_another_for_another_patient() -> None:
    """A region keeps its Tracking UID from study to study; two patients never share one."""

    def tracking(**attributes: str) -> str:
        seg = results_of(analysis_of(Phantom(attributes=attributes)))[0]
        return str(seg.SegmentSequence[0].TrackingUID)

    assert tracking() == tracking(StudyInstanceUID="1.2.3")
    assert tracking() != tracking(PatientID="P-0002")
    assert tracking(PatientID="", StudyInstanceUID="1.2.3") != tracking(
        PatientID="", StudyInstanceUID="1.2.4"
    )


@pytest.mark.parametrize(
    ("offset", "expected"),
    [("+0100", "20260328 233000"), ("+0200", "20260329 003000"), ("-0330", "20260328 190000")],
)
def test_times_are_told_in_the_study_s_offset(offset: str, expected: str) -> None:
    """In the night of a clock change too, dates and times belong to the offset that the object states."""
    moment = datetime(2026, 3, 28, 22, 30, tzinfo=UTC)
    analysis = analysis_of(Phantom(attributes={"TimezoneOffsetFromUTC": offset}))
    for result in results_of(analysis, content_datetime_utc=moment):
        for event in ("Content", "Series", "InstanceCreation"):
            date, time = str(result[f"{event}Date"].value), str(result[f"{event}Time"].value)
            assert f"{date} {time[:6]}" == expected


def test_without_an_offset_times_are_local() -> None:
    """Where the study states no offset, none is added, and times are those of the node's clock."""
    moment = datetime(2026, 3, 28, 22, 30, tzinfo=UTC)
    analysis = analysis_of(Phantom(attributes={"TimezoneOffsetFromUTC": None}))
    for result in results_of(analysis, content_datetime_utc=moment):
        assert "TimezoneOffsetFromUTC" not in result
        assert str(result.ContentDate) == moment.astimezone().strftime("%Y%m%d")


def test_own_results_are_recognised() -> None:
    """Every result bears the mark of this product; sources and foreign devices do not."""
    analysis = analysis_of()
    for result in results_of(analysis):
        assert is_own_result(dcmread(BytesIO(encoded(result)), stop_before_pixels=True))
    assert not is_own_result(analysis.volume.headers[0])
    foreign = results_of(analysis)[0]
    foreign.ContributingEquipmentSequence[1].DeviceUID = "1.2.3"
    assert not is_own_result(foreign)
    assert not is_own_result(Dataset())


def test_algorithm_is_described_as_contributing_equipment() -> None:
    """Scanner and algorithm are named; a new model is a new device (IHE AIR)."""
    analysis = analysis_of()
    scanner, algorithm = results_of(analysis)[0].ContributingEquipmentSequence
    assert scanner.ManufacturerModelName == "Scan 64"
    assert algorithm.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert algorithm.SoftwareVersions == ["0.1.0", "densitometry 1.2.0"]
    other = CtVolume(
        analysis.volume.hu_zyx, analysis.volume.geometry, analysis.volume.frames, analysis.volume.headers
    )
    retrained = Analysis(
        other,
        analysis.lungs,
        LesionMask(analysis.lesions.labels_zyx, replace(MODEL, sha256="99" * 32)),
        analysis.measurements,
    )
    assert results_of(retrained)[0].ContributingEquipmentSequence[1].DeviceUID != algorithm.DeviceUID


@pytest.mark.parametrize(
    "fault",
    [
        {"manufacturer": "Läsion"},
        {"station_name": "A_VERY_LONG_STATION_NAME"},
        {"device_serial_number": ""},
        {"content_datetime_utc": datetime(2026, 3, 1)},
    ],
)
def test_own_text_that_could_be_misread_is_refused(fault: dict[str, object]) -> None:
    """Own text is plain ASCII that fits its element, and times have a zone."""
    with pytest.raises(ResultEncodingError):
        context_of(analysis_of(), **fault)


def test_uids_that_break_the_grammar_are_referred_to_as_they_are() -> None:
    """A source whose UIDs have leading zeros is referred to by those very UIDs."""
    analysis = analysis_of(Phantom(raw={"StudyInstanceUID": b"1.2.03.4", "SeriesInstanceUID": b"1.2.03.5"}))
    for result in results_of(analysis):
        element = result.get_item("StudyInstanceUID")
        assert element.value.rstrip(b"\0 ") == b"1.2.03.4"


def test_clock_moves_by_the_offset_only() -> None:
    """An offset out of range or malformed is not copied, because it would misdate the object."""
    for wrong in ("+2500", "0100", "+01:00"):
        analysis = analysis_of(Phantom(attributes={"TimezoneOffsetFromUTC": wrong}))
        identity = SourceIdentity.of(analysis.volume)
        moment = datetime(2026, 3, 1, tzinfo=UTC)
        assert identity.local_time(moment) - moment == timedelta(0)
        assert all("TimezoneOffsetFromUTC" not in result for result in results_of(analysis))


def test_incomplete_references_are_left_out() -> None:
    """A study reference that names no instance is not passed on; a complete one is."""
    broken, whole = Dataset(), Dataset()
    broken.ReferencedSOPInstanceUID = whole.ReferencedSOPInstanceUID = "1.2.3"
    whole.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    for result in results_of(analysis_of(Phantom(attributes={"ReferencedStudySequence": [broken, whole]}))):
        assert [item.ReferencedSOPClassUID for item in result.ReferencedStudySequence] == [
            "1.2.840.10008.3.1.2.3.1"
        ]
    for result in results_of(analysis_of(Phantom(attributes={"ReferencedStudySequence": [broken]}))):
        assert "ReferencedStudySequence" not in result
