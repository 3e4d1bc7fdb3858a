"""Sealed series keep their instances in manifests; the ledger and the files stay one story."""

from __future__ import annotations

import contextlib
import json
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from core.domain import SeriesInstanceUID, SeriesKey, StudyInstanceUID
from core.errors import SpoolDamaged
from custody.holdings import Holdings
from custody.ledger import Ledger, instances, manifests, reception
from custody.ledger.tables import instance, manifest
from custody.manifest import KeptInstance, Manifest, may_list, read_manifest
from custody.shelving import Shelving
from custody.spool import Spool
from tests.unit.test_ledger import NOON, claimed, new_instance, open_caller, sealed

_texts = st.text(max_size=20)
_kept = st.builds(
    KeptInstance,
    **{
        one.name: {
            "size_bytes": st.integers(0, 2**40),
            "received_at": st.floats(0, 2e9),
            "generation": st.none() | st.integers(1, 9),
            "set_aside": st.none() | _texts,
            "move_originator_ae_title": st.none() | _texts,
            "move_originator_message_id": st.none() | st.integers(0, 65535),
            "facts": st.none() | st.dictionaries(_texts, st.floats(allow_nan=False) | _texts | st.none()),
        }.get(one.name, _texts)
        for one in fields(KeptInstance)
    },
)
_manifests = st.builds(
    Manifest,
    _texts,
    st.builds(SeriesKey, _texts, _texts, _texts),
    _texts,
    st.integers(0, 99),
    _texts,
    st.lists(_kept, max_size=4).map(tuple),
)


