"""The configuration: one TOML file, read once into frozen settings."""

from config.loader import load_settings
from config.retention import RetentionSettings
from config.settings import (
    DEFAULT_MODEL,
    AnalyseRule,
    DeliverySettings,
    ModelSettings,
    NodeSettings,
    PatientRule,
    PeerSettings,
    Priority,
    ReceptionSettings,
    Settings,
    SourceSettings,
)

__all__ = [
    "DEFAULT_MODEL",
    "AnalyseRule",
    "DeliverySettings",
    "ModelSettings",
    "NodeSettings",
    "PatientRule",
    "PeerSettings",
    "Priority",
    "ReceptionSettings",
    "RetentionSettings",
    "Settings",
    "SourceSettings",
    "load_settings",
]
