"""Which instances of a series an archive lists: C-FIND, Study Root, IMAGE level (PS3.4 C.4.1)."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset

from config import DimsePeerSettings, Settings
from core.errors import PeerUnreachable
from scp.answer_values import whole_text_of
from scp.limited import FIND_CONTEXTS, TimeLimit, find_all, limited_association

_WHAT = "C-FIND for the images of a series"
#: For all series of a request. A claim on one lasts longer, and so does what a service may be without a turn.
_WITHIN_S = 480.0
#: Far more than a series has, and than a sender may ask about.
_MOST_IMAGES = 100_000


def listed(
    settings: Settings, peer: DimsePeerSettings, series: list[tuple[str, str]]
) -> Iterator[tuple[tuple[str, str], dict[str, str]]]:
    """Ask an archive for the instances of series, one after the other on one association.

    Parameters
    ----------
    settings, peer
        Own AE title and time limits; whom to ask.
    series
        Study and Series Instance UID of each.

    Yields
    ------
    tuple
        The series, and what the archive has of it: SOP Class UID by SOP Instance UID, an empty class where it
        does not tell. Nothing that it says is out of reach is among it.

    Raises
    ------
    PeerUnreachable
        No association for queries, or not all answers in time.
    PeerRefused
        A query did not end with success: then what was listed before proves nothing.
    """
    limit = TimeLimit(_WITHIN_S)
    with limited_association(settings, peer, FIND_CONTEXTS, limit) as association:
        for study_uid, series_uid in series:
            if limit.over:
                raise PeerUnreachable(f"{peer.name} did not list {len(series)} series within {_WITHIN_S:g} s")
            query = Dataset()
            query.QueryRetrieveLevel = "IMAGE"
            query.StudyInstanceUID, query.SeriesInstanceUID = study_uid, series_uid
            query.SOPInstanceUID = query.SOPClassUID = query.InstanceAvailability = ""
            own_limit = TimeLimit(min(settings.delivery.longest_answer_s, limit.left_s))
            answers = find_all(association, peer.name, query, own_limit, at_most=_MOST_IMAGES, what=_WHAT)
            matches = (_match(answer, study_uid, series_uid) for answer in answers)
            yield (study_uid, series_uid), dict(match for match in matches if match is not None)


def _match(answer: Dataset, study_uid: str, series_uid: str) -> tuple[str, str] | None:
    """Return instance and class of an answer that is of this series and names what can be had there."""
    of_series = whole_text_of(answer, "StudyInstanceUID") in ("", study_uid) and whole_text_of(
        answer, "SeriesInstanceUID"
    ) in ("", series_uid)
    uid = whole_text_of(answer, "SOPInstanceUID")
    if not of_series or not uid or whole_text_of(answer, "InstanceAvailability") == "UNAVAILABLE":
        return None
    return uid, whole_text_of(answer, "SOPClassUID")
