"""What every way to a destination can do; the courier and the commands know no more of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from pydicom.dataset import Dataset

from custody.ledger.deliveries import StoredObject


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What a peer says of itself before anything is sent.

    Parameters
    ----------
    accepted
        Transfer syntaxes that it accepts, by SOP Class UID; None where this kind of destination cannot be
        asked.
    answers_queries
        Whether it can be asked for a study's patient.
    """

    accepted: Mapping[str, frozenset[str]] | None
    answers_queries: bool


class Session(Protocol):
    """An open way to one peer, for the objects of one job."""

    @property
    def accepted(self) -> Collection[str]:
        """SOP Class UIDs of which objects may be sent; what the peer says to each is known after."""

    def send(self, sent: StoredObject) -> int:
        """Send one object; return the status, success or warning, with which the peer says that it has it.

        Raises
        ------
        PeerRefused
            The peer did not store it; the session goes on.
        TransferBroken, PeerUnreachable
            There was no answer, or the peer turns everything away; the session is over.
        OSError, InvalidDicomError, ValueError, AttributeError, KeyError
            The file is gone or damaged.
        """


class Transport(Protocol):
    """One way to one peer."""

    @property
    def address(self) -> str:
        """Where the peer is, for people; holds no credentials."""

    def session(self, offered: Sequence[StoredObject]) -> AbstractContextManager[Session]:
        """Open a session for some objects, in any of their encodings.

        Raises
        ------
        PeerUnreachable
            There is none; the message says why, and what to look at.
        """

    def find_study(self, study_instance_uid: str) -> Sequence[Dataset]:
        """Return what the peer knows of a study: its UID and its patient (`core.patient.IDENTIFICATION`).

        Raises
        ------
        PeerUnreachable
            No session for queries with the peer.
        PeerRefused
            It did not answer the query with success, or not legibly.
        """

    def echo(self) -> str:
        """Ask for a sign of life; return what the good answer means.

        Raises
        ------
        DeliveryError
            There is none; the message is the verdict.
        """

    def negotiate(self, sop_classes: Sequence[str], transfer_syntaxes: Sequence[str]) -> Negotiated:
        """Ask what the peer takes; nothing is stored there.

        Raises
        ------
        DeliveryError
            It does not answer.
        """
