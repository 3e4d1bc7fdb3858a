"""The pixels of a segmentation: one segment at a time, one bit per pixel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from core.domain import Analysis, BoxedMask, LesionMask, LungMask, Region
from core.regions import Box, bounding_box, region_mask_zyx


@dataclass(frozen=True, slots=True, eq=False)
class SegmentFrames:
    """The pixels of one segment.

    Parameters
    ----------
    planes
        Slices on which it has voxels, ascending along axis z.
    mask_pyx
        (len(planes), y, x) bool.
    """

    planes: tuple[int, ...]
    mask_pyx: NDArray[np.bool_]

    @classmethod
    def of(cls, voxels: BoxedMask, rows: int, columns: int) -> SegmentFrames:
        """Return the frames of some voxels, without those that would be empty."""
        used = np.flatnonzero(voxels.mask_zyx.any(axis=(1, 2)))
        z, y, x = voxels.start_zyx
        height, width = voxels.mask_zyx.shape[1:]
        mask_pyx = np.zeros((len(used), rows, columns), dtype=np.bool_)
        mask_pyx[:, y : y + height, x : x + width] = voxels.mask_zyx[used]
        return cls(tuple(int(plane) + z for plane in used), mask_pyx)


class RegionVoxels:
    """The voxels of each region; only the box around the lungs is looked at, every region lies in them.

    Parameters
    ----------
    analysis
        The masks.
    """

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis

    @cached_property
    def _box(self) -> Box:
        return bounding_box(self._analysis.lungs.labels_zyx)

    def of(self, region: Region) -> BoxedMask:
        """Return the voxels of a region."""
        lungs = LungMask(self._analysis.lungs.labels_zyx[self._box])
        lesions = self._analysis.lesions
        lesions = LesionMask(lesions.labels_zyx[self._box], lesions.model)
        z, y, x = (span.start for span in self._box)
        return BoxedMask((z, y, x), region_mask_zyx(region, lungs, lesions))


def pack_frames(
    segments: Iterable[BoxedMask], rows: int, columns: int
) -> tuple[list[tuple[int, ...]], bytes]:
    """Return the slices on which each segment has voxels, and Pixel Data of those frames in that order."""
    packer = BitPacker()
    planes: list[tuple[int, ...]] = []
    for voxels in segments:
        frames = SegmentFrames.of(voxels, rows, columns)
        planes.append(frames.planes)
        packer.add(frames.mask_pyx)
    return planes, packer.finish()


class BitPacker:
    """Packs frames of one bit per pixel without gaps between frames (PS3.5 8.1.1, C.8.20.2)."""

    def __init__(self) -> None:
        self._packed: list[bytes] = []
        self._rest = np.empty(0, dtype=np.bool_)

    def add(self, mask_pyx: NDArray[np.bool_]) -> None:
        """Append frames; up to seven pixels wait for the next ones."""
        pixels = mask_pyx.reshape(-1)
        if self._rest.size:
            pixels = np.concatenate([self._rest, pixels])
        whole = pixels.size - pixels.size % 8
        self._packed.append(np.packbits(pixels[:whole], bitorder="little").tobytes())
        self._rest = pixels[whole:].copy()

    def finish(self) -> bytes:
        """Return Pixel Data (7FE0,0010), padded to even length."""
        self._packed.append(np.packbits(self._rest, bitorder="little").tobytes())
        data = b"".join(self._packed)
        return data + b"\0" if len(data) % 2 else data
