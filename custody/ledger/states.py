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


#: Of a source (`series_source.settled`): it is told of no result, as no rule of its own wanted one. With 0
#: results are owed to it; with 1 it has them, or none is to come.
NOT_TOLD = 2


class JobPurpose(StrEnum):
    """What a job is for."""

    #: Its source is to get results.
    REPORT = "report"
    #: An earlier scan that was fetched from a PACS: it is compared with.
    PRIOR = "prior"


class PriorSearchState(StrEnum):
    """Where the search for earlier scans of a job's patient stands."""

    DUE = "due"
    #: A process asks the PACS, or fetches what it listed.
    ASKED = "asked"
    #: All that was wanted was asked for; what came of it is on its way through the node.
    ARRIVING = "arriving"
    DONE = "done"
    FAILED = "failed"


#: While a search is in one of these, its job waits for it, though not for ever.
PRIOR_SEARCH_UNDER_WAY = tuple(
    one.value for one in (PriorSearchState.DUE, PriorSearchState.ASKED, PriorSearchState.ARRIVING)
)


class PriorSeriesState(StrEnum):
    """Where a series of a search stands."""

    #: To be fetched.
    WANTED = "wanted"
    #: It was here before.
    KNOWN = "known"
    #: The PACS was asked for it, and images of it are taken as earlier ones.
    ASKED = "asked"
    CAME = "came"
    FAILED = "failed"
