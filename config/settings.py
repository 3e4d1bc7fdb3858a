"""The schema of the configuration. Frozen; one instance is passed to whoever needs it.

Every validator's message says what is wanted: the loader shows it to the person who typed the value.
"""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from core.domain import AETitle, Language, ResultKind
from core.forms import ReportClass, ResultForm, SegmentationEncoding

#: The package that runs without any licence to accept.
DEFAULT_MODEL = "densitometry"

IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class AnalyseRule(StrEnum):
    """Which series of one acquisition are analysed."""

    BEST_PER_ACQUISITION = "best-per-acquisition"
    EVERY = "every"


class CommitmentRule(StrEnum):
    """What is answered to a sender that asks for storage commitment (PS3.4 J)."""

    OFF = "off"
    ARCHIVE = "archive"
    HERE = "here"


class PatientRule(StrEnum):
    """What happens where a peer files the study under another Patient ID than its images had here."""

    OFF = "off"
    HOLD = "hold"
    REWRITE = "rewrite"


def _ae_title(text: str) -> AETitle:
    """Check an AE title by PS3.5 6.2 (VR AE): leading and trailing spaces are not significant."""
    trimmed = text.strip(" ")
    if not 1 <= len(trimmed) <= 16:
        raise ValueError(f"wanted an AE title of 1 to 16 characters, this one has {len(trimmed)}")
    if "\\" in trimmed:
        raise ValueError("wanted an AE title without backslash")
    if not trimmed.isascii() or not trimmed.isprintable():
        raise ValueError("wanted an AE title of printable ASCII characters only")
    return AETitle(trimmed)


def _network(value: object) -> IPNetwork:
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    try:
        return ipaddress.ip_network(str(value).strip(), strict=False)
    except ValueError:
        raise ValueError(
            'wanted an IP address ("192.0.2.21") or a network ("192.0.2.0/24"); host names are not looked up'
        ) from None


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", text):
        raise ValueError("wanted a name of letters, digits, '-', '_' and '.', at most 64 characters")
    return text


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9:.\-_%]{1,253}", text.strip()):
        raise ValueError("wanted a host name or an IP address without port and without spaces")
    return text.strip()


AETitleText = Annotated[AETitle, AfterValidator(_ae_title)]
NetworkText = Annotated[IPNetwork, BeforeValidator(_network)]
NameText = Annotated[str, AfterValidator(_name)]
HostText = Annotated[str, AfterValidator(_host)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, coerce_numbers_to_str=True)


class NodeSettings(_Section):
    """Who this node is."""

    ae_title: AETitleText = AETitle("LESIONNODE")
    port: Annotated[int, Field(ge=0, le=65535)] = 11112
    """0 lets the system choose a free port (tests, demo)."""
    listen: str = "0.0.0.0"
    data_folder: Path = Path("/var/lib/lesion-node")
    check_called_ae_title: bool = True
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class LedgerSettings(_Section):
    """Where the node keeps what it knows."""

    url: str = Field(default="", repr=False)
    """postgresql+psycopg://user:password@host/database; empty: a file below the data folder."""


class PeerSettings(_Section):
    """A destination of results."""

    name: NameText
    ae_title: AETitleText
    host: HostText
    port: Port
    calling_ae_title: AETitleText | None = None
    """AE title that this node uses towards the peer; its own where absent."""
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
    deflated: bool = False
    """Whether objects are sent deflated where the peer accepts that."""
    check_patient: PatientRule = PatientRule.OFF
    """Whether the peer is asked (C-FIND) before delivery under which Patient ID it files the study."""
    storage_commitment: bool = False
    """Whether the peer is asked, after delivery, to take responsibility for what it got (PS3.4 J)."""
    commitment_from: tuple[NetworkText, ...] = ()
    """Where its reports may come from, besides `host`."""

    @property
    def form(self) -> ResultForm:
        """The encodings that the peer is to get."""
        return ResultForm(self.segmentation, self.empty_frames, self.report)


class SourceSettings(_Section):
    """Who may send, which model looks at the series, and where results return."""

    name: NameText
    ae_titles: Annotated[tuple[AETitleText, ...], Field(min_length=1)]
    networks: Annotated[tuple[NetworkText, ...], Field(min_length=1)]
    model: NameText = DEFAULT_MODEL
    send_to: Annotated[tuple[NameText, ...], Field(min_length=1)]
    analyse: AnalyseRule = AnalyseRule.BEST_PER_ACQUISITION
    storage_commitment: CommitmentRule = CommitmentRule.OFF
    """Who vouches for its images when it asks for commitment: nobody, an archive, or this node for good."""
    archive: NameText | None = None
    """The peer that has to hold the images, for ``storage_commitment = "archive"``."""
    commitment_host: HostText | None = None
    """Where it listens for the answer; by default the address that it asked from."""
    commitment_port: Port | None = None
    """Port on which it listens for the answer; by default that of the peer of the same AE title."""


