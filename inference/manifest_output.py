"""The table `[output]` of `model.toml`: what the channels of a model mean."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.domain import Finding
from inference.manifest_base import CodedConcept, Section

Channel = Annotated[int, Field(ge=0, le=255)]


class Label(Section):
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

    channel: Channel
    finding: Finding
    category: CodedConcept
    type: CodedConcept


class ModelOutput(Section):
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
        Either way the strongest finding names the voxel. `density`: one channel says where lesion is, and
        Hounsfield units inside it tell ground glass from consolidation.
    threshold
        Probability from which a voxel is lesion.
    labels
        Meaning of the channels; a channel without one is background. With `density` both findings name the
        one channel.
    lung_channel
        Channel that gives the lungs with everything diseased inside them; None where the model gives none.
    consolidation_channel
        Channel that gives consolidation where there is lesion, learnt from pictures; read only where no
        Hounsfield units are known. None where the model gives none.
    lesion_from_hu
        Attenuation from which a voxel can be lesion, with `density`; None for any.
    """

    name: Annotated[str, Field(min_length=1)]
    channels: Annotated[int, Field(ge=1, le=256)]
    activation: Literal["none", "sigmoid", "softmax"]
    decision: Literal["sum", "each", "density"]
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    labels: Annotated[tuple[Label, ...], Field(min_length=1)]
    lung_channel: Channel | None = None
    consolidation_channel: Channel | None = None
    lesion_from_hu: Annotated[float, Field(ge=-1024, le=0)] | None = None

    @property
    def lesion_channels(self) -> tuple[int, ...]:
        """Channels of the labels, each once, in their order."""
        return tuple(dict.fromkeys(label.channel for label in self.labels))

    @model_validator(mode="after")
    def _labels_fit_the_decision(self) -> Self:
        findings = {label.finding for label in self.labels}
        if len(findings) != len(self.labels):
            raise ValueError("labels: two channels have the same finding; give each finding one channel")
        if self.decision == "density":
            if findings != set(Finding) or len(self.lesion_channels) != 1:
                raise ValueError(
                    'labels: decision "density" needs one label for each finding '
                    f"({', '.join(Finding)}), all with the same channel"
                )
        elif len(self.lesion_channels) != len(self.labels):
            raise ValueError("labels: a channel has two labels; give each channel one")
        return self

    @model_validator(mode="after")
    def _keys_of_density_stand_with_density(self) -> Self:
        for key in ("consolidation_channel", "lesion_from_hu"):
            if getattr(self, key) is not None and self.decision != "density":
                raise ValueError(
                    f'{key}: only with decision "density", found "{self.decision}"; remove the key'
                )
        return self

    @model_validator(mode="after")
    def _channels_exist_and_mean_one_thing(self) -> Self:
        taken = {"labels": max(self.lesion_channels)}
        for key in ("lung_channel", "consolidation_channel"):
            channel: int | None = getattr(self, key)
            if channel is not None:
                taken[key] = channel
        for key, channel in taken.items():
            if channel >= self.channels:
                raise ValueError(
                    f"{key}: channel {channel} does not exist; channels = {self.channels} counts from 0"
                )
        own = [taken[key] for key in taken if key != "labels"]
        if len({*self.lesion_channels, *own}) != len(self.lesion_channels) + len(own):
            raise ValueError(
                "labels, lung_channel, consolidation_channel: a channel has two meanings; "
                "give each its own channel"
            )
        return self

    @model_validator(mode="after")
    def _softmax_leaves_room(self) -> Self:
        if self.activation != "softmax":
            return self
        if self.lung_channel is not None or self.consolidation_channel is not None:
            raise ValueError(
                "activation: with softmax channels exclude one another, but diseased lung is lung too; "
                "lung_channel and consolidation_channel need sigmoid or none"
            )
        if self.channels <= len(self.lesion_channels):
            raise ValueError("labels: softmax needs a background channel, but every channel has a label")
        return self
