"""A time point as a file: everything that a later scan is compared with, and nothing that names the patient.

A ZIP archive (APPNOTE 6.3) with ``header.json`` and one ``.npy`` array for each mask and for the densities
(`custody.time_point_arrays`), readable with other tools too. Its comment is the SHA-256 of all bytes before
it, in hexadecimal: a file that was changed or cut off is found by itself. The same time point always gives
the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from operator import index
from typing import Any

import numpy as np

from core.domain import (
    FINDING_LABEL,
    LUNG_LABEL,
    BoxedMask,
    Lesion,
    LesionClass,
    LesionMask,
    LesionMeasurements,
    LungMask,
    ModelIdentity,
    Region,
    RegionMeasurement,
    ResultKind,
    Side,
    Zone,
    ZoneMeasurement,
)
from core.errors import SpoolDamaged
from core.geometry import Geometry
from core.time_point import ResultReference, ScanFacts, TimePoint
from custody.checked_json import plain_fields
from custody.time_point_arrays import Arrays, array_bytes, bits_bytes, densities_bytes, member

_FORMAT = "lesion-node time point 1"
_HEADER = "header.json"
_COMMENT_BYTES = 64
#: The same in every file, so that equal content is equal bytes; the first moment that a ZIP archive knows.
_MOMENT = (1980, 1, 1, 0, 0, 0)
#: No scan of a chest has so many voxels (2,000 slices of 1,024²); a header that says so is not believed.
_MOST_VOXELS = 2**31
_MOST_HEADER_BYTES = 2**24
#: What reading foreign bytes may end in; a checksum that fits does not make them one of our files.
_FOREIGN = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    EOFError,
    MemoryError,
    RuntimeError,
)


@dataclass(frozen=True, slots=True)
class KeptFor:
    """Whose time point it is, in our own terms: what the ledger says of it, were the ledger lost.

    Parameters
    ----------
    job_id, series_id, generation
        Which analysis.
    patient_digest, person_digest
        `core.uid.patient_digest`, `core.patient.Person.digest`.
    """

    job_id: str
    series_id: str
    generation: int
    patient_digest: str
    person_digest: str


def encode(point: TimePoint, kept_for: KeptFor) -> bytes:
    """Return the content of the file."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in _members(point, kept_for):
            entry = zipfile.ZipInfo(name, _MOMENT)
            entry.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(entry, content, compresslevel=6)
        file.comment = b"0" * _COMMENT_BYTES
    content = archive.getvalue()[:-_COMMENT_BYTES]
    return content + hashlib.sha256(content).hexdigest().encode()


def decode(content: bytes, *, numbers_only: bool = False) -> tuple[TimePoint, KeptFor]:
    """Read the content of a file.

    Parameters
    ----------
    content
        All of it.
    numbers_only
        Whether the masks and densities, which take a hundred times the memory, are left out: they are empty
        then.

    Raises
    ------
    SpoolDamaged
        It is not exactly what was written, or of a format that this version does not know.
    """
    body, checksum = content[:-_COMMENT_BYTES], content[-_COMMENT_BYTES:]
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        raise SpoolDamaged("a kept scan is damaged or cut off: its checksum is wrong")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            header = json.loads(member(file, _HEADER, _MOST_HEADER_BYTES))
            if header["format"] != _FORMAT:
                raise ValueError("another format")
            point = _time_point(header, Arrays(None if numbers_only else file))
            kept_for = KeptFor(**plain_fields(KeptFor, header["kept_for"]))
            if not numbers_only and _header(point, kept_for) != header:
                raise ValueError("the header is not what is written here")
            return point, kept_for
    except _FOREIGN as error:
        raise SpoolDamaged(f"a kept scan cannot be read ({type(error).__name__}: {error})") from error


def _members(point: TimePoint, kept_for: KeptFor) -> Iterator[tuple[str, bytes]]:
    yield _HEADER, json.dumps(_header(point, kept_for), sort_keys=True, allow_nan=False).encode()
    yield "lungs.npy", array_bytes(point.lungs.labels_zyx, np.uint8)
    yield "lesions.npy", array_bytes(point.lesions.labels_zyx, np.uint8)
    yield "density.npy", densities_bytes(point.density_hu_zyx)
    for lesion in point.measurements.lesions:
        yield _lesion_name(lesion.number), bits_bytes(lesion.voxels.mask_zyx)


def _lesion_name(number: int) -> str:
    return f"lesion-{number}.npy"


def _header(point: TimePoint, kept_for: KeptFor) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "kept_for": asdict(kept_for),
        "digest": point.digest,
        "facts": {**asdict(point.facts), "scanned_at": _moment(point.facts.scanned_at)},
        "model": {**asdict(point.model), "family_code": list(point.model.family_code)},
        "measurements": _measurements(point.measurements),
        "geometry": _geometry(point.geometry),
        "density_geometry": _geometry(point.density_geometry),
        "tracking_uids": {str(number): uid for number, uid in sorted(point.tracking_uids.items())},
        "results": [asdict(one) for one in point.results],
    }


def _geometry(geometry: Geometry) -> dict[str, Any]:
    return {
        "affine_lps": geometry.affine_lps.tolist(),
        "shape_zyx": list(geometry.shape_zyx),
        "frame_of_reference_uid": geometry.frame_of_reference_uid,
    }


