"""Scans of an unchanged patient: how each was made, and in what two of them differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.domain import CtVolume
from core.repeatability import Condition

#: (n, 3) LPS mm of a scan → (n, 3) mm of the patient at rest, where scans of one patient can be compared.
ToRest = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Protocol:
    """What a later scan may be made with other values of.

    Parameters
    ----------
    kernel
        soft or lung.
    slice_mm
        Thickness of the slices, mm.
    contrast
        Whether blood is enhanced.
    inspiration
        Volume of the lungs as a share of that at rest.
    """

    kernel: str = "soft"
    slice_mm: float = 2.5
    contrast: bool = False
    inspiration: float = 1.0

    def words(self) -> str:
        """Say it in a few words."""
        parts = [f"{self.slice_mm:g} mm, {self.kernel} kernel"]
        parts += ["contrast"] if self.contrast else []
        parts += [f"inspiration {self.inspiration:g}"] if self.inspiration != 1.0 else []
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, eq=False)
class RepeatedScan:
    """One of several scans of an unchanged patient.

    Parameters
    ----------
    name
        Which one.
    protocol
        How it was made.
    volume
        The scan.
    to_rest
        Undoes how the patient lay and breathed.
    """

    name: str
    protocol: Protocol
    volume: CtVolume
    to_rest: ToRest


@dataclass(frozen=True, slots=True, eq=False)
class RepeatedPatient:
    """A patient whose scans are made one by one, as they are asked for.

    Parameters
    ----------
    name
        Which one.
    source
        phantom or real.
    scans
        Makes the scans; the same every time.
    """

    name: str
    source: str
    scans: Callable[[], Iterator[RepeatedScan]]


def condition_between(one: Protocol, other: Protocol) -> Condition | None:
    """Return in what two scans differ, None where it is more than one thing."""
    different = {
        Condition.OTHER_KERNEL: one.kernel != other.kernel,
        Condition.OTHER_THICKNESS: one.slice_mm != other.slice_mm,
        Condition.OTHER_CONTRAST: one.contrast != other.contrast,
        Condition.OTHER_INSPIRATION: one.inspiration != other.inspiration,
    }
    found = [condition for condition, differs in different.items() if differs]
    if not found:
        return Condition.SAME_PROTOCOL
    return found[0] if len(found) == 1 else None
