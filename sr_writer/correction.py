"""Results of one study under the identity that a PACS has given its patient meanwhile.

What was measured does not change; whose it is does. So the stored objects are taken as they are, the
patient's identification is replaced (PS3.3 C.7.1.1), and because another content is another object, every UID
of ours in them is replaced by another one, in references between them too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO

from pydicom import dcmread, dcmwrite
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from core.domain import Region
from core.errors import ResultEncodingError
from core.uid import derived_uid
from sr_writer.character_sets import TextPlan
from sr_writer.elements import character_set_terms, raw_element, raw_text, uid_element, write_as_is

#: What identifies a patient to people and to a PACS; asked of the PACS, and written as it answers.
IDENTIFICATION = {
    "PatientID": "LO",
    "IssuerOfPatientID": "LO",
    "PatientName": "PN",
    "PatientBirthDate": "DA",
    "PatientSex": "CS",
}
# Names and numbers of the patient that the images were filed under before.
_OF_THE_OTHER = (
    "TypeOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDs",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "PatientBirthTime",
    "PatientBirthDateInAlternativeCalendar",
    "PatientDeathDateInAlternativeCalendar",
    "PatientAlternativeCalendar",
    "ReferencedPatientSequence",
    "SourcePatientGroupIdentificationSequence",
)
_OWN_UIDS = ("SOPInstanceUID", "SeriesInstanceUID")


def corrected(results: Sequence[Dataset], filed: Dataset) -> list[Dataset]:
    """Return results under another patient.

    Parameters
    ----------
    results
        All objects of one job, as they were stored; not changed.
    filed
        What the PACS says of the study's patient: an answer to C-FIND.

    Returns
    -------
    list of Dataset
        One for each of the results, encoded once and read back.

    Raises
    ------
    ResultEncodingError
        Where the PACS names no Patient ID, or in a character set that the results cannot take over.
    """
    values = _identification(filed)
    if not values["PatientID"].strip(b" \0"):
        raise ResultEncodingError("The PACS names no Patient ID for the study.")
    _require_same_characters(results, filed, values)
    uids = _new_uids(results, values)
    return [_encoded(_corrected(result, values, uids), values) for result in results]


def identity_digest(filed: Dataset) -> str:
    """Return what tells one identity, in one spelling, from every other; it holds no identifier."""
    values = _identification(filed)
    terms = "\\".join(character_set_terms(filed)).encode()
    parts = [terms, *(values[keyword] for keyword in IDENTIFICATION)]
    return hashlib.sha256(b"".join(len(one).to_bytes(4, "big") + one for one in parts)).hexdigest()


def _identification(filed: Dataset) -> dict[str, bytes]:
    as_is = TextPlan(character_set_terms(filed), transcode=False)
    return {keyword: raw_text(filed, keyword, as_is) for keyword in IDENTIFICATION}


def _require_same_characters(results: Sequence[Dataset], filed: Dataset, values: Mapping[str, bytes]) -> None:
    """Refuse bytes that would be other letters in the results' character set."""
    if all(value.isascii() and b"\x1b" not in value for value in values.values()):
        return
    if any(character_set_terms(result) != character_set_terms(filed) for result in results):
        raise ResultEncodingError(
            "The PACS names the patient in another character set than the images had, so the results cannot "
            "be corrected here. Have the corrected series sent to this node."
        )


def _new_uids(results: Sequence[Dataset], values: Mapping[str, bytes]) -> dict[str, str]:
    """Map every UID of a result, or of something of the patient, to that of the new identity."""
    whose = [values[keyword].decode("latin-1") for keyword in IDENTIFICATION]
    own = {str(result[keyword].value) for result in results for keyword in _OWN_UIDS}
    own |= set(_tracking_uids(results))
    new = {uid: derived_uid("corrected", uid, *whose) for uid in own}
    # What is tracked over time belongs to the patient: it gets the UID that it has in the patient's other
    # studies (`ResultUids.tracking`).
    before = [raw_text(results[0], keyword, TextPlan((), transcode=False)) for keyword in IDENTIFICATION]
    patient_before = (before[0].decode("latin-1"), before[1].decode("latin-1"), "")
    if patient_before[0]:
        for region in Region:
            old = derived_uid("tracking", region.name, *patient_before)
            new[old] = derived_uid("tracking", region.name, whose[0], whose[1], "")
    return new


def _tracking_uids(results: Sequence[Dataset]) -> Iterator[str]:
    for result in results:
        for segment in result.get("SegmentSequence", ()):
            if "TrackingUID" in segment:
                yield str(segment.TrackingUID)


def _corrected(result: Dataset, values: Mapping[str, bytes], uids: Mapping[str, str]) -> Dataset:
    buffer = BytesIO()
    dcmwrite(buffer, result, enforce_file_format=True)
    new = dcmread(BytesIO(buffer.getvalue()))
    _replace_uids(new, uids)
    for keyword in (*IDENTIFICATION, *_OF_THE_OTHER):
        if keyword in new:
            del new[keyword]
    for keyword, vr in IDENTIFICATION.items():
        if values[keyword] or keyword != "IssuerOfPatientID":
            new[Tag(keyword)] = raw_element(Tag(keyword), vr, values[keyword])
    new.file_meta.MediaStorageSOPInstanceUID = new.SOPInstanceUID
    write_as_is(new, character_set_terms(new))
    return new


def _replace_uids(dataset: Dataset, uids: Mapping[str, str]) -> None:
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        if isinstance(element, RawDataElement) and element.VR not in ("UI", "SQ"):
            continue  # left as bytes
        parsed: DataElement = dataset[tag]
        if parsed.VR == "SQ":
            for item in parsed.value:
                _replace_uids(item, uids)
        elif parsed.VR == "UI" and not isinstance(parsed.value, MultiValue):
            known = uids.get(str(parsed.value))
            if known is not None:
                dataset[tag] = uid_element(parsed.keyword, known)


def _encoded(result: Dataset, values: Mapping[str, bytes]) -> Dataset:
    """Encode a result, compare the patient in the written bytes, and return it as read back."""
    buffer = BytesIO()
    dcmwrite(buffer, result, enforce_file_format=True)
    written = dcmread(BytesIO(buffer.getvalue()))
    if _identification(written) != dict(values):
        raise ResultEncodingError("The patient of a corrected result is not the one that the PACS named.")
    return written
