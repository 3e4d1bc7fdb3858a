"""Synthetic chest CT with known truth, for the demonstration, the tests and the benchmarks.

`generate_phantom` makes voxels and truth from a `PhantomSpec`; `write_phantom`, `phantom_datasets` and
`enhanced_ct_dataset` make DICOM from them under a `StudyHeader`.
"""

from __future__ import annotations

from lesionnode.phantom.dicom import phantom_datasets, write_phantom
from lesionnode.phantom.encoding import TRANSFER_SYNTAXES
from lesionnode.phantom.enhanced import enhanced_ct_dataset
from lesionnode.phantom.generate import generate_phantom
from lesionnode.phantom.header import StudyHeader, Vendor
from lesionnode.phantom.spec import (
    DEFAULT_LESIONS,
    LesionTruth,
    PatientPosition,
    Phantom,
    PhantomLesion,
    PhantomSpec,
    PhantomTruth,
)

__all__ = [
    "DEFAULT_LESIONS",
    "TRANSFER_SYNTAXES",
    "LesionTruth",
    "PatientPosition",
    "Phantom",
    "PhantomLesion",
    "PhantomSpec",
    "PhantomTruth",
    "StudyHeader",
    "Vendor",
    "enhanced_ct_dataset",
    "generate_phantom",
    "phantom_datasets",
    "write_phantom",
]
