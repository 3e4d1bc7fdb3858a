"""What a CT image's header says about its fitness for analysis, before any pixel is decoded."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2.1"
LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2.2"

#: SOP Classes that are analysed; every other one is kept and set aside.
ANALYSED_SOP_CLASSES = frozenset(
    {CT_IMAGE_STORAGE, ENHANCED_CT_IMAGE_STORAGE, LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE}
)

#: Elements that `reason_not_analysable` reads; a reader may skip every other one.
REASON_KEYWORDS = ("SOPClassUID", "Modality", "ImageType", "RescaleType", "PresentationIntentType")

# Image Type values 3 and following (PS3.3 C.8.2.1.1.1, C.8.15.2.1.1, C.8.16.1; vendors add their own) that
# name something other than one original stack in HU. Value → what it is.
_OTHER_IMAGE_TYPES = {
    "LOCALIZER": "a localizer",
    "SCOUT": "a localizer",
    "TOPOGRAM": "a localizer",
    "SURVIEW": "a localizer",
    "MIP": "a maximum intensity projection",
    "MAX_IP": "a maximum intensity projection",
    "MINIP": "a minimum intensity projection",
    "MIN_IP": "a minimum intensity projection",
    "PROJECTION IMAGE": "a projection",
    "PROJECTION": "a projection",
    "AVERAGE": "an average over time or energy",
    "MEAN": "an average over time or energy",
    "MPR": "a multiplanar reformation",
    "CSA MPR": "a multiplanar reformation",
    "REFORMATTED": "a multiplanar reformation",
    "CURVED": "a curved reformation",
    "CPR": "a curved reformation",
    "VOLREND": "a volume rendering",
    "VOLUME_RENDER": "a volume rendering",
    "VRT": "a volume rendering",
    "3D": "a volume rendering",
    "SSD": "a surface rendering",
    "SURFACE_RENDER": "a surface rendering",
    "DYNAMIC": "a perfusion or 4-D series",
    "PERFUSION": "a perfusion or 4-D series",
    "CARDIAC_GATED": "a gated multi-phase series",
    "CBF": "a perfusion map",
    "CBV": "a perfusion map",
    "MTT": "a perfusion map",
    "TTP": "a perfusion map",
    "IODINE": "a material map",
    "IODINE_MAP": "a material map",
    "VNC": "a virtual non-contrast map",
    "VIRTUAL_NON_CONTRAST": "a virtual non-contrast map",
    "Z_EFFECTIVE": "a material map",
    "EFFECTIVE_ATOMIC_NUMBER": "a material map",
    "ELECTRON_DENSITY": "a material map",
    "SCREEN SAVE": "a screenshot",
    "SCREENSHOT": "a screenshot",
    "DOSE_INFO": "a dose page",
}


def image_types(header: Dataset) -> tuple[str, ...]:
    """Return Image Type (0008,0008) as upper-case strings, empty where it is absent."""
    value = header.get("ImageType")
    if not value:
        return ()
    values = value if isinstance(value, (list, MultiValue)) else [value]
    return tuple(str(item).strip().upper() for item in values)


def reason_not_analysable(header: Dataset) -> str | None:
    """Tell from the header alone why an image is never analysed.

    Parameters
    ----------
    header
        Data set without pixel data; per-frame functional groups are not looked at.

    Returns
    -------
    str or None
        What the image is instead, in the user's words; None for a CT image that may be analysed.
    """
    sop_class = str(header.get("SOPClassUID", ""))
    if sop_class not in ANALYSED_SOP_CLASSES:
        return "not a CT image"
    if str(header.get("Modality", "CT")).strip().upper() not in {"CT", ""}:
        return f"Modality is {header.Modality}, not CT"
    for value in image_types(header)[2:]:
        if value in _OTHER_IMAGE_TYPES:
            return f"{_OTHER_IMAGE_TYPES[value]} (Image Type {value})"
    # PS3.3 C.11.1.1.2: absent or HU means Hounsfield units; US (unspecified) is what some scanners write.
    rescale_type = str(header.get("RescaleType", "") or "HU").strip().upper()
    if rescale_type not in {"HU", "US", "HU_MOD"}:
        return f"a map whose values are not Hounsfield units (Rescale Type {rescale_type})"
    if str(header.get("PresentationIntentType", "")) == "FOR PROCESSING":
        return "raw data for processing"
    return None
