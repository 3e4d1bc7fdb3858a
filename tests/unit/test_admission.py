"""Who may send, and what IT staff are told about a caller that may not."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import Settings, SourceSettings
from scp.admission import (
    CALLED_AE_TITLE_NOT_RECOGNISED,
    CALLING_AE_TITLE_NOT_RECOGNISED,
    Refused,
    admit,
    peer_networks,
    reporting_peer,
)
from tests.helpers.instances import peer, settings_for, source

FOLDER = Path("/nowhere")


def node(*sources: SourceSettings, **changes: Any) -> Settings:
    """Return settings with these sources; keyword arguments change ``[node]``."""
    settings = settings_for(FOLDER, sources=sources)
    return settings.model_copy(update={"node": settings.node.model_copy(update=changes)})


def refused(
    settings: Settings, calling: str, called: str = "LESIONNODE", address: str = "127.0.0.1"
) -> Refused:
    """Ask for admission and expect a refusal."""
    decision = admit(settings, calling, called, address)
    assert isinstance(decision, Refused)
    return decision


def with_lines(settings: Settings, lines: str) -> Settings:
    """Paste lines for a new source into the configuration, as IT staff would."""
    added = Settings.model_validate({"peers": settings.peers, **tomllib.loads(lines)})
    pasted = settings.model_copy(update={"sources": settings.sources + added.sources})
    assert pasted.cross_faults() == []
    return pasted


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.0/24", "192.0.2.255"),
        ("0.0.0.0/0", "203.0.113.9"),
        ("192.0.2.0/24", "::ffff:192.0.2.9"),
        ("2001:db8::/32", "2001:db8::1"),
    ],
)
def test_a_caller_from_a_listed_network_is_admitted(network: str, address: str) -> None:
    """Single addresses, networks, IPv6, and IPv4 in an IPv6 socket's clothes are recognised."""
    ct = source("ct", "CT1", networks=[network])
    assert admit(node(ct), "CT1", "LESIONNODE", address) is ct


def test_the_same_title_in_two_departments_is_told_apart_by_address() -> None:
    """Two sources may share an AE title where their networks differ."""
    one, other = (
        source("a", "CT1", networks=["192.0.2.1"]),
        source("b", "CT1", networks=["192.0.2.2"]),
    )
    assert admit(node(one, other), "CT1", "LESIONNODE", "192.0.2.2") is other


def test_a_known_title_from_a_wrong_address_is_refused() -> None:
    """An AE title is no password: the address has to fit too, and the lines say how to add it."""
    settings = node(source("ct", "CT1", networks=["192.0.2.1"]))
    decision = refused(settings, "CT1", address="192.0.2.2")
    assert decision.rejection == CALLING_AE_TITLE_NOT_RECOGNISED
    assert "192.0.2.1" in decision.reason
    assert decision.to_admit == 'in the source "ct": networks = ["192.0.2.1/32", "192.0.2.2"]'
    line = decision.to_admit.split(": ", 1)[1]
    wider = source("ct", "CT1", **tomllib.loads(line))
    assert admit(node(wider), "CT1", "LESIONNODE", "192.0.2.2") is wider


def test_titles_are_compared_exactly() -> None:
    """AE titles are case-sensitive (PS3.5 6.2), and no part of one is enough."""
    settings = node(source("ct", "CT1"))
    for calling in ("ct1", "CT", "CT11", ""):
        assert refused(settings, calling).rejection == CALLING_AE_TITLE_NOT_RECOGNISED


def test_a_wrong_called_title_is_refused_unless_the_site_says_otherwise() -> None:
    """The called AE title is checked by default, and the refusal names both ways out."""
    ct = source("ct", "CT1")
    decision = refused(node(ct), "CT1", called="OTHER")
    assert decision.rejection == CALLED_AE_TITLE_NOT_RECOGNISED
    assert '"LESIONNODE"' in decision.to_admit
    assert "check_called_ae_title = false" in decision.to_admit
    assert admit(node(ct, check_called_ae_title=False), "CT1", "OTHER", "127.0.0.1") is ct


