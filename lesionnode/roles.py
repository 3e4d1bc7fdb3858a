"""What a process of the node does; one process does everything unless it is told otherwise."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """A part of the node that can run in a process, or on a machine, of its own."""

    #: Takes images, decides when a series is complete, answers requests for commitment, keeps the disk free.
    RECEIVE = "receive"
    #: Analyses sealed series.
    ANALYSE = "analyse"
    #: Sends results.
    DELIVER = "deliver"


EVERY_ROLE = frozenset(Role)
