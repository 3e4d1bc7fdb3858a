"""Pixel data of a phantom: stored values and transfer syntaxes."""

from __future__ import annotations

from typing import Literal

import gdcm  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from lesionnode.phantom.header import StudyHeader

#: Every transfer syntax that a phantom can be written in; all are lossless.
TRANSFER_SYNTAXES: tuple[UID, ...] = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
)

_NATIVE = frozenset(TRANSFER_SYNTAXES[:4])


def stored_values(hu_zyx: NDArray[np.int16], header: StudyHeader) -> NDArray[np.int16 | np.uint16]:
    """Turn HU into stored values.

    Parameters
    ----------
    hu_zyx
        (slices, rows, columns) HU.
    header
        Rescaling, bits and padding.

    Returns
    -------
    ndarray
        int16 or uint16 by Pixel Representation; what the bits cannot hold is clipped, as scanners do.
    """
    low, high = header.stored_range
    kind = np.int16 if header.pixel_representation else np.uint16
    scaled = (hu_zyx.astype(np.float32) - header.rescale_intercept) / header.rescale_slope
    stored: NDArray[np.int16 | np.uint16] = np.clip(np.rint(scaled), low, high).astype(kind)
    if header.pixel_padding_value is not None:
        stored[..., outside_circle(*stored.shape[-2:])] = header.pixel_padding_value
    return stored


def outside_circle(rows: int, columns: int) -> NDArray[np.bool_]:
    """Return the (rows, columns) pixels outside the largest circle of the image."""
    y = np.linspace(-1.0, 1.0, rows)[:, None] * rows
    x = np.linspace(-1.0, 1.0, columns)[None, :] * columns
    return np.asarray(x * x + y * y > min(rows, columns) ** 2)


def set_pixels(dataset: Dataset, stored: NDArray[np.int16 | np.uint16], transfer_syntax_uid: UID) -> None:
    """Put stored values into a data set with File Meta Information, encoded for its transfer syntax.

    Parameters
    ----------
    dataset
        With the Image Pixel attributes set; gets Pixel Data and Transfer Syntax UID.
    stored
        (rows, columns), or (frames, rows, columns) of a multi-frame image.
    transfer_syntax_uid
        One of `TRANSFER_SYNTAXES`.

    Raises
    ------
    ValueError
        For any other transfer syntax.
    """
    if transfer_syntax_uid not in TRANSFER_SYNTAXES:
        raise ValueError(f"a phantom cannot be written in transfer syntax {transfer_syntax_uid}")
    dataset.file_meta.TransferSyntaxUID = transfer_syntax_uid
    order: Literal["<", ">"] = ">" if transfer_syntax_uid == ExplicitVRBigEndian else "<"
    if transfer_syntax_uid in _NATIVE:
        dataset.PixelData = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
        dataset["PixelData"].VR = "OW"
        return
    if transfer_syntax_uid == JPEGLosslessSV1:
        frames = [_jpeg_lossless(frame, dataset) for frame in stored.reshape(-1, *stored.shape[-2:])]
        dataset.PixelData = encapsulate(frames)
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        return
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.compress(transfer_syntax_uid, stored, generate_instance_uid=False)


def _jpeg_lossless(frame: NDArray[np.int16 | np.uint16], dataset: Dataset) -> bytes:
    """Encode one frame as JPEG Lossless, first-order prediction (Process 14, Selection Value 1)."""
    # The image belongs to a writer that must outlive it: a bare gdcm.Image is freed twice.
    writer = gdcm.ImageWriter()
    image = writer.GetImage()
    image.SetNumberOfDimensions(2)
    image.SetDimension(0, frame.shape[1])
    image.SetDimension(1, frame.shape[0])
    image.SetPixelFormat(
        gdcm.PixelFormat(1, 16, dataset.BitsStored, dataset.BitsStored - 1, dataset.PixelRepresentation)
    )
    image.SetPhotometricInterpretation(
        gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2)
    )
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ExplicitVRLittleEndian))
    pixels = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    pixels.SetByteStringValue(frame.astype(frame.dtype.newbyteorder("<")).tobytes())
    image.SetDataElement(pixels)
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(image)
    if not change.Change():
        raise ValueError("the JPEG Lossless encoder refused a frame of the phantom")
    fragments = change.GetOutput().GetDataElement().GetSequenceOfFragments()
    parts = [
        fragments.GetFragment(at).GetByteValue().GetBuffer() for at in range(fragments.GetNumberOfFragments())
    ]
    return b"".join(part.encode("utf-8", "surrogateescape") for part in parts)
