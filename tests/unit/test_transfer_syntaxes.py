"""HU must survive every transfer syntax, signed and unsigned, whatever library compressed the images."""

from __future__ import annotations

from pathlib import Path

import gdcm
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom import uid as uids
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames

from core.domain import CtVolume
from core.errors import UnsupportedImage
from inference.pixel_decoding import READABLE_TRANSFER_SYNTAXES
from inference.series_reader import read_series
from tests.helpers.ct_series import CtSpec, ct_datasets, enhanced_ct, hu_pattern, stored_pattern, write
from tests.helpers.htj2k import encode_htj2k

SHAPE = (8, 40, 32)
SPACING = (8.0, 0.8, 0.7)


def spec_of(*, is_signed: bool, bits_stored: int) -> CtSpec:
    """A small series; signed ones hold HU themselves, unsigned ones HU + 1024."""
    return CtSpec(
        SHAPE, SPACING, is_signed=is_signed, bits_stored=bits_stored, intercept=0.0 if is_signed else -1024.0
    )


FORMATS = [
    pytest.param(spec_of(is_signed=False, bits_stored=12), id="unsigned-12"),
    pytest.param(spec_of(is_signed=False, bits_stored=16), id="unsigned-16"),
    pytest.param(spec_of(is_signed=True, bits_stored=12), id="signed-12"),
    pytest.param(spec_of(is_signed=True, bits_stored=13), id="signed-13"),
    pytest.param(spec_of(is_signed=True, bits_stored=16), id="signed-16"),
]
NATIVE = [
    uids.ImplicitVRLittleEndian,
    uids.ExplicitVRLittleEndian,
    uids.ExplicitVRBigEndian,
    uids.DeflatedExplicitVRLittleEndian,
]
PYDICOM_LOSSLESS = [
    (uids.RLELossless, "pydicom"),
    (uids.JPEGLSLossless, "pyjpegls"),
    (uids.JPEGLSNearLossless, "pyjpegls"),
    (uids.JPEG2000Lossless, "pylibjpeg"),
]
GDCM_LOSSLESS = [
    (uids.JPEGLossless, gdcm.TransferSyntax.JPEGLosslessProcess14),
    (uids.JPEGLosslessSV1, gdcm.TransferSyntax.JPEGLosslessProcess14_1),
    (uids.JPEGLSLossless, gdcm.TransferSyntax.JPEGLSLossless),
    (uids.JPEG2000Lossless, gdcm.TransferSyntax.JPEG2000Lossless),
    (uids.JPEG2000, gdcm.TransferSyntax.JPEG2000),
    (uids.RLELossless, gdcm.TransferSyntax.RLELossless),
]


def compressed(folder: Path, datasets: list[Dataset], syntax: str, **options: object) -> list[Path]:
    """Compress through pydicom."""
    for ds in datasets:
        ds.compress(syntax, generate_instance_uid=False, **options)
    return write(folder, datasets, syntax)


def compressed_by_gdcm(folder: Path, paths: list[Path], syntax: int) -> list[Path]:
    """Compress through gdcm."""
    written = []
    for path in paths:
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(path))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        change.SetInput(reader.GetImage())
        assert change.Change()
        written.append(folder / f"gdcm-{path.name}")
        writer.SetFileName(str(written[-1]))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
    return written


def with_codestreams(datasets: list[Dataset], codestreams: list[bytes], syntax: str) -> list[Dataset]:
    """Put ready codestreams into single-frame images."""
    for ds, codestream in zip(datasets, codestreams, strict=True):
        ds.PixelData = encapsulate([codestream])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = syntax
    return datasets


def worst_difference(volume: CtVolume, expected: NDArray[np.integer]) -> int:
    """Largest deviation in HU."""
    return int(np.abs(volume.hu_zyx.astype(np.int32) - expected).max())


