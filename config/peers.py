"""Where results go: one class of settings for each kind of destination.

A new kind is a class here, its place in `Peer`, and its transport in `scp.transports`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, SecretStr, Tag, model_validator

from config.comparison import RetrievalWay
from config.section import Section
from config.values import AETitleText, HostText, NameText, NetworkText, Port, WebAddress
from core.domain import ResultKind
from core.forms import ReportClass, ResultForm, SegmentationEncoding


class PatientRule(StrEnum):
    """What happens where a peer files the study under another Patient ID than its images had here."""

    OFF = "off"
    HOLD = "hold"
    REWRITE = "rewrite"


class PeerSettings(Section):
    """A destination of results: what every kind of it has."""

    name: NameText
    objects: Annotated[tuple[ResultKind, ...], Field(min_length=1)] = (
        ResultKind.SEGMENTATION,
        ResultKind.MEASUREMENT_REPORT,
        ResultKind.FILM,
    )
    """Kinds of result that the peer is to get."""
    segmentation: SegmentationEncoding = SegmentationEncoding.BINARY
    """Encoding of segmentations."""
    empty_frames: bool = False
    """Whether segmentations have a frame for every slice, for viewers that count frames."""
    report: ReportClass = ReportClass.COMPREHENSIVE_3D
    """SOP Class of reports; Comprehensive SR is sent instead where the peer refuses the newer class."""
    check_patient: PatientRule = PatientRule.OFF
    """Whether the peer is asked before delivery under which Patient ID it files the study."""

    @property
    def form(self) -> ResultForm:
        """The encodings that the peer is to get."""
        return ResultForm(self.segmentation, self.empty_frames, self.report)


class DimsePeerSettings(PeerSettings):
    """A PACS that is sent to by C-STORE."""

    kind: Literal["dimse"] = "dimse"
    ae_title: AETitleText
    host: HostText
    port: Port
    calling_ae_title: AETitleText | None = None
    """AE title that this node uses towards the peer; its own where absent."""
    deflated: bool = False
    """Whether objects are sent deflated where the peer accepts that."""
    storage_commitment: bool = False
    """Whether the peer is asked, after delivery, to take responsibility for what it got (PS3.4 J)."""
    commitment_from: tuple[NetworkText, ...] = ()
    """Where its reports may come from, besides `host`."""
    priors_by: RetrievalWay = RetrievalWay.MOVE
    """How earlier scans are retrieved from it, where a source's ``priors_from`` names it."""
    priors_move_from: tuple[NetworkText, ...] = ()
    """Where it may send them from, besides `host`, for ``priors_by = "move"``."""


class DicomwebPeerSettings(PeerSettings):
    """A PACS or platform that is sent to by STOW-RS (PS3.18 10.5)."""

    kind: Literal["dicomweb"]
    url: WebAddress
    """Root of its DICOMweb service; ``/studies`` follows it."""
    user: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None
    """Bearer token, instead of user and password."""
    ca_file: Path | None = None
    """PEM file of the authorities that may sign its certificate; the public ones where absent."""

    @model_validator(mode="after")
    def _one_way_to_log_in(self) -> Self:
        if (self.user is None) is not (self.password is None):
            raise ValueError("wanted user and password together, or neither")
        if self.token is not None and self.user is not None:
            raise ValueError("wanted either user and password, or token, not both")
        return self


#: Settings by the value of ``kind``.
PEER_KINDS: Mapping[str, type[PeerSettings]] = {
    "dimse": DimsePeerSettings,
    "dicomweb": DicomwebPeerSettings,
}
#: Stands before the kind in the location of a fault, so that the loader can tell it from a key.
KIND_MARK = "kind="


def _kind_of(value: Any) -> str:
    """Return the mark of a table's kind; DIMSE where it has none."""
    kind = value.get("kind", "dimse") if isinstance(value, dict) else getattr(value, "kind", "dimse")
    return f"{KIND_MARK}{kind}"


Peer = Annotated[
    Annotated[DimsePeerSettings, Tag(f"{KIND_MARK}dimse")]
    | Annotated[DicomwebPeerSettings, Tag(f"{KIND_MARK}dicomweb")],
    Discriminator(_kind_of),
]
