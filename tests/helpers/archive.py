"""A scripted PACS that is queried and retrieved from, on real sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from types import TracebackType
from typing import Any, Self

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from core.ct_header import CT_IMAGE_STORAGE
from core.uid import derived_uid

FIND = StudyRootQueryRetrieveInformationModelFind
GET = StudyRootQueryRetrieveInformationModelGet
MOVE = StudyRootQueryRetrieveInformationModelMove
#: Of the patient of these tests.
PATIENT = {"PatientID": "P-1", "PatientBirthDate": "19600517", "PatientSex": "F"}

Answer = tuple[int, Dataset | bytes | None]


def study(name: str, when: datetime | str = "20230101", **changes: Any) -> Dataset:
    """Return an answer at the STUDY level; None leaves an element out."""
    values = {
        "StudyInstanceUID": derived_uid("archive", name),
        "StudyDate": f"{when:%Y%m%d}" if isinstance(when, datetime) else when,
        "StudyTime": f"{when:%H%M%S}" if isinstance(when, datetime) else "120000",
        "StudyDescription": "CT Chest",
        "ModalitiesInStudy": ["CT"],
        "IssuerOfPatientID": "",
        **PATIENT,
        **changes,
    }
    return _answer(values)


def series(study_name: str, name: str = "axial", **changes: Any) -> Dataset:
    """Return an answer at the SERIES level; None leaves an element out."""
    values = {
        "StudyInstanceUID": derived_uid("archive", study_name),
        "SeriesInstanceUID": derived_uid("archive", study_name, name),
        "Modality": "CT",
        "SeriesDescription": name,
        "SeriesNumber": 2,
        "NumberOfSeriesRelatedInstances": 120,
        **changes,
    }
    return _answer(values)


def _answer(values: dict[str, Any]) -> Dataset:
    """Return a data set with these values, unchecked as of a PACS that checks nothing."""
    ds = Dataset()
    for keyword, value in values.items():
        if value is not None:
            tag = Tag(keyword)
            ds.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE))
    return ds


@dataclass(eq=False)
class ListingPacs:
    """A PACS that answers queries and requests to move with what its script says.

    Parameters
    ----------
    find
        Yields status and identifier for a query; bytes are sent as they are. It gets a function that tells
        whether the query was cancelled.
    move
        The same for C-MOVE: yields what pynetdicom's handler yields.
    get
        Yields what C-GET brings.
    offers_get
        Whether C-GET is accepted.
    """

    find: Callable[[Dataset, Callable[[], bool]], Iterator[Answer]] = lambda _query, _cancelled: iter(())
    move: Callable[[Any], Iterator[Any]] | None = None
    get: Callable[[], Iterable[Dataset]] | None = None
    queries: list[Dataset] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)
    offers_get: bool = False
    stopping: threading.Event = field(default_factory=threading.Event)
    _server: Any = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.socket.getsockname()[1])

    def associations(self) -> list[Any]:
        """Return the open associations."""
        return list(self._server.active_associations)

    def __enter__(self) -> Self:
        entity = AE(ae_title="PACS")
        entity.supported_contexts = [build_context(one, [ExplicitVRLittleEndian]) for one in (FIND, MOVE)]
        if self.offers_get:
            entity.add_supported_context(GET, [ExplicitVRLittleEndian])
            entity.add_supported_context(
                CT_IMAGE_STORAGE, [ExplicitVRLittleEndian], scu_role=True, scp_role=True
            )
        handlers: list[Any] = [
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_C_MOVE, self._move),
            (evt.EVT_C_GET, self._get),
            (evt.EVT_RELEASED, lambda _event: self.ended.append("released")),
            (evt.EVT_ABORTED, lambda _event: self.ended.append("aborted")),
        ]
        self._server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        self.queries.append(event.identifier)
        for status, identifier in self.find(event.identifier, lambda: self._is_cancelled(event)):
            if isinstance(identifier, bytes):
                _send_raw(event, status, identifier)
            else:
                yield status, identifier

    def _move(self, event: Any) -> Iterator[Any]:
        if self.move is None:
            yield None, None
        else:
            yield from self.move(event)

    def _get(self, event: Any) -> Iterator[Any]:
        images = self.get() if self.get is not None else ()
        yield len(images) if isinstance(images, list) else 60_000
        for image in images:
            yield 0xFF00, filed(image)

    def _is_cancelled(self, event: Any) -> bool:
        if event.is_cancelled:
            self.cancelled.set()
        return self.cancelled.is_set()


def listing(studies: Sequence[Dataset], series_of: Sequence[Dataset] = ()) -> Any:
    """Return a script that answers with these, whatever was asked beyond level and study."""

    def find(query: Dataset, _cancelled: Callable[[], bool]) -> Iterator[Answer]:
        at_study_level = query.QueryRetrieveLevel == "STUDY"
        for one in studies if at_study_level else series_of:
            if at_study_level or one.StudyInstanceUID == query.StudyInstanceUID:
                yield 0xFF00, one

    return find


def filed(image: Dataset) -> Dataset:
    """Return an image as it is read from a file."""
    copied = deepcopy(image)
    copied.file_meta = FileMetaDataset()
    copied.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return copied


def _send_raw(event: Any, status: int, identifier: bytes) -> None:
    answer = C_FIND()
    answer.MessageIDBeingRespondedTo = event.request.MessageID
    answer.AffectedSOPClassUID = event.request.AffectedSOPClassUID
    answer.Status = status
    answer.Identifier = BytesIO(identifier)
    event.assoc.dimse.send_msg(answer, event.context.context_id)
