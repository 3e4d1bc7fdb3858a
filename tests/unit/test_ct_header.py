"""What a header says about an image's fitness for analysis."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from core.ct_header import (
    CT_IMAGE_STORAGE,
    ENHANCED_CT_IMAGE_STORAGE,
    LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE,
    image_types,
    reason_not_analysable,
)


def header(**attributes: object) -> Dataset:
    """An original axial CT image, with changes."""
    ds = Dataset()
    values = {
        "SOPClassUID": CT_IMAGE_STORAGE,
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    }
    for keyword, value in {**values, **attributes}.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"SOPClassUID": ENHANCED_CT_IMAGE_STORAGE, "ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]},
        {"SOPClassUID": LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE},
        {"Modality": ""},
        {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "HELIX"]},
        {"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]},
        {"ImageType": None},
        {"RescaleType": "HU"},
        {"RescaleType": "US"},
        {"RescaleType": ""},
        {"PresentationIntentType": "FOR PRESENTATION"},
    ],
)
def test_ct_images_pass(attributes: dict[str, object]) -> None:
    """Original CT in HU passes in every SOP Class and with what vendors add to Image Type."""
    assert reason_not_analysable(header(**attributes)) is None


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, "not a CT image"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "not a CT image"),
        ({"Modality": "PT"}, "Modality is PT"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a localizer (Image Type LOCALIZER)"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", " LOCALIZER "]}, "a localizer"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 TOP", "TOPOGRAM"]}, "a localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "a multiplanar reformation"),
        ({"ImageType": ["DERIVED", "SECONDARY", "OTHER", "CSA MPR"]}, "a multiplanar reformation"),
        ({"ImageType": ["DERIVED", "PRIMARY", "VOLUME", "MAX_IP"]}, "a maximum intensity projection"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MINIP"]}, "a minimum intensity projection"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "a screenshot"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "PERFUSION", "NONE"]}, "a perfusion or 4-D series"),
        ({"RescaleType": "Z_EFF"}, "not Hounsfield units (Rescale Type Z_EFF)"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "raw data"),
    ],
)
def test_everything_else_is_named(attributes: dict[str, object], reason: str) -> None:
    """What is not analysed is named in words for the report."""
    found = reason_not_analysable(header(**attributes))
    assert found is not None
    assert reason in found


def test_values_one_and_two_do_not_decide() -> None:
    """Only Image Type values 3 and following name a kind of image."""
    assert reason_not_analysable(header(ImageType=["MIP", "LOCALIZER", "AXIAL"])) is None


@pytest.mark.parametrize(
    ("value", "types"),
    [(None, ()), ("", ()), ("AXIAL", ("AXIAL",)), (["A", " B "], ("A", "B"))],
)
def test_image_types_are_a_tuple(value: object, types: tuple[str, ...]) -> None:
    """Absent, single and multiple values all come as a tuple, without padding."""
    assert image_types(header(ImageType=value)) == types


def test_image_types_of_an_empty_header() -> None:
    """No Image Type at all is no error, and an empty data set is no CT image."""
    assert image_types(Dataset()) == ()
    assert reason_not_analysable(Dataset()) == "not a CT image"
