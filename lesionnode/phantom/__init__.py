"""Synthetic chest CT with known truth, for the demonstration, the tests and the benchmarks.

`generate_phantom` makes voxels and truth from a `PhantomSpec`; `write_phantom`, `phantom_datasets` and
`enhanced_ct_dataset` make DICOM from them under a `StudyHeader`. `generate_pair` and `write_pair` do so
for two scans of one patient between which lesions have changed; `random_pair` chooses such a patient.
"""

from __future__ import annotations

from lesionnode.phantom.dicom import phantom_datasets, write_phantom
from lesionnode.phantom.encoding import TRANSFER_SYNTAXES
from lesionnode.phantom.enhanced import enhanced_ct_dataset
from lesionnode.phantom.generate import generate_phantom
from lesionnode.phantom.header import StudyHeader, Vendor
from lesionnode.phantom.random_pairs import COARSE_GRID, PairGrid, PairKind, random_pair
from lesionnode.phantom.spec import (
    DEFAULT_LESIONS,
    LesionTruth,
    PatientPosition,
    Phantom,
    PhantomLesion,
    PhantomSpec,
    PhantomTruth,
)
from lesionnode.phantom.time_points import (
    Fate,
    Kernel,
    LesionChange,
    PairedLesion,
    PairPlan,
    PhantomPair,
    Scan,
    generate_pair,
    write_pair,
)

__all__ = [
    "COARSE_GRID",
    "DEFAULT_LESIONS",
    "TRANSFER_SYNTAXES",
    "Fate",
    "Kernel",
    "LesionChange",
    "LesionTruth",
    "PairGrid",
    "PairKind",
    "PairPlan",
    "PairedLesion",
    "PatientPosition",
    "Phantom",
    "PhantomLesion",
    "PhantomPair",
    "PhantomSpec",
    "PhantomTruth",
    "Scan",
    "StudyHeader",
    "Vendor",
    "enhanced_ct_dataset",
    "generate_pair",
    "generate_phantom",
    "phantom_datasets",
    "random_pair",
    "write_pair",
    "write_phantom",
]
