"""What C-MOVE and C-GET have in common (PS3.4 C.4.2, C.4.3): the request, and what its answers mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from config import DimsePeerSettings, Settings
from scp.answer_values import text_of
from scp.limited import TimeLimit, cancelled_when_over, out_of_time

_UNCOMPRESSED = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
_PENDING = (0xFF00, 0xFF01)
_SUCCESS = 0x0000
_CANCELLED = 0xFE00
_SOME_FAILED = 0xB000
_UNKNOWN_DESTINATION = 0xA801
_WORDS = {
    0x0110: "processing failure",
    0x0122: "it does not offer this retrieval",
    0x0124: "not authorised",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0xA701: "it could not count the matches",
    0xA702: "it could not send the images",
    0xA900: "it does not understand the request",
}


@dataclass(frozen=True, slots=True)
class SeriesToFetch:
    """What is asked for.

    Parameters
    ----------
    study_instance_uid, series_instance_uid
        Where it is in the PACS.
    message_id
        Message ID (0000,0110) of the request; the images that come by C-MOVE name it as Move Originator
        Message ID, and reception records it.
    """

    study_instance_uid: str
    series_instance_uid: str
    message_id: int


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What came of a request.

    Parameters
    ----------
    message_id
        Message ID of the request.
    completed, failed, warning
        Numbers of sub-operations as the PACS counted them; those that it sent with a warning were stored.
    reason
        What went wrong, in the user's words; None where nothing did.
    """

    message_id: int
    completed: int = 0
    failed: int = 0
    warning: int = 0
    reason: str | None = None

    @property
    def arrived(self) -> int:
        """How many images were stored."""
        return self.completed + self.warning


class Operation:
    """One request to retrieve one series.

    Parameters
    ----------
    settings, peer
        Own AE title and port; whom to ask.
    wanted
        The series.
    limit
        When it has to be over.
    """

    #: For people, and the SOP Class UID of the information model.
    name = ""
    model = ""

    def __init__(
        self, settings: Settings, peer: DimsePeerSettings, wanted: SeriesToFetch, limit: TimeLimit
    ) -> None:
        self.settings = settings
        self.peer = peer
        self.wanted = wanted
        self.limit = limit
        self._counts = {"Completed": 0, "Failed": 0, "Warning": 0}
        self._counted = False
        self._own_host = ""

    def run(self) -> Retrieval:
        """Ask, and wait for the end."""
        raise NotImplementedError

    def outcome(self, reason: str | None) -> Retrieval:
        """Return what came of it."""
        return Retrieval(
            self.wanted.message_id,
            self._counts["Completed"],
            self._counts["Failed"],
            self._counts["Warning"],
            reason,
        )

    @property
    def own_ae_title(self) -> str:
        """What the peer knows this node as."""
        return str(self.peer.calling_ae_title or self.settings.node.ae_title)

    @property
    def contexts(self) -> list[tuple[str, str]]:
        """Presentation contexts to propose."""
        return [(self.model, transfer) for transfer in _UNCOMPRESSED]

    def identifier(self) -> Dataset:
        """Return what is asked for."""
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "SERIES"
        identifier.StudyInstanceUID = self.wanted.study_instance_uid
        identifier.SeriesInstanceUID = self.wanted.series_instance_uid
        return identifier

    def follow(self, association: Any, answers: Any) -> Retrieval:
        """Read the answers of a request until it ends."""
        association.dimse_timeout = self.limit.wait_s()
        self._own_host = _own_address(association)
        with cancelled_when_over(association, self.model, self.wanted.message_id, self.limit):
            for answer, _ in answers:
                self._count(answer)
                code = answer.get("Status")
                if code in _PENDING:
                    association.dimse_timeout = self.limit.wait_s()
                    continue
                return self.outcome(self._said(code, text_of(answer, "ErrorComment")))
        return self.outcome(f"{self.peer.name} did not end its answer to {self.name}")

    def _count(self, answer: Dataset) -> None:
        """Note the numbers of an answer; a PACS may leave them out of any."""
        for what in self._counts:
            number = answer.get(f"NumberOf{what}Suboperations")
            if number is not None:
                self._counts[what] = int(number)
                self._counted = True

    def _said(self, code: int | None, comment: str) -> str | None:
        """Return what a final answer means; None where every image came."""
        name = self.peer.name
        if code == _CANCELLED or (code is None and self.limit.over):
            return out_of_time(name, self.name)
        if code is None:
            return f"{name} gave no answer to {self.name}"
        if code == _UNKNOWN_DESTINATION:
            where = self.destination()
            return f"{name} does not know this node as a move destination: register {where} there"
        total = sum(self._counts.values())
        if code in (_SUCCESS, _SOME_FAILED) and self._counted and total == 0:
            return f"{name} has no images of the series any more"
        if code in (_SUCCESS, _SOME_FAILED) and self._counts["Failed"]:
            return f"{name} could not send {self._counts['Failed']} of {total} images"
        if code in (_SUCCESS, _SOME_FAILED):
            return None
        words = "; ".join(one for one in (_WORDS.get(code, ""), comment, self.hint()) if one)
        return f"{name} answered {self.name} with 0x{code:04X}{f' ({words})' if words else ''}"

    def hint(self) -> str:
        """Return what to look at where a status does not say what went wrong."""
        return ""

    def destination(self) -> str:
        """Return what the peer has to know of this node to send to it."""
        return f'AE title "{self.own_ae_title}", host {self._own_host}, port {self.settings.node.port}'


def _own_address(association: Any) -> str:
    """Return the address of this machine on the way to the peer."""
    try:
        return str(association.dul.socket.socket.getsockname()[0])
    except (AttributeError, OSError):
        return "(the address of this node)"
