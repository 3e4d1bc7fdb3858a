"""The schema of the configuration. Frozen; one instance is passed to whoever needs it.

Peers have a module of their own (`config.peers`), and so has what people type (`config.values`).
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from config.comparison import ComparisonSettings, PriorsRule
from config.peers import DimsePeerSettings, Peer, PeerSettings
from config.retention import RetentionSettings
from config.section import Section
from config.storage import StorageSettings
from config.values import AETitleText, HostText, NameText, NetworkText, Port, Seconds, ledger_url
from core.domain import AETitle, Language

#: The package that runs without any licence to accept.
DEFAULT_MODEL = "densitometry"


class AnalyseRule(StrEnum):
    """Which series of one acquisition are analysed."""

    BEST_PER_ACQUISITION = "best-per-acquisition"
    EVERY = "every"
    NONE = "none"


class CommitmentRule(StrEnum):
    """What is answered to a sender that asks for storage commitment (PS3.4 J)."""

    OFF = "off"
    ARCHIVE = "archive"
    HERE = "here"


class Priority(StrEnum):
    """Whose series go first."""

    URGENT = "urgent"
    ROUTINE = "routine"
    LOW = "low"


class NodeSettings(Section):
    """Who this node is."""

    ae_title: AETitleText = AETitle("LESIONNODE")
    port: Annotated[int, Field(ge=0, le=65535)] = 11112
    """0 lets the system choose a free port (tests, demo)."""
    listen: str = "0.0.0.0"
    data_folder: Path = Path("/var/lib/lesion-node")
    check_called_ae_title: bool = True
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class LedgerSettings(Section):
    """Where the node keeps what it knows."""

    url: Annotated[str, AfterValidator(ledger_url)] = Field(default="", repr=False)
    """postgresql+psycopg://user:password@host/database; empty: a file below the data folder."""
    lease_s: Annotated[float, Field(ge=5)] = 60.0
    """Who gave no sign for so long is held to be dead, and another process takes its work."""


class SourceSettings(Section):
    """Who may send, which model looks at the series, and where results return."""

    name: NameText
    ae_titles: Annotated[tuple[AETitleText, ...], Field(min_length=1)]
    networks: Annotated[tuple[NetworkText, ...], Field(min_length=1)]
    model: NameText = DEFAULT_MODEL
    send_to: Annotated[tuple[NameText, ...], Field(min_length=1)]
    analyse: AnalyseRule = AnalyseRule.BEST_PER_ACQUISITION
    priority: Priority = Priority.ROUTINE
    """Whether its series are analysed and delivered before those of others, or after them."""
    max_age_days: Annotated[float, Field(gt=0)] | None = None
    """Scans older than this are kept and not analysed; every age is analysed where absent."""
    series_per_hour: Annotated[int, Field(ge=1)] | None = None
    """What it sends beyond so many analyses an hour waits as with low priority; no limit where absent."""
    storage_commitment: CommitmentRule = CommitmentRule.OFF
    """Who vouches for its images when it asks for commitment: nobody, an archive, or this node for good."""
    archive: NameText | None = None
    """The peer that has to hold the images, for ``storage_commitment = "archive"``."""
    commitment_host: HostText | None = None
    """Where it listens for the answer; by default the address that it asked from."""
    commitment_port: Port | None = None
    """Port on which it listens for the answer; by default that of the peer of the same AE title."""
    priors: PriorsRule = PriorsRule.HISTORY
    """With which earlier scans its scans are compared: none, those analysed here, those of a PACS too."""
    priors_from: NameText | None = None
    """The peer that is asked for earlier scans, for ``priors = "pacs"``."""
    report_priors: bool = False
    """Whether an earlier scan that was fetched for comparison is reported like one that was sent."""


class Durability(StrEnum):
    """When received images are flushed to the disk."""

    ACK = "ack"
    SEAL = "seal"


class ReceptionSettings(Section):
    """Limits and waits of the receiver."""

    durability: Durability = Durability.ACK
    """Flushed before each 0x0000, or only before sealing: a power cut loses what came till then."""
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

    @property
    def flushes_late(self) -> bool:
        """Whether images are acknowledged before they are on the disk."""
        return self.durability is Durability.SEAL


class ModelSettings(Section):
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


