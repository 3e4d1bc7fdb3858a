"""The figures of `benchmarks.comparison`: what is written down of every pair, and what all add up to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.comparison_judgement import TrueLesion, Verdict, judged, right_courses
from core.comparison import Comparison, Course
from lesionnode.comparison_json import rounded


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up what `row_of` says of all pairs.

    Returns
    -------
    dict
        Counts, and shares in percent, None of nothing.
    """
    decisive = [row for row in rows if row["right_courses"]]
    beyond = [row for row in rows if row["right_beyond_limit"]]
    return {
        "pairs": len(rows),
        "registered": sum(row["registration"]["succeeded"] for row in rows),
        **lesion_summary(rows),
        "courses_judged": len(decisive),
        "courses_right": sum(row["course"] in row["right_courses"] for row in decisive),
        "courses_beyond_limit": len(beyond),
        "courses_beyond_limit_right": sum(row["course"] in row["right_beyond_limit"] for row in beyond),
        "courses": {
            kind: {
                course.value: sum(row["kind"] == kind and row["course"] == course for row in rows)
                for course in Course
            }
            for kind in sorted({row["kind"] for row in rows})
        },
    }


def lesion_summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up what became of the true lesions of all pairs: counts, and shares in percent."""
    lesions = [lesion for row in rows for lesion in row["lesions"]]
    seen = [one for one in lesions if one["verdict"] != Verdict.NOT_SEEN]
    followed = [one for one in seen if one["error_ml"] is not None]
    return {
        "lesions": len(lesions),
        "lesions_seen": len(seen),
        "matched_percent": percent(sum(one["verdict"] == Verdict.CORRECT for one in seen), len(seen)),
        "lesions_followed": len(followed),
        "exact_percent": percent(sum(one["exact"] for one in followed), len(followed)),
    }


def percent(count: int, of: int) -> float | None:
    """Return a share, percent, to one decimal; None of nothing."""
    return round(100.0 * count / of, 1) if of else None


def row_of(lesions: Sequence[TrueLesion], found: Comparison) -> dict[str, Any]:
    """Return what is known and what was told of one pair, as plain values."""
    total = found.total.volume_ml
    return {
        "course": found.course.value,
        "right_courses": sorted(one.value for one in right_courses(lesions, total.limit)),
        "right_beyond_limit": sorted(one.value for one in right_courses(lesions, total.limit, beyond=1.0)),
        "because": found.because,
        "warnings": list(found.warnings),
        "total_ml": [round(total.prior, 2), round(total.current, 2), round(total.limit, 2)],
        "true_ml": [
            round(math.fsum(one.before_ml for one in lesions), 2),
            round(math.fsum(one.after_ml for one in lesions), 2),
        ],
        "registration": registration_row(found),
        "lesions": [
            {
                "before_ml": round(one.lesion.before_ml, 2),
                "after_ml": round(one.lesion.after_ml, 2),
                "verdict": one.verdict.value,
                "error_ml": None if one.error_ml is None else round(one.error_ml, 2),
                "exact": one.is_exact,
            }
            for one in judged(lesions, found.lesions)
        ],
    }


def registration_row(found: Comparison) -> dict[str, Any]:
    """Return how well two scans were brought together, as plain values."""
    quality = found.registration
    return {
        "succeeded": quality.succeeded,
        "lung_overlap": rounded(quality.lung_overlap),
        "surface_mm": rounded(quality.surface_mm),
        "correlation": rounded(quality.correlation),
    }
