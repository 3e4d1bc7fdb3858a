"""What `model.toml` may say: frozen and closed, so that a misspelt key is a fault and not a default."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from inference.manifest_base import CodedConcept, Section, ShortText
from inference.manifest_output import ModelOutput
from inference.manifest_repeatability import RepeatabilityLimit, require_one_limit_each
from inference.preparation import PreparationStep

Millimetres = Annotated[float, Field(gt=0, le=20)]


class SpacingMm(Section):
    """Voxel spacing the model was made for; `native` leaves an axis as it was scanned.

    Parameters
    ----------
    z
        Distance of slices, mm. A model of slices never gets more of them than were scanned.
    in_plane
        Distance of pixels, mm. `fit` shows every slice as one square around the lungs, sampled to the patch.
    """

    z: Millimetres | Literal["native"]
    in_plane: Millimetres | Literal["native", "fit"]


class ModelInput(Section):
    """What the model takes.

    Parameters
    ----------
    name
        Of the graph's input.
    axes
        NCYX for a model that sees one slice at a time, NCZYX for one that sees a block.
    channels
        Size of axis C.
    calibrated_channel
        Whether the second channel tells what a grey means: 1 where it stands for Hounsfield units through
        the steps of `preparation`, 0 where it comes from an exported picture.
    spacing_mm
        Voxel spacing.
    patch_zyx
        Shape of one patch in voxels; z is 1 for NCYX. Always filled, with air where the body ends.
    batch
        Patches per run; always this many, so that the device sees one shape only.
    overlap
        Share of a patch that its neighbour sees too.
    margin_mm
        What is shown of the surroundings of the lungs; only along z where `field_of_view` gives the rest.
    field_of_view
        Edge of the square as a multiple of the larger extent of both lungs, with in_plane `fit` only.
    outside_lungs_hu
        Value given to everything outside the lungs, None to show it as it is. For models that must not take
        the chest wall or the mediastinum for disease.
    preparation
        Steps from Hounsfield units to the model's values, in order.
    """

    name: Annotated[str, Field(min_length=1)]
    axes: Literal["NCYX", "NCZYX"]
    channels: Annotated[int, Field(ge=1, le=2)]
    calibrated_channel: bool = False
    spacing_mm: SpacingMm
    patch_zyx: tuple[
        Annotated[int, Field(ge=1, le=1024)],
        Annotated[int, Field(ge=1, le=4096)],
        Annotated[int, Field(ge=1, le=4096)],
    ]
    batch: Annotated[int, Field(ge=1, le=256)] = 1
    overlap: Annotated[float, Field(ge=0, le=0.75)] = 0.25
    margin_mm: Annotated[float, Field(ge=0, le=200)] = 10.0
    field_of_view: Annotated[float, Field(ge=1, le=3)] | None = None
    outside_lungs_hu: Annotated[float, Field(ge=-1024, le=3071)] | None = None
    preparation: tuple[PreparationStep, ...] = ()

    @model_validator(mode="after")
    def _slicewise_patches_are_one_slice(self) -> Self:
        if self.axes == "NCYX" and self.patch_zyx[0] != 1:
            raise ValueError(f"patch_zyx: axes NCYX take one slice, found {self.patch_zyx[0]}; write 1 first")
        return self

    @model_validator(mode="after")
    def _a_fitted_square_is_whole(self) -> Self:
        fitted = self.spacing_mm.in_plane == "fit"
        if fitted != (self.field_of_view is not None):
            raise ValueError(
                'field_of_view: in_plane = "fit" needs it, any other spacing forbids it; '
                f"found in_plane = {self.spacing_mm.in_plane}, field_of_view = {self.field_of_view}"
            )
        if fitted and self.axes != "NCYX":
            raise ValueError(f'axes: in_plane = "fit" shows whole slices, write NCYX; found {self.axes}')
        if fitted and self.patch_zyx[1] != self.patch_zyx[2]:
            raise ValueError(
                f'patch_zyx: in_plane = "fit" shows a square, found {self.patch_zyx[1]} rows of '
                f"{self.patch_zyx[2]}"
            )
        return self

    @model_validator(mode="after")
    def _a_second_channel_is_the_calibration(self) -> Self:
        if (self.channels == 2) != self.calibrated_channel:
            raise ValueError(
                f"channels: found {self.channels}; 2 with calibrated_channel = true, 1 without: "
                "the image itself is one channel"
            )
        if self.calibrated_channel and self.spacing_mm.in_plane != "fit":
            raise ValueError('calibrated_channel: only for models that see whole slices, in_plane = "fit"')
        return self

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """Shape of the tensor of one run."""
        return (self.batch, self.channels, *self._patch)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of the images of one run, their one channel included."""
        return (self.batch, 1, *self._patch)

    @property
    def _patch(self) -> tuple[int, ...]:
        return self.patch_zyx[1:] if self.axes == "NCYX" else self.patch_zyx


class Algorithm(Section):
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


class IntendedUse(Section):
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


class Licence(Section):
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


class Manifest(Section):
    """The whole of `model.toml`.

    Parameters
    ----------
    name, version
        Of the package; the name is that of its folder.
    sha256
        Digest of `model.onnx`, hexadecimal.
    input, output, algorithm, intended_use, licence
        Its tables.
    repeatability
        How far two measurements of an unchanged patient lie apart; none where nobody has measured it, and
        then nothing is ever called a change.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,62}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    input: ModelInput
    output: ModelOutput
    algorithm: Algorithm
    intended_use: IntendedUse
    licence: Licence
    repeatability: tuple[RepeatabilityLimit, ...] = ()

    @model_validator(mode="after")
    def _limits_are_told_once(self) -> Self:
        require_one_limit_each(self.repeatability)
        return self