def _measurements(numbers: LesionMeasurements) -> dict[str, Any]:
    plain = asdict(
        LesionMeasurements(numbers.regions, (), numbers.zones, numbers.severity_score, numbers.listed_from_ml)
    )
    plain["regions"] = [{**one, "region": one["region"].name} for one in plain["regions"]]
    plain["zones"] = list(plain["zones"])
    plain["lesions"] = [
        {
            "number": one.number,
            "lesion_class": one.lesion_class,
            "side": one.side,
            "volume_ml": one.volume_ml,
            "consolidation_share": one.consolidation_share,
            "mean_hu": one.mean_hu,
            "centroid_lps_mm": list(one.centroid_lps_mm),
            "long_axis_mm": one.long_axis_mm,
            "short_axis_mm": one.short_axis_mm,
            "start_zyx": [int(at) for at in one.voxels.start_zyx],
            "shape_zyx": list(one.voxels.mask_zyx.shape),
        }
        for one in numbers.lesions
    ]
    return plain


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


# --- and back ---------------------------------------------------------------------------------------------


def _time_point(header: Mapping[str, Any], arrays: Arrays) -> TimePoint:
    geometry = _geometry_of(header["geometry"])
    density_geometry = _geometry_of(header["density_geometry"])
    values = plain_fields(ModelIdentity, header["model"])
    model = ModelIdentity(**{**values, "family_code": tuple(values["family_code"])})
    facts = plain_fields(ScanFacts, header["facts"])
    moment = None if facts["scanned_at"] is None else datetime.fromisoformat(facts["scanned_at"])
    return TimePoint(
        facts=ScanFacts(**{**facts, "scanned_at": moment}),
        model=model,
        measurements=_measurements_of(header["measurements"], geometry, arrays),
        geometry=geometry,
        lungs=LungMask(arrays.labels("lungs.npy", geometry.shape_zyx, max(LUNG_LABEL.values()))),
        lesions=LesionMask(
            arrays.labels("lesions.npy", geometry.shape_zyx, max(FINDING_LABEL.values())), model
        ),
        density_geometry=density_geometry,
        density_hu_zyx=arrays.densities("density.npy", density_geometry.shape_zyx),
        tracking_uids={int(number): _text(uid) for number, uid in header["tracking_uids"].items()},
        results=tuple(
            ResultReference(**{**plain_fields(ResultReference, one), "kind": ResultKind(one["kind"])})
            for one in header["results"]
        ),
        digest=_text(header["digest"]),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _geometry_of(values: Mapping[str, Any]) -> Geometry:
    affine = np.array(values["affine_lps"], np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise ValueError("no affine")
    return Geometry(affine, _shape(values["shape_zyx"]), _text(values["frame_of_reference_uid"]))


def _shape(values: Any) -> tuple[int, int, int]:
    z, y, x = (index(length) for length in values)
    if min(z, y, x) < 1 or math.prod((z, y, x)) > _MOST_VOXELS:
        raise ValueError("no shape of a scan")
    return z, y, x


def _measurements_of(values: Mapping[str, Any], geometry: Geometry, arrays: Arrays) -> LesionMeasurements:
    regions = tuple(
        RegionMeasurement(**{**plain_fields(RegionMeasurement, one), "region": Region[one["region"]]})
        for one in values["regions"]
    )
    zones = tuple(
        ZoneMeasurement(**{**plain_fields(ZoneMeasurement, one), "zone": Zone(one["zone"])})
        for one in values["zones"]
    )
    if [one.region for one in regions] != list(Region) or [one.zone for one in zones] != list(Zone):
        raise ValueError("a region or a zone is missing")
    if sum(math.prod(_shape(one["shape_zyx"])) for one in values["lesions"]) > _MOST_VOXELS:
        raise ValueError("the lesions are larger than any scan")
    lesions = tuple(_lesion(one, geometry, arrays) for one in values["lesions"])
    plain = plain_fields(LesionMeasurements, values)
    return LesionMeasurements(regions, lesions, zones, plain["severity_score"], plain["listed_from_ml"])


def _lesion(values: Mapping[str, Any], geometry: Geometry, arrays: Arrays) -> Lesion:
    shape, start = _shape(values["shape_zyx"]), tuple(index(at) for at in values["start_zyx"])
    ends = [at + length for at, length in zip(start, shape, strict=True)]
    if min(start) < 0 or any(end > length for end, length in zip(ends, geometry.shape_zyx, strict=True)):
        raise ValueError("a lesion lies outside its scan")
    z, y, x = start
    cx, cy, cz = (float(at) for at in values["centroid_lps_mm"])
    plain = {
        name: value
        for name, value in plain_fields(Lesion, values).items()
        if name not in ("start_zyx", "shape_zyx")
    }
    return Lesion(
        **{
            **plain,
            "lesion_class": LesionClass(values["lesion_class"]),
            "side": Side(values["side"]),
            "centroid_lps_mm": (cx, cy, cz),
            "voxels": BoxedMask((z, y, x), arrays.bits(_lesion_name(values["number"]), shape)),
        }
    )
