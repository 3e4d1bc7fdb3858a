"""Results under the identity that a PACS has given the patient since: what changes, and what does not."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import UID

from core.domain import Region, ResultKind, ResultObject
from core.errors import ResultEncodingError
from core.forms import ResultForm, SegmentationEncoding
from sr_writer.correction import PatientAtPeer
from sr_writer.correction import corrected as corrected_bytes
from sr_writer.results import write_results
from tests.helpers.analyses import Phantom, analysis_of, context_of, encoded, results_of
from tests.helpers.comparisons import Pair
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


def corrected(originals: list[Dataset], answer: Dataset) -> list[Dataset]:
    """Return results under the patient of an answer, as they are read back."""
    return [dcmread(BytesIO(one)) for one in corrected_bytes(originals, PatientAtPeer.of(answer))]


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
    originals = results()
    for before, after in zip(originals.values(), corrected(list(originals.values()), filed()), strict=True):
        assert (after.PatientID, after.IssuerOfPatientID) == ("P-0009", "HOSPITAL")
        assert (str(after.PatientName), after.PatientBirthDate, after.PatientSex) == (
            "Roe^Richard", "19551231", "M",
        )  # fmt: skip
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
    """What was the right patient's lung in an earlier study is so in this one, in a label map too."""
    for form in (ResultForm(), ResultForm(SegmentationEncoding.LABELMAP)):
        wrong, right = (
            next(
                one.dataset
                for one in write_results(analysis, context_of(analysis), [form]).objects
                if one.kind is ResultKind.SEGMENTATION
            )
            for analysis in (analysis_of(), analysis_of(Phantom(attributes={"PatientID": "P-0009"})))
        )
        (after,) = corrected([wrong], filed())
        found, expected = (
            [one.get("TrackingUID") for one in seg.SegmentSequence][: len(Region)] for seg in (after, right)
        )
        assert found == expected


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
    assert PatientAtPeer.of(other).digest != PatientAtPeer.of(filed()).digest
    # The same letters in another character set are the same identity.
    assert PatientAtPeer.of(filed(SpecificCharacterSet="ISO_IR 192")) == PatientAtPeer.of(filed())


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


@pytest.mark.parametrize("missing", ["PatientID", "PatientName"])
def test_an_identity_that_is_none_is_refused(missing: str) -> None:
    """A study that the PACS files under nobody corrects nothing, and erases no name."""
    with pytest.raises(ResultEncodingError, match="no Patient ID or no name"):
        corrected(list(results().values()), filed(**{missing: ""}))


def test_a_character_set_that_nobody_knows_is_refused() -> None:
    """The name cannot be read, so it is copied nowhere."""
    answer = filed()
    answer.SpecificCharacterSet = "ISO_IR_100"
    answer.PatientName = "Müller^Änne"
    with pytest.raises(ResultEncodingError, match="cannot be read"):
        PatientAtPeer.of(answer)


#: What a source may say of the person whose number was mistyped.
OF_A_PERSON = {
    "OtherPatientIDs": "P-0001-OLD",
    "PatientComments": "private",
    "AdmissionID": "private",
    "Allergies": "private",
    "AdditionalPatientHistory": "private",
    "ResponsiblePerson": "private",
    "PregnancyStatus": 3,
    "PatientWeight": "61",
    "PatientAge": "066Y",
    "ClinicalTrialSubjectID": "private",
}


def test_nothing_of_the_other_person_stays() -> None:
    """Names, numbers, history, age and weight were those of somebody else."""
    originals = list(results(Phantom(attributes=OF_A_PERSON)).values())
    for before, after in zip(originals, corrected(originals, filed()), strict=True):
        for keyword in OF_A_PERSON:
            assert keyword in before
            assert keyword not in after
        assert b"private" not in encoded(after)


def test_results_that_were_compared_are_held() -> None:
    """The earlier scan is one under the identity of the images: it may be another person's."""
    compared = [one.dataset for one in results_of_compared()]
    with pytest.raises(ResultEncodingError, match="compared with an earlier scan"):
        corrected(compared, filed())


def results_of_compared() -> tuple[ResultObject, ...]:
    """Write the results of a scan that was compared with an earlier one."""
    analysis = Pair().analysis()
    return write_results(analysis, context_of(analysis)).objects
