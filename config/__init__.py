"""The configuration: one TOML file, read once into frozen settings."""

from config.comparison import ComparisonSettings, PriorsRule, RetrievalWay
from config.loader import load_settings
from config.peers import DicomwebPeerSettings, DimsePeerSettings, PatientRule, PeerSettings
from config.retention import RetentionSettings
from config.settings import (
    DEFAULT_MODEL,
    AnalyseRule,
    CommitmentRule,
    DeliverySettings,
    ModelSettings,
    NodeSettings,
    Priority,
    ReceptionSettings,
    Settings,
    SourceSettings,
)
from config.storage import StorageSettings

__all__ = [
    "DEFAULT_MODEL",
    "AnalyseRule",
    "CommitmentRule",
    "ComparisonSettings",
    "DeliverySettings",
    "DicomwebPeerSettings",
    "DimsePeerSettings",
    "ModelSettings",
    "NodeSettings",
    "PatientRule",
    "PeerSettings",
    "Priority",
    "PriorsRule",
    "ReceptionSettings",
    "RetentionSettings",
    "RetrievalWay",
    "Settings",
    "SourceSettings",
    "StorageSettings",
    "load_settings",
]
