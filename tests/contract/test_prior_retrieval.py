"""Retrieval from PACS that do not do as they should: it ends in time, with a reason for people."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from core.errors import SpoolFull
from scp import limited
from scp.prior_retrieval import retrieve
from scp.reception import StoreRequest
from scp.retrieval import Retrieval, SeriesToFetch
from tests.helpers.archive import ListingPacs
from tests.helpers.dicom_peers import LEAVES_SOCKETS
from tests.helpers.instances import ct_series, peer, settings_for

pytestmark = [LEAVES_SOCKETS, pytest.mark.usefixtures("network")]

IMAGES = ct_series(4)


def refused(_request: StoreRequest) -> None:
    """Be a spool that is full."""
    raise SpoolFull("the disk is full")


def fetch(
    tmp_path: Path, pacs: ListingPacs, *, within_s: float = 5.0, take: Any = refused, **options: Any
) -> Retrieval:
    """Fetch a series from a PACS."""
    asked = peer("pacs", pacs.port, **options)
    wanted = SeriesToFetch(IMAGES[0].StudyInstanceUID, IMAGES[0].SeriesInstanceUID, 42)
    return retrieve(settings_for(tmp_path), asked, wanted, within_s=within_s, take=take)


def test_a_pacs_that_hangs_in_c_move_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time it gets C-CANCEL, then the association is aborted."""
    monkeypatch.setattr(limited, "GRACE_S", 0.3)
    with ListingPacs() as pacs:

        def move(event: Any) -> Iterator[Any]:
            while not pacs.stopping.wait(0.02) and not pacs.ended:
                if event.is_cancelled:
                    pacs.cancelled.set()
            yield None, None

        pacs.move = move
        began = time.monotonic()
        outcome = fetch(tmp_path, pacs, within_s=0.4)
        took = time.monotonic() - began
        assert pacs.cancelled.is_set()
    assert 0.4 <= took < 30
    assert outcome.arrived == 0
    assert "C-MOVE within the time" in (outcome.reason or "")
    assert outcome.message_id == 42


def test_an_unknown_destination_is_told_with_what_to_register(tmp_path: Path) -> None:
    """0xA801: AE title, address and port that the PACS has to know."""

    def move(_event: Any) -> Iterator[Any]:
        yield None, None  # pynetdicom's word for it

    with ListingPacs(move=move) as pacs:
        reason = fetch(tmp_path, pacs, calling_ae_title="NODE_B").reason or ""
    assert 'register AE title "NODE_B", host 127.0.0.1, port' in reason


def test_a_pacs_without_c_get_is_told_of(tmp_path: Path) -> None:
    """It accepts the association for other things, or not at all: a reason, no error."""
    with ListingPacs() as pacs:
        assert fetch(tmp_path, pacs, priors_by="get").reason


@pytest.mark.parametrize("breaks", ["aborts", "raises"])
def test_a_pacs_that_breaks_off_is_told_of(tmp_path: Path, breaks: str) -> None:
    """It ends the association in the middle, or fails inside: a reason, in time."""

    def move(event: Any) -> Iterator[Any]:
        if breaks == "raises":
            raise ValueError("a fault of the PACS")
        event.assoc.abort()
        yield None, None

    with ListingPacs(move=move) as pacs:
        began = time.monotonic()
        reason = fetch(tmp_path, pacs).reason or ""
        assert time.monotonic() - began < 30
    assert ("gave no answer" if breaks == "aborts" else "0xC") in reason


def test_what_cannot_be_kept_is_no_success(tmp_path: Path) -> None:
    """C-GET brings images and the disk is full: each is refused, the reason says so, none counts."""
    with ListingPacs(get=lambda: IMAGES, offers_get=True) as pacs:
        outcome = fetch(tmp_path, pacs, priors_by="get")
        kept: list[Dataset] = []
        again = fetch(tmp_path, pacs, priors_by="get", take=kept.append)
    assert (outcome.arrived, outcome.failed) == (0, 4)
    assert "the disk is full" in (outcome.reason or "")
    assert again == Retrieval(42, 4)
    assert len(kept) == 4


# The scripted PACS may be in the middle of an answer when it is left: its thread ends with an error.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_more_than_was_asked_for_ends_with_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PACS that sends for ever by C-GET, and goes on after the cancel, is left."""
    monkeypatch.setattr(limited, "GRACE_S", 0.3)
    with ListingPacs(offers_get=True) as pacs:

        def for_ever() -> Iterator[Dataset]:
            while not pacs.stopping.is_set() and not pacs.ended:
                time.sleep(0.01)
                yield IMAGES[0]

        pacs.get = for_ever
        began = time.monotonic()
        outcome = fetch(tmp_path, pacs, within_s=0.5, priors_by="get", take=lambda _request: None)
        assert 0.5 <= time.monotonic() - began < 30
    assert outcome.arrived > 0
    assert outcome.reason
