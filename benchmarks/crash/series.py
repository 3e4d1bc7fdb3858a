"""What the scanners send: a small chest under ever new UIDs, and the record of what was acknowledged."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field

from pydicom.uid import ExplicitVRLittleEndian

from lesionnode.phantom.dicom import phantom_datasets
from lesionnode.phantom.generate import generate_phantom
from lesionnode.phantom.header import StudyHeader
from lesionnode.phantom.spec import Phantom, PhantomSpec
from tests.helpers.instances import encoded

#: Small, so that an analysis takes about a second; every step of the real way is taken.
_SLICES, _PIXELS = 24, 96


@dataclass(frozen=True, slots=True)
class Image:
    """One instance.

    Parameters
    ----------
    sop_instance_uid
        Its name.
    data
        The encoded data set.
    sha256
        Digest of the same bytes.
    """

    sop_instance_uid: str
    data: bytes
    sha256: str


@dataclass(eq=False, slots=True)
class SentSeries:
    """One series on its way.

    Parameters
    ----------
    number
        In order of sending.
    study_instance_uid, series_instance_uid
        Its names.
    images
        Its instances.
    """

    number: int
    study_instance_uid: str
    series_instance_uid: str
    images: list[Image]


def small_chest() -> Phantom:
    """Return the chest that every series shows."""
    return generate_phantom(
        PhantomSpec(
            shape_zyx=(_SLICES, _PIXELS, _PIXELS),
            spacing_zyx_mm=(300.0 / _SLICES, 350.0 / _PIXELS, 350.0 / _PIXELS),
        )
    )


def make_series(phantom: Phantom, number: int, seed: int) -> SentSeries:
    """Return a series of a patient and a study of its own."""
    header = StudyHeader(patient_id=f"CRASH-{seed}-{number}", accession_number=f"C{seed}N{number}")
    datasets = list(phantom_datasets(phantom, header))
    images = []
    for dataset in datasets:
        data = encoded(dataset, ExplicitVRLittleEndian)
        images.append(Image(str(dataset.SOPInstanceUID), data, hashlib.sha256(data).hexdigest()))
    first = datasets[0]
    return SentSeries(number, str(first.StudyInstanceUID), str(first.SeriesInstanceUID), images)


@dataclass(eq=False)
class Acknowledged:
    """Every instance that was answered with 0x0000; the node answers for these from then on."""

    _digests: dict[tuple[str, str], int] = field(default_factory=dict)
    _refused: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, image: Image, status: int) -> bool:
        """Take note of an answer; return whether it was success."""
        with self._lock:
            if status == 0x0000:
                key = (image.sop_instance_uid, image.sha256)
                self._digests[key] = self._digests.get(key, 0) + 1
            else:
                self._refused += 1
        return status == 0x0000

    def holds(self, image: Image) -> bool:
        """Tell whether an instance was acknowledged."""
        return (image.sop_instance_uid, image.sha256) in self._digests

    def pairs(self) -> frozenset[tuple[str, str]]:
        """Return SOP Instance UID and digest of every acknowledged instance."""
        with self._lock:
            return frozenset(self._digests)

    def figures(self) -> dict[str, int]:
        """Return how many instances were acknowledged, how often, and how many refused."""
        with self._lock:
            answers = sum(self._digests.values())
            return {
                "acknowledged": len(self._digests),
                "acknowledged_again": answers - len(self._digests),
                "refused": self._refused,
            }
