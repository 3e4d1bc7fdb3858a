"""Delivery by STOW-RS against a scripted service: what counts as stored, and what each refusal leads to."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydicom import dcmread
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian
from structlog.testing import capture_logs

from config import DicomwebPeerSettings
from core.domain import ResultKind
from core.uid import derived_uid
from custody.ledger.report import status
from custody.spool import Spool
from scp.courier import Courier
from scp.echo import echo
from scp.transports.http_words import retry_after_s
from sr_writer.results import write_results
from tests.helpers.analyses import analysis_of, context_of
from tests.helpers.instances import (
    COMPREHENSIVE_3D_SR_STORAGE,
    SEGMENTATION_STORAGE,
    Clock,
    fresh_ledger,
    web_peer,
)
from tests.helpers.office import PLAIN, Office
from tests.helpers.web_peers import Reply, Request, ScriptedWebPacs, listening, stored

pytestmark = pytest.mark.usefixtures("network")  # servers stop at once

#: Short enough for a test, long enough for a busy machine to answer at once.
SHORT_S = 0.6


@pytest.fixture
def empty_office(tmp_path: Path) -> Iterator[Office]:
    """An office without anything to deliver."""
    with fresh_ledger(tmp_path) as ledger:
        yield Office(tmp_path, ledger, Spool(tmp_path), Clock())


@pytest.fixture
def office(empty_office: Office) -> Office:
    """An office with one job to deliver."""
    empty_office.finish_job()
    return empty_office


def lane(office: Office, to: DicomwebPeerSettings, **delivery: Any) -> Courier:
    """Return the lane of a peer, with its own limits of time."""
    settings = office.settings(to)
    settings = settings.model_copy(
        update={"delivery": settings.delivery.model_copy(update={"answer_timeout_s": 5.0, **delivery})}
    )
    return Courier(settings, to, office.ledger, "lane", office.clock, office.corrections)


def by_class(**reasons: dict[str, int]) -> Callable[[int, Request], Reply]:
    """Return a script that refuses or remarks on the segmentation or the report."""
    classes = {"segmentation": SEGMENTATION_STORAGE, "report": COMPREHENSIVE_3D_SR_STORAGE}
    said = {classes[name]: reason for name, reason in reasons.items()}
    return lambda _number, request: stored(request, **said.get(str(request.dataset.SOPClassUID), {}))


def always(reply: Reply) -> Callable[[int, Request], Reply]:
    """Return a script that always gives this reply."""
    return lambda _number, _request: reply


# --- stored -----------------------------------------------------------------------------------------------


def test_the_files_arrive_byte_for_byte_one_in_each_request(office: Office) -> None:
    """Segmentation first, then the report, on one connection, with their length announced."""
    files = sorted((office.folder / "results").glob("*/*.dcm"), reverse=True)
    with ScriptedWebPacs() as pacs:
        assert lane(office, web_peer("pacs", pacs.port)).step() == 2
        port = pacs.port
    assert [one.files for one in pacs.requests] == [(path.read_bytes(),) for path in files]
    assert {(one.method, one.path) for one in pacs.requests} == {("POST", "/dicom-web/studies")}
    assert len({one.connection for one in pacs.requests}) == 1
    first = pacs.requests[0].headers
    assert first["host"] == f"127.0.0.1:{port}"
    assert "transfer-encoding" not in first
    assert first["accept"] == "application/dicom+json"
    assert office.states() == ["delivered", "delivered"]
    assert office.deliveries()["segmentation"]["status"] == 0x0000


def test_stored_with_a_warning_is_delivered_and_noted(office: Office) -> None:
    """HTTP 202 with a Warning Reason: the object is there, and what the service changed stands in the row."""
    with ScriptedWebPacs(by_class(segmentation={"warning": 0xB006})) as pacs:
        lane(office, web_peer("pacs", pacs.port)).step()
    row = office.deliveries()["segmentation"]
    assert (row["state"], row["status"]) == ("delivered", 0xB006)
    assert row["reason"] == "stored with warning 0xB006 (data elements were discarded)"
    assert office.states() == ["delivered", "delivered"]


@pytest.mark.parametrize("reason", [0x0111, 0xB00E])
def test_what_the_service_has_already_is_delivered(office: Office, reason: int) -> None:
    """HTTP 409 because the object is there: the same UID is the same content."""
    with ScriptedWebPacs(by_class(segmentation={"failure": reason})) as pacs:
        lane(office, web_peer("pacs", pacs.port)).step()
    assert office.states() == ["delivered", "delivered"]
    assert office.deliveries()["segmentation"]["status"] == 0x0111


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, None),
        (
            {"user": "node", "password": "se:crét"},
            "Basic " + base64.b64encode("node:se:crét".encode()).decode(),
        ),
        ({"token": "abc.def"}, "Bearer abc.def"),
    ],
)
def test_credentials_are_sent_and_nowhere_told(
    office: Office, keys: dict[str, str], expected: str | None
) -> None:
    """User and password, or a token; a refusal that follows names neither."""
    with ScriptedWebPacs(always(Reply(401))) as pacs, capture_logs() as logs:
        to = web_peer("pacs", pacs.port, **keys)
        lane(office, to).step()
    assert pacs.requests[0].headers.get("authorization") == expected
    told = f"{logs} {office.deliveries()} {status(office.ledger)} {to}"
    assert not any(secret in told for secret in ("se:crét", "abc.def"))


# --- refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [0xA700, 0xA900, 0xC000, 0x0110, 0x0124, 0xB00F])
def test_only_what_failed_is_sent_again(office: Office, reason: int) -> None:
    """The report was stored, the segmentation was not: the next request carries the segmentation only."""
    with ScriptedWebPacs(by_class(segmentation={"failure": reason})) as pacs:
        courier = lane(office, web_peer("pacs", pacs.port))
        courier.step()
        assert office.states() == ["due", "delivered"]
        assert f"0x{reason:04X}" in office.deliveries()["segmentation"]["reason"]
        pacs.answer = lambda _number, request: stored(request)
        office.clock.advance(36.0)
        assert courier.step() == 1
    assert office.states() == ["delivered", "delivered"]
    assert pacs.sop_classes == [SEGMENTATION_STORAGE, COMPREHENSIVE_3D_SR_STORAGE, SEGMENTATION_STORAGE]


def test_a_class_that_is_not_stored_is_sent_in_another_encoding(empty_office: Office) -> None:
    """Comprehensive 3D SR refused with 0x0122: Comprehensive SR follows at once, and the row says why."""
    older = ("measurement_report", "comprehensive of binary", str(ComprehensiveSRStorage))
    empty_office.finish_job(objects=[*PLAIN, older])
    with ScriptedWebPacs(by_class(report={"failure": 0x0122})) as pacs:
        assert lane(empty_office, web_peer("pacs", pacs.port)).step() == 2
    assert pacs.sop_classes == [SEGMENTATION_STORAGE, COMPREHENSIVE_3D_SR_STORAGE, older[2]]
    row = empty_office.deliveries()["measurement_report"]
    assert (row["state"], row["variant"]) == ("delivered", older[1])
    assert "Comprehensive 3D SR Storage is not accepted" in row["reason"]


@pytest.mark.parametrize("reason", [0x0122, 0x0117])
def test_what_can_never_succeed_is_given_up_at_once(office: Office, reason: int) -> None:
    """No other encoding was written: failed with the reason, told as an incident, and not tried again."""
    with ScriptedWebPacs(by_class(segmentation={"failure": reason})) as pacs:
        courier = lane(office, web_peer("pacs", pacs.port))
        courier.step()
        office.clock.advance(3600)
        assert courier.step() == 0
    assert office.states() == ["failed", "delivered"]
    (told,) = [one for one in status(office.ledger)["incidents"] if one["kind"] == "delivery_given_up"]
    assert f"0x{reason:04X}" in told["reason"]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>Please log in</html>", {"Content-Type": "text/html"}),
        Reply(200),
        Reply(
            202, b'{"00081199": 7, "00081198": {"Value": [3]}}', {"Content-Type": "application/dicom+json"}
        ),
        Reply(200, b"[" * 100_000, {"Content-Type": "application/dicom+json"}),
        Reply(200, b'{"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}]}}'),
    ],
    ids=["login page", "nothing", "odd types", "deep", "another object"],
)
def test_what_is_not_said_to_be_stored_is_not_delivered(office: Office, reply: Reply) -> None:
    """HTTP 200 alone is no custody: the answer has to name the object."""
    with ScriptedWebPacs(always(reply)) as pacs:
        lane(office, web_peer("pacs", pacs.port)).step()
    assert len(pacs.requests) == 2
    assert office.states() == ["due", "due"]
    assert "does not say that it stored the object" in office.deliveries()["segmentation"]["reason"]


@pytest.mark.parametrize(
    ("http", "words"), [(413, "so large"), (415, "encoding"), (500, "internal"), (409, "no reason")]
)
def test_a_status_about_one_object_does_not_hold_up_the_next(office: Office, http: int, words: str) -> None:
    """The segmentation was refused as a whole request; the report is sent all the same."""
    refuse = by_class()

    def answer(number: int, request: Request) -> Reply:
        return refuse(number, request) if number else Reply(http)

    with ScriptedWebPacs(answer) as pacs:
        lane(office, web_peer("pacs", pacs.port)).step()
    assert office.states() == ["due", "delivered"]
    reason = office.deliveries()["segmentation"]["reason"]
    assert f"HTTP {http}" in reason
    assert words in reason


# --- the whole service ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("http", "words"),
    [
        (401, "wants credentials: set user and password, or token"),
        (403, "give it the right to store"),
        (404, "correct url"),
        (405, "does not offer that"),
        (502, "the gateway before it"),
        (503, "out of service"),
    ],
)
def test_an_answer_for_everything_is_asked_for_once(office: Office, http: int, words: str) -> None:
    """One request, no second object and no second job: the lane rests, with words that say what to do."""
    office.clock.advance(1)
    office.finish_job(name="2")
    with ScriptedWebPacs(always(Reply(http))) as pacs:
        courier = lane(office, web_peer("pacs", pacs.port))
        assert [courier.step(), courier.step()] == [2, 0]
    assert len(pacs.requests) == 1
    assert words in office.deliveries()["segmentation"]["reason"]


@pytest.mark.parametrize(("asked", "wait_s"), [("300", 300.0), ("2", 30.0), ("99999", 3600.0)])
def test_retry_after_is_kept_within_the_sites_limits(office: Office, asked: str, wait_s: float) -> None:
    """The service says when to come back; never sooner than the first wait, never later than the longest."""
    with ScriptedWebPacs(always(Reply(503, headers={"Retry-After": asked}))) as pacs:
        courier = lane(office, web_peer("pacs", pacs.port))
        courier.step()
        assert office.deliveries()["segmentation"]["due_at"] == office.clock.now + wait_s
        pacs.answer = lambda _number, request: stored(request)
        office.clock.advance(wait_s)
        assert courier.step() == 2
    assert office.states() == ["delivered", "delivered"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("120", 120.0), ("Thu, 01 Jan 1970 00:01:40 GMT", 40.0), ("soon", None), ("", None), (None, None)],
)
def test_retry_after_is_read_as_a_number_or_a_date(text: str | None, expected: float | None) -> None:
    """RFC 9110 allows both; what is neither says nothing."""
    assert retry_after_s(text, 60.0) == expected


def test_a_redirect_is_not_followed(office: Office) -> None:
    """A POST that is redirected becomes a GET, and its answer says nothing about the object."""
    with ScriptedWebPacs() as elsewhere:
        target = f"http://127.0.0.1:{elsewhere.port}/studies"
        with ScriptedWebPacs(always(Reply(301, headers={"Location": target}))) as pacs:
            lane(office, web_peer("pacs", pacs.port)).step()
        assert elsewhere.requests == []
    assert office.states() == ["due", "due"]
    assert "redirects" in office.deliveries()["segmentation"]["reason"]


def hang(_connection: socket.socket) -> None:
    """Take the connection and say nothing."""


def reset(connection: socket.socket) -> None:
    """Break the connection off as soon as anything comes."""
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    connection.close()


def garbage(connection: socket.socket) -> None:
    """Answer in another protocol."""
    connection.sendall(b"\x02\x00\x00\x00\x00\xba\r\n" * 40)


def endless(connection: socket.socket) -> None:
    """Answer with a page that never ends."""
    connection.settimeout(0.2)
    try:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
        for _ in range(200):
            connection.sendall(b"x" * 65536)
    except OSError:
        pass


@pytest.mark.parametrize(
    ("behave", "words"),
    [
        (hang, "no answer in time"),
        (reset, "broke the connection off"),
        (garbage, "broke the"),
        (endless, "broke the"),
    ],
)
def test_a_service_that_misbehaves_costs_one_attempt(
    office: Office, behave: Callable[[socket.socket], None], words: str
) -> None:
    """Within the limits of time and memory the lane is free again, and rests as a whole."""
    office.clock.advance(1)
    office.finish_job(name="2")
    with listening(behave) as (port, connections):
        courier = lane(office, web_peer("pacs", port), timeout_s=SHORT_S, answer_timeout_s=SHORT_S)
        started = time.monotonic()
        assert [courier.step(), courier.step()] == [2, 0]
        assert time.monotonic() - started < 10
        assert len(connections) == 1
    assert words in office.deliveries()["segmentation"]["reason"]


def test_where_nothing_listens_the_reason_says_so(office: Office) -> None:
    """Connection refused: firewall or wrong port, not a question of credentials."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        lane(office, web_peer("pacs", free.getsockname()[1])).step()
    assert office.states() == ["due", "due"]
    assert "nothing listens there" in office.deliveries()["segmentation"]["reason"]