class ReceptionSettings(_Section):
    """Limits and waits of the receiver."""

    quiet_s: Seconds = 3.0
    """A series is complete after so many seconds without an instance and without an open association."""
    cut_off_quiet_s: Seconds = 60.0
    """The same wait where the last association was aborted or lost: the sender will try again."""
    max_associations: Annotated[int, Field(ge=1, le=1000)] = 32
    max_associations_per_caller: Annotated[int, Field(ge=1, le=1000)] = 12
    idle_association_s: Seconds = 60.0
    """An association on which nothing happens for so long is aborted."""
    max_pdu_bytes: Annotated[int, Field(ge=16384, le=16 * 1024 * 1024)] = 1024 * 1024
    disk_floor_mb: Annotated[int, Field(ge=0)] = 2048
    """Below so much free space C-STORE is answered 0xA700 and nothing is stored."""
    commitment_answer_within_s: Seconds = 43200.0
    """For so long an archive is asked for what a sender wants committed; then the rest has failed."""


class ModelSettings(_Section):
    """How models run."""

    execution: Literal["require-gpu", "prefer-gpu", "cpu"] = "prefer-gpu"
    accept_licence: tuple[str, ...] = ()
    """Restricted licences that the site accepts by name, for example "research"."""
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    """CPU threads of the worker; 0 for one per core."""
    max_attempts: Annotated[int, Field(ge=1, le=20)] = 5
    """A series whose analysis breaks so many times is set to failed."""
    smallest_lesion_ml: Annotated[float, Field(ge=0)] = 0.1
    """Smaller lesions count in the volumes but are not listed."""
    consolidation_from_hu: Annotated[float, Field(ge=-700, le=0)] = -300.0
    """Lesion this dense is consolidation, for models that leave telling it from ground glass to density."""

    @model_validator(mode="before")
    @classmethod
    def _one_licence_is_a_list(cls, data: object) -> object:
        if isinstance(data, dict) and isinstance(data.get("accept_licence"), str):
            return {**data, "accept_licence": (data["accept_licence"],)}
        return data


class ResultSettings(_Section):
    """What results hold, and how they look to people."""

    language: Language = Language.ENGLISH
    """Of the film. Coded content and remarks are English in every language."""
    refusals: bool = True
    """Whether peers get a page and a report that say why a series was not analysed."""
    lesions_from_ml: Annotated[float, Field(ge=0)] = 1.0
    """Single lesions from this volume on get a segment and a measurement group of their own."""


class DeliverySettings(_Section):
    """How results are sent."""

    first_retry_s: Seconds = 10.0
    longest_retry_s: Seconds = 3600.0
    give_up_after_days: Annotated[float, Field(gt=0)] = 7.0
    timeout_s: Seconds = 30.0
    """For connecting, and for the answer to an association request."""
    answer_timeout_s: Seconds = 120.0
    """For the answer to an object or a query: a PACS may take long over a large SEG."""
    commitment_wait_s: Seconds = 3600.0
    """A peer that has not reported on a request for commitment after so long is asked again."""


class Settings(_Section):
    """The whole configuration."""

    node: NodeSettings = NodeSettings()
    ledger: LedgerSettings = LedgerSettings()
    peers: tuple[PeerSettings, ...] = ()
    sources: tuple[SourceSettings, ...] = ()
    reception: ReceptionSettings = ReceptionSettings()
    models: ModelSettings = ModelSettings()
    results: ResultSettings = ResultSettings()
    delivery: DeliverySettings = DeliverySettings()

    def peer(self, name: str) -> PeerSettings | None:
        """Return the peer of that name."""
        return next((peer for peer in self.peers if peer.name == name), None)

    def source(self, name: str) -> SourceSettings | None:
        """Return the source of that name."""
        return next((source for source in self.sources if source.name == name), None)

    @property
    def committing_peers(self) -> tuple[PeerSettings, ...]:
        """The peers that are asked for storage commitment."""
        return tuple(peer for peer in self.peers if peer.storage_commitment)

    @property
    def answers_commitment(self) -> bool:
        """Whether any source may ask for storage commitment."""
        return any(source.storage_commitment is not CommitmentRule.OFF for source in self.sources)

    def cross_faults(self) -> list[str]:
        """Return the faults that no single key shows: double names, callers claimed twice."""
        faults: list[str] = []
        for kind, names in (
            ("peers", [peer.name for peer in self.peers]),
            ("sources", [source.name for source in self.sources]),
        ):
            for name in sorted({name for name in names if names.count(name) > 1}):
                faults.append(f'{kind}: found the name "{name}" more than once, wanted every name once')
        return faults + self._overlapping_sources()

    def _overlapping_sources(self) -> list[str]:
        faults = []
        for at, second in enumerate(self.sources):
            for first in self.sources[:at]:
                shared = sorted(set(first.ae_titles) & set(second.ae_titles))
                overlap = any(
                    one.version == other.version and one.overlaps(other)
                    for one in first.networks
                    for other in second.networks
                )
                if shared and overlap:
                    faults.append(
                        f'sources[{at}]: found AE title "{shared[0]}" from an address that source '
                        f'"{first.name}" admits too, wanted every caller in one source only'
                    )
        return faults