@pytest.mark.parametrize("spec", FORMATS)
@pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: uid.name)
def test_native_syntaxes_are_exact(tmp_path: Path, syntax: uids.UID, spec: CtSpec) -> None:
    """Uncompressed and deflated images yield the HU that were written."""
    volume = read_series(write(tmp_path, ct_datasets(spec), syntax))
    assert worst_difference(volume, hu_pattern(SHAPE)) == 0


@pytest.mark.parametrize("spec", FORMATS)
@pytest.mark.parametrize(("syntax", "plugin"), PYDICOM_LOSSLESS, ids=lambda value: str(value))
def test_lossless_syntaxes_are_exact(tmp_path: Path, syntax: uids.UID, plugin: str, spec: CtSpec) -> None:
    """RLE, JPEG-LS and JPEG 2000 yield the HU that were compressed, near-lossless with error 0 too."""
    volume = read_series(compressed(tmp_path, ct_datasets(spec), syntax, encoding_plugin=plugin))
    assert worst_difference(volume, hu_pattern(SHAPE)) == 0


@pytest.mark.parametrize("spec", FORMATS)
@pytest.mark.parametrize(("syntax", "gdcm_syntax"), GDCM_LOSSLESS, ids=lambda value: str(value))
def test_what_gdcm_compressed_is_exact(
    tmp_path: Path, syntax: uids.UID, gdcm_syntax: int, spec: CtSpec
) -> None:
    """Another encoder's choice of precision and sign flag leads to the same HU."""
    paths = compressed_by_gdcm(tmp_path, write(tmp_path, ct_datasets(spec)), gdcm_syntax)
    volume = read_series(paths)
    assert {header.file_meta.TransferSyntaxUID for header in volume.headers} == {syntax}
    assert worst_difference(volume, hu_pattern(SHAPE)) == 0


@pytest.mark.parametrize("spec", FORMATS)
def test_near_lossless_stays_within_its_error(tmp_path: Path, spec: CtSpec) -> None:
    """JPEG-LS with an allowed error of 2 is off by at most 2 HU, and the volume says that it is lossy."""
    paths = compressed(
        tmp_path, ct_datasets(spec), uids.JPEGLSNearLossless, encoding_plugin="pyjpegls", jls_error=2
    )
    volume = read_series(paths)
    assert 0 < worst_difference(volume, hu_pattern(SHAPE)) <= 2
    assert any("compressed with loss" in remark for remark in volume.remarks)


@pytest.mark.parametrize("spec", FORMATS)
def test_lossy_jpeg_2000_keeps_the_sign(tmp_path: Path, spec: CtSpec) -> None:
    """Lossy JPEG 2000 is off by tens of HU, never by a power of two."""
    paths = compressed(tmp_path, ct_datasets(spec), uids.JPEG2000, encoding_plugin="pylibjpeg", j2k_cr=[1.5])
    assert worst_difference(read_series(paths), hu_pattern(SHAPE)) < 64


@pytest.mark.parametrize("flag_agrees", [True, False], ids=["flag-right", "flag-wrong"])
@pytest.mark.parametrize("spec", [FORMATS[0], FORMATS[3], FORMATS[4]])
@pytest.mark.parametrize(
    "syntax", [uids.HTJ2KLossless, uids.HTJ2KLosslessRPCL, uids.HTJ2K], ids=lambda uid: uid.name
)
def test_htj2k_is_exact(tmp_path: Path, syntax: uids.UID, spec: CtSpec, flag_agrees: bool) -> None:
    """HTJ2K yields the HU that were compressed, even if its sign flag contradicts Pixel Representation."""
    coded_signed = spec.is_signed == flag_agrees
    half = 1 << (spec.bits_stored - 1)
    words = stored_pattern(spec).astype(np.int64) & (2 * half - 1)
    words[words == (0 if coded_signed else half)] += 20  # the test encoder knows no zero
    expected = ((words ^ half) - half if spec.is_signed else words) + int(spec.intercept)
    samples = (words ^ half) - half if coded_signed else words
    streams = [encode_htj2k(pixels, precision=spec.bits_stored, is_signed=coded_signed) for pixels in samples]
    volume = read_series(write(tmp_path, with_codestreams(ct_datasets(spec), streams, syntax), syntax))
    assert worst_difference(volume, expected) == 0


