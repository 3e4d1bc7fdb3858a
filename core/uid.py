"""UIDs and content digests: the grammar of foreign ones, the recipe of our own."""

from __future__ import annotations

import hashlib
import re

#: Identifies this product in File Meta Information (0002,0012); derived once from its name by `derived_uid`.
IMPLEMENTATION_CLASS_UID = "2.25.117932013195427316960787235299149717822"
IMPLEMENTATION_VERSION_NAME = "LESION_NODE_0_1"


def is_tolerable_uid(text: str) -> bool:
    """Tell whether text holds only digits and dots, 1–64 characters: good enough to keep and to reference."""
    return 0 < len(text) <= 64 and re.fullmatch(r"[0-9]+(?:\.[0-9]+)*", text) is not None


def derived_uid(*parts: str) -> str:
    """Return the UID that always belongs to these parts.

    ``2.25.`` and the first 128 bits of SHA-256 over the parts (PS3.5 B.2), each length-prefixed so that no
    two lists of parts read the same.
    """
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return f"2.25.{int.from_bytes(digest.digest()[:16], 'big')}"


def patient_digest(patient_id: str, issuer: str) -> str:
    """Return the digest that tells patients apart without their identifiers in keys or logs."""
    return hashlib.sha256(f"{len(issuer)}:{issuer}{patient_id}".encode()).hexdigest()
