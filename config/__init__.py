"""The configuration: one TOML file, read once into frozen settings."""

from config.loader import load_settings
from config.settings import (
    DEFAULT_MODEL,
    AnalyseRule,
    CommitmentRule,
    DeliverySettings,
    ModelSettings,
    NodeSettings,
    PatientRule,
    PeerSettings,
    ReceptionSettings,
    Settings,
    SourceSettings,
)

__all__ = [
    "DEFAULT_MODEL",
    "AnalyseRule",
    "CommitmentRule",
    "DeliverySettings",
    "ModelSettings",
    "NodeSettings",
    "PatientRule",
    "PeerSettings",
    "ReceptionSettings",
    "Settings",
    "SourceSettings",
    "load_settings",
]