def test_without_sources_nobody_is_admitted() -> None:
    """An empty configuration refuses everybody."""
    settings = Settings(node=node(source("ct", "CT1")).node)
    assert refused(settings, "CT1").rejection == CALLING_AE_TITLE_NOT_RECOGNISED


PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "\\")


@given(st.text(PRINTABLE, min_size=1, max_size=16).map(str.strip).filter(bool), st.ip_addresses())
def test_the_lines_in_the_refusal_admit_the_caller(calling: str, address: Any) -> None:
    """Whatever legal AE title calls from wherever, pasting the lines into the configuration admits it."""
    settings = node(source("scanner", "SCANNER", networks=["192.0.2.1"]))
    decision = admit(settings, calling, "LESIONNODE", str(address))
    if isinstance(decision, Refused) and calling != "SCANNER":
        pasted = with_lines(settings, decision.to_admit)
        assert admit(pasted, calling, "LESIONNODE", str(address)) == pasted.sources[-1]


def test_the_proposed_source_name_is_a_free_one() -> None:
    """A new source gets a name that no other has, so that pasting it is no new fault."""
    settings = node(source("ct-1", "CT1"), source("ct-1-2", "CT2"))
    decision = refused(settings, "CT 1")
    assert 'name = "ct-1-3"' in decision.to_admit
    with_lines(settings, decision.to_admit)


@pytest.mark.parametrize("calling", ["CT\\1", "CT\x07", "CTÄ", ""])
def test_a_title_that_dicom_forbids_cannot_be_admitted(calling: str) -> None:
    """No lines are offered that the configuration would refuse; the sender has to be corrected."""
    assert refused(node(source("ct", "CT1")), calling).to_admit.startswith("at the sender:")


# --- peers that report on storage commitment ---------------------------------------------------------------


def pacs(**changes: Any) -> Settings:
    """Return settings with one peer that is asked for commitment."""
    values = {"storage_commitment": True, "host": "192.0.2.10", **changes}
    return settings_for(FOLDER, peers=(peer("pacs", 104, **values),))


@pytest.mark.parametrize(
    ("changes", "address"),
    [
        ({}, "192.0.2.10"),
        ({}, "::ffff:192.0.2.10"),
        ({"host": "localhost"}, "127.0.0.1"),
        ({"commitment_from": ["192.0.2.11", "198.51.100.0/24"]}, "198.51.100.7"),
        ({"host": "no-such-host.invalid", "commitment_from": ["192.0.2.11"]}, "192.0.2.11"),
    ],
)
def test_a_peer_reports_from_its_host_or_from_elsewhere(changes: dict[str, Any], address: str) -> None:
    """By address, by name, or from elsewhere if that is configured."""
    settings = pacs(**changes)
    assert reporting_peer(settings, "PACS", "LESIONNODE", address) == settings.peers[0]


def test_a_peer_that_reports_from_elsewhere_is_told_what_to_configure() -> None:
    """The refusal holds the line that admits it."""
    decision = reporting_peer(pacs(), "PACS", "LESIONNODE", "192.0.2.99")
    assert isinstance(decision, Refused)
    assert decision.to_admit == 'in the peer "pacs": commitment_from = ["192.0.2.99"]'
    lines = tomllib.loads(decision.to_admit.partition(": ")[2])
    assert reporting_peer(pacs(**lines), "PACS", "LESIONNODE", "192.0.2.99") is not None


@pytest.mark.parametrize(
    ("settings", "calling", "called"),
    [
        (pacs(storage_commitment=False), "PACS", "LESIONNODE"),
        (pacs(), "OTHER", "LESIONNODE"),
        (pacs(calling_ae_title="AI"), "PACS", "OTHER"),
    ],
)
def test_nobody_else_reports(settings: Settings, calling: str, called: str) -> None:
    """Peers that are not asked, strangers, and callers of another node."""
    assert reporting_peer(settings, calling, called, "192.0.2.10") is None


def test_the_listener_knows_where_reports_come_from() -> None:
    """Such addresses are no strangers to the limit on connections."""
    found = peer_networks(pacs(commitment_from=["198.51.100.0/24"]))
    assert [str(one) for one in found] == ["198.51.100.0/24", "192.0.2.10/32"]
    assert peer_networks(pacs(host="pacs.example")) == []
