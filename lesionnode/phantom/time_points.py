"""Two scans of one synthetic patient at different times, with known change of every lesion.

A `PairPlan` says what happens to each lesion and how the second scan differs; `generate_pair` makes both
phantoms and the truth of the pairing, `write_pair` makes two studies of one patient of them. Lesions that
grow into each other, or come apart, are made by placing them side by side: every lesion stays one entry of
the truth, whatever components the voxels show.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from pydicom.uid import UID, ExplicitVRLittleEndian

from lesionnode.phantom.dicom import write_phantom
from lesionnode.phantom.generate import generate_phantom
from lesionnode.phantom.header import StudyHeader
from lesionnode.phantom.spec import Phantom, PhantomLesion, PhantomSpec


class Fate(StrEnum):
    """What happens to a lesion between the two scans."""

    PERSISTENT = "persistent"
    GROWN = "grown"
    SHRUNK = "shrunk"
    NEW = "new"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class LesionChange:
    """One lesion and what happens to it.

    Parameters
    ----------
    lesion
        As the first scan shows it, a new one as the second does.
    fate
        What happens.
    volume_factor
        Volume at the second scan as a share of that at the first, before the pleura cuts it: more than 1 for
        a grown, between 0 and 1 for a shrunk lesion, 1 for all others.
    """

    lesion: PhantomLesion
    fate: Fate
    volume_factor: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a factor that contradicts the fate."""
        fits = {Fate.GROWN: self.volume_factor > 1.0, Fate.SHRUNK: 0.0 < self.volume_factor < 1.0}
        if not fits.get(self.fate, self.volume_factor == 1.0):
            raise ValueError(f"a lesion that is {self.fate} cannot have volume factor {self.volume_factor}")

    @property
    def before(self) -> PhantomLesion | None:
        """The lesion at the first scan, None where there is none."""
        return None if self.fate is Fate.NEW else self.lesion

    @property
    def after(self) -> PhantomLesion | None:
        """The lesion at the second scan, None where there is none."""
        if self.fate is Fate.RESOLVED:
            return None
        x, y, z = (radius * self.volume_factor ** (1.0 / 3.0) for radius in self.lesion.radii_mm)
        return replace(self.lesion, radii_mm=(x, y, z))


@dataclass(frozen=True, slots=True)
class Kernel:
    """A reconstruction kernel, as far as a phantom shows it.

    Parameters
    ----------
    name
        Convolution Kernel (0018,1210).
    noise_sd_hu, noise_grain_mm, blur_mm
        As in `PhantomSpec`.
    """

    name: str
    noise_sd_hu: float
    noise_grain_mm: float
    blur_mm: float


SOFT_KERNEL = Kernel("SOFT", 20.0, 0.6, 0.6)
LUNG_KERNEL = Kernel("LUNG", 40.0, 0.2, 0.4)


@dataclass(frozen=True, slots=True)
class Scan:
    """How the patient breathes and lies, and how the scanner scans, at one time.

    Parameters
    ----------
    shape_zyx, spacing_zyx_mm, slice_thickness_mm, centre_lps_mm
        The grid, as in `PhantomSpec`.
    inspiration, shift_mm, turn_deg
        The patient, as in `PhantomSpec`.
    kernel
        The kernel.
    noise_seed
        Chooses the noise.
    """

    shape_zyx: tuple[int, int, int] = (120, 512, 512)
    spacing_zyx_mm: tuple[float, float, float] = (2.5, 0.7, 0.7)
    slice_thickness_mm: float | None = None
    centre_lps_mm: tuple[float, float, float] = (0.0, 16.0, -28.0)
    inspiration: float = 1.0
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    kernel: Kernel = SOFT_KERNEL
    noise_seed: int = 0

    def of(self, patient: PhantomSpec, lesions: tuple[PhantomLesion, ...], visit: int) -> PhantomSpec:
        """Return the specification of this scan of a patient."""
        return replace(
            patient,
            shape_zyx=self.shape_zyx,
            spacing_zyx_mm=self.spacing_zyx_mm,
            slice_thickness_mm=self.slice_thickness_mm,
            centre_lps_mm=self.centre_lps_mm,
            inspiration=self.inspiration,
            shift_mm=self.shift_mm,
            turn_deg=self.turn_deg,
            noise_sd_hu=self.kernel.noise_sd_hu,
            noise_grain_mm=self.kernel.noise_grain_mm,
            blur_mm=self.kernel.blur_mm,
            noise_seed=self.noise_seed,
            lesions=lesions,
            visit=visit,
        )


