"""The real CT data, where they are there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CT_SERIES = (
    "philips-brilliance16-5mm",
    "siemens-sensation10-b70f-8mm",
    "siemens-sensation10-b40f-8mm",
    "siemens-biograph40-3mm",
)


def ct_series_folder(name: str) -> Path:
    """Return the folder of a real series, or skip with the reason."""
    default = Path(__file__).parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("LESION_NODE_DATA", default)) / "ct-series" / name
    if not folder.is_dir():
        pytest.skip(f"the real CT data are not here ({folder}); set LESION_NODE_DATA")
    return folder
