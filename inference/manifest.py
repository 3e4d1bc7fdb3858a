"""What `model.toml` may say: frozen and closed, so that a misspelt key is a fault and not a default."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.domain import Finding
from inference.preparation import PreparationStep

#: One line of text that ends up in a DICOM attribute of VR LO (PS3.5 6.2): 1–64 characters, no backslash.
ShortText = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\\\n\r]+$")]
Spacing = Annotated[float, Field(gt=0, le=20)] | Literal["native"]


class _Section(BaseModel):
    """A table of the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CodedConcept(_Section):
    """A coded concept (PS3.3 8.8).

    Parameters
    ----------
    value, scheme, meaning
        Code Value, Coding Scheme Designator, Code Meaning.
    """

    value: Annotated[str, Field(min_length=1, max_length=16)]
    scheme: Annotated[str, Field(min_length=1, max_length=16)]
    meaning: ShortText


class SpacingMm(_Section):
    """Voxel spacing the model was made for; `native` leaves an axis as it was scanned.

    Parameters
    ----------
    z, in_plane
        Distance of slices and of pixels, mm.
    """

    z: Spacing
    in_plane: Spacing


class ModelInput(_Section):
    """What the model takes.

    Parameters
    ----------
    name
        Of the graph's input.
    axes
        NCYX for a model that sees one slice at a time, NCZYX for one that sees a block.
    channels
        Size of axis C.
    spacing_mm
        Voxel spacing.
    patch_zyx
        Shape of one patch in voxels; z is 1 for NCYX. Always filled, with air where the body ends.
    batch
        Patches per run; always this many, so that the device sees one shape only.
    overlap
        Share of a patch that its neighbour sees too.
    margin_mm
        What is shown of the surroundings of the lungs.
    outside_lungs_hu
        Value given to everything outside the lungs, None to show it as it is. For models that must not take
        the chest wall or the mediastinum for disease.
    preparation
        Steps from Hounsfield units to the model's values, in order.
    """

    name: Annotated[str, Field(min_length=1)]
    axes: Literal["NCYX", "NCZYX"]
    channels: Annotated[int, Field(ge=1, le=1)]
    spacing_mm: SpacingMm
    patch_zyx: tuple[
        Annotated[int, Field(ge=1, le=1024)],
        Annotated[int, Field(ge=1, le=4096)],
        Annotated[int, Field(ge=1, le=4096)],
    ]
    batch: Annotated[int, Field(ge=1, le=256)] = 1
    overlap: Annotated[float, Field(ge=0, le=0.75)] = 0.25
    margin_mm: Annotated[float, Field(ge=0, le=200)] = 10.0
    outside_lungs_hu: Annotated[float, Field(ge=-1024, le=3071)] | None = None
    preparation: tuple[PreparationStep, ...] = ()

    @model_validator(mode="after")
    def _slicewise_patches_are_one_slice(self) -> Self:
        if self.axes == "NCYX" and self.patch_zyx[0] != 1:
            raise ValueError(f"patch_zyx: axes NCYX take one slice, found {self.patch_zyx[0]}; write 1 first")
        return self

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """Shape of the tensor of one run."""
        patch = self.patch_zyx[1:] if self.axes == "NCYX" else self.patch_zyx
        return (self.batch, self.channels, *patch)


class Label(_Section):
    """What one output channel means.

    Parameters
    ----------
    channel
        Index along the output's axis C.
    finding
        The finding it is counted as.
    category, type
        Segmented Property Category and Type (CID 7150, CID 7151 and following).
    """

    channel: Annotated[int, Field(ge=0, le=255)]
    finding: Finding
    category: CodedConcept
    type: CodedConcept


class ModelOutput(_Section):
    """What the model gives.

    Parameters
    ----------
    name
        Of the graph's output.
    channels
        Size of axis C.
    activation
        What still has to be applied to turn the output into probabilities.
    decision
        `sum`: the channels are shares of one whole, a voxel is lesion where those of all findings together
        reach the threshold. `each`: they are independent, a voxel is lesion where any of them reaches it.
        Either way the strongest finding names the voxel.
    threshold
        Probability from which a voxel is lesion.
    labels
        Meaning of the channels; a channel without one is background.
    """

    name: Annotated[str, Field(min_length=1)]
    channels: Annotated[int, Field(ge=1, le=256)]
    activation: Literal["none", "sigmoid", "softmax"]
    decision: Literal["sum", "each"]
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    labels: Annotated[tuple[Label, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _labels_fit_channels(self) -> Self:
        channels = [label.channel for label in self.labels]
        if len(set(channels)) != len(channels):
            raise ValueError("labels: a channel has two labels; give each channel one")
        if len({label.finding for label in self.labels}) != len(self.labels):
            raise ValueError("labels: two channels have the same finding; give each finding one channel")
        if max(channels) >= self.channels:
            raise ValueError(
                f"labels: channel {max(channels)} does not exist; channels = {self.channels} counts from 0"
            )
        if self.activation == "softmax" and self.channels <= len(self.labels):
            raise ValueError("labels: softmax needs a background channel, but every channel has a label")
        return self


class Algorithm(_Section):
    """How the model is named in the objects it leads to.

    Parameters
    ----------
    name
        Segment Algorithm Name (0062,0009) and Algorithm Name (111001, DCM).
    manufacturer
        Who answers for the model.
    family
        Algorithm Family, CID 7162.
    """

    name: ShortText
    manufacturer: ShortText
    family: CodedConcept


class IntendedUse(_Section):
    """What the model is for; the report carries a remark where a series lies outside.

    Parameters
    ----------
    modality, body_part
        Modality (0008,0060) and Body Part Examined (0018,0015).
    age_min_years, age_max_years
        Patients, whole years.
    slice_thickness_min_mm, slice_thickness_max_mm
        Slice Thickness (0018,0050).
    coverage
        What has to be in view, in words.
    research_only
        Whether results are marked as not for clinical use.
    """

    modality: Literal["CT"]
    body_part: ShortText
    age_min_years: Annotated[int, Field(ge=0, le=130)]
    age_max_years: Annotated[int, Field(ge=0, le=130)]
    slice_thickness_min_mm: Annotated[float, Field(gt=0, le=20)]
    slice_thickness_max_mm: Annotated[float, Field(gt=0, le=20)]
    coverage: Annotated[str, Field(min_length=1)]
    research_only: bool = True

    @model_validator(mode="after")
    def _limits_in_order(self) -> Self:
        if self.age_min_years > self.age_max_years:
            raise ValueError("age_min_years lies above age_max_years")
        if self.slice_thickness_min_mm > self.slice_thickness_max_mm:
            raise ValueError("slice_thickness_min_mm lies above slice_thickness_max_mm")
        return self


class Licence(_Section):
    """Under what terms the model may be used.

    Parameters
    ----------
    name
        SPDX identifier or the licence's own name.
    restriction
        `research` where the terms allow no clinical or commercial use: the site has to accept that by name.
    text
        The terms, or the sentence that matters and where to read the rest.
    """

    name: Annotated[str, Field(min_length=1)]
    restriction: Literal["none", "research"]
    text: Annotated[str, Field(min_length=1)]


class Manifest(_Section):
    """The whole of `model.toml`.

    Parameters
    ----------
    name, version
        Of the package; the name is that of its folder.
    sha256
        Digest of `model.onnx`, hexadecimal.
    input, output, algorithm, intended_use, licence
        Its tables.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,62}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    input: ModelInput
    output: ModelOutput
    algorithm: Algorithm
    intended_use: IntendedUse
    licence: Licence
