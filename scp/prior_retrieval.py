"""Fetches one series from a PACS: by C-MOVE to this node itself, or by C-GET (PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from config import DimsePeerSettings, RetrievalWay, Settings
from core.ct_header import ANALYSED_SOP_CLASSES
from core.errors import DeliveryError, NodeError
from core.log import get_logger
from scp import status
from scp.limited import TimeLimit, limited_association
from scp.reception import StoreRequest
from scp.retrieval import Operation, Retrieval, SeriesToFetch

_GET = str(StudyRootQueryRetrieveInformationModelGet)
_MOVE = str(StudyRootQueryRetrieveInformationModelMove)
#: All that a receiver of CT has to expect, in the order in which a PACS may choose. Video is none of it.
_OFFERED_SYNTAXES = tuple(
    str(one)
    for one in (
        ExplicitVRLittleEndian,
        JPEGLosslessSV1,
        JPEGLossless,
        JPEGLSLossless,
        JPEG2000Lossless,
        HTJ2KLossless,
        HTJ2KLosslessRPCL,
        RLELossless,
        JPEGLSNearLossless,
        JPEG2000,
        HTJ2K,
        JPEGBaseline8Bit,
        JPEGExtended12Bit,
        ImplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        ExplicitVRBigEndian,
    )
)

#: Keeps an image: raises `NodeError` where it cannot.
Take = Callable[[StoreRequest], object]


def retrieve(
    settings: Settings, peer: DimsePeerSettings, wanted: SeriesToFetch, *, within_s: float, take: Take
) -> Retrieval:
    """Have a PACS send a series.

    Parameters
    ----------
    settings, peer
        Own AE title and port; whom to ask, and by which of the two ways.
    wanted
        The series.
    within_s
        Time for all of it; then it is cancelled.
    take
        Keeps what comes by C-GET. What comes by C-MOVE comes to the listener.

    Returns
    -------
    Retrieval
        Never an error: whatever fails is its `reason`.
    """
    limit = TimeLimit(within_s)
    operation: Operation = (
        _Get(settings, peer, wanted, limit, take)
        if peer.priors_by is RetrievalWay.GET
        else _Move(settings, peer, wanted, limit)
    )
    try:
        return operation.run()
    except DeliveryError as error:
        return operation.outcome(str(error))
    except RuntimeError:  # pynetdicom's word for an association that ended
        return operation.outcome(f"{peer.name} ended the association during {operation.name}")
    except Exception as error:
        log = get_logger(peer=peer.name)
        log.error("prior_retrieval_broke", exc_info=True)
        return operation.outcome(f"internal error: {type(error).__name__}")


class _Move(Operation):
    """The PACS sends to our listener, on an association of its own."""

    name = "C-MOVE"
    model = _MOVE

    def run(self) -> Retrieval:
        """Ask with C-MOVE."""
        with limited_association(self.settings, self.peer, self.contexts, self.limit) as association:
            answers = association.send_c_move(
                self.identifier(), self.own_ae_title, _MOVE, self.wanted.message_id
            )
            return self.follow(association, answers)

    def hint(self) -> str:
        """Return what to look at: some PACS have no status of its own for an unknown destination."""
        return f"does it know this node as a move destination: {self.destination()}?"


class _Get(Operation):
    """The PACS sends on the association of the request."""

    name = "C-GET"
    model = _GET

    def __init__(
        self,
        settings: Settings,
        peer: DimsePeerSettings,
        wanted: SeriesToFetch,
        limit: TimeLimit,
        take: Take,
    ) -> None:
        super().__init__(settings, peer, wanted, limit)
        self._take = take
        self._stored = 0
        self._why_not: str | None = None

    @property
    def contexts(self) -> list[tuple[str, str]]:
        storage = [
            (sop_class, transfer)
            for sop_class in sorted(ANALYSED_SOP_CLASSES)
            for transfer in _OFFERED_SYNTAXES
        ]
        return [*super().contexts, *storage]

    def run(self) -> Retrieval:
        """Ask with C-GET."""
        with limited_association(
            self.settings,
            self.peer,
            self.contexts,
            self.limit,
            as_scp_of=sorted(ANALYSED_SOP_CLASSES),
            handlers=[(evt.EVT_C_STORE, self._store)],
        ) as association:
            if _GET not in [one.abstract_syntax for one in association.accepted_contexts]:
                return self.outcome(
                    f'{self.peer.name} does not offer C-GET to "{self.own_ae_title}": allow it there, or set '
                    'priors_by = "move" in its [[peers]] block'
                )
            answers = association.send_c_get(self.identifier(), _GET, self.wanted.message_id)
            return self.follow(association, answers)

    def outcome(self, reason: str | None) -> Retrieval:
        """Return what came of it; what was really stored counts, whatever the PACS says."""
        result = super().outcome(self._why_not or reason)
        if result.arrived >= self._stored and self._why_not is None:
            return result
        return Retrieval(
            result.message_id,
            max(self._stored - result.warning, 0),
            result.failed,
            result.warning,
            result.reason,
        )

    def _store(self, event: Any) -> Dataset | int:
        """Keep one image; the error of one is the answer to one."""
        event.assoc.dimse_timeout = self.limit.wait_s()
        try:
            self._take(self._request(event))
        except NodeError as error:
            self._why_not = f"an image could not be kept: {error}"
            return status.response(status.status_of(error), str(error))
        except Exception as error:
            log = get_logger(peer=self.peer.name)
            log.error("instance_failed", exc_info=True)
            self._why_not = f"an image could not be kept: internal error, {type(error).__name__}"
            return status.response(status.OUT_OF_RESOURCES, f"internal error: {type(error).__name__}")
        self._stored += 1
        return status.SUCCESS

    def _request(self, event: Any) -> StoreRequest:
        request = event.request
        stream = request.DataSet if request.DataSet is not None else BytesIO()
        return StoreRequest(
            data=stream.getbuffer(),
            transfer_syntax_uid=str(event.context.transfer_syntax),
            sop_class_uid=str(request.AffectedSOPClassUID),
            sop_instance_uid=str(request.AffectedSOPInstanceUID),
            # As if it had come by C-MOVE, so that both are known alike.
            move_originator_ae_title=self.own_ae_title,
            move_originator_message_id=self.wanted.message_id,
        )
