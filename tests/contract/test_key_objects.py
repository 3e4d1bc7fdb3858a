"""The Key Object Selection: which slices and which film it leads a reader to."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from config import DimsePeerSettings
from core.domain import Language, ResultKind
from sr_writer.film.page import slices_shown
from tests.helpers.analyses import Phantom, analysis_of, encoded, results_of
from tests.helpers.dcmtk import dsrdump
from tests.helpers.judges import dciodvfy_complaints


def images(document: Dataset) -> list[Dataset]:
    """Return what the content items refer to."""
    return [item.ReferencedSOPSequence[0] for item in document.ContentSequence if item.ValueType == "IMAGE"]


@pytest.mark.parametrize(
    "phantom",
    [Phantom(), Phantom(lesion_sides=()), Phantom(lungs=()), Phantom(enhanced=True)],
    ids=["usual", "clean", "no lungs", "enhanced"],
)
def test_the_validator_has_nothing_against_it(tmp_path: Path, phantom: Phantom) -> None:
    """dciodvfy finds no error in any case."""
    path = tmp_path / "keys.dcm"
    path.write_bytes(encoded(results_of(analysis_of(phantom))[ResultKind.KEY_OBJECTS]))
    assert [line for line in dciodvfy_complaints(path) if line.startswith("Error")] == []


@pytest.mark.interop
def test_dcmtk_reads_the_selection(tmp_path: Path) -> None:
    """dsrdump understands the document: its title, and one image for each slice and the film."""
    analysis = analysis_of()
    path = tmp_path / "keys.dcm"
    path.write_bytes(encoded(results_of(analysis)[ResultKind.KEY_OBJECTS]))
    text = dsrdump(path)
    assert "Of Interest" in text
    assert text.count("contains IMAGE") == len(slices_shown(analysis)) + 1


@pytest.mark.parametrize("enhanced", [False, True])
def test_slices_and_film_are_selected_and_listed_as_evidence(enhanced: bool) -> None:
    """The slices of the film in their order, frames by their number, then the film; all as evidence."""
    analysis = analysis_of(Phantom(enhanced=enhanced))
    results = results_of(analysis)
    document, film = results[ResultKind.KEY_OBJECTS], results[ResultKind.FILM]
    *slices, last = images(document)
    frames = [analysis.volume.frames[index] for index in slices_shown(analysis)]
    assert [str(one.ReferencedSOPInstanceUID) for one in slices] == [one.sop_instance_uid for one in frames]
    assert [one.get("ReferencedFrameNumber") for one in slices] == [one.frame_number for one in frames]
    assert last.ReferencedSOPInstanceUID == film.SOPInstanceUID
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    listed = {
        str(one.ReferencedSOPInstanceUID)
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    assert listed == {str(one.ReferencedSOPInstanceUID) for one in images(document)}
    assert all(
        "ConceptNameCodeSequence" not in one for one in document.ContentSequence if one.ValueType == "IMAGE"
    )


def test_each_language_has_an_object_of_its_own() -> None:
    """It refers to the film of its language: two languages never share a UID, one language always does."""
    analysis = analysis_of()
    english, again, chinese = (
        results_of(analysis, language=language)[ResultKind.KEY_OBJECTS]
        for language in (Language.ENGLISH, Language.ENGLISH, Language.CHINESE)
    )
    assert encoded(english) == encoded(again)
    assert english.SOPInstanceUID != chinese.SOPInstanceUID
    assert english.SeriesInstanceUID != chinese.SeriesInstanceUID


def test_a_peer_gets_it_only_where_it_is_asked_for() -> None:
    """Many viewers list a Key Object Selection as something they cannot show: it is no default."""
    peer = DimsePeerSettings.model_validate({"name": "p", "ae_title": "P", "host": "h", "port": 104})
    assert ResultKind.KEY_OBJECTS not in peer.objects
    asked = DimsePeerSettings.model_validate({**peer.model_dump(), "objects": ["film", "key_objects"]})
    assert asked.objects == (ResultKind.FILM, ResultKind.KEY_OBJECTS)
