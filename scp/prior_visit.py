"""An association on which a PACS answers C-GET, recorded as if a sender had opened it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from config import DimsePeerSettings
from core.errors import Draining, LedgerUnavailable, NodeError, SpoolFull, StorageUnreachable
from core.log import get_logger
from custody.ledger import Ledger, new_id, reception
from custody.ledger.prior_searches import WantedSeries
from custody.ledger.prior_waits import PRIORS_SOURCE
from custody.ledger.reception import Caller
from scp.prior_reception import header_of, uids_in
from scp.receiver import HEARTBEAT_S
from scp.reception import Reception, StoreRequest

#: What passes without the PACS: nothing is wrong with what it has, and it may be asked again.
PASSING = (Draining, LedgerUnavailable, SpoolFull, StorageUnreachable)


class PriorVisit:
    """Keeps the images of one series, for the length of a block.

    From the first image on the ledger knows the association, and that it is open: a PACS that fetches from a
    tape may be silent for minutes between two images, and completion must not take the series for whole then.

    Parameters
    ----------
    ledger, taking
        Where the association is recorded; keeps the images.
    peer, wanted
        Who sends; what it was asked for.
    process
        Identity of this process in the ledger.
    now
        Clock, seconds since 1970 UTC.

    Attributes
    ----------
    hindrance
        Why an image could not be kept, where that passes; None where there was nothing of that kind.
    """

    def __init__(
        self,
        ledger: Ledger,
        taking: Reception,
        peer: DimsePeerSettings,
        wanted: WantedSeries,
        process: str,
        now: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._taking = taking
        self._peer = peer
        self._wanted = (wanted.study_instance_uid, wanted.series_instance_uid)
        self._process = process
        self._now = now
        self.hindrance: NodeError | None = None
        self._caller: Caller | None = None
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, name=f"priors-heart-{peer.name}", daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it; as one that was cut off where what is missing will be asked for again."""
        if self._caller is None:
            return
        self._over.set()
        self._heart.join()
        ended = "released" if self.hindrance is None else "aborted"
        reception.close_association(self._ledger, self._caller.association_id, ended, self._now())

    def take(self, request: StoreRequest) -> None:
        """Keep one image; one that was not asked for is refused.

        Raises
        ------
        NodeError
            It is of another series, or cannot be kept.
        """
        header = header_of(request)
        if header is None or uids_in(header) != self._wanted:
            raise NodeError("an image of another series came than was asked for")
        try:
            self._taking.take(request, self._caller or self._opened())
        except PASSING as error:
            self.hindrance = error
            raise

    def _opened(self) -> Caller:
        caller = Caller(new_id(), PRIORS_SOURCE, self._peer.ae_title, self._peer.host[:64])
        reception.open_association(self._ledger, caller, self._process, self._now())
        self._caller = caller
        self._heart.start()
        return caller

    def _beat(self) -> None:
        """Say that it is open, for as long as it is."""
        while not self._over.wait(HEARTBEAT_S):
            try:
                if self._caller is not None:
                    ids = [self._caller.association_id]
                    reception.heartbeat_associations(self._ledger, ids, self._now())
            except Exception:  # noqa: BLE001 - border: a failed heartbeat must not end the heart
                get_logger().error("heartbeat_failed", exc_info=True)
