"""A PACS that outlives the node and remembers every arrival.

Sometimes it refuses, sometimes it is away; asked to commit, it sometimes says nothing or no.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from io import BytesIO
from types import TracebackType
from typing import Any, Self

from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from scp import commitment_wire as wire

_OUT_OF_RESOURCES = 0xA700
_STUDY_INSTANCE_UID = 0x0020000D
#: A result is there once so many different objects of its study are: SEG, report, film.
OBJECTS_OF_A_RESULT = 3
_REFUSES_ONE_IN = 25
#: Of requests for commitment: one in so many is not reported on, one in so many with a failure.
_SAYS_NOTHING_ONE_IN = 8
_SAYS_NO_ONE_IN = 8
_NO_SUCH_OBJECT = 0x0112
#: Longest time until it reports.
_REPORTING_S = 0.4
#: Longest time that storing one object takes.
_STORING_S = 0.03


@dataclass(frozen=True, slots=True)
class Arrival:
    """One C-STORE as it came in.

    Parameters
    ----------
    sop_instance_uid, study_instance_uid
        What it is, and to which study it belongs.
    sha256
        Digest of the data set's bytes.
    status
        What was answered.
    """

    sop_instance_uid: str
    study_instance_uid: str
    sha256: str
    status: int


class CampaignPacs:
    """A Storage SCP on the loopback interface.

    Parameters
    ----------
    port
        The same one each time it comes back.
    seed
        Of its moods.
    """

    ae_title = "CRASHPACS"

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.changed = threading.Condition()
        self.associations = 0
        self.requests = 0
        self.times_away = 0
        self._arrivals: list[Arrival] = []
        self._objects: defaultdict[str, set[str]] = defaultdict(set)
        self._choices = random.Random(f"pacs {seed}")
        self._calm = False
        self._denied: set[str] = set()
        self._server: Any = None
        self._returning: threading.Timer | None = None

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.come_back()
        self._server.shutdown()

    def go_away(self, seconds: float) -> None:
        """End every association in the middle of whatever it does, and do not listen for a while."""
        if self._returning is not None and self._returning.is_alive():
            return
        open_now = self._server.active_associations
        self._server.shutdown()
        for association in open_now:
            association.abort()
        self.times_away += 1
        self._returning = threading.Timer(seconds, self._open)
        self._returning.start()

    def come_back(self) -> None:
        """Listen from now on."""
        if self._returning is not None:
            self._returning.join()

    def calm_down(self) -> None:
        """Refuse nothing any more."""
        self._calm = True

    def arrivals(self) -> list[Arrival]:
        """Return every arrival so far, refused ones included."""
        with self.changed:
            return list(self._arrivals)

    def has_results_of(self, study_instance_uid: str) -> bool:
        """Tell whether the objects of a result arrived."""
        with self.changed:
            return len(self._objects[study_instance_uid]) >= OBJECTS_OF_A_RESULT

    def _open(self) -> None:
        entity = AE(ae_title=self.ae_title)
        entity.maximum_pdu_size = 1024 * 1024
        entity.supported_contexts = AllStoragePresentationContexts
        entity.add_supported_context(wire.PUSH_MODEL)
        entity.add_supported_context(Verification)
        handlers: list[Any] = [
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_ACTION, self._asked),
        ]
        self._server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def _accepted(self, _event: Any) -> None:
        with self.changed:
            self.associations += 1
            self.changed.notify_all()

    def _store(self, event: Any) -> int:
        data = event.request.DataSet.getvalue()
        study = _study_of(data, event.context.transfer_syntax)
        uid = str(event.request.AffectedSOPInstanceUID)
        with self.changed:
            refused = not self._calm and self._choices.randrange(_REFUSES_ONE_IN) == 0
            storing_s = self._choices.uniform(0.0, _STORING_S)
            status = _OUT_OF_RESOURCES if refused else 0x0000
            self._arrivals.append(Arrival(uid, study, hashlib.sha256(data).hexdigest(), status))
            if not refused:
                self._objects[study].add(uid)
            self.changed.notify_all()
        time.sleep(storing_s)
        return status

    def _asked(self, event: Any) -> tuple[int, None]:
        """Take a request for commitment, and report on it a little later, or never."""
        action = event.action_information
        items = [
            (str(one.ReferencedSOPClassUID), str(one.ReferencedSOPInstanceUID))
            for one in action.ReferencedSOPSequence
        ]
        with self.changed:
            self.requests += 1
            silent = not self._calm and self._choices.randrange(_SAYS_NOTHING_ONE_IN) == 0
            denied = not self._calm and self._choices.randrange(_SAYS_NO_ONE_IN) == 0
            wait_s = self._choices.uniform(0.0, _REPORTING_S)
            self.changed.notify_all()
        if not silent:
            outcome = {uid: 0 for _, uid in items}
            if denied and items[0][1] not in self._denied:  # again and again would be given up
                self._denied.add(items[0][1])
                outcome[items[0][1]] = _NO_SUCH_OBJECT
            event_type, report = wire.report(str(action.TransactionUID), items, outcome)
            threading.Timer(wait_s, _report, (event.assoc, event_type, report)).start()
        return 0x0000, None


def _report(association: Any, event_type: int, report: Any) -> None:
    """Report on the association of the request; where that is gone, the node will ask again."""
    if association.is_established:
        with contextlib.suppress(RuntimeError, ValueError, OSError):
            association.send_n_event_report(report, event_type, wire.PUSH_MODEL, wire.PUSH_MODEL_INSTANCE)


def _study_of(data: bytes, transfer_syntax: UID) -> str:
    """Read the Study Instance UID from the head of a data set."""

    def past_it(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return int(tag) > _STUDY_INSTANCE_UID

    head = read_dataset(
        BytesIO(data), transfer_syntax.is_implicit_VR, transfer_syntax.is_little_endian, stop_when=past_it
    )
    return str(head.StudyInstanceUID)
