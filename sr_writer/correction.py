"""Results of one study under the identity that a PACS has given its patient meanwhile.

What was measured does not change; whose it is does. So the stored objects are taken as they are, what they
say of the patient is replaced (PS3.3 C.7.1.1, C.7.2.2), and because another content is another object, every
UID of ours in them is replaced by another one, in references between them too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

from pydicom import dcmread
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from core import codes
from core.errors import ResultEncodingError
from core.patient import IDENTIFICATION
from core.uid import derived_uid
from sr_writer.character_sets import TextPlan
from sr_writer.elements import character_set_terms, part_10, raw_element, raw_text, uid_element, write_as_is
from sr_writer.identity import OF_THE_PATIENT
from sr_writer.uids import tracked_over_time

_OWN_UIDS = ("SOPInstanceUID", "SeriesInstanceUID")
_REQUIRED = ("PatientID", "PatientName")


@dataclass(frozen=True, slots=True)
class PatientAtPeer:
    """A patient as a PACS names it.

    Parameters
    ----------
    values
        Bytes of each attribute of `core.patient.IDENTIFICATION`, in the PACS's character set.
    terms
        That Specific Character Set; empty where the values are the same in every one.
    """

    values: Mapping[str, bytes]
    terms: tuple[str, ...]

    @classmethod
    def of(cls, filed: Dataset) -> PatientAtPeer:
        """Read an answer to C-FIND.

        Raises
        ------
        ResultEncodingError
            Where it has no Patient ID or no name, or where its text cannot be read.
        """
        terms = character_set_terms(filed)
        try:
            values = _identification(filed, terms)
        except (LookupError, ValueError) as error:
            raise ResultEncodingError(
                "What the PACS says of the study's patient cannot be read in its Specific Character Set."
            ) from error
        if not all(values[keyword].strip(b"^= ") for keyword in _REQUIRED):
            raise ResultEncodingError("The PACS names no Patient ID or no name for the study's patient.")
        plain = all(value.isascii() and b"\x1b" not in value for value in values.values())
        return cls(values, () if plain else terms)

    @property
    def digest(self) -> str:
        """What tells this identity, in this spelling, from every other; it holds no identifier."""
        terms = "\\".join(self.terms).encode("ascii", "replace")
        parts = [terms, *(self.values[keyword] for keyword in IDENTIFICATION)]
        return hashlib.sha256(b"".join(len(one).to_bytes(4, "big") + one for one in parts)).hexdigest()


def corrected(results: Sequence[Dataset], patient: PatientAtPeer) -> list[bytes]:
    """Return results under another patient.

    Parameters
    ----------
    results
        All objects of one job, as they were stored; not changed. All of them, because what one says of
        another depends on it.
    patient
        Whose they are to be.

    Returns
    -------
    list of bytes
        A Part 10 file for each of the results; read back, and its patient compared.

    Raises
    ------
    ResultEncodingError
        Where the patient is named in a character set that the results cannot take over, and where the results
        say what changed since an earlier scan: that scan may be another person's.
    """
    if any(_is_compared(result) for result in results):
        raise ResultEncodingError(
            "The results were compared with an earlier scan that is filed here under the Patient ID of the "
            "images; under another patient that comparison may be wrong. Have the corrected series sent to "
            "this node again."
        )
    if patient.terms and any(character_set_terms(result) != patient.terms for result in results):
        raise ResultEncodingError(
            "The PACS names the patient in another character set than the images had, so the results cannot "
            "be corrected here. Have the corrected series sent to this node."
        )
    uids = _new_uids(results, patient)
    return [_encoded(_corrected(result, patient, uids), patient) for result in results]


def _is_compared(result: Dataset) -> bool:
    """Tell whether a report names the course of the disease (`sr_writer.qualitative_evaluations`)."""
    return any(
        element.keyword == "CodeValue" and element.value == codes.COURSE.value
        for item in result.get("ContentSequence", ())
        for element in item.iterall()
    )


def _identification(dataset: Dataset, terms: tuple[str, ...]) -> dict[str, bytes]:
    as_is = TextPlan(terms, transcode=False)
    return {keyword: raw_text(dataset, keyword, as_is) for keyword in IDENTIFICATION}


def _new_uids(results: Sequence[Dataset], patient: PatientAtPeer) -> dict[str, str]:
    """Map every UID of a result, or of something of the patient, to that of the new identity."""
    own = {str(result[keyword].value) for result in results for keyword in _OWN_UIDS}
    own |= set(_tracking_uids(results))
    new = {uid: derived_uid("corrected", uid, patient.digest) for uid in own}
    # What is tracked over time gets the UIDs that it has in the right patient's other studies.
    before, after = (
        (values["PatientID"].decode("latin-1"), values["IssuerOfPatientID"].decode("latin-1"), "")
        for values in (_identification(results[0], ()), patient.values)
    )
    if before[0]:
        new |= dict(zip(tracked_over_time(before), tracked_over_time(after), strict=True))
    return new


def _tracking_uids(results: Sequence[Dataset]) -> Iterator[str]:
    for result in results:
        for segment in result.get("SegmentSequence", ()):
            if "TrackingUID" in segment:
                yield str(segment.TrackingUID)


def _corrected(result: Dataset, patient: PatientAtPeer, uids: Mapping[str, str]) -> Dataset:
    new = dcmread(BytesIO(part_10(result)))
    _replace_uids(new, uids)
    for keyword in OF_THE_PATIENT:
        if keyword in new:
            del new[keyword]
    for keyword, vr in IDENTIFICATION.items():
        if patient.values[keyword] or keyword != "IssuerOfPatientID":
            new[Tag(keyword)] = raw_element(Tag(keyword), vr, patient.values[keyword])
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


def _encoded(result: Dataset, patient: PatientAtPeer) -> bytes:
    """Encode a result and compare the patient in the written bytes."""
    content = part_10(result)
    written = dcmread(BytesIO(content), stop_before_pixels=True)
    if _identification(written, ()) != dict(patient.values):
        raise ResultEncodingError("The patient of a corrected result is not the one that the PACS named.")
    return content
