"""Which encoding of each object a PACS gets, by the settings and by what it accepts."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import (
    ComprehensiveSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
)

from core.domain import ResultKind
from core.forms import (
    LABEL_MAP_SEGMENTATION_STORAGE,
    ReportClass,
    ResultForm,
    SegmentationEncoding,
    forms_to_write,
)
from core.uid import derived_uid
from custody.ledger.deliveries import DueDelivery, StoredObject
from custody.ledger.report import status
from custody.spool import Spool
from scp.completion import destinations
from scp.encodings import choose_encodings
from sr_writer.results import write_results
from tests.helpers.analyses import analysis_of, context_of
from tests.helpers.dicom_peers import LEAVES_SOCKETS, ScriptedPacs, contexts_for
from tests.helpers.instances import (
    COMPREHENSIVE_3D_SR_STORAGE,
    SEGMENTATION_STORAGE,
    Clock,
    encoded,
    fresh_ledger,
    peer,
    settings_for,
    source,
)
from tests.helpers.office import Office

pytestmark = [LEAVES_SOCKETS, pytest.mark.usefixtures("network")]

SOP_CLASS = {
    "binary": SEGMENTATION_STORAGE,
    "labelmap": LABEL_MAP_SEGMENTATION_STORAGE,
    "comprehensive-3d": COMPREHENSIVE_3D_SR_STORAGE,
    "comprehensive": str(ComprehensiveSRStorage),
}
LABELMAP = ResultForm(segmentation=SegmentationEncoding.LABELMAP)
FILM = ("film", "", str(SecondaryCaptureImageStorage))


def objects_of(*forms: ResultForm) -> list[tuple[str, str, str]]:
    """Return kind, variant and SOP class of everything that is written in some forms."""
    segmentations = dict.fromkeys(form.variant(ResultKind.SEGMENTATION) for form in forms)
    reports = dict.fromkeys(form.variant(ResultKind.MEASUREMENT_REPORT) for form in forms)
    return [
        *(("segmentation", one, SOP_CLASS[one.removesuffix("-all-frames")]) for one in segmentations),
        *(("measurement_report", one, SOP_CLASS[one.split()[0]]) for one in reports),
        FILM,
    ]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """An office without anything to deliver."""
    with fresh_ledger(tmp_path) as ledger:
        yield Office(tmp_path, ledger, Spool(tmp_path), Clock())


def deliver(office: Office, pacs: ScriptedPacs, **wishes: Any) -> dict[str, Any]:
    """Finish a job for a peer with some wishes, send it, and return the delivery rows by kind."""
    to = peer("pacs", pacs.port, **wishes)
    settings = settings_for(office.folder, peers=(to,), sources=(source("scanner", "CT1"),))
    forms = forms_to_write([to.form])
    office.finish_job(objects=objects_of(*forms), to=destinations(settings))
    office.courier(to).step()
    return office.deliveries()


# --- forms ------------------------------------------------------------------------------------------------


def test_what_may_be_needed_instead_is_written_too() -> None:
    """An ordinary node writes one segmentation and both classes of report; nothing is written twice."""
    forms = forms_to_write([ResultForm(), ResultForm()])
    assert [form.variant(ResultKind.SEGMENTATION) for form in forms] == ["binary", "binary"]
    assert [form.variant(ResultKind.MEASUREMENT_REPORT) for form in forms] == [
        "comprehensive-3d of binary",
        "comprehensive of binary",
    ]


forms = st.builds(
    ResultForm, st.sampled_from(SegmentationEncoding), st.booleans(), st.sampled_from(ReportClass)
)


@given(forms)
def test_alternatives_begin_with_the_wish_and_end_with_what_is_most_widely_taken(form: ResultForm) -> None:
    """Whatever is wished, a binary segmentation with a Comprehensive SR is the last resort."""
    alternatives = form.alternatives()
    assert alternatives[0] == form
    assert alternatives[-1].segmentation is SegmentationEncoding.BINARY
    assert alternatives[-1].report is ReportClass.COMPREHENSIVE
    assert len(set(alternatives)) == len(alternatives)


@given(forms, st.sets(st.sampled_from(sorted(SOP_CLASS.values()))))
def test_the_report_always_refers_to_the_segmentation_beside_it(form: ResultForm, accepted: set[str]) -> None:
    """Whatever a peer accepts, the two objects that it gets are of one form; what is refused is named."""
    offered = [
        StoredObject(f"{kind} {variant}", kind, variant, Path("/x"), sop_class, "1.2")
        for kind, variant, sop_class in objects_of(*form.alternatives())
    ]
    wanted = [
        next(one for one in offered if (one.kind, one.variant) == (kind.value, form.variant(kind)))
        for kind in (ResultKind.SEGMENTATION, ResultKind.MEASUREMENT_REPORT)
    ]
    due = [DueDelivery(str(at), "lane", 1, "job", one, 0.0) for at, one in enumerate(wanted)]
    choices = choose_encodings(due, offered, form, accepted)
    segmentation, report = (choice.object for choice in choices)
    assert report.variant.endswith(f" of {segmentation.variant}")
    for choice, first in zip(choices, wanted, strict=True):
        assert choice.accepted == (choice.object.sop_class_uid in accepted)
        assert (choice.note == "") == (choice.object == first and choice.accepted)
        others = {one.sop_class_uid for one in offered if one.kind == first.kind}
        if choice.accepted is False and others & accepted:
            # An encoding was refused in favour of one that serves more of the peer's kinds of object.
            assert sum(one.accepted for one in choices) >= 1


# --- what a PACS gets -------------------------------------------------------------------------------------


def test_an_older_pacs_gets_the_older_class_of_report(office: Office) -> None:
    """Comprehensive 3D SR refused: the Comprehensive SR is sent in its place, and the row says why."""
    accepts = contexts_for(SEGMENTATION_STORAGE, str(ComprehensiveSRStorage))
    with ScriptedPacs(contexts=accepts) as pacs:
        rows = deliver(office, pacs)
    report = rows["measurement_report"]
    assert (report["state"], report["variant"]) == ("delivered", "comprehensive of binary")
    assert "Comprehensive 3D SR Storage is not accepted by the peer" in report["reason"]
    assert rows["segmentation"]["state"] == "delivered"
    assert rows["segmentation"]["reason"] is None
    assert rows["film"]["state"] == "left_out"
    assert [one.sop_instance_uid for one in pacs.arrived] == [
        derived_uid("1", "segmentation", "binary"),
        derived_uid("1", "measurement_report", "comprehensive", "of", "binary"),
    ]


def test_a_pacs_that_accepts_a_class_and_refuses_its_objects_gets_another(office: Office) -> None:
    """0x0122 to the object itself, after the negotiation said yes: the older class follows at once."""

    def no_3d_reports(_number: int, arrived: Any) -> int:
        return 0x0122 if arrived.sop_class_uid == COMPREHENSIVE_3D_SR_STORAGE else 0

    with ScriptedPacs(contexts=contexts_for(*SOP_CLASS.values(), FILM[2]), answer=no_3d_reports) as pacs:
        rows = deliver(office, pacs)
    assert {row["state"] for row in rows.values()} == {"delivered"}
    assert rows["measurement_report"]["variant"] == "comprehensive of binary"
    assert "Comprehensive 3D SR Storage is not accepted" in rows["measurement_report"]["reason"]
    assert len({one.association for one in pacs.arrived}) == 1


def test_a_label_map_goes_to_a_peer_that_takes_it(office: Office) -> None:
    """As the settings ask, with the report that refers to it."""
    accepts = contexts_for(*SOP_CLASS.values(), FILM[2])
    with ScriptedPacs(contexts=accepts) as pacs:
        rows = deliver(office, pacs, segmentation="labelmap")
    assert {row["state"] for row in rows.values()} == {"delivered"}
    assert rows["segmentation"]["variant"] == "labelmap"
    assert rows["measurement_report"]["variant"] == "comprehensive-3d of labelmap"


def test_a_refused_label_map_becomes_a_binary_segmentation(office: Office) -> None:
    """And the report changes with it, though its own class is accepted."""
    accepts = contexts_for(SEGMENTATION_STORAGE, COMPREHENSIVE_3D_SR_STORAGE, FILM[2])
    with ScriptedPacs(contexts=accepts) as pacs:
        rows = deliver(office, pacs, segmentation="labelmap")
    assert {row["state"] for row in rows.values()} == {"delivered"}
    assert rows["segmentation"]["variant"] == "binary"
    assert "Label Map Segmentation Storage is not accepted" in rows["segmentation"]["reason"]
    assert rows["measurement_report"]["variant"] == "comprehensive-3d of binary"


def test_the_choice_holds_when_a_part_is_sent_later(office: Office) -> None:
    """The segmentation arrived and the report failed: the next attempt sends the report that refers to it."""
    accepts = contexts_for(SEGMENTATION_STORAGE, COMPREHENSIVE_3D_SR_STORAGE, FILM[2])

    def no_reports(_number: int, arrived: Any) -> int:
        return 0xA700 if arrived.sop_class_uid == COMPREHENSIVE_3D_SR_STORAGE else 0

    with ScriptedPacs(contexts=accepts, answer=no_reports) as pacs:
        assert deliver(office, pacs, segmentation="labelmap")["measurement_report"]["state"] == "due"
        pacs.answer = lambda _number, _arrived: 0
        office.clock.advance(60)
        office.courier(peer("pacs", pacs.port, segmentation="labelmap")).step()
    report = office.deliveries()["measurement_report"]
    assert (report["state"], report["variant"]) == ("delivered", "comprehensive-3d of binary")


def test_a_peer_without_reports_gets_the_film_and_an_incident_names_the_rest(office: Office) -> None:
    """What a peer takes in no encoding is left out at once, recorded with the reason, and counted."""
    with ScriptedPacs(contexts=contexts_for(FILM[2])) as pacs:
        rows = deliver(office, pacs)
    states = {kind: row["state"] for kind, row in rows.items()}
    assert states == {"segmentation": "left_out", "measurement_report": "left_out", "film": "delivered"}
    told = [one for one in status(office.ledger)["incidents"] if one["kind"] == "object_left_out"]
    assert {one["subject"] for one in told} == {"pacs: segmentation", "pacs: measurement_report"}


def test_settings_that_changed_since_do_not_lose_a_result(office: Office) -> None:
    """A peer that asks for an encoding that was not written then gets the one that was."""
    with ScriptedPacs(contexts=contexts_for(*SOP_CLASS.values(), FILM[2])) as pacs:
        to = peer("pacs", pacs.port, segmentation="labelmap")
        settings = settings_for(office.folder, peers=(to,))
        office.finish_job(objects=objects_of(ResultForm()), to=destinations(settings))
        office.courier(to).step()
        rows = office.deliveries()
    assert {row["state"] for row in rows.values()} == {"delivered"}
    assert rows["segmentation"]["variant"] == "binary"


# --- transfer syntaxes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("takes_deflated", [True, False])
def test_deflated_where_the_peer_accepts_it(office: Office, takes_deflated: bool) -> None:
    """The same object, compressed on the wire; a peer that refuses gets it as it is stored."""
    syntaxes = [ExplicitVRLittleEndian, *([DeflatedExplicitVRLittleEndian] if takes_deflated else [])]
    accepts = contexts_for(*SOP_CLASS.values(), FILM[2], syntaxes=syntaxes)
    with ScriptedPacs(contexts=accepts) as pacs:
        rows = deliver(office, pacs, deflated=True)
    assert {row["state"] for row in rows.values()} == {"delivered"}
    for one in pacs.arrived:
        (path,) = (office.folder / "results").glob(f"*/{_file_of(one.sop_class_uid)}.dcm")
        plain = encoded(dcmread(path), ExplicitVRLittleEndian)
        if takes_deflated:
            assert one.syntax == DeflatedExplicitVRLittleEndian
            assert zlib.decompress(one.data, -zlib.MAX_WBITS) == plain
        else:
            assert one.syntax == ExplicitVRLittleEndian


def test_a_compressed_object_is_sent_as_it_is_or_without_compression(office: Office) -> None:
    """A peer that takes JPEG gets the stored bytes, another one the same picture in Explicit VR."""
    analysis = analysis_of()
    written = write_results(analysis, context_of(analysis), overlay=True).objects
    (overlay,) = (one.dataset for one in written if one.kind is ResultKind.OVERLAY)
    sop_class = str(overlay.SOPClassUID)
    for name, syntaxes in (
        ("1", [JPEGBaseline8Bit, ExplicitVRLittleEndian]),
        ("2", [ExplicitVRLittleEndian]),
    ):
        (path,) = office.finish_job(name=name, objects=[("overlay", "", sop_class)])
        overlay.save_as(path, enforce_file_format=True)
        with ScriptedPacs(contexts=contexts_for(sop_class, syntaxes=syntaxes)) as pacs:
            assert office.courier(peer("pacs", pacs.port, objects=["overlay"], deflated=True)).step() == 1
        assert office.deliveries()["overlay"]["state"] == "delivered"
        (arrived,) = pacs.arrived
        assert arrived.syntax == syntaxes[0]
        assert arrived.sop_instance_uid == overlay.SOPInstanceUID
        if name == "1":
            assert arrived.data == encoded(overlay, JPEGBaseline8Bit)
        else:
            plain = dcmread(BytesIO(arrived.data), force=True)
            assert len(plain.PixelData) == plain.NumberOfFrames * plain.Rows * plain.Columns * 3
        office.clock.advance(1)


def _file_of(sop_class: str) -> str:
    for kind, variant, known in objects_of(ResultForm()):
        if known == sop_class:
            return "-".join((kind, *variant.split()))
    raise AssertionError(sop_class)
