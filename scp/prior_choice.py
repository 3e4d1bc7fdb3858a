"""Which CT series of an earlier study is worth retrieving, from what a PACS lists of its series.

A PACS tells little of a series: a description that somebody typed, a number, how many images. So this is a
guess, and cautious: what is fetched is looked at again by its own headers before anything is compared.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.own_results import PRODUCT_MODEL_NAME
from scp.selection import kernel_sharpness

#: A chest of 25 cm in slices of 10 mm has so many.
FEWEST_SLICES = 20
#: Enhanced CT has all of them in one instance, and so have scouts their one image.
_ONE_INSTANCE = 1

_CHEST = re.compile(r"CHEST|THORA|LUNG|PULMO|HRCT|TORAX|POUMON|胸|肺")
_ELSEWHERE = re.compile(
    r"HEAD|BRAIN|SKULL|CRANI|SINUS|ORBIT|TEMPORAL|DENTAL|KNEE|ANKLE|FOOT|WRIST|HAND\b|ELBOW|SHOULDER|"
    r"\bHIPS?\b|PELVIS|LSPINE|CSPINE|LUMBAR|CERVICAL|EXTREMITY|头|颅|膝|踝|腕|骨盆"
)
#: What is no original axial stack, by the words that vendors and users put into descriptions.
_OTHER_IMAGES = re.compile(
    r"SCOUT|TOPO|LOCALI[SZ]ER|SURVIEW|SCANOGRAM|DOSE|PROTOCOL|BOLUS|MONITOR|SMART\s?PREP|TRACKER|"
    r"\bMIP\b|MINIP|\bMPR\b|\bVRT?\b|\b3D\b|\bCOR\b|CORONAL|\bSAG\b|SAGITTAL|CURVED|SCREEN|SAVE|"
    r"SECONDARY|CAPTURE|PERFUSION|IODINE|\bVNC\b|FUSION|\bCAD\b|定位"
)
#: They name organs in descriptions, though some vendors have kernels of the same name.
_NO_KERNELS = frozenset({"CHEST", "CHST", "BODY"})
_UNKNOWN_SHARPNESS = 1
#: What the Series Descriptions of this node's own objects begin with, by Modality.
_OWN_RESULTS = {"SEG": ("Lesion segmentation",), "SR": ("Lesion measurements", "NOT ANALYSED")}


@dataclass(frozen=True, slots=True)
class SeriesLike:
    """What is known of the current series that an earlier one should resemble; empty where unknown.

    Parameters
    ----------
    description, kernel
        Series Description (0008,103E), Convolution Kernel (0018,1210).
    """

    description: str = ""
    kernel: str = ""


@dataclass(frozen=True, slots=True)
class OfferedSeries:
    """A series as a PACS lists it; texts are empty and numbers None where it does not tell.

    Parameters
    ----------
    series_instance_uid, modality, description, body_part, model_name
        Series Instance UID, Modality, Series Description, Body Part Examined, Manufacturer's Model Name.
    number, instances
        Series Number, Number of Series Related Instances (0020,1209).
    """

    series_instance_uid: str
    modality: str
    description: str = ""
    body_part: str = ""
    model_name: str = ""
    number: int | None = None
    instances: int | None = None


def choose_series(
    offered: Sequence[OfferedSeries], like: SeriesLike, study_description: str = ""
) -> OfferedSeries | None:
    """Return the most plausible axial chest CT among the series of a study; None where none is."""
    plausible = [one for one in offered if _is_plausible(one, study_description)]
    return min(plausible, key=lambda one: _demerits(one, like), default=None)


def own_results(offered: Sequence[OfferedSeries]) -> tuple[OfferedSeries, ...]:
    """Return the segmentations and reports that this product made, as far as a listing can tell."""
    return tuple(one for one in offered if _looks_like_ours(one))


def _looks_like_ours(one: OfferedSeries) -> bool:
    beginnings = _OWN_RESULTS.get(one.modality)
    if beginnings is None or one.model_name not in ("", PRODUCT_MODEL_NAME):
        return False
    return one.model_name == PRODUCT_MODEL_NAME or one.description.startswith(beginnings)


def _is_plausible(one: OfferedSeries, study_description: str) -> bool:
    if one.modality not in ("", "CT"):
        return False
    too_few = one.instances is not None and _ONE_INSTANCE < one.instances < FEWEST_SLICES
    if too_few or _OTHER_IMAGES.search(one.description.upper()):
        return False
    where = f"{one.body_part} {one.description} {study_description}".upper()
    return bool(_CHEST.search(where)) or not _ELSEWHERE.search(where)


def _demerits(one: OfferedSeries, like: SeriesLike) -> tuple[float | str, ...]:
    """Return what counts in the choice, in this order; smaller is better."""
    description = one.description.upper()
    sharpness = described_sharpness(description)
    return (
        one.instances == _ONE_INSTANCE,
        not description or description != like.description.upper(),
        not like.kernel or like.kernel.upper() not in description,
        not _CHEST.search(f"{one.body_part} {one.description}".upper()),
        abs(sharpness - kernel_sharpness(like.kernel)) if like.kernel else sharpness,
        -(one.instances or 0),
        one.number if one.number is not None else 1_000_000,
        one.series_instance_uid,
    )


def described_sharpness(description: str) -> int:
    """Grade the kernel that a Series Description names, as `scp.selection.kernel_sharpness`; 1 for none.

    A kernel with a number (B31f, FC52) is meant for certain; LUNG may be the organ.
    """
    words = [word for word in re.split(r"[^0-9A-Z]+", description.upper()) if len(word) > 1]
    words = [word for word in words if word not in _NO_KERNELS]
    for named in ([word for word in words if re.search(r"\d", word)], words):
        grades = [grade for word in named if (grade := kernel_sharpness(word)) != _UNKNOWN_SHARPNESS]
        if grades:
            return grades[0]
    return _UNKNOWN_SHARPNESS
