"""The receiver over real sockets: who gets in, what is stored byte for byte, what never harms the node."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE
from pynetdicom.acse import ACSE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from sqlalchemy import select
from structlog.testing import capture_logs

from config import Settings
from core.ct_header import CT_IMAGE_STORAGE
from custody.ledger import Ledger
from custody.ledger.tables import association, incident, instance, series
from custody.spool import Spool
from scp import doorway
from scp.receiver import Receiver
from scp.reception import Reception
from tests.helpers.dicom_peers import (
    LEAVES_SOCKETS,
    Scanner,
    Store,
    answer_to,
    break_off,
    store,
)
from tests.helpers.instances import (
    PRIVATE_STORAGE,
    changed,
    ct_image,
    ct_series,
    dose_report,
    encoded,
    fresh_ledger,
    own_segmentation,
    secondary_capture,
    settings_for,
    source,
)

pytestmark = [LEAVES_SOCKETS, pytest.mark.usefixtures("network")]

ENCAPSULATED = (JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless, RLELossless)
UNCOMPRESSED = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
FUTURE_SYNTAXES = ("1.2.840.10008.1.2.4.999", "1.3.46.670589.33.1.4.1")


@dataclass(slots=True)
class Node:
    """A listening receiver with its spool and ledger."""

    settings: Settings
    ledger: Ledger
    spool: Spool
    taking: Reception
    receiver: Receiver

    @property
    def scanner(self) -> Scanner:
        """The admitted sender."""
        return Scanner(self.receiver.port)

    def rows(self, table: Any) -> list[dict[str, Any]]:
        """Return every row of a table."""
        with self.ledger.read() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]

    def files(self) -> list[str]:
        """Return every file below the data folder except the ledger, relative."""
        folder = self.settings.node.data_folder
        found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        return sorted(str(path) for path in found if not path.name.startswith("ledger."))

    def idle(self) -> None:
        """Wait until every association is closed in the ledger."""
        until(lambda: all(row["closed_at"] for row in self.rows(association)))


def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait for a condition; fail where it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("it did not become true in time")
        time.sleep(0.01)


@contextmanager
def listening(settings: Settings, *, floor_bytes: int = 0) -> Iterator[Node]:
    """Run a receiver in this process."""
    with fresh_ledger(settings.node.data_folder) as ledger:
        spool = Spool(settings.node.data_folder, floor_bytes=floor_bytes)
        taking = Reception(spool, ledger)
        receiver = Receiver(settings, ledger, taking, "node-test")
        receiver.start()
        try:
            yield Node(settings, ledger, spool, taking, receiver)
        finally:
            receiver.stop(patience_s=2.0)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node that admits CT1 from this machine."""
    with listening(settings_for(tmp_path)) as running:
        yield running


def accepts_connections(port: int) -> bool:
    """Tell whether anybody listens on the port."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def rejection(scanner: Scanner) -> tuple[int, int, int]:
    """Request an association, expect a rejection and return its result, source and reason."""
    refused = scanner.request()
    assert refused.is_rejected
    primitive = refused.acceptor.primitive
    return primitive.result, primitive.result_source, primitive.diagnostic


# --- connections that never say who they are ---------------------------------------------------------------


ECHO = ((Verification, (ImplicitVRLittleEndian,)),)


def connected(port: int, address: str, count: int) -> list[socket.socket]:
    """Open connections from an address of this machine and begin an association request on each."""
    callers = []
    for _ in range(count):
        caller = socket.create_connection(("127.0.0.1", port), source_address=(address, 0))
        caller.sendall(b"\x01\x00\x00")
        callers.append(caller)
    return callers


def test_connections_of_strangers_keep_no_scanner_out(tmp_path: Path) -> None:
    """Many silent connections from an unknown address are cut to a few, told of, and a scanner gets in."""
    settings = settings_for(tmp_path)
    with listening(settings) as node, capture_logs() as logged, ExitStack() as stack:
        for caller in connected(node.receiver.port, "127.0.0.9", 60):
            stack.callback(caller.close)
        with node.scanner.association(ECHO) as association:
            assert association.send_c_echo().Status == 0
        over = [one for one in logged if one["event"] == "association_over_limit"]
        assert [one["address"] for one in over] == ["127.0.0.9"]


def test_a_connection_that_asks_for_nothing_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that sends bytes but never a whole association request does not stay; an association does."""
    monkeypatch.setattr(doorway, "REQUEST_WITHIN_S", 0.5)
    with listening(settings_for(tmp_path)) as node, node.scanner.association(ECHO) as association:
        (caller,) = connected(node.receiver.port, "127.0.0.1", 1)
        with caller:
            caller.settimeout(10)
            assert caller.recv(1) == b""
        assert association.send_c_echo().Status == 0


