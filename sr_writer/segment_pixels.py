"""The pixels of a segmentation: one region at a time, one bit per pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.domain import Analysis, LesionMask, LungMask, Region
from core.regions import region_mask_zyx


@dataclass(frozen=True, slots=True, eq=False)
class SegmentFrames:
    """The pixels of one segment.

    Parameters
    ----------
    region
        Which one.
    planes
        Slices on which it has voxels, ascending along axis z.
    mask_pyx
        (len(planes), y, x) bool.
    """

    region: Region
    planes: tuple[int, ...]
    mask_pyx: NDArray[np.bool_]


def pack_segments(analysis: Analysis) -> tuple[list[tuple[Region, tuple[int, ...]]], bytes]:
    """Return the slices on which each region has voxels, and Pixel Data of those frames in that order."""
    packer = BitPacker()
    used: list[tuple[Region, tuple[int, ...]]] = []
    for frames in segments(analysis):
        used.append((frames.region, frames.planes))
        packer.add(frames.mask_pyx)
    return used, packer.finish()


def segments(analysis: Analysis) -> Iterator[SegmentFrames]:
    """Yield each region; only the box around the lungs is looked at, because every region lies in them."""
    rows, columns = analysis.lungs.labels_zyx.shape[1:]
    box = _box_of(analysis.lungs.labels_zyx)
    lungs = LungMask(analysis.lungs.labels_zyx[box])
    lesions = LesionMask(analysis.lesions.labels_zyx[box], analysis.lesions.model)
    for region in Region:
        inside_zyx = region_mask_zyx(region, lungs, lesions)
        planes = np.flatnonzero(inside_zyx.any(axis=(1, 2)))
        mask_pyx = np.zeros((len(planes), rows, columns), dtype=np.bool_)
        mask_pyx[:, box[1], box[2]] = inside_zyx[planes]
        yield SegmentFrames(region, tuple(int(plane) + box[0].start for plane in planes), mask_pyx)


def _box_of(labels_zyx: NDArray[np.uint8]) -> tuple[slice, slice, slice]:
    """Return the smallest box that holds every labelled voxel; an empty one where there is none."""
    by_zy = np.any(labels_zyx, axis=2)
    by_x = np.any(labels_zyx, axis=(0, 1))
    z, y, x = (
        slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 0)
        for used in (np.flatnonzero(flags) for flags in (np.any(by_zy, axis=1), np.any(by_zy, axis=0), by_x))
    )
    return z, y, x


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
