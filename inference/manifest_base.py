"""What every table of `model.toml` is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

#: One line of text that ends up in a DICOM attribute of VR LO (PS3.5 6.2): 1–64 characters, no backslash.
ShortText = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\\\n\r]+$")]


class Section(BaseModel):
    """A table of the manifest: frozen and closed, so that a misspelt key is a fault and not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CodedConcept(Section):
    """A coded concept (PS3.3 8.8).

    Parameters
    ----------
    value, scheme, meaning
        Code Value, Coding Scheme Designator, Code Meaning.
    """

    value: Annotated[str, Field(min_length=1, max_length=16)]
    scheme: Annotated[str, Field(min_length=1, max_length=16)]
    meaning: ShortText