@pytest.mark.parametrize("is_signed", [False, True], ids=["unsigned", "signed"])
def test_jpeg_2000_sign_flag_may_contradict_the_header(tmp_path: Path, is_signed: bool) -> None:
    """JPEG 2000 whose sign flag is the opposite of Pixel Representation still yields the right HU."""
    spec = spec_of(is_signed=is_signed, bits_stored=13)
    datasets = ct_datasets(spec)
    encoded = ct_datasets(spec)
    words = stored_pattern(spec) & 0x1FFF
    for ds, pixels in zip(encoded, words, strict=True):
        ds.PixelRepresentation = int(not is_signed)
        ds.PixelData = (pixels if is_signed else ((pixels.astype(np.int16) ^ 0x1000) - 0x1000)).tobytes()
        ds.compress(uids.JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    for ds, source in zip(datasets, encoded, strict=True):
        ds.PixelData, ds.file_meta.TransferSyntaxUID = source.PixelData, uids.JPEG2000Lossless
        ds["PixelData"].is_undefined_length = True
    volume = read_series(write(tmp_path, datasets, uids.JPEG2000Lossless))
    assert worst_difference(volume, hu_pattern(SHAPE)) == 0


@pytest.mark.parametrize("has_offset_table", [True, False])
@pytest.mark.parametrize("syntax", [uids.RLELossless, uids.JPEGLSLossless, uids.JPEG2000Lossless])
def test_compressed_multi_frame_is_exact(tmp_path: Path, syntax: uids.UID, has_offset_table: bool) -> None:
    """Each frame of a compressed Enhanced CT goes to its own slice, with and without offset table."""
    spec = spec_of(is_signed=True, bits_stored=16)
    ds = enhanced_ct(spec)
    ds.compress(syntax, generate_instance_uid=False)
    if not has_offset_table:
        ds.PixelData = encapsulate(codestreams(ds), has_bot=False)
    volume = read_series(write(tmp_path, [ds], syntax))
    assert worst_difference(volume, hu_pattern(SHAPE)) == 0


def codestreams(ds: Dataset) -> list[bytes]:
    """Return the codestream of each frame of a compressed data set."""
    return list(generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames", 1))))


@pytest.mark.parametrize(
    "syntax",
    [uids.JPEGLSLossless, uids.JPEG2000Lossless, uids.JPEGLosslessSV1, uids.RLELossless],
    ids=lambda uid: uid.name,
)
def test_codestream_cut_short_is_refused(tmp_path: Path, syntax: uids.UID) -> None:
    """No decoder gets to fill in the missing end of a slice."""
    spec = spec_of(is_signed=False, bits_stored=12)
    if syntax == uids.JPEGLosslessSV1:
        paths = compressed_by_gdcm(
            tmp_path, write(tmp_path, ct_datasets(spec)), gdcm.TransferSyntax.JPEGLosslessProcess14_1
        )
    else:
        paths = compressed(tmp_path, ct_datasets(spec), syntax)
    ds = dcmread(paths[3])
    codestream = codestreams(ds)[0]
    ds.PixelData = encapsulate([codestream[: len(codestream) // 2]])
    ds.save_as(paths[3])
    with pytest.raises(UnsupportedImage, match=r"1 of 8 images: the (compressed )?pixels are"):
        read_series(paths)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\xff\xc4\x00", b"\x93\xc4\x00"),  # no Huffman table is found
        (b"\xff\xc4\x00", b"\xff\xe1\x00"),  # it is taken for application data
        (b"\xff\xc3\x00\x0b", b"\xff\xcf\x00\x0b"),  # another JPEG process
        (b"\xff\xc3\x00\x0b", b"\xff\xc3\xff\x0b"),  # a segment longer than the frame
        (b"\xff\xda\x00\x08\x01\x01\x00", b"\xff\xda\x00\x08\x01\x01\x30"),  # a table that is not there
        (b"\xff\xda\x00\x08\x01\x01\x00", b"\xff\xda\x00\x08\x02\x01\x00"),  # two components in the scan
        (b"\xff\xd9", b"\xff\xf0\xff\xd9"),  # a marker in the scan
    ],
)
def test_damaged_jpeg_lossless_does_not_reach_its_decoder(tmp_path: Path, old: bytes, new: bytes) -> None:
    """gdcm ends the process on some damaged marker segments, so they are refused before."""
    spec = spec_of(is_signed=False, bits_stored=12)
    paths = compressed_by_gdcm(
        tmp_path, write(tmp_path, ct_datasets(spec)), gdcm.TransferSyntax.JPEGLosslessProcess14_1
    )
    ds = dcmread(paths[3])
    codestream = codestreams(ds)[0]
    assert old in codestream
    ds.PixelData = encapsulate([codestream.replace(old, new)])
    ds.save_as(paths[3])
    with pytest.raises(UnsupportedImage, match="1 of 8 images: the pixels are damaged: send the image again"):
        read_series(paths)


def test_damaged_rle_segment_is_refused(tmp_path: Path) -> None:
    """A run beyond the end of a segment is refused and does not end the process."""
    paths = compressed(tmp_path, ct_datasets(spec_of(is_signed=False, bits_stored=12)), uids.RLELossless)
    ds = dcmread(paths[3])
    codestream = bytearray(codestreams(ds)[0])
    codestream[64:] = b"\x81\x00" * ((len(codestream) - 64) // 2)
    ds.PixelData = encapsulate([bytes(codestream)])
    ds.save_as(paths[3])
    with pytest.raises(UnsupportedImage, match="1 of 8 images: the pixels are damaged"):
        read_series(paths)


def test_codestream_of_another_matrix_is_refused(tmp_path: Path) -> None:
    """A transposed matrix in the header does not turn into a scrambled slice."""
    datasets = ct_datasets(spec_of(is_signed=False, bits_stored=12))
    for ds in datasets:
        ds.compress(uids.JPEG2000Lossless, generate_instance_uid=False)
        ds.Rows, ds.Columns = ds.Columns, ds.Rows
    with pytest.raises(UnsupportedImage, match="the compressed pixels are not 32 rows of 40"):
        read_series(write(tmp_path, datasets, uids.JPEG2000Lossless))


@pytest.mark.parametrize("syntax", [uids.JPEGExtended12Bit, uids.MPEG4HP41, "1.2.3.4"])
def test_other_syntaxes_are_refused_by_name(tmp_path: Path, syntax: str) -> None:
    """A transfer syntax that cannot be decoded exactly is named in the refusal."""
    datasets = ct_datasets(spec_of(is_signed=False, bits_stored=12))
    datasets = with_codestreams(datasets, [b"\xff\xd8\xff\xd9"] * len(datasets), uids.JPEGExtended12Bit)
    paths = write(tmp_path, datasets, uids.JPEGExtended12Bit)
    for path in paths:
        content = path.read_bytes()
        old = uids.JPEGExtended12Bit.encode()
        path.write_bytes(content.replace(old, str(syntax).encode().ljust(len(old), b"\x00")[: len(old)], 1))
    with pytest.raises(UnsupportedImage, match=r"8 of 8 images: transfer syntax .* is not read"):
        read_series(paths)


def test_every_readable_syntax_is_tested() -> None:
    """A syntax that is added to the reader has to be added here."""
    tested = {
        *NATIVE,
        *(syntax for syntax, _ in PYDICOM_LOSSLESS),
        *(syntax for syntax, _ in GDCM_LOSSLESS),
        uids.HTJ2KLossless,
        uids.HTJ2KLosslessRPCL,
        uids.HTJ2K,
    }
    assert tested == READABLE_TRANSFER_SYNTAXES
