"""Results under the identity that a PACS has given the patient since: what changes, and what does not."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import UID

from core.domain import Region, ResultKind
from core.errors import ResultEncodingError
from sr_writer.correction import corrected, identity_digest
from tests.helpers.analyses import Phantom, analysis_of, encoded, results_of
from tests.helpers.judges import dciodvfy_complaints, read_segments


def filed(**changes: str) -> Dataset:
    """Return a PACS's answer to C-FIND for the study, as it is after reading."""
    answer = Dataset()
    answer.SpecificCharacterSet = "ISO_IR 100"
    answer.PatientID, answer.IssuerOfPatientID = "P-0009", "HOSPITAL"
    answer.PatientName, answer.PatientBirthDate, answer.PatientSex = "Roe^Richard", "19551231", "M"
    for keyword, value in changes.items():
        setattr(answer, keyword, value)
    return dcmread(_bytes_of(answer), force=True)


def _bytes_of(answer: Dataset) -> BytesIO:
    stream = BytesIO()
    dcmwrite(stream, answer, implicit_vr=True, little_endian=True)
    stream.seek(0)
    return stream


def results(phantom: Phantom | None = None) -> dict[ResultKind, Dataset]:
    """Write the results of a phantom."""
    return results_of(analysis_of(phantom))


def uids_in(dataset: Dataset) -> Iterator[str]:
    """Yield every UID value, nested ones included."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from uids_in(item)
        elif element.VR == "UI":
            yield str(element.value)


def test_every_object_names_the_patient_of_the_pacs() -> None:
    """Identification as the PACS gave it; what only the other patient had is gone; the study stays."""
    originals = results(Phantom(attributes={"OtherPatientIDs": "P-0001-OLD"}))
    for before, after in zip(originals.values(), corrected(list(originals.values()), filed()), strict=True):
        assert (after.PatientID, after.IssuerOfPatientID) == ("P-0009", "HOSPITAL")
        assert (str(after.PatientName), after.PatientBirthDate, after.PatientSex) == (
            "Roe^Richard", "19551231", "M",
        )  # fmt: skip
        assert "OtherPatientIDs" in before
        assert "OtherPatientIDs" not in after
        assert b"P-0001" not in encoded(after)
        assert after.StudyInstanceUID == before.StudyInstanceUID
        assert after.AccessionNumber == before.AccessionNumber


def test_no_uid_is_shared_and_every_reference_leads_to_the_new_objects() -> None:
    """Another content is another object; report and keys refer to the objects beside them."""
    before = results()
    after = dict(zip(before, corrected(list(before.values()), filed()), strict=True))
    old = {str(one.SOPInstanceUID) for one in before.values()} | {
        str(one.SeriesInstanceUID) for one in before.values()
    }
    for one in after.values():
        assert old.isdisjoint(uids_in(one))
        assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
        assert UID(str(one.SOPInstanceUID)).is_valid
    segmentation, film = after[ResultKind.SEGMENTATION], after[ResultKind.FILM]
    assert str(segmentation.SOPInstanceUID) in set(uids_in(after[ResultKind.MEASUREMENT_REPORT]))
    assert str(film.SOPInstanceUID) in set(uids_in(after[ResultKind.KEY_OBJECTS]))
    source = str(before[ResultKind.SEGMENTATION].ReferencedSeriesSequence[0].SeriesInstanceUID)
    assert source in set(uids_in(segmentation))


def test_tracking_uids_are_those_of_the_right_patient() -> None:
    """What was the right patient's lung in an earlier study is so in this one."""
    (after,) = corrected([results()[ResultKind.SEGMENTATION]], filed())
    right = results(Phantom(attributes={"PatientID": "P-0009"}))[ResultKind.SEGMENTATION]
    for region in Region:
        at = region.value - 1
        assert after.SegmentSequence[at].TrackingUID == right.SegmentSequence[at].TrackingUID


def test_pixels_and_numbers_are_untouched_and_judges_are_content(tmp_path: Path) -> None:
    """Pixel Data byte for byte; dciodvfy finds no error; dcmqi reads the same voxels."""
    before = results()
    after = dict(zip(before, corrected(list(before.values()), filed()), strict=True))
    for kind in (ResultKind.SEGMENTATION, ResultKind.FILM):
        assert after[kind].PixelData == before[kind].PixelData
    for kind, one in after.items():
        path = tmp_path / f"{kind}.dcm"
        path.write_bytes(encoded(one))
        assert [line for line in dciodvfy_complaints(path) if line.startswith("Error")] == []
    segments = read_segments(tmp_path / "segmentation.dcm", tmp_path)
    assert len(segments) == len(before[ResultKind.SEGMENTATION].SegmentSequence)


def test_the_same_correction_gives_the_same_bytes_and_another_one_other_uids() -> None:
    """A repeated attempt sends what was sent before; another spelling of the name is another object."""
    originals = list(results().values())
    first, again = corrected(originals, filed()), corrected(originals, filed())
    assert [encoded(one) for one in first] == [encoded(one) for one in again]
    other = filed(PatientName="Roe^Dick")
    assert corrected(originals, other)[0].SOPInstanceUID != first[0].SOPInstanceUID
    assert identity_digest(other) != identity_digest(filed())
    assert identity_digest(filed()) == identity_digest(filed())


def test_the_originals_are_not_changed() -> None:
    """The stored results stay those of the images."""
    originals = list(results().values())
    before = [encoded(one) for one in originals]
    corrected(originals, filed())
    assert [encoded(one) for one in originals] == before


CHINESE = {"SpecificCharacterSet": "GB18030", "PatientName": "Wang^XiaoDong=王^小东"}


def test_a_name_in_the_same_character_set_is_copied_and_in_another_one_refused() -> None:
    """Bytes are never taken for letters of another character set."""
    same = results(Phantom(attributes=CHINESE))
    for one in corrected(list(same.values()), filed(**CHINESE)):
        assert str(one.PatientName) == CHINESE["PatientName"]
    with pytest.raises(ResultEncodingError, match="another character set"):
        corrected(list(results().values()), filed(**CHINESE))


def test_an_identity_without_patient_id_is_refused() -> None:
    """A study that the PACS files under nobody corrects nothing."""
    with pytest.raises(ResultEncodingError, match="no Patient ID"):
        corrected(list(results().values()), filed(PatientID=""))
