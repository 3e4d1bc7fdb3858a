"""Which of the proposed transfer syntaxes a presentation context is accepted in."""

from __future__ import annotations

from typing import Any

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

#: A context may propose several transfer syntaxes and we accept one. Uncompressed data cost the least to
#: analyse; everything else is taken in the order in which the sender prefers it.
_PREFERRED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_AVOIDED = (ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)


def prefer_transfer_syntaxes(contexts: list[Any]) -> None:
    """Put the transfer syntax that we like best first in each context; pynetdicom accepts the first."""
    for context in contexts:
        proposed = list(context.transfer_syntax)
        first = [syntax for syntax in _PREFERRED if syntax in proposed]
        last = [syntax for syntax in _AVOIDED if syntax in proposed]
        middle = [syntax for syntax in proposed if syntax not in (*_PREFERRED, *_AVOIDED)]
        context.transfer_syntax = [*first, *middle, *last]
