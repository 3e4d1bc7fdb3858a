"""One received data set: checked, kept, recorded. No network here, and no pixel is decoded."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from pydicom import config as pydicom_config
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import Tag

from core.ct_facts import FACT_KEYWORDS, CtFacts
from core.ct_header import ANALYSED_SOP_CLASSES, REASON_KEYWORDS, reason_not_analysable
from core.domain import SeriesInstanceUID, SeriesKey, StudyInstanceUID
from core.errors import (
    DiskUnderFloor,
    Draining,
    SeriesForgotten,
    SopClassMismatch,
    SpoolError,
    SpoolFull,
    UnparsableDataSet,
)
from core.log import get_logger
from core.own_results import is_own_result
from core.uid import is_tolerable_uid, patient_digest
from custody.ledger import Ledger, incidents, new_id, reception, switches
from custody.ledger.incidents import IncidentKind
from custody.ledger.reception import Caller, NewInstance
from custody.spool import Spool
from scp.dataset_walk import Buffer, Walked, walk
from scp.file_meta import file_meta

#: Without these it cannot be told whose image it is.
_IDENTITY_KEYWORDS = [
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "IssuerOfPatientID",
]
_READ_KEYWORDS = [
    *_IDENTITY_KEYWORDS,
    "Modality",
    *REASON_KEYWORDS,
    *FACT_KEYWORDS,
    "ContributingEquipmentSequence",
]
_IDENTITY_TAGS = [Tag(keyword) for keyword in _IDENTITY_KEYWORDS]
#: Elements that `read_header` needs of a walked data set.
READ_TAGS = frozenset(int(Tag(keyword)) for keyword in _READ_KEYWORDS)


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A C-STORE request, PS3.7 9.1.1.

    Parameters
    ----------
    data
        The encoded data set.
    transfer_syntax_uid
        Of the presentation context.
    sop_class_uid, sop_instance_uid
        Affected SOP Class and Instance UID of the command.
    move_originator_ae_title, move_originator_message_id
        Where the request is a sub-operation of a C-MOVE.
    """

    data: Buffer
    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    move_originator_ae_title: str | None = None
    move_originator_message_id: int | None = None


class Reception:
    """Takes data sets in: when `take` returns, the instance survives a power cut.

    Parameters
    ----------
    spool, ledger
        Where it is kept and recorded.
    node
        Whose spool that is.
    now
        Clock, seconds since 1970 UTC.
    bring_manifests
        Called with our id of a series before it is looked whether an image is known: other machines may
        have it.
    """

    def __init__(
        self,
        spool: Spool,
        ledger: Ledger,
        node: str = "",
        now: Callable[[], float] = time.time,
        bring_manifests: Callable[[str], None] = lambda _series_id: None,
    ) -> None:
        self._spool = spool
        self._ledger = ledger
        self.node = node
        self._bring_manifests = bring_manifests
        self._now = now
        self._series_ids: dict[SeriesKey, str] = {}
        self.outcomes: Counter[str] = Counter()
        # Foreign headers break many small rules. pydicom's warnings about them would quote values of the
        # patient's data on standard error; the switch is global.
        pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE

    def take(self, request: StoreRequest, caller: Caller) -> str:
        """Keep one data set.

        Returns
        -------
        str
            ``kept``, ``set_aside``, ``identical`` or ``own_result``; each is answered 0x0000.

        Raises
        ------
        UnparsableDataSet
            It cannot be told which patient, study, series and instance it belongs to.
        SopClassMismatch
            It is not the instance that the command announced.
        SpoolError
            It cannot be kept; the sender has to try again.
        Draining
            It would begin a new series, and nothing new is accepted.
        """
        try:
            self._spool.require_space(len(request.data))
            outcome = self._take_anew(request, caller)
        except (UnparsableDataSet, SopClassMismatch) as error:
            self._note(
                IncidentKind.INSTANCE_REFUSED, f"{caller.calling_ae_title}@{caller.address}", str(error)
            )
            raise
        except SpoolFull as error:
            under_floor = isinstance(error, DiskUnderFloor)
            kind = IncidentKind.DISK_UNDER_FLOOR if under_floor else IncidentKind.DISK_FULL
            with contextlib.suppress(SpoolError):  # a ledger without space cannot even take this
                self._note(kind, "data folder", str(error))
            raise
        self.outcomes[outcome] += 1
        return outcome

    def require_open(self) -> None:
        """Raise what an image of a new series would be refused with.

        Raises
        ------
        DiskUnderFloor
            There is no space for it.
        Draining
            Nothing new is accepted.
        """
        self._spool.require_space()
        if switches.is_on(self._ledger, switches.DRAINING):
            raise Draining("this node finishes what it has and accepts no new series: send it again later")

    def _take_anew(self, request: StoreRequest, caller: Caller) -> str:
        try:
            return self._take(request, caller)
        except SeriesForgotten:
            self._series_ids.clear()  # our id of it is no more; the image begins a series of its own
            return self._take(request, caller)

    def _take(self, request: StoreRequest, caller: Caller) -> str:
        walked = walk(request.data, request.transfer_syntax_uid, READ_TAGS)
        header = read_header(walked)
        _check_identity(header, request, walked)
        if request.sop_class_uid not in ANALYSED_SOP_CLASSES and self._is_ours(header):
            self._note(IncidentKind.OWN_RESULT_RETURNED, caller.calling_ae_title, "our own result came back")
            return "own_result"
        series_id = self._series_id(header)
        sha256 = hashlib.sha256(request.data).hexdigest()
        self._bring_manifests(series_id)
        known = reception.known_contents(self._ledger, series_id, str(header.SOPInstanceUID))
        if sha256 in known:
            content = (str(header.SOPInstanceUID), sha256)
            if reception.record_identical(self._ledger, series_id, caller, content, self._now()):
                return "identical"
            known = reception.known_contents(self._ledger, series_id, str(header.SOPInstanceUID))
        # A damaged copy that came first must not keep the whole one out.
        other_content = None in known.values()
        set_aside = why_set_aside(header, walked, other_content=other_content)
        if set_aside is not None and (walked.fault or other_content):
            self._note(IncidentKind.INSTANCE_SET_ASIDE, str(header.SeriesInstanceUID), set_aside)
        return self._keep(request, caller, header, series_id, sha256, set_aside)

    def _keep(
        self,
        request: StoreRequest,
        caller: Caller,
        header: Dataset,
        series_id: str,
        sha256: str,
        set_aside: str | None,
    ) -> str:
        instance_id = new_id()
        meta = file_meta(
            sop_class_uid=request.sop_class_uid,
            sop_instance_uid=request.sop_instance_uid,
            transfer_syntax_uid=request.transfer_syntax_uid,
            source_ae_title=caller.calling_ae_title,
        )
        path = self._spool.keep_received(series_id, instance_id, (meta, request.data))
        new = NewInstance(
            id=instance_id,
            sop_class_uid=request.sop_class_uid,
            sop_instance_uid=request.sop_instance_uid,
            transfer_syntax_uid=request.transfer_syntax_uid,
            sha256=sha256,
            size_bytes=len(request.data),
            path=path,
            modality=str(header.get("Modality", "") or ""),
            move_originator_ae_title=request.move_originator_ae_title,
            move_originator_message_id=request.move_originator_message_id,
            set_aside=set_aside,
            facts=CtFacts.from_header(header).as_json() if set_aside is None else None,
            node=self.node,
        )
        try:
            recorded = reception.record_instance(self._ledger, series_id, caller, new, self._now())
        except SpoolFull:
            path.unlink(missing_ok=True)  # each attempt of the sender would leave another one
            raise
        except SeriesForgotten:
            self._spool.drop_series(series_id)
            raise
        if not recorded:
            path.unlink(missing_ok=True)  # the same content came on another association at the same moment
            return "identical"
        return "kept" if set_aside is None else "set_aside"

    def _series_id(self, header: Dataset) -> str:
        key = series_key(header)
        known = self._series_ids.get(key)
        if known is None:
            if not reception.is_known(self._ledger, key):
                self.require_open()
            modality = str(header.get("Modality", "") or "")
            known = reception.series_id_of(self._ledger, key, modality, self._now())
            if len(self._series_ids) > 10_000:
                self._series_ids.clear()
            self._series_ids[key] = known
        return known

    def _is_ours(self, header: Dataset) -> bool:
        return is_own_result(header) or reception.is_own_result(self._ledger, str(header.SOPInstanceUID))

    def _note(self, kind: IncidentKind, subject: str, reason: str) -> None:
        get_logger().warning(kind.value, subject=subject, reason=reason)
        with self._ledger.write() as connection:
            incidents.note(connection, kind, subject, reason, self._now())