class ResultSettings(Section):
    """What results hold, and how they look to people."""

    language: Language = Language.ENGLISH
    """Of the film. Coded content and remarks are English in every language."""
    refusals: bool = True
    """Whether peers get a page and a report that say why a series was not analysed."""
    lesions_from_ml: Annotated[float, Field(ge=0)] = 1.0
    """Single lesions from this volume on get a segment and a measurement group of their own."""


class DeliverySettings(Section):
    """How results are sent."""

    first_retry_s: Seconds = 30.0
    """Wait after the first failure, and after the first attempt that found a peer away; it doubles."""
    longest_retry_s: Seconds = 3600.0
    give_up_after_days: Annotated[float, Field(gt=0)] = 7.0
    timeout_s: Seconds = 30.0
    """For connecting, and for the answer to an association request."""
    answer_timeout_s: Seconds = 120.0
    """For the answer to an object or a query: a PACS may take long over a large SEG."""
    commitment_wait_s: Seconds = 3600.0
    """A peer that has not reported on a request for commitment after so long is asked again."""

    @property
    def longest_answer_s(self) -> float:
        """How long the answer to an object, a query or a request may take."""
        return max(self.timeout_s, self.answer_timeout_s)


class Settings(Section):
    """The whole configuration."""

    node: NodeSettings = NodeSettings()
    ledger: LedgerSettings = LedgerSettings()
    peers: tuple[Peer, ...] = ()
    sources: tuple[SourceSettings, ...] = ()
    reception: ReceptionSettings = ReceptionSettings()
    models: ModelSettings = ModelSettings()
    results: ResultSettings = ResultSettings()
    comparison: ComparisonSettings = ComparisonSettings()
    delivery: DeliverySettings = DeliverySettings()
    storage: StorageSettings = StorageSettings()
    retention: RetentionSettings = RetentionSettings()

    def peer(self, name: str) -> PeerSettings | None:
        """Return the peer of that name."""
        return next((peer for peer in self.peers if peer.name == name), None)

    def source(self, name: str) -> SourceSettings | None:
        """Return the source of that name."""
        return next((source for source in self.sources if source.name == name), None)

    @property
    def dimse_peers(self) -> tuple[DimsePeerSettings, ...]:
        """The peers that DIMSE is spoken with."""
        return tuple(peer for peer in self.peers if isinstance(peer, DimsePeerSettings))

    @property
    def committing_peers(self) -> tuple[DimsePeerSettings, ...]:
        """The peers that are asked for storage commitment."""
        return tuple(peer for peer in self.dimse_peers if peer.storage_commitment)

    @property
    def prior_peers(self) -> tuple[DimsePeerSettings, ...]:
        """The peers that are asked for earlier scans."""
        if not self.comparison.enabled:
            return ()
        asked = {source.priors_from for source in self.sources if source.priors is PriorsRule.PACS}
        return tuple(peer for peer in self.dimse_peers if peer.name in asked)

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
        return (
            faults
            + self._overlapping_sources()
            + self.retention.cross_faults(self.reception.disk_floor_mb)
            + self.storage.cross_faults()
            + self._nested_storage()
            + self._lonely_storage()
            + self._late_flushing()
        )

    def _late_flushing(self) -> list[str]:
        found = 'reception.durability: found "seal", wanted "ack"'
        if not self.reception.flushes_late:
            return []
        faults = []
        if self.storage.shared:
            faults.append(
                f"{found} with storage.shared: who seals a series cannot flush what another machine has of it"
            )
        if any(source.storage_commitment is CommitmentRule.HERE for source in self.sources):
            faults.append(f'{found} with storage_commitment = "here": this node is declared to keep images')
        return faults

    def _lonely_storage(self) -> list[str]:
        if self.storage.shared and not self.ledger.url:
            return [
                "ledger.url: missing, wanted the PostgreSQL database of all machines that use storage.shared"
            ]
        return []

    def _nested_storage(self) -> list[str]:
        shared, own = self.storage.folder, self.node.data_folder
        if shared is None or not (shared.is_relative_to(own) or own.is_relative_to(shared)):
            return []
        return [
            f'storage.shared: found "{shared}", wanted a folder apart from node.data_folder ("{own}"), which '
            "belongs to this machine alone"
        ]

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
