"""The pixels of a binary segmentation: one segment at a time, one bit per pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.domain import Analysis, BoxedMask
from sr_writer.segments import Segment


@dataclass(frozen=True, slots=True, eq=False)
class EncodedSegments:
    """Segments as pixels.

    Parameters
    ----------
    segments
        Described, by number.
    frames
        Segment Number, None in a label map, and slice of each frame.
    pixel_data
        Of all frames in their order.
    overlap
        Whether segments share voxels.
    """

    segments: tuple[Segment, ...]
    frames: tuple[tuple[int | None, int], ...]
    pixel_data: bytes
    overlap: bool


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
    def of(cls, voxels: BoxedMask, shape_zyx: tuple[int, int, int], *, every_plane: bool) -> SegmentFrames:
        """Return the frames of some voxels, with or without those that are empty."""
        planes, rows, columns = shape_zyx
        filled = np.flatnonzero(voxels.mask_zyx.any(axis=(1, 2)))
        z, y, x = voxels.start_zyx
        height, width = voxels.mask_zyx.shape[1:]
        shown = np.arange(planes) if every_plane else filled + z
        mask_pyx = np.zeros((len(shown), rows, columns), dtype=np.bool_)
        places = filled + z if every_plane else np.arange(len(filled))
        mask_pyx[places, y : y + height, x : x + width] = voxels.mask_zyx[filled]
        return cls(tuple(int(plane) for plane in shown), mask_pyx)


def encode_binary(analysis: Analysis, segments: Sequence[Segment], *, every_plane: bool) -> EncodedSegments:
    """Encode each segment in frames of its own, one bit per pixel.

    Parameters
    ----------
    analysis
        Masks.
    segments
        What is encoded, by number.
    every_plane
        Whether a segment has a frame on slices where it has no voxel.
    """
    packer = BitPacker()
    frames: list[tuple[int | None, int]] = []
    for segment in segments:
        of_segment = SegmentFrames.of(
            segment.voxels(), analysis.lungs.labels_zyx.shape, every_plane=every_plane
        )
        frames += [(segment.number, plane) for plane in of_segment.planes]
        packer.add(of_segment.mask_pyx)
    # Lesions lie in lungs, so where there is a lesion two segments share its voxels, and else none do.
    overlap = bool(analysis.lesions.labels_zyx.any())
    return EncodedSegments(tuple(segments), tuple(frames), packer.finish(), overlap)


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
