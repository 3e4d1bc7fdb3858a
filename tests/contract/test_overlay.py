"""The outlined stack: what its frames show, and the multi-frame image that carries them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit, MultiFrameTrueColorSecondaryCaptureImageStorage

from core.domain import Analysis, Finding, Language, ResultKind
from sr_writer.film.stack import stack_pictures, stack_slices
from sr_writer.film.views import COLOURS
from sr_writer.results import write_results
from tests.helpers.analyses import Phantom, analysis_of, context_of, encoded
from tests.helpers.judges import dciodvfy_complaints

PHANTOMS = {
    "usual": Phantom(),
    "clean": Phantom(lesion_sides=()),
    "no lung": Phantom(lungs=()),
    "feet first": Phantom(orientation=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)),
    "enhanced": Phantom(enhanced=True),
    "tilted": Phantom(tilt_deg=12.0),
    "rows and columns exchanged": Phantom(orientation=(0.0, 1.0, 0.0, 1.0, 0.0, 0.0)),
}
#: Large enough that captions and outlines keep clear of each other.
LARGE = Phantom(shape_zyx=(12, 256, 256), spacing_zyx_mm=(5.0, 0.3, 0.25))


def overlay_of(analysis: Analysis, **changes: object) -> Dataset:
    """Write the results of an analysis with the overlay; return it as it would be sent."""
    written = write_results(analysis, context_of(analysis, **changes), overlay=True).objects
    (overlay,) = (one.dataset for one in written if one.kind is ResultKind.OVERLAY)
    return overlay


def near(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Tell which pixels have a colour exactly."""
    return np.asarray((picture == np.array(colour, np.uint8)).all(axis=-1))


@pytest.mark.parametrize("name", list(PHANTOMS))
def test_the_validator_has_nothing_against_it(tmp_path: Path, name: str) -> None:
    """dciodvfy finds nothing in any case."""
    path = tmp_path / "overlay.dcm"
    path.write_bytes(encoded(overlay_of(analysis_of(PHANTOMS[name]))))
    assert dciodvfy_complaints(path) == []


@pytest.mark.parametrize("name", list(PHANTOMS))
def test_every_slice_with_lung_is_there_from_head_to_foot(name: str) -> None:
    """Frames are the source's slices, named in their order; without a lung every slice is shown."""
    analysis = analysis_of(PHANTOMS[name])
    overlay = overlay_of(analysis)
    slices = stack_slices(analysis)
    with_lung = set(np.flatnonzero(analysis.lungs.labels_zyx.any(axis=(1, 2)))) or set(
        range(len(analysis.volume.frames))
    )
    assert set(slices) == with_lung
    heights = [analysis.volume.geometry.to_lps_mm(np.array((one, 0, 0)))[2] for one in slices]
    assert heights == sorted(heights, reverse=True)
    assert overlay.NumberOfFrames == len(slices)
    named = [
        (str(one.ReferencedSOPInstanceUID), one.get("ReferencedFrameNumber"))
        for one in overlay.SourceImageSequence
    ]
    frames = [analysis.volume.frames[index] for index in slices]
    assert named == [(one.sop_instance_uid, one.frame_number) for one in frames]


def test_outlines_lie_on_the_border_of_the_lesions() -> None:
    """Each coloured pixel touches its finding, and each lesion of the slice is outlined, pixel for pixel."""
    analysis = analysis_of(LARGE)
    labels = {Finding.GROUND_GLASS: 1, Finding.CONSOLIDATION: 2}
    outlined = 0
    pictures = stack_pictures(analysis, context_of(analysis))
    for index, picture in zip(stack_slices(analysis), pictures, strict=True):
        assert picture.shape == (*analysis.volume.hu_zyx.shape[1:], 3)
        for finding, label in labels.items():
            mask = analysis.lesions.labels_zyx[index] == label
            coloured = near(picture, COLOURS[finding])
            assert not (coloured & ~mask).any()
            assert coloured.any() == mask.any() or not (mask.sum() > 20)
            outlined += int(coloured.any())
    assert outlined >= 4


def test_the_compressed_frames_show_the_pictures() -> None:
    """Loss is what JPEG makes of sharp lines, no more: on average under 2 of 255 grey levels."""
    analysis = analysis_of(LARGE)
    overlay = overlay_of(analysis)
    assert overlay.SOPClassUID == MultiFrameTrueColorSecondaryCaptureImageStorage
    assert overlay.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert (overlay.LossyImageCompression, overlay.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert float(overlay.LossyImageCompressionRatio) > 3
    overlay.decompress()
    frames = np.asarray(overlay.pixel_array).astype(int)
    pictures = np.stack(list(stack_pictures(analysis, context_of(analysis)))).astype(int)
    assert np.abs(frames - pictures).mean() < 2


def test_it_is_written_only_where_it_is_wanted_and_once_for_each_language() -> None:
    """No peer asks for it: no time is spent. Each language is another object; one object, one digest."""
    analysis = analysis_of()
    kinds = {one.kind for one in write_results(analysis, context_of(analysis)).objects}
    assert ResultKind.OVERLAY not in kinds
    english, chinese = (overlay_of(analysis, language=language) for language in Language)
    assert english.SOPInstanceUID != chinese.SOPInstanceUID
    assert encoded(english) == encoded(overlay_of(analysis))
    assert int(english.SeriesNumber) == 9006


def test_a_pacs_reads_it_back(tmp_path: Path) -> None:
    """What is written to a file can be read frame by frame."""
    analysis = analysis_of()
    path = tmp_path / "overlay.dcm"
    path.write_bytes(encoded(overlay_of(analysis)))
    read = dcmread(path)
    assert read.pixel_array.shape == (read.NumberOfFrames, read.Rows, read.Columns, 3)
    assert list(read.PageNumberVector) == list(range(1, read.NumberOfFrames + 1))
