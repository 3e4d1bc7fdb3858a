"""Lung segmentation against expert contours: ``python -m benchmarks.lungs``.

Reads the Biograph series of the real data named by the environment variable LESION_NODE_DATA; where the
expert sees tumour, neither mask is judged.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

from benchmarks.metrics import dice
from benchmarks.real_series import (
    EXPERT_SERIES,
    EXPERT_TUMOUR,
    expert_labels,
    series_files,
    series_folders,
)
from core.domain import LUNG_LABEL
from core.errors import NodeError
from inference.lungs import coverage_remarks, segment_lungs
from inference.series_reader import read_series
from inference.straightening import Straightening


def main() -> int:
    """Print the table; return the exit status."""
    try:
        (folder,) = series_folders(only=EXPERT_SERIES)
    except NodeError as error:
        print(error, file=sys.stderr)
        return 1
    volume = read_series(series_files(folder))
    truth = expert_labels(folder, rising=bool(volume.geometry.affine_lps[2, 0] > 0))
    if truth is None:
        print(f"No contours beside {folder}", file=sys.stderr)
        return 1
    base_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    straightening = Straightening.of(volume.geometry)
    lungs = straightening.lungs_on_source(segment_lungs(straightening.straight(volume)))
    wall_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    peak_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base_kib) / 1024
    judged = truth != EXPERT_TUMOUR
    print(f"{EXPERT_SERIES}  {'×'.join(map(str, volume.hu_zyx.shape))}")
    print("lung    Dice    volume ml   expert ml")
    for side, label in LUNG_LABEL.items():
        found, wanted = (lungs.labels_zyx == label) & judged, truth == label
        volumes_ml = [np.count_nonzero(mask) * volume.geometry.voxel_ml for mask in (found, wanted)]
        print(f"{side:6} {dice(found, wanted):6.4f} {volumes_ml[0]:11.0f} {volumes_ml[1]:11.0f}")
    print(f"{wall_s:.2f} s wall, {cpu_s:.2f} s CPU, {peak_mib:.0f} MiB above the volume")
    for remark in coverage_remarks(lungs, volume):
        print(remark)
    return 0


if __name__ == "__main__":
    sys.exit(main())
