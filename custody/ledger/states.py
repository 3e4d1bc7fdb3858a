"""The states of what the ledger queues."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """Where a sealed series stands."""

    QUEUED = "queued"
    RUNNING = "running"
    ANALYSED = "analysed"
    REFUSED = "refused"
    NOT_SELECTED = "not_selected"
    FAILED = "failed"


class DeliveryState(StrEnum):
    """Where an object stands on its way to a peer."""

    DUE = "due"
    SENDING = "sending"
    DELIVERED = "delivered"
    LEFT_OUT = "left_out"
    SUPERSEDED = "superseded"
    FAILED = "failed"
