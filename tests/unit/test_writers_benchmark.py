"""The benchmarks of the writers tell every writer apart, and quote no patient."""

from __future__ import annotations

import math
import time

import pytest

from benchmarks.conformance import main, masked
from benchmarks.watching import Cost, cpu_by_writer, measured, peak_by_writer
from benchmarks.writers import highdicom_segmentation
from sr_writer.results import write_results
from tests.helpers.analyses import Phantom, analysis_of, context_of


def test_every_writer_is_told_apart() -> None:
    """Time and memory are accounted for under the names of the writers, and add up to the whole."""
    analysis = analysis_of(Phantom(shape_zyx=(60, 128, 128), spacing_zyx_mm=(1.0, 0.6, 0.5)))
    context = context_of(analysis)
    start_s = time.process_time()
    with cpu_by_writer() as cpu_s:
        objects = write_results(analysis, context).objects
    whole_s = time.process_time() - start_s
    with peak_by_writer() as peak_mib:
        write_results(analysis, context)
    assert {"segmentation", "measurement_report", "film_capture", "key_objects"} <= peak_mib.keys()
    assert len(peak_mib) >= len(objects)
    assert cpu_s.keys() <= peak_mib.keys()
    assert 0.7 * whole_s < sum(cpu_s.values()) <= 1.05 * whole_s
    assert max(peak_mib.values()) > 1


def test_a_stretch_is_measured() -> None:
    """A block that fills 64 MiB is seen to have done so."""
    cost = Cost()
    with measured(cost):
        assert len(bytearray(b"x") * 2**26) == 2**26
    assert 60 < cost.peak_mib < 80
    assert cost.cpu_s > 0


def test_the_peer_holds_the_same_masks() -> None:
    """highdicom alone writes the same number of frames of the same regions."""
    analysis = analysis_of()
    own = write_results(analysis, context_of(analysis, lesions_from_ml=math.inf)).objects[0].dataset
    peer = highdicom_segmentation(analysis, own)
    assert peer.NumberOfFrames == own.NumberOfFrames
    assert [one.SegmentLabel for one in peer.SegmentSequence] == [
        one.SegmentLabel for one in own.SegmentSequence
    ]


def test_a_quoted_value_is_left_out() -> None:
    """What a judge quotes from a header does not reach the figures; which element it is, does."""
    text = "Warning - </PatientName(0010,0010)[1]> - Value dubious for this VR [PN] = <Doe> - Retired form"
    assert masked(text) == text.replace("Doe", "…")


def test_conformance_says_where_it_looked_for_series(
    capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Without real series nothing is measured, and the message names the folder."""
    empty = tmp_path_factory.mktemp("empty")
    assert main(["--data", str(empty)]) == 2
    assert str(empty) in capsys.readouterr().err