def test_a_certificate_is_trusted_where_the_site_says_so(office: Office) -> None:
    """An authority of the hospital's own: refused with what to do, taken with `ca_file`."""
    pem = office.folder / "pacs.pem"
    write_certificate(pem, "localhost")
    with ScriptedWebPacs(certificate=pem) as pacs:
        url = f"https://localhost:{pacs.port}/dicom-web"
        lane(office, web_peer("pacs", 1, url=url)).step()
        assert (
            "put the certificate of its authority into ca_file"
            in office.deliveries()["segmentation"]["reason"]
        )
        office.clock.advance(3600)
        lane(office, web_peer("pacs", 1, url=url.replace("localhost", "127.0.0.1"), ca_file=pem)).step()
        assert "correct the host name in url" in office.deliveries()["segmentation"]["reason"]
        assert pacs.requests == []
        office.clock.advance(3600)
        lane(office, web_peer("pacs", 1, url=url, ca_file=pem)).step()
    assert office.states() == ["delivered", "delivered"]


def test_tls_towards_a_service_without_it_is_told(office: Office) -> None:
    """https:// in `url`, http behind it."""
    with ScriptedWebPacs() as pacs:
        url = f"https://127.0.0.1:{pacs.port}/dicom-web"
        lane(office, web_peer("pacs", 1, url=url)).step()
    assert "is it http instead of https?" in office.deliveries()["segmentation"]["reason"]