def read_header(walked: Walked) -> Dataset:
    """Parse the elements that reception needs."""
    try:
        header = read_dataset(BytesIO(walked.wanted), walked.implicit_vr, walked.little_endian)
        for tag in _IDENTITY_TAGS:
            header.get(tag)  # converts the raw value, so that a damaged one shows here
    # pydicom raises many kinds of errors on damaged values; all of them mean the same to the sender
    except Exception as error:  # noqa: BLE001
        raise UnparsableDataSet(f"the header cannot be read ({type(error).__name__})") from None
    for tag in list(header.keys()):
        try:
            header[tag]
        except Exception:  # noqa: BLE001 - the same; a bad Slice Thickness must not cost the image
            del header[tag]
    return header


def series_key(header: Dataset) -> SeriesKey:
    """Return to which series of which patient a data set belongs."""
    return SeriesKey(
        StudyInstanceUID(str(header.StudyInstanceUID)),
        SeriesInstanceUID(str(header.SeriesInstanceUID)),
        patient_digest(str(header.get("PatientID") or ""), str(header.get("IssuerOfPatientID") or "")),
    )


def _check_identity(header: Dataset, request: StoreRequest, walked: Walked) -> None:
    damage = f"; {walked.fault}" if walked.fault else ""
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        value = header.get(keyword)
        if not value:
            raise UnparsableDataSet(f"{keyword} is missing{damage}")
        if not is_tolerable_uid(str(value)):
            raise UnparsableDataSet(f"{keyword} is not a UID (PS3.5 9.1)")
    if str(header.SOPClassUID) != request.sop_class_uid:
        raise SopClassMismatch("the data set's SOP Class UID differs from the command's")
    if str(header.SOPInstanceUID) != request.sop_instance_uid:
        raise SopClassMismatch("the data set's SOP Instance UID differs from the command's")


def why_set_aside(header: Dataset, walked: Walked, *, other_content: bool) -> str | None:
    """Return why a data set takes no part in the analysis, None where it does."""
    if walked.fault is not None:
        return f"{reception.DAMAGED}: {walked.fault}"
    if other_content:
        return reception.OTHER_CONTENT
    return reason_not_analysable(header)
