"""How this product's own results are marked, and how they are recognised when they come back.

A PACS that forwards everything it stores would send our results to us again. The mark is an item of the
Contributing Equipment Sequence (PS3.3 C.12.1.1.5), so any kind of object can carry it and the receiver finds
it in a parsed header without looking anything up.
"""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from core.uid import derived_uid

#: Manufacturer's Model Name (0008,1090) of every result, and of our Contributing Equipment item.
PRODUCT_MODEL_NAME = "lesion-node"

_DIGEST_IN_DESCRIPTION = re.compile(r"model sha256 ([0-9a-f]{64})")


def device_uid(model_sha256: str) -> str:
    """Return the Device UID (0018,1002) of the algorithm: a new one for every model file (IHE AIR)."""
    return derived_uid(PRODUCT_MODEL_NAME, "device", model_sha256)


def contribution_description(model_sha256: str) -> str:
    """Return Contribution Description (0018,A003): for people, and the digest behind `device_uid`."""
    return f"Chest CT lesion analysis, model sha256 {model_sha256}"


def is_own_result(dataset: Dataset) -> bool:
    """Tell whether a data set was made by this product, on this node or another one.

    Parameters
    ----------
    dataset
        Parsed header; only Contributing Equipment Sequence (0018,A001) is looked at.

    Returns
    -------
    bool
        True where an item names this product and its Device UID is the one derived from the model digest in
        its description. The derivation cannot be met by accident, so a customer's device that happens to
        bear the same model name is never dropped.
    """
    items = dataset.get("ContributingEquipmentSequence") or ()
    return any(_is_our_item(item) for item in items)


def _is_our_item(item: Dataset) -> bool:
    if str(item.get("ManufacturerModelName", "")).strip() != PRODUCT_MODEL_NAME:
        return False
    found = _DIGEST_IN_DESCRIPTION.search(str(item.get("ContributionDescription", "")))
    return found is not None and str(item.get("DeviceUID", "")) == device_uid(found.group(1))
