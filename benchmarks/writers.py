"""What writing costs: CPU seconds and memory of each result object, and the SEG beside highdicom's own way.

    python -m benchmarks.writers [--model NAME] [--slices 300] [--seg-slices 400] [--repeat 5] [--json]

Two synthetic chests of 512 × 512 pixels and 300 mm go the node's whole way up to the writers. NAME is an
installed package or the path of a package's folder. With --json, standard output is one object::

    model         name, version, sha256, provider, restriction
    machine       {cpus, processor, python}
    objects       {slices, cpu_s, peak_mib, runs, each: [{writer, cpu_s, worst_cpu_s, peak_mib}], bytes}
    segmentation  {slices, segments, frames, cpu_s, peak_mib, peer_cpu_s, peer_peak_mib, ratio, runs}

CPU seconds are medians over the runs, of all threads of this process; `peak_mib` is the most that its
resident set grew in any run. `objects.cpu_s` is `write_results` as a whole; `each` tells the writers apart
(`benchmarks.watching`), leaving out what takes less than 5 ms. A writer's figures include encoding its object
and reading it back for verification. `bytes` are the sizes of the files, by kind.

The peer is highdicom's constructor of `Segmentation` with the same masks and descriptions, and writing its
object; the two hold the same frames, or the measurement fails. `ratio` is peer by own, of runs in turn.
"""

from __future__ import annotations

import argparse
import gc
import math
import statistics
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset

from benchmarks.arguments import at_least, model_parser, report
from benchmarks.machine import machine
from benchmarks.opened import OpenedModel, open_model
from benchmarks.tables import line, model_line, shown, table
from benchmarks.watching import Cost, cpu_by_writer, measured, peak_by_writer
from core.domain import Analysis, Region, ResultKind, ResultObject
from core.errors import NodeError
from core.forms import ResultForm, forms_to_write
from core.regions import region_mask_zyx
from lesionnode.phantom import PhantomSpec, generate_phantom
from lesionnode.phantom.dicom import write_phantom
from lesionnode.pipeline import analyse_series
from sr_writer.results import write_results
from tests.helpers.analyses import context_of, encoded

_EDGE, _IN_PLANE_MM, _LENGTH_MM = 512, 0.7, 300.0
#: What took less is not told.
_LEAST_S = 0.005
#: What a node with ordinary peers writes: the report in both of its classes.
_FORMS = forms_to_write([ResultForm()])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    options = _parser().parse_args(arguments)
    return report(
        lambda: measure(open_model(options.model), options.slices, options.seg_slices, options.repeat),
        print_figures,
        as_json=options.json,
    )


def measure(model: OpenedModel, slices: int, seg_slices: int, repeat: int) -> dict[str, Any]:
    """Measure both chests; the result is described at the head of this module."""
    return {
        "model": model.described(),
        "machine": machine(),
        "objects": all_objects(_analysis(model, slices), repeat),
        "segmentation": against_highdicom(_analysis(model, seg_slices), repeat),
    }


def all_objects(analysis: Analysis, repeat: int) -> dict[str, Any]:
    """Write all objects several times, as a whole and writer by writer."""
    context = context_of(analysis)
    whole, cpu_s, peak_mib = [Cost() for _ in range(repeat)], [], []
    for cost in whole:
        gc.collect()
        with measured(cost):
            objects = write_results(analysis, context, _FORMS).objects
        gc.collect()
        with cpu_by_writer() as found:
            write_results(analysis, context, _FORMS)
        cpu_s.append(found)
        gc.collect()
        with peak_by_writer() as found:
            write_results(analysis, context, _FORMS)
        peak_mib.append(found)
    writers = [name for name in peak_mib[0] if max(run.get(name, 0.0) for run in cpu_s) >= _LEAST_S]
    return {
        "slices": analysis.volume.geometry.shape_zyx[0],
        "cpu_s": _median(cost.cpu_s for cost in whole),
        "peak_mib": round(max(cost.peak_mib for cost in whole)),
        "runs": repeat,
        "each": [
            {
                "writer": name,
                "cpu_s": _median(run.get(name, 0.0) for run in cpu_s),
                "worst_cpu_s": round(max(run.get(name, 0.0) for run in cpu_s), 3),
                "peak_mib": round(max(run[name] for run in peak_mib)),
            }
            for name in writers
        ],
        "bytes": {
            " ".join((one.kind.value, one.variant)).strip(): len(encoded(one.dataset)) for one in objects
        },
    }


