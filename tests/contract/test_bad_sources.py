"""Sources that break the rules of DICOM: a faithful copy in every object, never a guess, never a crash."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import dcmread

from core.domain import Refusal
from sr_writer.results import write_refusal, write_results
from tests.helpers.analyses import MODEL, Phantom, analysis_of, context_of, encoded

#: Attribute and the bytes that a source has in it.
FAULTS = {
    "name too long": ("PatientName", b"X" * 80 + b"^" + b"Y" * 70),
    "name of too many parts": ("PatientName", b"a^b^c^d^e^f=g=h=i"),
    "two names": ("PatientName", rb"a^b\c^d"),
    "Patient ID too long": ("PatientID", b"1" * 90),
    "date that is none": ("PatientBirthDate", b"1960-13-45"),
    "sex in words": ("PatientSex", b"female"),
    "Accession Number too long": ("AccessionNumber", b"A" * 40),
    "line breaks and an escape": ("StudyDescription", b"a\r\nb\x1b"),
    "institution too long": ("InstitutionName", b"I" * 101),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_values_that_break_the_rules_are_copied_byte_by_byte(fault: str) -> None:
    """Every object of a result and of a refusal has the very bytes of the source; nothing is shortened."""
    keyword, raw = FAULTS[fault]
    analysis = analysis_of(Phantom(raw={keyword: raw}))
    context = context_of(analysis)
    refusal = Refusal(analysis.volume.headers, "slices are missing", MODEL)
    objects = (
        *write_results(analysis, context, overlay=True).objects,
        *write_refusal(refusal, context).objects,
    )
    assert len(objects) >= 8
    for one in objects:
        written = dcmread(BytesIO(encoded(one.dataset))).get_item(keyword)
        assert written is not None
        assert written.value.rstrip(b" \0") == raw, one.kind


@pytest.mark.parametrize(
    "missing",
    [
        ("PatientID",),
        ("StudyID", "StudyDescription", "StudyDate", "StudyTime"),
        ("PatientName", "PatientSex"),
    ],
)
def test_what_is_missing_stays_missing(missing: tuple[str, ...]) -> None:
    """No value is made up for an attribute that the source lacks; type 2 ones are there, empty."""
    analysis = analysis_of(Phantom(attributes=dict.fromkeys(missing)))
    for one in write_results(analysis, context_of(analysis), overlay=True).objects:
        for keyword in missing:
            assert not one.dataset.get(keyword), (one.kind, keyword)


def test_private_elements_of_the_source_stay_there() -> None:
    """Private elements may hold anything, a patient's name too: none gets into a result."""
    analysis = analysis_of()
    for header in analysis.volume.headers:
        block = header.private_block(0x0029, "SCANNER INC", create=True)
        block.add_new(0x10, "LO", "Doe^Jane private")
    for one in write_results(analysis, context_of(analysis), overlay=True).objects:
        assert not any(element.tag.is_private for element in one.dataset.iterall())
        assert b"private" not in encoded(one.dataset)
