"""When to try again: waits that double and spread, and what each status of a peer leads to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import DeliverySettings
from scp.backoff import SPREAD, LanePause, wait_s
from scp.status import Verdict, meaning_of, said_by, verdict_of, warning_in

RULES = DeliverySettings()


@given(st.integers(1, 10_000), st.text(max_size=40))
def test_waits_double_up_to_the_longest_and_spread_by_a_fifth(attempt: int, what: str) -> None:
    """30 s, 60 s … 1 h, a fifth more or less, and always the same for the same delivery."""
    plain = min(30.0 * 2.0 ** min(attempt - 1, 30), 3600.0)
    wait = wait_s(RULES, attempt, what)
    assert (1 - SPREAD) * plain <= wait <= (1 + SPREAD) * plain
    assert wait == wait_s(RULES, attempt, what)


def test_a_thousand_nodes_do_not_come_back_in_the_same_second() -> None:
    """After an outage the first second of the peer is that of few of those who wait, not of all."""
    waits = [wait_s(RULES, 12, f"NODE{number} pacs") for number in range(1000)]
    for start in range(2880, 4320, 60):
        assert sum(start <= wait < start + 60 for wait in waits) < 80
    assert 3500 < sum(waits) / len(waits) < 3700


def test_a_pause_ends_when_the_peer_answers_and_when_the_clock_is_set_back() -> None:
    """Each failure makes it longer; an answer makes the next one short again."""
    pause = LanePause(RULES, "NODE pacs")
    assert not pause.holds(0.0)
    first = pause.begin(1000.0, None) - 1000.0
    assert (pause.holds(1000.0), pause.holds(999.0 + first), pause.holds(1000.0 + first)) == (
        True,
        True,
        False,
    )
    assert not pause.holds(500.0)
    assert pause.begin(2000.0, None) - 2000.0 > 1.3 * first
    assert pause.begin(3000.0, 77.0) == 3077.0
    pause.end()
    assert not pause.holds(3001.0)
    assert pause.begin(4000.0, None) == 4000.0 + first


@pytest.mark.parametrize(
    ("verdict", "statuses"),
    [
        (Verdict.DELIVERED, [0x0000, 0x0001, 0x0107, 0x0111, 0x0116, 0xB000, 0xB006, 0xB007, 0xB123]),
        (Verdict.NEVER, [0x0117, 0x0118, 0x0122]),
        (
            Verdict.TRY_AGAIN,
            [
                *(0x0105, 0x0106, 0x0110, 0x0112, 0x0114, 0x0115, 0x0119, 0x0120, 0x0121, 0x0124),
                *(0x0210, 0x0211, 0x0212, 0x0213, 0xA700, 0xA7FF, 0xA900, 0xA9FF, 0xC000, 0xC122, 0xCFFF),
                *(0xFE00, 0xFF00, 0xFF01, 0x1234, 0xFFFF),
            ],
        ),
    ],
)
def test_every_status_has_its_verdict(verdict: Verdict, statuses: list[int]) -> None:
    """PS3.7 C and PS3.4 B.2.3: stored, never to be stored, or to be tried again, which is where doubts go."""
    assert {verdict_of(status) for status in statuses} == {verdict}


@given(st.integers(0, 0xFFFF))
def test_no_status_is_without_words(status: int) -> None:
    """Whatever number comes, the person reads the number and what is known of it."""
    assert said_by("pacs", status).startswith(f"pacs answered 0x{status:04X}")
    if verdict_of(status) is Verdict.DELIVERED and status not in (0x0000, 0x0111):
        assert meaning_of(status).words in warning_in(status)
