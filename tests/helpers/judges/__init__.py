"""Independent programs that judge written results: each in a module of its own, all of them in `panel`."""

from tests.helpers.judges.dciodvfy import dciodvfy_complaints
from tests.helpers.judges.dcmqi import ReadSegment, read_segments, segment_points_lps_mm, tid1500_groups

__all__ = [
    "ReadSegment",
    "dciodvfy_complaints",
    "read_segments",
    "segment_points_lps_mm",
    "tid1500_groups",
]
