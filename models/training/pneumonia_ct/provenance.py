"""Where a network comes from, for the model card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.training.pneumonia_ct.folds import patient_of
from models.training.pneumonia_ct.sampling import Sources
from models.training.pneumonia_ct.slices import SliceSet

_RESEARCH = "research, non-commercial, attribution"


def provenance(
    parameters: int, sources: Sources, setup: dict[str, Any], version: str, sha256: str, date: str
) -> dict[str, Any]:
    """Return `provenance.json` as `benchmarks.model_card` reads it.

    Parameters
    ----------
    parameters, sources, setup
        How many weights were trained, on what, how.
    version, sha256
        Of the package and of its model file.
    date
        Of the export, ``2026-01-31``.
    """
    # Every scan stands in `sources` several times, with other lesions painted into it.
    scans = {one.case: len(one.pictures) for one in sources.series}
    radiomics = [name for name in scans if name.startswith("siemens-biograph40")]
    pet_ct = [name for name in scans if name not in radiomics]
    rows = [
        (
            "COVID-19 CT Lung and Infection Segmentation (Ma et al. 2021), 8-bit slices",
            len({patient_of(one.case) for one in sources.pneumonia}),
            _slices(sources.pneumonia),
            _RESEARCH,
        ),
        ("COVID-SemiSeg (Fan et al. 2020), 8-bit slices", None, len(sources.classes), _RESEARCH),
        (
            "NSCLC-Radiomics, healthy lung, lesions painted",
            len(radiomics),
            sum(scans[n] for n in radiomics),
            "CC BY-NC 3.0",
        ),
        (
            "Lung-PET-CT-Dx, healthy lung, lesions painted",
            # Both kernels of the Sensation scan show one patient.
            len({name.rsplit("-", 2)[0] for name in pet_ct}),
            sum(scans[name] for name in pet_ct),
            "CC BY 4.0",
        ),
        ("phantoms of this project", None, _slices(sources.phantoms), "MIT"),
    ]
    return {
        "name": "pneumonia-ct",
        "version": version,
        "sha256": sha256,
        "date": date,
        "parameters": parameters,
        "training": ", ".join(f"{key} {value}" for key, value in setup.items()),
        "trained_on": [
            {"data": data, "patients": patients, "slices": slices, "licence": licence}
            for data, patients, slices, licence in rows
            if slices
        ],
    }


def _slices(cases: Sequence[SliceSet]) -> int:
    return sum(len(one.pictures) for one in cases)
