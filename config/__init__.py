"""The configuration: one TOML file, read once into frozen settings."""

from config.loader import load_settings
from config.settings import (
    AnalyseRule,
    DeliverySettings,
    ModelSettings,
    NodeSettings,
    PeerSettings,
    ReceptionSettings,
    Settings,
    SourceSettings,
)

__all__ = [
    "AnalyseRule",
    "DeliverySettings",
    "ModelSettings",
    "NodeSettings",
    "PeerSettings",
    "ReceptionSettings",
    "Settings",
    "SourceSettings",
    "load_settings",
]
