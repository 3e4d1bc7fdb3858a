"""The states of what the ledger queues."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class JobState(StrEnum):
    """Where a sealed series stands."""

    #: Sealed, and on its way to the storage that the machines share.
    PUBLISHING = "publishing"
    QUEUED = "queued"
    RUNNING = "running"
    ANALYSED = "analysed"
    REFUSED = "refused"
    NOT_SELECTED = "not_selected"
    FAILED = "failed"


#: A job in one of these is not worked on any more.
FINAL_JOB_STATES = tuple(
    one.value for one in (JobState.ANALYSED, JobState.REFUSED, JobState.NOT_SELECTED, JobState.FAILED)
)


class Lane(IntEnum):
    """Who is served first, among analyses and deliveries."""

    URGENT = 0
    ROUTINE = 1
    LOW = 2


class DeliveryState(StrEnum):
    """Where an object stands on its way to a peer."""

    DUE = "due"
    SENDING = "sending"
    DELIVERED = "delivered"
    LEFT_OUT = "left_out"
    SUPERSEDED = "superseded"
    FAILED = "failed"


class CommitmentState(StrEnum):
    """Where a delivered object stands that a peer is asked to commit to."""

    DUE = "due"
    ASKED = "asked"
    COMMITTED = "committed"
    FAILED = "failed"


class CommitmentRequestState(StrEnum):
    """Where a sender's request for commitment stands."""

    WAITING = "waiting"
    ANSWERED = "answered"
    FAILED = "failed"