@dataclass(frozen=True, slots=True)
class PairPlan:
    """A patient, what happens to the lesions, and both scans.

    Parameters
    ----------
    patient
        Seed, size, contrast, arms, table, position; its lesions and what a `Scan` says are not used.
    changes
        Every lesion of either scan. One without an identity gets its place in this list.
    first, second
        The scans; where they share a noise seed, they share the noise.
    """

    patient: PhantomSpec
    changes: tuple[LesionChange, ...]
    first: Scan = Scan()
    second: Scan = Scan(noise_seed=1)

    def specs(self) -> tuple[PhantomSpec, PhantomSpec]:
        """Return the specifications of the first and the second scan."""
        lesions = [_lesions(change, at) for at, change in enumerate(self.changes)]
        before = tuple(lesion for lesion, _ in lesions if lesion is not None)
        after = tuple(lesion for _, lesion in lesions if lesion is not None)
        return (
            self.first.of(self.patient, before, self.patient.visit),
            self.second.of(self.patient, after, self.patient.visit + 1),
        )


@dataclass(frozen=True, slots=True)
class PairedLesion:
    """The truth about one lesion at both times.

    Parameters
    ----------
    change
        As planned.
    first, second
        Its index in the lesions of the first and second phantom's truth, None where it is not there.
    before_ml, after_ml
        Its true volume at the first and second scan, ml; 0 where it is not there.
    """

    change: LesionChange
    first: int | None
    second: int | None
    before_ml: float
    after_ml: float


@dataclass(frozen=True, slots=True, eq=False)
class PhantomPair:
    """Two synthetic scans of one patient.

    Parameters
    ----------
    plan
        What was asked for.
    first, second
        The phantoms.
    lesions
        The truth, one per planned change, in that order.
    """

    plan: PairPlan
    first: Phantom
    second: Phantom
    lesions: tuple[PairedLesion, ...]


def generate_pair(plan: PairPlan) -> PhantomPair:
    """Make both phantoms of a plan; the same plan always gives the same."""
    first, second = (generate_phantom(spec) for spec in plan.specs())
    lesions, at_first, at_second = [], 0, 0
    for change in plan.changes:
        before = None if change.before is None else at_first
        after = None if change.after is None else at_second
        before_ml = 0.0 if before is None else first.truth.lesions[before].volume_ml
        after_ml = 0.0 if after is None else second.truth.lesions[after].volume_ml
        lesions.append(PairedLesion(change, before, after, before_ml, after_ml))
        at_first, at_second = at_first + (before is not None), at_second + (after is not None)
    return PhantomPair(plan, first, second, tuple(lesions))


def write_pair(
    folder: Path,
    pair: PhantomPair,
    header: StudyHeader | None = None,
    *,
    days_between: int = 90,
    transfer_syntax_uid: UID = ExplicitVRLittleEndian,
) -> tuple[list[Path], list[Path]]:
    """Write a pair as two studies of one patient, each with a Frame of Reference of its own.

    Parameters
    ----------
    folder
        Where to; the studies come into the folders first and second.
    pair
        What to write.
    header
        Free values of the first study's header; None for the defaults. Kernel and Series Description are
        those of the scans.
    days_between
        How many days after the first the second study is, at least 1.
    transfer_syntax_uid
        One of `encoding.TRANSFER_SYNTAXES`.

    Returns
    -------
    tuple of list of Path
        The files of the first and of the second study, in the order of axis z.

    Raises
    ------
    ValueError
        Where the second study would not be later than the first.
    """
    if days_between < 1:
        raise ValueError(f"the second study must be later than the first, not by {days_between} days")
    header = StudyHeader() if header is None else header
    # Accession Number has at most 16 characters (SH, PS3.5 6.2).
    later = header.later(days_between, f"{header.accession_number[:14]}-2")
    first, second = (
        write_phantom(
            folder / name, phantom, _scan_header(given, scan), transfer_syntax_uid=transfer_syntax_uid
        )
        for name, phantom, given, scan in (
            ("first", pair.first, header, pair.plan.first),
            ("second", pair.second, later, pair.plan.second),
        )
    )
    return first, second


def _scan_header(header: StudyHeader, scan: Scan) -> StudyHeader:
    description = f"Chest {scan.spacing_zyx_mm[0]:g} mm {scan.kernel.name.lower()}"
    return replace(header, convolution_kernel=scan.kernel.name, series_description=description)


def _lesions(change: LesionChange, at: int) -> tuple[PhantomLesion | None, PhantomLesion | None]:
    """Return a lesion before and after, with an identity."""
    known = replace(change.lesion, identity=at if change.lesion.identity is None else change.lesion.identity)
    change = replace(change, lesion=known)
    return change.before, change.after