def against_highdicom(analysis: Analysis, repeat: int) -> dict[str, Any]:
    """Write the segmentation several times in both ways, in turn."""
    # Seven regions, no single lesions: the same masks for both.
    context = context_of(analysis, lesions_from_ml=math.inf)
    own, peer, peaks_mib = [], [], []
    for _ in range(repeat):
        gc.collect()
        with cpu_by_writer() as cpu_s:
            objects = write_results(analysis, context).objects
        own.append(cpu_s["segmentation"])
        with peak_by_writer() as peak_mib:
            write_results(analysis, context)
        peaks_mib.append(peak_mib["segmentation"])
        written = _segmentation(objects)
        cost = Cost()
        gc.collect()
        with measured(cost):
            built = highdicom_segmentation(analysis, written)
            dcmwrite(BytesIO(), built, enforce_file_format=True)
        peer.append(cost)
        if _frames(built) != _frames(written):
            raise NodeError("highdicom and the node wrote different frames: the comparison is not fair.")
    own_s, peer_s = statistics.median(own), statistics.median(cost.cpu_s for cost in peer)
    return {
        "slices": analysis.volume.geometry.shape_zyx[0],
        "segments": len(written.SegmentSequence),
        "frames": int(written.NumberOfFrames),
        "cpu_s": round(own_s, 3),
        "peak_mib": round(max(peaks_mib)),
        "peer_cpu_s": round(peer_s, 3),
        "peer_peak_mib": round(max(cost.peak_mib for cost in peer)),
        "ratio": round(peer_s / own_s, 1),
        "runs": repeat,
    }


def highdicom_segmentation(analysis: Analysis, like: Dataset) -> Dataset:
    """Build a segmentation of the same regions with highdicom alone.

    Parameters
    ----------
    analysis
        Source and masks.
    like
        The node's segmentation: its segments are described in the same words.
    """
    masks = np.stack([region_mask_zyx(one, analysis.lungs, analysis.lesions) for one in Region], axis=0)
    return hd.seg.Segmentation(
        source_images=analysis.volume.headers,
        # Segments last, but stored first: the layout that highdicom is fastest with.
        pixel_array=np.moveaxis(masks, 0, -1),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[hd.seg.SegmentDescription.from_dataset(one) for one in like.SegmentSequence],
        series_instance_uid=str(like.SeriesInstanceUID),
        series_number=int(like.SeriesNumber),
        sop_instance_uid=str(like.SOPInstanceUID),
        instance_number=1,
        manufacturer=like.Manufacturer,
        manufacturer_model_name=like.ManufacturerModelName,
        software_versions=like.SoftwareVersions,
        device_serial_number=like.DeviceSerialNumber,
    )


def print_figures(figures: Mapping[str, Any]) -> None:
    """Print the tables."""
    hardware, objects, seg = (figures[key] for key in ("machine", "objects", "segmentation"))
    line(model_line(figures["model"]))
    line(f"{hardware['cpus']} CPUs, {hardware['processor']}; Python {hardware['python']}")
    table(
        f"Objects of {objects['slices']} slices, medians of {objects['runs']} runs",
        ("writer", "CPU s", "worst", "peak MiB"),
        (
            (one["writer"], shown(one["cpu_s"], 2), shown(one["worst_cpu_s"], 2), str(one["peak_mib"]))
            for one in objects["each"]
        ),
    )
    line(f"All together: {objects['cpu_s']:.2f} s of CPU, peak {objects['peak_mib']} MiB")
    line(", ".join(f"{kind} {size / 1e6:.2g} MB" for kind, size in objects["bytes"].items()))
    line(
        f"\nSEG of {seg['slices']} slices, {seg['segments']} segments, {seg['frames']} frames: "
        f"{seg['cpu_s']:.2f} s of CPU, {seg['peak_mib']} MiB; highdicom's constructor "
        f"{seg['peer_cpu_s']:.2f} s, {seg['peer_peak_mib']} MiB: {seg['ratio']:.1f} times as long"
    )


def _analysis(model: OpenedModel, slices: int) -> Analysis:
    spec = PhantomSpec(
        shape_zyx=(slices, _EDGE, _EDGE), spacing_zyx_mm=(_LENGTH_MM / slices, _IN_PLANE_MM, _IN_PLANE_MM)
    )
    with tempfile.TemporaryDirectory(prefix="lesion-node-bench-") as folder:
        paths = write_phantom(Path(folder), generate_phantom(spec))
        return analyse_series(paths, model.engine, model.name, model.settings).analysis


def _segmentation(objects: Sequence[ResultObject]) -> Dataset:
    return next(one.dataset for one in objects if one.kind is ResultKind.SEGMENTATION)


def _frames(seg: Dataset) -> dict[tuple[int, ...], bytes]:
    """Return each frame by Segment Number and position, µm; the two writers order them differently."""
    size = seg.Rows * seg.Columns // 8
    return {
        (
            int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber),
            *(round(1000 * mm) for mm in groups.PlanePositionSequence[0].ImagePositionPatient),
        ): seg.PixelData[at * size : (at + 1) * size]
        for at, groups in enumerate(seg.PerFrameFunctionalGroupsSequence)
    }


def _median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 3)


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("writers", "CPU seconds and memory of writing results.", model="densitometry")
    parser.add_argument("--slices", type=at_least(2), default=300, help="of the series written (300)")
    parser.add_argument("--seg-slices", type=at_least(2), default=400, help="beside highdicom (400)")
    parser.add_argument("--repeat", type=at_least(1), default=5, help="runs of each (5)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
