"""Which earlier CT of a patient a PACS has: C-FIND, Study Root, STUDY and then SERIES level (PS3.4 C.4.1).

The PACS is asked by Patient ID and never by name, and what it answers is believed only as far as it can be
checked: identity, dates and modality are compared here whatever the query asked for. Nothing that it says, or
does not say, becomes more than a note.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset

from config import DimsePeerSettings, Settings
from core.errors import PeerUnreachable
from core.log import get_logger
from core.uid import is_tolerable_uid
from scp.answer_values import number_of, studied_at, text_of, texts_of
from scp.limited import FIND_CONTEXTS, Found, TimeLimit, find, limited_association
from scp.prior_choice import OfferedSeries, choose_series, own_results
from scp.prior_patient import SEVERAL_PATIENTS, UNDATED, CurrentScan, why_left_out, why_not_asked

#: Answers that are read: of a patient's studies, of a study's series, of a series' images.
MOST_STUDIES = 500
MOST_SERIES = 200
MOST_IMAGES = 400
#: So many studies are looked into for each earlier scan that is wanted.
_STUDIES_PER_PRIOR = 4
_STUDY_KEYS = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyDescription", "PatientBirthDate", "PatientSex",
    "IssuerOfPatientID",
)  # fmt: skip
_SERIES_KEYS = (
    "SeriesInstanceUID", "Modality", "SeriesDescription", "SeriesNumber", "BodyPartExamined",
    "ManufacturerModelName", "NumberOfSeriesRelatedInstances",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PriorSeries:
    """A series that may be compared with: its headers still have to agree.

    Parameters
    ----------
    study_instance_uid, series_instance_uid
        Where it is in the PACS.
    studied_at
        Study Date and Time.
    description
        Series Description.
    instances
        How many the PACS says it has; None where it does not tell.
    own_results
        Segmentations and reports of its study that look like this product's.
    """

    study_instance_uid: str
    series_instance_uid: str
    studied_at: datetime
    description: str = ""
    instances: int | None = None
    own_results: tuple[OfferedSeries, ...] = ()


@dataclass(frozen=True, slots=True)
class PriorCandidates:
    """What a PACS has to compare with.

    Parameters
    ----------
    candidates
        The newest first.
    notes
        What was left out and why, sentences in English without identifiers.
    complete
        Whether the PACS answered all that it was asked; where not, asking again later may find more.
    """

    candidates: tuple[PriorSeries, ...] = ()
    notes: tuple[str, ...] = ()
    complete: bool = True


def find_priors(
    settings: Settings, peer: DimsePeerSettings, current: CurrentScan, *, at_most: int, within_s: float
) -> PriorCandidates:
    """Ask a PACS for earlier CT of a patient.

    Parameters
    ----------
    settings, peer
        Own AE title and time limits; whom to ask.
    current
        The scan that they are to be compared with.
    at_most
        How many are wanted.
    within_s
        Time for all of it.

    Returns
    -------
    PriorCandidates
        Never an error: whatever fails is told in a note.
    """
    why = why_not_asked(current)
    if why is not None:
        return PriorCandidates(notes=(f"No earlier scan was looked for in {peer.name}: {why}.",))
    asking = _Asking(peer.name, current, at_most, TimeLimit(within_s))
    try:
        with limited_association(settings, peer, FIND_CONTEXTS, asking.limit) as association:
            asking.ask(association)
    except PeerUnreachable as error:
        asking.trouble(str(error))
    except Exception:  # noqa: BLE001 - border: answers are foreign data, and no comparison is worth a result
        get_logger(peer=peer.name).error("prior_query_broke", exc_info=True)
        asking.trouble(f"the answers of {peer.name} could not be understood")
    return PriorCandidates(tuple(asking.chosen), tuple(asking.notes()), asking.complete)


@dataclass(frozen=True, slots=True)
class _Study:
    """A study that may be compared with."""

    uid: str
    moment: datetime
    description: str


class _Asking:
    """One patient's earlier studies, read and judged."""

    def __init__(self, peer_name: str, current: CurrentScan, at_most: int, limit: TimeLimit) -> None:
        self.limit = limit
        self.chosen: list[PriorSeries] = []
        self.complete = True
        self._peer_name = peer_name
        self._current = current
        self._at_most = at_most
        self._left_out: Counter[str] = Counter()
        self._troubles: list[str] = []

    def ask(self, association: Any) -> None:
        """Ask for the studies, then for the series of the newest of them."""
        found = find(association, self._peer_name, self._studies_query(), self.limit, at_most=MOST_STUDIES)
        self._look_at(found, "studies of this patient", MOST_STUDIES)
        for study in sorted(self._earlier(found.matches), key=lambda one: one.moment, reverse=True)[
            : self._at_most * _STUDIES_PER_PRIOR
        ]:
            if len(self.chosen) == self._at_most:
                break
            if not association.is_established or self.limit.over:
                self.trouble(f"{self._peer_name} did not tell the series of every study in time")
                break
            one = self._prior_of(association, study)
            if one is not None:
                self.chosen.append(one)

    def trouble(self, text: str) -> None:
        """Note that not everything was found out."""
        self.complete = False
        if text not in self._troubles:
            self._troubles.append(text)

    def notes(self) -> Iterator[str]:
        """Yield what a reader of the result should know."""
        for text in self._troubles:
            yield f"{text[:1].upper()}{text[1:]}: earlier scans may be missing."
        for reason, count in self._left_out.items():
            what = "1 study is" if count == 1 else f"{count} studies are"
            yield f"In {self._peer_name} {what} not compared with: {reason}."

    def _studies_query(self) -> Dataset:
        query = Dataset()
        query.QueryRetrieveLevel = "STUDY"
        for keyword in _STUDY_KEYS:
            setattr(query, keyword, "")
        query.PatientID = self._current.person.patient_id
        if not query.PatientID.isascii():
            query.SpecificCharacterSet = "ISO_IR 192"
        query.ModalitiesInStudy = "CT"
        if self._current.scanned_at is not None:
            query.StudyDate = f"-{self._current.scanned_at:%Y%m%d}"
        return query

    def _earlier(self, answers: Sequence[Dataset]) -> list[_Study]:
        """Return the studies that may be compared with, each once."""
        studies: dict[str, _Study] = {}
        refused: dict[str, str] = {}
        for answer in answers:
            uid = text_of(answer, "StudyInstanceUID")
            modalities = texts_of(answer, "ModalitiesInStudy")
            if uid == self._current.study_instance_uid or (modalities and "CT" not in modalities):
                continue
            moment = studied_at(answer)
            reason = why_left_out(answer, self._current, moment)
            if reason is None and moment is not None:
                studies[uid] = _Study(uid, moment, text_of(answer, "StudyDescription"))
            else:
                refused[uid] = reason or UNDATED
        for uid in studies.keys() & refused.keys():
            del studies[uid]
            refused[uid] = SEVERAL_PATIENTS
        self._left_out.update(refused.values())
        return list(studies.values())

    def _prior_of(self, association: Any, study: _Study) -> PriorSeries | None:
        query = Dataset()
        query.QueryRetrieveLevel = "SERIES"
        for keyword in _SERIES_KEYS:
            setattr(query, keyword, "")
        query.StudyInstanceUID = study.uid
        found = find(association, self._peer_name, query, self.limit, at_most=MOST_SERIES)
        self._look_at(found, "series of one study", MOST_SERIES)
        offered = [one for answer in found.matches if (one := _offered(answer, study.uid)) is not None]
        if len(offered) > 1:
            offered = [self._counted(association, study, one) for one in offered]
        best = choose_series(offered, self._current.like, study.description)
        if best is None:
            return None  # a head, a knee: no reader of the result misses it
        return PriorSeries(
            study.uid,
            best.series_instance_uid,
            study.moment,
            best.description,
            best.instances,
            own_results(offered),
        )

    def _counted(self, association: Any, study: _Study, one: OfferedSeries) -> OfferedSeries:
        """Count the images of a series of which a PACS does not tell how many there are; some never do."""
        if one.instances is not None or one.modality not in ("", "CT") or not association.is_established:
            return one
        query = Dataset()
        query.QueryRetrieveLevel = "IMAGE"
        query.StudyInstanceUID, query.SeriesInstanceUID = study.uid, one.series_instance_uid
        query.SOPInstanceUID = ""
        found = find(association, self._peer_name, query, self.limit, at_most=MOST_IMAGES)
        uids = {text_of(answer, "SOPInstanceUID") for answer in found.matches}
        return replace(one, instances=len(uids)) if found.trouble is None else one

    def _look_at(self, found: Found, what: str, most: int) -> None:
        if found.trouble is not None:
            self.trouble(str(found.trouble))
        if found.more:
            self.trouble(f"{self._peer_name} has more than {most} {what}, only so many were read")
        if found.unreadable:
            self.trouble(f"some answers of {self._peer_name} could not be read")


def _offered(answer: Dataset, study_uid: str) -> OfferedSeries | None:
    """Read an answer at the SERIES level; None where it is of another study or names no series."""
    uid = text_of(answer, "SeriesInstanceUID")
    if not is_tolerable_uid(uid) or text_of(answer, "StudyInstanceUID") not in ("", study_uid):
        return None
    with contextlib.suppress(ValueError):
        return OfferedSeries(
            series_instance_uid=uid,
            modality=text_of(answer, "Modality"),
            description=text_of(answer, "SeriesDescription"),
            body_part=text_of(answer, "BodyPartExamined"),
            model_name=text_of(answer, "ManufacturerModelName"),
            number=number_of(answer, "SeriesNumber"),
            instances=number_of(answer, "NumberOfSeriesRelatedInstances"),
        )
    return None
