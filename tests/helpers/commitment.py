"""Scripted sides of storage commitment on real sockets: an archive that commits, a sender that asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from config import Settings
from custody.ledger import Ledger
from custody.spool import Spool
from scp import commitment_wire as wire
from scp.receiver import Receiver
from scp.reception import Reception
from tests.helpers.instances import Clock

Item = tuple[str, str]
PUSH_MODEL = StorageCommitmentPushModel
FIND = StudyRootQueryRetrieveInformationModelFind


def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait for a condition; fail where it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("it did not become true in time")
        time.sleep(0.01)


@contextmanager
def receiving(settings: Settings, ledger: Ledger, clock: Clock) -> Iterator[int]:
    """Run a receiver on a ledger; yields its port."""
    spool = Spool(settings.node.data_folder)
    receiver = Receiver(settings, ledger, Reception(spool, ledger, "", clock), "node-test", clock)
    receiver.start()
    try:
        yield receiver.port
    finally:
        receiver.stop(patience_s=2.0)


def send_report(
    port: int,
    event: Dataset | None,
    *,
    event_type: int = 1,
    calling: str = "PACS",
    called: str = "LESIONNODE",
    instance: str = wire.PUSH_MODEL_INSTANCE,
) -> int:
    """Report to a node on a new association, as SCP by role selection; return the status of its answer."""
    entity = AE(ae_title=calling)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = 20
    entity.add_requested_context(PUSH_MODEL, [ExplicitVRLittleEndian])
    association = entity.associate(
        "127.0.0.1", port, ae_title=called, ext_neg=[build_role(PUSH_MODEL, scp_role=True)]
    )
    if not association.is_established:
        raise ConnectionError("the node did not accept the association")
    try:
        answer, _ = association.send_n_event_report(event, event_type, PUSH_MODEL, instance)
    finally:
        association.release()
    return int(getattr(answer, "Status", -1))


class _Listening:
    """A pynetdicom server for the length of a block."""

    _server: Any = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.socket.getsockname()[1])

    def _entity(self) -> AE:
        raise NotImplementedError

    def _handlers(self) -> list[Any]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._server = self._entity().start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=self._handlers()
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()


@dataclass(eq=False)
class ScriptedArchive(_Listening):
    """A PACS that takes requests for commitment, and answers queries at the level of images.

    Parameters
    ----------
    ae_title
        What it is called.
    commits
        Whether it accepts the Push Model at all.
    action_status
        Of its answer to requests.
    outcome
        Failure Reasons by SOP Instance UID of what it will not commit to; an instance that maps to None is
        not named in its report.
    reports
        On the ``same`` association, there but ``early`` (before the answer to the request), on a ``new`` one
        to `node_port`, or ``never``.
    node_port
        Where it reports to.
    find
        Yields (status, identifier) for a query.
    on_action
        Called with each request before it is answered.
    """

    ae_title: str = "PACS"
    commits: bool = True
    action_status: int = 0x0000
    outcome: Mapping[str, int | None] = field(default_factory=dict)
    reports: str = "never"
    node_port: int = 0
    find: Callable[[Dataset], Iterator[tuple[int, Dataset | None]]] | None = None
    on_action: Callable[[], None] = lambda: None
    asked: list[tuple[str, list[Item]]] = field(default_factory=list)
    queries: list[Dataset] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def report_on(self, number: int, port: int) -> int:
        """Report on the n-th request, on a new association; return the status of the answer."""
        event_type, event = self._report(*self.asked[number])
        return send_report(port, event, event_type=event_type, calling=self.ae_title)

    def _entity(self) -> AE:
        entity = AE(ae_title=self.ae_title)
        classes = [Verification, FIND, *([PUSH_MODEL] if self.commits else [])]
        entity.supported_contexts = [build_context(one, [ExplicitVRLittleEndian]) for one in classes]
        return entity

    def _handlers(self) -> list[Any]:
        return [(evt.EVT_N_ACTION, self._take), (evt.EVT_C_FIND, self._search)]

    def _report(self, transaction_uid: str, items: Sequence[Item]) -> tuple[int, Dataset]:
        named = [item for item in items if self.outcome.get(item[1], 0) is not None]
        return wire.report(transaction_uid, named, {uid: self.outcome.get(uid) or 0 for _, uid in named})

    def _take(self, event: Any) -> tuple[int, None]:
        action = event.action_information
        items = [
            (str(one.ReferencedSOPClassUID), str(one.ReferencedSOPInstanceUID))
            for one in action.ReferencedSOPSequence
        ]
        self.on_action()
        self.asked.append((str(action.TransactionUID), items))
        if self.reports == "early":
            self._report_on_same(event.assoc, len(self.asked) - 1)
        elif self.action_status == 0 and self.reports != "never":
            number = len(self.asked) - 1
            threading.Thread(target=self._report_back, args=(event.assoc, number), daemon=True).start()
        return self.action_status, None

    def _report_back(self, association: Any, number: int) -> None:
        if self.reports == "new":
            self.answers.append(self.report_on(number, self.node_port))
            return
        until(lambda: association._is_paused)  # its answer to the request has left
        self._report_on_same(association, number)

    def _report_on_same(self, association: Any, number: int) -> None:
        event_type, event = self._report(*self.asked[number])
        answer, _ = association.send_n_event_report(event, event_type, PUSH_MODEL, wire.PUSH_MODEL_INSTANCE)
        self.answers.append(int(answer.Status))

    def _search(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        self.queries.append(event.identifier)
        if self.find is not None:
            yield from self.find(event.identifier)


@dataclass(eq=False)
class ScriptedSender(_Listening):
    """A scanner that asks for commitment and listens for the report.

    Parameters
    ----------
    node_port
        Whom it asks.
    ae_title
        What it is called.
    accepts_role
        Whether it lets the node report by role selection.
    statuses
        Of its answers to reports, the last one for ever.
    """

    node_port: int = 0
    ae_title: str = "CT1"
    accepts_role: bool = True
    statuses: Sequence[int] = (0x0000,)
    reported: list[tuple[int, str, set[Item], dict[str, int]]] = field(default_factory=list)

    def ask(
        self,
        items: Sequence[Item],
        transaction_uid: str = "1.2.3",
        *,
        action: Dataset | None = None,
        action_type: int = 1,
        instance: str = wire.PUSH_MODEL_INSTANCE,
    ) -> int:
        """Make a request; return the status of the answer, −1 where none came."""
        entity = AE(ae_title=self.ae_title)
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = 20
        entity.add_requested_context(PUSH_MODEL, [ExplicitVRLittleEndian])
        association = entity.associate("127.0.0.1", self.node_port, ae_title="LESIONNODE")
        if not association.is_established:
            raise ConnectionError("the node did not accept the association")
        wanted = wire.request(transaction_uid, items) if action is None else action
        try:
            answer, _ = association.send_n_action(wanted, action_type, PUSH_MODEL, instance)
        finally:
            association.release()
        return int(getattr(answer, "Status", -1))

    def _entity(self) -> AE:
        entity = AE(ae_title=self.ae_title)
        role = {"scu_role": True, "scp_role": True} if self.accepts_role else {}
        entity.add_supported_context(PUSH_MODEL, [ExplicitVRLittleEndian], **role)
        return entity

    def _handlers(self) -> list[Any]:
        return [(evt.EVT_N_EVENT_REPORT, self._hear), (evt.EVT_REQUESTED, self._requested)]

    def _requested(self, event: Any) -> None:
        """Answer the proposal of a role, which pynetdicom forgets where it takes all storage classes."""
        if self.accepts_role:
            event.assoc.acceptor.add_negotiation_item(build_role(PUSH_MODEL, scp_role=True))

    def _hear(self, event: Any) -> tuple[int, None]:
        said = event.event_information
        committed = {
            (str(one.ReferencedSOPClassUID), str(one.ReferencedSOPInstanceUID))
            for one in said.get("ReferencedSOPSequence") or []
        }
        failed = {
            str(one.ReferencedSOPInstanceUID): int(one.FailureReason)
            for one in said.get("FailedSOPSequence") or []
        }
        self.reported.append((int(event.event_type), str(said.TransactionUID), committed, failed))
        return self.statuses[min(len(self.reported), len(self.statuses)) - 1], None