def write_certificate(pem: Path, host: str) -> None:
    """Write a key and a self-signed certificate for a host."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *plain)
        + certificate.public_bytes(serialization.Encoding.PEM)
    )


@pytest.mark.parametrize("damage", ["gone", "empty", "not DICOM"])
def test_a_damaged_result_file_does_not_hold_up_the_rest(office: Office, damage: str) -> None:
    """What is no DICOM file any more is not sent at all; its companion is delivered."""
    (path,) = (office.folder / "results").glob("*/segmentation*.dcm")
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "empty" else b"x" * 500)
    with ScriptedWebPacs() as pacs:
        lane(office, web_peer("pacs", pacs.port)).step()
    assert len(pacs.requests) == 1
    assert office.states() == ["due", "delivered"]
    assert "cannot be sent" in office.deliveries()["segmentation"]["reason"]


def test_a_compressed_object_follows_without_compression(empty_office: Office) -> None:
    """Refused with 0xC122 (transfer syntax): the same picture under the same UID in Explicit VR, at once."""
    analysis = analysis_of()
    written = write_results(analysis, context_of(analysis), overlay=True).objects
    (overlay,) = (one.dataset for one in written if one.kind is ResultKind.OVERLAY)
    (path,) = empty_office.finish_job(objects=[("overlay", "", str(overlay.SOPClassUID))])
    overlay.SOPInstanceUID = overlay.file_meta.MediaStorageSOPInstanceUID = derived_uid("1", "overlay")
    overlay.save_as(path, enforce_file_format=True)

    def no_jpeg(_number: int, request: Request) -> Reply:
        plain = request.dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        return stored(request, **({} if plain else {"failure": 0xC122}))

    with ScriptedWebPacs(no_jpeg) as pacs:
        assert lane(empty_office, web_peer("pacs", pacs.port, objects=["overlay"])).step() == 1
    assert empty_office.deliveries()["overlay"]["state"] == "delivered"
    compressed, plain = (one.dataset for one in pacs.requests)
    assert compressed.file_meta.TransferSyntaxUID.is_compressed
    assert plain.SOPInstanceUID == compressed.SOPInstanceUID
    assert len(plain.PixelData) == plain.NumberOfFrames * plain.Rows * plain.Columns * 3


# --- queries ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "ok", "words"),
    [
        (Reply(200, b"[]", {"Content-Type": "application/dicom+json"}), True, "answers QIDO-RS"),
        (Reply(204), True, "answers QIDO-RS"),
        (Reply(401), False, "wants credentials"),
        (Reply(200, b"<html>", {"Content-Type": "text/html"}), False, "cannot be read"),
        (Reply(500), False, "HTTP 500"),
    ],
)
def test_echo_asks_for_a_study(office: Office, reply: Reply, ok: bool, words: str) -> None:
    """`lesion-node echo` asks QIDO-RS for one study, and says what the answer means."""
    with ScriptedWebPacs(always(reply)) as pacs:
        to = web_peer("pacs", pacs.port)
        verdict = echo(office.settings(to), to)
    assert (verdict.ok, words in verdict.verdict) == (ok, True)
    assert [(one.method, one.path) for one in pacs.requests] == [("GET", "/dicom-web/studies?limit=1")]


def patient(**changes: str) -> dict[str, Any]:
    """Return a study of ours as QIDO-RS shows it."""
    values = {
        "0020000D": ("UI", "1.2"),
        "00100020": ("LO", "P-1"),
        **{tag: ("LO", value) for tag, value in changes.items()},
    }
    name = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Example^Patient"}]}}
    return {**name, **{tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in values.items()}}


@pytest.mark.parametrize(
    ("filed", "state"),
    [
        ([], "delivered"),
        ([patient()], "delivered"),
        ([patient(**{"00100020": "P-2"})], "due"),
        ([3], "due"),
        ([{"00100020": {"vr": "SQ", "Value": ["x"]}}], "due"),
    ],
    ids=["unknown", "same", "another", "no study", "broken"],
)
def test_the_patient_is_asked_for_by_qido(office: Office, filed: list[Any], state: str) -> None:
    """`check_patient` works by QIDO-RS too: what is filed under another Patient ID is held."""

    def answer(_number: int, request: Request) -> Reply:
        body = json.dumps(filed).encode()
        return stored(request) if request.method == "POST" else Reply(200, body)

    with ScriptedWebPacs(answer) as pacs:
        lane(office, web_peer("pacs", pacs.port, check_patient="hold")).step()
    assert pacs.requests[0].path.startswith("/dicom-web/studies?")
    assert "StudyInstanceUID=1.2" in pacs.requests[0].path
    assert office.states() == [state, state]


def test_results_follow_the_patient_that_qido_names(office: Office) -> None:
    """`rewrite`: the objects are sent under the identity that the service files the study under."""

    def answer(_number: int, request: Request) -> Reply:
        body = json.dumps([patient(**{"00100020": "P-2"})]).encode()
        return stored(request) if request.method == "POST" else Reply(200, body)

    with ScriptedWebPacs(answer) as pacs:
        lane(office, web_peer("pacs", pacs.port, check_patient="rewrite")).step()
    assert office.states() == ["delivered", "delivered"]
    assert {str(one.dataset.PatientID) for one in pacs.requests[1:]} == {"P-2"}
    assert {str(dcmread(path).PatientID) for path in (office.folder / "results").glob("*/*.dcm")} == {
        "P-1",
        "P-2",
    }