# --- who gets in ------------------------------------------------------------------------------------------


def test_an_unknown_caller_is_rejected_and_nothing_is_stored(node: Node) -> None:
    """Calling AE title not recognised (1, 1, 3); neither spool nor ledger holds anything of it."""
    assert rejection(Scanner(node.receiver.port, calling="STRANGER")) == (1, 1, 3)
    assert node.files() == []
    assert node.rows(association) == node.rows(instance) == node.rows(series) == []


def test_a_refused_caller_that_sends_regardless_stores_nothing(node: Node) -> None:
    """A sender that ignores the rejection finds a closed connection."""
    refused = Scanner(node.receiver.port, calling="STRANGER").request()
    with pytest.raises(RuntimeError):
        refused.send_c_store(ct_image())
    assert node.rows(instance) == []


def test_a_wrong_called_title_is_rejected(node: Node) -> None:
    """Called AE title not recognised (1, 1, 7)."""
    assert rejection(Scanner(node.receiver.port, called="WRONG")) == (1, 1, 7)
    assert node.rows(association) == []


def test_a_known_title_from_a_wrong_address_is_rejected(node: Node) -> None:
    """The whole of 127/8 is this machine, but only 127.0.0.1 is admitted."""
    entity = AE(ae_title="CT1")
    entity.add_requested_context(CT_IMAGE_STORAGE)
    refused = entity.associate(
        "127.0.0.1", node.receiver.port, ae_title="LESIONNODE", bind_address=("127.0.0.2", 0)
    )
    assert refused.is_rejected
    assert refused.acceptor.primitive is not None
    assert refused.acceptor.primitive.diagnostic == 3
    assert '["127.0.0.1/32", "127.0.0.2"]' in node.rows(incident)[0]["reason"]


def test_the_refusal_holds_the_lines_that_admit_the_caller(tmp_path: Path) -> None:
    """The lines in the log and in the incident, pasted into the configuration, admit the caller."""
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    settings = settings_for(tmp_path / "before")
    with listening(settings) as node, capture_logs() as logs:
        for _ in range(2):
            assert rejection(Scanner(node.receiver.port, calling="NEW CT")) == (1, 1, 3)
        (row,) = node.rows(incident)
    lines = logs[0]["to_admit"]
    assert logs[0]["event"] == "association_refused"
    assert row["count"] == 2
    assert row["subject"] == "NEW CT@127.0.0.1"
    assert lines in row["reason"]
    added = Settings.model_validate({"peers": settings.peers, **tomllib.loads(lines)})
    pasted = settings_for(tmp_path / "after", sources=settings.sources + added.sources)
    assert pasted.cross_faults() == []
    with listening(pasted) as node:
        assert Scanner(node.receiver.port, calling="NEW CT").send_images([ct_image()]) == [0x0000]