@settings(max_examples=50)
@given(one=_manifests)
def test_a_manifest_says_what_was_put_in(one: Manifest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever the values are, they come back, under the checksum that was given out."""
    path = tmp_path_factory.mktemp("m") / "manifest.json"
    content, sha256 = one.encoded()
    path.write_bytes(content)
    assert read_manifest(path, sha256) == one


def test_a_manifest_can_be_asked_quickly_what_it_lists(tmp_path: Path) -> None:
    """One of many instances is enough; a file that is gone or is no manifest lists nothing."""
    path = tmp_path / "manifest.json"
    values = {one.name: "1.2.3" if one.name == "sop_instance_uid" else None for one in fields(KeptInstance)}
    listed = KeptInstance(**values)  # type: ignore[arg-type]
    content, _ = Manifest("s", SeriesKey("1", "2", "d"), "CT", 1, "", (listed,)).encoded()  # type: ignore[arg-type]
    assert not may_list(path, {"1.2.3"})
    path.write_bytes(content)
    assert may_list(path, {"9", "1.2.3"})
    assert not may_list(path, {"1.2", "1.2.3.4"})
    path.write_bytes(b"\xff")
    assert not may_list(path, {"1.2.3"})


@settings(max_examples=50)
@given(data=st.data())
def test_any_damage_to_a_manifest_is_found(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A byte changed or lost anywhere is an error, or changes nothing that is read."""
    key = SeriesKey(StudyInstanceUID("1.2"), SeriesInstanceUID("1.3"), "digest")
    kept = KeptInstance("i", "i.dcm", "1", "2", "3", "4", 5, 6.0, "s", "CT1", 1, None, None, None, {"a": 1.5})
    one = Manifest("series", key, "CT", 1, "", (kept,))
    content, sha256 = one.encoded()
    at = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(
        st.sampled_from([content[:at], content[:at] + content[at + 1 :], _flipped(content, at)])
    )
    path = tmp_path_factory.mktemp("m") / "manifest.json"
    path.write_bytes(other)
    with contextlib.suppress(SpoolDamaged):
        assert read_manifest(path, sha256) == one


def shelving(ledger: Ledger, folder: Path, now: float) -> Shelving:
    """Return the shelving of a node that works alone, at a moment."""
    spool = Spool(folder)
    return Shelving(ledger, spool, Holdings(spool, ledger), now=lambda: now)


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_a_sealed_series_moves_into_its_manifest(ledger: Ledger, tmp_path: Path) -> None:
    """No row of its instances is left in the ledger; a claim still finds every one of them, in order."""
    sealed(ledger)
    before = instances.sealed_series(ledger, one := claimed(ledger))
    assert shelving(ledger, tmp_path, NOON + 1).step() == 1
    with ledger.read() as connection:
        assert connection.execute(select(func.count()).select_from(instance)).scalar_one() == 0
    assert instances.sealed_series(ledger, one) == before
    assert shelving(ledger, tmp_path, NOON + 2).step() == 0


def test_a_known_instance_is_known_after_shelving(ledger: Ledger, tmp_path: Path) -> None:
    """The same content again is no new instance, another content under its UID is set aside and flagged."""
    sealed(ledger)
    (tmp_path / "1.dcm").touch()
    with ledger.write() as connection:
        connection.execute(instance.update().values(path=str(tmp_path / "1.dcm")))
    shelving(ledger, tmp_path, NOON + 1).step()
    with ledger.read() as connection:
        series_id = connection.execute(select(manifest.c.series_id)).scalar_one()
    assert reception.known_contents(ledger, series_id, "1.2.0") == {"a" * 64: None}
    caller = open_caller(ledger, NOON)
    assert not reception.record_instance(ledger, series_id, caller, new_instance(0), NOON)
    assert reception.record_instance(ledger, series_id, caller, new_instance(0, "b"), NOON)
    with ledger.read() as connection:
        assert connection.execute(select(instance.c.set_aside)).scalar_one() == reception.OTHER_CONTENT
    (tmp_path / "1.dcm").unlink()  # what is gone is welcome again
    assert reception.known_contents(ledger, series_id, "1.2.1") == {}


def test_a_lost_manifest_stops_the_analysis_and_not_the_reception(ledger: Ledger, tmp_path: Path) -> None:
    """An analysis of what is left would be wrong; an image that comes again is stored again."""
    sealed(ledger)
    one = claimed(ledger)
    shelving(ledger, tmp_path, NOON + 1).step()
    for path in tmp_path.glob("received/*/manifest-*.json"):
        path.unlink()
    with pytest.raises(SpoolDamaged, match="is gone: run `lesion-node verify`"):
        instances.sealed_series(ledger, one)
    assert reception.known_contents(ledger, one.series_id, "1.2.0") == {}


def test_a_crash_before_the_ledger_knows_the_manifest_loses_nothing(ledger: Ledger, tmp_path: Path) -> None:
    """A manifest that nobody recorded is written once more; the rows were there all the time."""
    sealed(ledger)
    spool = Spool(tmp_path)
    with ledger.read() as connection:
        (found,) = manifests.sealed_rows(connection, node="", quiet_before=NOON)
    content, sha256 = found.manifest.encoded()
    spool.keep_manifest(found.manifest.series_id, 1, sha256, content)
    assert shelving(ledger, tmp_path, NOON + 1).step() == 1
    assert len(instances.sealed_series(ledger, claimed(ledger)).instances) == 2


def test_what_can_never_be_analysed_is_shelved_when_it_is_quiet(ledger: Ledger, tmp_path: Path) -> None:
    """Other objects of a PACS must not fill the ledger either; they wait for their series to be quiet."""
    series_id = reception.series_id_of(
        ledger, SeriesKey(StudyInstanceUID("1"), SeriesInstanceUID("2"), "d"), "MR", NOON
    )
    caller = open_caller(ledger, NOON)
    aside = {**{one.name: getattr(new_instance(), one.name) for one in fields(new_instance())}}
    reception.record_instance(
        ledger, series_id, caller, type(new_instance())(**{**aside, "set_aside": "no CT image"}), NOON
    )
    assert shelving(ledger, tmp_path, NOON + 59).step() == 0
    assert shelving(ledger, tmp_path, NOON + 61).step() == 1
    (path,) = tmp_path.glob("received/*/manifest-0-*.json")
    assert json.loads(path.read_text())["body"]["instances"][0]["set_aside"] == "no CT image"