def test_an_error_during_admission_rejects_the_caller(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks while deciding, nobody slips in: rejected for now, and no place stays taken."""
    with monkeypatch.context() as patched:
        patched.setattr(
            "scp.receiver.reception.open_association", lambda *_: (_ for _ in ()).throw(OSError("disk"))
        )
        assert rejection(node.scanner) == (2, 3, 2)
    assert node.receiver._callers == {}
    assert node.scanner.send_images([ct_image()]) == [0x0000]


def test_echo_is_answered(node: Node) -> None:
    """C-ECHO of an admitted caller succeeds and leaves nothing but its association."""
    with node.scanner.association([(str(Verification), [ImplicitVRLittleEndian])]) as link:
        assert link.send_c_echo().Status == 0x0000
    node.idle()
    assert node.files() == []
    assert [row["ended"] for row in node.rows(association)] == ["released"]


def test_a_sender_that_hangs_up_on_the_answer_to_its_release_was_not_lost(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection may be gone before the node's own thread says so; the series must not wait longer."""
    release = ACSE.send_release

    def slowly(self: ACSE, is_response: bool = False) -> None:
        release(self, is_response)
        if is_response:
            time.sleep(0.5)

    monkeypatch.setattr(ACSE, "send_release", slowly)
    assert node.scanner.send_images([ct_image()]) == [0x0000]
    node.idle()
    assert [row["ended"] for row in node.rows(association)] == ["released"]


def test_one_caller_cannot_take_every_place(tmp_path: Path) -> None:
    """Over its own limit a caller is rejected for now (2, 3, 2); another one gets in, up to the total."""
    sources = (source("a", "CT1"), source("b", "CT2"), source("c", "CT3"))
    limits = settings_for(tmp_path, sources=sources, max_associations_per_caller=2, max_associations=3)
    with listening(limits) as node, ExitStack() as stack:
        port = node.receiver.port
        for _ in range(2):
            stack.enter_context(Scanner(port).association())
        assert rejection(Scanner(port)) == (2, 3, 2)
        last = Scanner(port, calling="CT2").request()
        assert last.is_established
        assert rejection(Scanner(port, calling="CT3")) == (2, 3, 2)
        assert {row["subject"] for row in node.rows(incident)} == {"CT1@127.0.0.1", "CT3@127.0.0.1"}
        last.release()
        until(lambda: len(node.receiver._callers) == 2)
        assert Scanner(port, calling="CT3").send_images([ct_image()]) == [0x0000]


def test_parallel_requests_do_not_exceed_the_limit(tmp_path: Path) -> None:
    """Requests that come in at the same moment cannot all take the last place."""
    with listening(settings_for(tmp_path, max_associations_per_caller=2)) as node:
        opened: list[Any] = []
        threads = [threading.Thread(target=lambda: opened.append(node.scanner.request())) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        established = [one for one in opened if one.is_established]
        assert len(established) == 2
        for one in established:
            one.release()


# --- what is stored ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [*UNCOMPRESSED, *ENCAPSULATED, *FUTURE_SYNTAXES])
def test_every_transfer_syntax_is_stored_byte_for_byte(node: Node, syntax: str) -> None:
    """The file holds exactly the data-set bytes that were sent, in a Part 10 file that pydicom reads."""
    ds = ct_image()
    if syntax not in UNCOMPRESSED:
        ds.PixelData = encapsulate([b"\xff\x4f\xff\x51" * 5])
        ds["PixelData"].is_undefined_length = True
        ds["PixelData"].VR = "OB"
    request = Store.of(ds, syntax)
    assert node.scanner.send(request) == [0x0000]
    (row,) = node.rows(instance)
    path = Path(row["path"])
    assert path.read_bytes().endswith(request.data)
    meta = read_file_meta_info(path)
    assert (meta.TransferSyntaxUID, meta.SourceApplicationEntityTitle) == (syntax, "CT1")
    assert path.read_bytes()[144 + meta.FileMetaInformationGroupLength :] == request.data
    assert row["sha256"] == hashlib.sha256(request.data).hexdigest()
    assert row["set_aside"] is None
    if syntax not in FUTURE_SYNTAXES:
        assert dcmread(path).SOPInstanceUID == ds.SOPInstanceUID


@pytest.mark.parametrize(
    ("proposed", "accepted"),
    [
        ([JPEG2000Lossless, ImplicitVRLittleEndian, ExplicitVRLittleEndian], ExplicitVRLittleEndian),
        ([ExplicitVRBigEndian, ImplicitVRLittleEndian], ImplicitVRLittleEndian),
        ([DeflatedExplicitVRLittleEndian, RLELossless], RLELossless),
        ([JPEGLSLossless, JPEG2000Lossless], JPEGLSLossless),
        ([ExplicitVRBigEndian], ExplicitVRBigEndian),
    ],
)
def test_of_several_proposed_syntaxes_the_plainest_is_accepted(
    node: Node, proposed: list[str], accepted: str
) -> None:
    """Uncompressed little endian first, then the sender's own order, big endian and deflated last."""
    with node.scanner.association([(CT_IMAGE_STORAGE, proposed)]) as link:
        assert [context.transfer_syntax[0] for context in link.accepted_contexts] == [accepted]


def test_a_private_storage_class_is_kept_and_set_aside(node: Node) -> None:
    """A vendor's raw data are answered with success, kept, and take no part in the analysis."""
    assert node.scanner.send(Store.of(ct_image(SOPClassUID=PRIVATE_STORAGE))) == [0x0000]
    (row,) = node.rows(instance)
    assert row["set_aside"] == "not a CT image"
    assert Path(row["path"]).is_file()


@pytest.mark.parametrize(
    ("ds", "reason"),
    [
        (ct_image(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "localizer"),
        (dose_report(), "not a CT image"),
        (secondary_capture(), "not a CT image"),
    ],
    ids=["localizer", "dose report", "secondary capture"],
)
def test_what_is_no_ct_slice_is_kept_and_set_aside(node: Node, ds: Any, reason: str) -> None:
    """Scanners send whole studies; what cannot be analysed is success for the sender and never a job."""
    assert node.scanner.send(Store.of(ds)) == [0x0000]
    (row,) = node.rows(instance)
    assert reason in row["set_aside"]
    assert row["facts"] is None
    assert node.rows(incident) == []


def test_our_own_result_coming_back_is_dropped_and_counted(node: Node) -> None:
    """A PACS that forwards everything makes no loop: success, nothing kept, one incident with its count."""
    request = Store.of(own_segmentation())
    assert node.scanner.send(request, request) == [0x0000, 0x0000]
    assert node.files() == []
    assert node.rows(instance) == []
    (row,) = node.rows(incident)
    assert (row["kind"], row["count"]) == ("own_result_returned", 2)


def test_the_move_originator_is_recorded(node: Node) -> None:
    """An image fetched by C-MOVE is told apart from a new scan (PS3.7 9.1.1.1)."""
    assert node.scanner.send(Store.of(ct_image(), originator=("LESIONNODE", 77))) == [0x0000]
    (row,) = node.rows(instance)
    assert (row["move_originator_ae_title"], row["move_originator_message_id"]) == ("LESIONNODE", 77)


def test_the_same_instance_twice_is_kept_once(node: Node) -> None:
    """A repeated send is success and leaves one row and one file."""
    request = Store.of(ct_image())
    assert node.scanner.send(request, request) == [0x0000, 0x0000]
    assert node.scanner.send(request) == [0x0000]
    assert len(node.rows(instance)) == len(node.files()) == 1
    assert node.taking.outcomes == {"kept": 1, "identical": 2}


def test_other_content_under_the_same_uid_is_kept_and_set_aside(node: Node) -> None:
    """Neither content is lost; the first is analysed, and the second is an incident."""
    assert node.scanner.send_images([ct_image(), ct_image(PixelData=bytes(32))]) == [0x0000, 0x0000]
    rows = node.rows(instance)
    assert [row["set_aside"] is None for row in rows] == [True, False]
    assert "another content" in rows[1]["set_aside"]
    assert len(node.files()) == 2
    assert node.rows(incident)[0]["kind"] == "instance_set_aside"


def test_a_patient_with_the_same_uids_is_another_series(node: Node) -> None:
    """An anonymised copy with the original's UIDs never merges with it, nor counts as other content."""
    assert node.scanner.send_images([ct_image(), ct_image(PatientID="ANON")]) == [0x0000, 0x0000]
    assert len(node.rows(series)) == 2
    assert [row["set_aside"] for row in node.rows(instance)] == [None, None]


# --- what is damaged or hostile ---------------------------------------------------------------------------


def test_a_truncated_data_set_is_kept_and_flagged(node: Node) -> None:
    """It is success for the sender, it is kept, it is never analysed, and somebody is told."""
    whole = Store.of(ct_image())
    cut = Store(whole.data[:-8], whole.sop_instance_uid)
    assert node.scanner.send(cut) == [0x0000]
    (row,) = node.rows(instance)
    assert row["set_aside"] == (
        "truncated or damaged: the data set ends inside (7FE0,0010): 24 of 32 bytes are there"
    )
    assert Path(row["path"]).read_bytes().endswith(cut.data)
    assert node.rows(incident)[0]["kind"] == "instance_set_aside"


def test_the_whole_image_after_a_truncated_one_is_analysed(node: Node) -> None:
    """A damaged first copy does not keep the good second one out."""
    whole = Store.of(ct_image())
    cut = Store(whole.data[:-8], whole.sop_instance_uid)
    assert node.scanner.send(cut, whole, cut) == [0x0000] * 3
    rows = node.rows(instance)
    assert [row["set_aside"] is None for row in rows] == [False, True]


def test_bad_optional_values_do_not_cost_the_image(node: Node) -> None:
    """A header that breaks the rules outside its identity is analysed; the bad facts stay empty."""
    data = encoded(ct_image(SliceThickness=None, SeriesNumber=None), ExplicitVRLittleEndian)
    thickness = b"\x18\x00\x50\x00DS\x04\x00thin"
    at = data.index(b"\x18\x00\x10\x12")
    broken = data[:at] + thickness + data[at:]
    assert node.scanner.send(Store(broken, str(ct_image().SOPInstanceUID))) == [0x0000]
    (row,) = node.rows(instance)
    assert row["set_aside"] is None
    assert row["facts"]["slice_thickness_mm"] is None
    assert row["facts"]["kernel"] == "B31f"


@pytest.mark.parametrize(
    "ds",
    [
        ct_image(StudyInstanceUID=None),
        ct_image(SeriesInstanceUID=""),
        ct_image(SOPInstanceUID=None),
    ],
    ids=["study", "series", "instance"],
)
def test_a_header_without_identity_is_refused(node: Node, ds: Any) -> None:
    """Nobody can tell whose image it is: 0xC000 with a comment, an incident, nothing stored."""
    request = Store(encoded(ds, ExplicitVRLittleEndian), str(ct_image().SOPInstanceUID))
    with node.scanner.association() as link:
        answer = answer_to(link, request)
    assert answer.Status == 0xC000
    assert "InstanceUID is missing" in str(answer.ErrorComment)
    assert node.files() == []
    assert node.rows(incident)[0]["kind"] == "instance_refused"


@pytest.mark.parametrize("data", [b"x", b"not DICOM at all", bytes(1000)])
def test_nonsense_is_refused(node: Node, data: bytes) -> None:
    """Bytes without a header are 0xC000, and the association goes on."""
    good = Store.of(ct_image())
    assert node.scanner.send(Store(data, "1.2.3"), good) == [0xC000, 0x0000]


def test_another_instance_than_announced_is_refused(node: Node) -> None:
    """Command and data set disagree about class or instance: 0xA900, nothing stored."""
    data = encoded(ct_image(), ExplicitVRLittleEndian)
    other_class = Store(data, str(ct_image().SOPInstanceUID), sop_class_uid=PRIVATE_STORAGE)
    assert node.scanner.send(Store(data, "1.2.3"), other_class) == [0xA900, 0xA900]
    assert node.files() == []


@pytest.mark.parametrize("uid", ["../../x", "/etc/passwd", "1.2.3/../../x", "..", "1..2", "CT"])
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_hostile_instance_uid_is_refused(node: Node, uid: str) -> None:
    """A UID that is none gets a failure status, from command or data set; nothing is written."""
    data = encoded(ct_image(), ExplicitVRLittleEndian)
    good = str(ct_image().SOPInstanceUID).encode()
    hostile = data.replace(good, uid.encode().ljust(len(good), b"\0"))
    assert node.scanner.send(Store(hostile, uid), Store(data, uid)) == [0xC000, 0xA900]
    before = sorted(node.settings.node.data_folder.parent.rglob("*"))
    assert node.files() == []
    assert not [path for path in before if path.name in ("x", "passwd")]
    assert node.scanner.send_images([ct_image()]) == [0x0000]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
def test_an_endless_instance_uid_does_not_harm_the_node(node: Node) -> None:
    """More than 64 characters in the command: it is cut off, nothing is stored, the next one works."""
    uid = "1." + "2" * 300
    with node.scanner.association() as link:
        assert store(link, Store(encoded(ct_image(), ExplicitVRLittleEndian), uid)) != 0x0000
    assert node.files() == []
    assert node.scanner.send_images([ct_image()]) == [0x0000]
    node.idle()


def test_an_abort_in_mid_object_leaves_nothing(node: Node) -> None:
    """Half an object is no object: no row, no file, no part file; the association is recorded as aborted."""
    request = Store.of(ct_image(PixelData=bytes(100_000), Rows=250, Columns=200))
    with node.scanner.association() as link:
        break_off(link, request, after_pdus=10)
    node.idle()
    assert node.rows(association)[0]["ended"] in ("aborted", "lost")
    assert node.rows(instance) == []
    assert node.files() == []
    assert node.scanner.send(request) == [0x0000]


def test_a_full_disk_is_answered_and_passes(tmp_path: Path) -> None:
    """Under its floor the node answers 0xA700 and stores nothing; once there is room it goes on by itself."""
    with listening(settings_for(tmp_path), floor_bytes=2**62) as node:
        assert node.scanner.send_images([ct_image()]) == [0xA700]
        assert node.files() == []
        assert node.rows(instance) == []
        assert node.rows(incident)[0]["kind"] == "disk_under_floor"
        node.spool._floor_bytes = 0
        assert node.scanner.send_images([ct_image()]) == [0x0000]


@pytest.mark.parametrize("broken", ["keep_received", "require_space"])
def test_an_error_inside_is_never_a_success(node: Node, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """Whatever breaks inside, the sender keeps its copy: a failure status and the error's type."""
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(node.spool, broken, lambda *_: (_ for _ in ()).throw(KeyError("P-1")))
        with node.scanner.association() as link:
            answer = answer_to(link, Store.of(ct_image()))
    assert answer.Status == 0xA700
    assert str(answer.ErrorComment) == "internal error: KeyError"
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["instance_failed"]
    assert node.scanner.send_images([ct_image()]) == [0x0000]


def test_a_ledger_that_cannot_be_written_is_never_a_success(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is on disk but not recorded: a failure status, and the sweep finds the file, not a loss."""
    with monkeypatch.context() as patched:
        patched.setattr(
            "scp.reception.reception.record_instance", lambda *_: (_ for _ in ()).throw(OSError("full"))
        )
        assert node.scanner.send_images([ct_image()]) == [0xA700]
    assert node.spool.sweep([]) == (0, 1)


# --- many at once, and the end ----------------------------------------------------------------------------


def test_parallel_associations_store_everything_once(node: Node) -> None:
    """Eight associations send 25 instances each, every instance twice: all are there, each exactly once."""
    images = [ct_series(25, series=f"series-{at}") for at in range(4)]
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda at=at: statuses.extend(node.scanner.send_images(images[at // 2])))
        for at in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0x0000] * 200
    rows = node.rows(instance)
    assert {row["sop_instance_uid"] for row in rows} == {
        str(ds.SOPInstanceUID) for one in images for ds in one
    }
    assert len(rows) == len(node.files()) == 100
    assert len(node.rows(series)) == 4
    assert all(row["set_aside"] is None for row in rows)
    node.idle()


def test_two_contents_at_the_same_moment_are_not_both_analysed(node: Node) -> None:
    """Even where two associations race with one UID, only one content is analysable, and both are kept."""
    start = threading.Barrier(2)

    def send(pixels: bytes) -> None:
        with node.scanner.association() as link:
            for number in range(10):
                start.wait(10)
                store(link, Store.of(ct_image(number, PixelData=pixels)))

    threads = [threading.Thread(target=send, args=(bytes([value]) * 32,)) for value in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = node.rows(instance)
    assert len(rows) == 20
    assert sum(row["set_aside"] is None for row in rows) == 10


def test_stopping_lets_a_running_association_finish(node: Node) -> None:
    """While the node stops, no new association gets in, and the open one still delivers what it has."""
    port = node.receiver.port
    with node.scanner.association() as link:
        assert store(link, Store.of(ct_image(1))) == 0x0000
        stopping = threading.Thread(target=node.receiver.stop, args=(10.0,))
        stopping.start()
        until(lambda: not accepts_connections(port))
        assert store(link, Store.of(ct_image(2))) == 0x0000
    stopping.join(10)
    assert not stopping.is_alive()
    assert len(node.rows(instance)) == 2
    assert [row["ended"] for row in node.rows(association)] == ["released"]


def test_stopping_does_not_wait_for_ever(node: Node) -> None:
    """An association that never ends is aborted when the patience is over, and recorded as ended."""
    link = node.scanner.request()
    node.receiver.stop(0.2)
    until(lambda: not link.is_established)
    node.idle()


def test_an_end_that_could_not_be_recorded_does_not_stay_open_for_ever(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If closing fails (disk full), the heart does not keep the row alive: completion finds it dead later."""
    with monkeypatch.context() as patched:
        patched.setattr(
            "scp.receiver.reception.close_association", lambda *_: (_ for _ in ()).throw(OSError("full"))
        )
        assert node.scanner.send_images([ct_image()]) == [0x0000]
        until(lambda: node.receiver._callers == {})
    patched_beats: list[Any] = []
    monkeypatch.setattr("scp.receiver.HEARTBEAT_S", 0.01)
    monkeypatch.setattr(
        "scp.receiver.reception.heartbeat_associations",
        lambda _ledger, ids, _now: patched_beats.append(list(ids)),
    )
    receiver = Receiver(node.settings, node.ledger, node.taking, "node-2")
    receiver.start()
    until(lambda: patched_beats)
    receiver.stop(0.1)
    assert patched_beats[0] == []


def test_a_sender_that_vanishes_is_recorded_as_lost(node: Node) -> None:
    """A connection that breaks without a word ends the association in the ledger."""
    link = node.scanner.request()
    assert store(link, Store.of(ct_image())) == 0x0000
    link.dul.socket.close()
    node.idle()
    assert len(node.rows(instance)) == 1


def test_changed_is_what_it_says() -> None:
    """The helper that removes and replaces elements does so, or these tests would prove nothing."""
    assert "Rows" not in changed(ct_image(), Rows=None)
