"""Small model packages, built on the spot."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from inference.model_package import ModelPackage, load_package

MANIFEST = """
name = "{name}"
version = "1.0"
sha256 = "{sha256}"

[input]
name = "x"
axes = "{axes}"
channels = 1
spacing_mm = {{ z = {z}, in_plane = {in_plane} }}
patch_zyx = [{patch}]
batch = {batch}
overlap = {overlap}
margin_mm = {margin}
{extra}
{preparation}
[output]
name = "y"
channels = {channels}
activation = "{activation}"
decision = "each"
threshold = 0.5

[[output.labels]]
channel = {label_channel}
finding = "ground_glass"
category = {{ value = "49755003", scheme = "SCT", meaning = "Morphologically Altered Structure" }}
type = {{ value = "112120", scheme = "DCM", meaning = "Ground glass opacity" }}

[algorithm]
name = "Test model"
manufacturer = "Nobody"
family = {{ value = "123110", scheme = "DCM", meaning = "Artificial Intelligence" }}

[intended_use]
modality = "CT"
body_part = "CHEST"
age_min_years = 18
age_max_years = 90
slice_thickness_min_mm = 0.5
slice_thickness_max_mm = 5
coverage = "both lungs"

[licence]
name = "CC-BY-NC-4.0"
restriction = "{restriction}"
text = "No commercial use."
"""

HU_TO_UNIT = """
[[input.preparation]]
step = "clip"
low_hu = -1024
high_hu = 1024

[[input.preparation]]
step = "rescale"
from = [-1024, 1024]
to = [0, 1]
"""

AS_PICTURES = """
[[input.preparation]]
step = "clip"
low_hu = -1000
high_hu = 1000

[[input.preparation]]
step = "stretch"

[[input.preparation]]
step = "equalise"
clip_limit = 7
tiles = 4

[[input.preparation]]
step = "rescale"
from = [0, 255]
to = [0, 1]
"""

IN_A_WINDOW = """
[[input.preparation]]
step = "window"
low_hu = -1350
high_hu = 150

[[input.preparation]]
step = "rescale"
from = [0, 255]
to = [0, 1]
"""

_CONSOLIDATION_LABEL = """
[[output.labels]]
channel = 1
finding = "consolidation"
category = { value = "49755003", scheme = "SCT", meaning = "Morphologically Altered Structure" }
type = { value = "95436008", scheme = "SCT", meaning = "Lung consolidation" }

[algorithm]"""


@dataclass(frozen=True, slots=True)
class TinyModel:
    """What a test varies."""

    nodes: Sequence[Any] = ()
    initializers: Sequence[Any] = ()
    axes: str = "NCZYX"
    patch_zyx: tuple[int, int, int] = (8, 16, 16)
    batch: int = 1
    overlap: float = 0.5
    margin_mm: float = 0.0
    spacing: tuple[str, str] = ('"native"', '"native"')
    extra: str = ""
    preparation: str = HU_TO_UNIT
    input_channels: int = 1
    channels: int = 1
    label_channel: int = 0
    activation: str = "none"
    restriction: str = "none"
    opset: int = 17
    output: str = "y"
    element: int = TensorProto.FLOAT
    replace: dict[str, str] = field(default_factory=dict)


def identity_node() -> list[Any]:
    """y = x."""
    return [helper.make_node("Identity", ["x"], ["y"])]


def shift_nodes(offset_zyx: tuple[int, int, int]) -> tuple[list[Any], list[Any]]:
    """y[v] = x[v + offset]: a model that knows head from foot and left from right."""
    kernel = np.zeros((1, 1, 3, 3, 3), dtype=np.float32)
    kernel[(0, 0, *(1 + step for step in offset_zyx))] = 1.0
    node = helper.make_node("Conv", ["x", "k"], ["y"], kernel_shape=[3, 3, 3], pads=[1] * 6)
    return [node], [numpy_helper.from_array(kernel, "k")]


def slice_model(
    *, field_of_view: float = 1.0, lesion_from_hu: float | None = None, **changes: Any
) -> TinyModel:
    """A model of whole slices: where x ≥ 0.5 it sees lung and lesion, where x ≥ 0.75 consolidation."""
    nodes = [
        helper.make_node("Add", ["x", "x"], ["twice"]),
        helper.make_node("Sub", ["twice", "one"], ["beyond"]),
        helper.make_node("Clip", ["beyond", "zero", "one"], ["dense"]),
        helper.make_node("Concat", ["x", "x", "dense"], ["y"], axis=1),
    ]
    values = [numpy_helper.from_array(np.float32(value), name) for name, value in (("zero", 0), ("one", 1))]
    keys = ["lung_channel = 0", "consolidation_channel = 2"]
    if lesion_from_hu is not None:
        keys.append(f"lesion_from_hu = {lesion_from_hu}")
    model = TinyModel(
        nodes=nodes,
        initializers=values,
        axes="NCYX",
        patch_zyx=(1, 64, 64),
        batch=4,
        spacing=("2.5", '"fit"'),
        extra=f"field_of_view = {field_of_view}",
        channels=3,
        label_channel=1,
        replace={
            'decision = "each"': "\n".join(['decision = "density"', *keys]),
            "[algorithm]": _CONSOLIDATION_LABEL.lstrip(),
        },
    )
    return replace(model, **changes)


def calibration_model(**changes: Any) -> TinyModel:
    """A model of whole slices with a second input channel, which is all that it gives: as lung and lesion."""
    nodes = [
        helper.make_node("Split", ["x"], ["grey", "flag"], axis=1),
        helper.make_node("Concat", ["flag", "flag", "flag"], ["y"], axis=1),
    ]
    whole = slice_model(preparation=IN_A_WINDOW)
    extra = f"{whole.extra}\ncalibrated_channel = true"
    return replace(whole, nodes=nodes, initializers=(), input_channels=2, extra=extra, **changes)


def write_package(folder: Path, model: TinyModel | None = None) -> Path:
    """Write a package into folder, which gives it its name."""
    model = model or TinyModel()
    folder.mkdir(parents=True, exist_ok=True)
    spatial = ["z", "h", "w"][-(len(model.axes) - 2) :]
    graph = helper.make_graph(
        list(model.nodes) or identity_node(),
        "tiny",
        [helper.make_tensor_value_info("x", model.element, ["n", model.input_channels, *spatial])],
        [helper.make_tensor_value_info(model.output, model.element, ["n", model.channels, *spatial])],
        list(model.initializers),
    )
    opsets = [helper.make_opsetid("", model.opset)]
    content = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    (folder / "MODEL_CARD.md").write_text("# Tiny\n", encoding="utf-8")
    manifest = MANIFEST.format(
        name=folder.name,
        sha256=hashlib.sha256(content).hexdigest(),
        axes=model.axes,
        z=model.spacing[0],
        in_plane=model.spacing[1],
        patch=", ".join(str(length) for length in model.patch_zyx),
        batch=model.batch,
        overlap=model.overlap,
        margin=model.margin_mm,
        extra=model.extra,
        preparation=model.preparation,
        channels=model.channels,
        activation=model.activation,
        label_channel=model.label_channel,
        restriction=model.restriction,
    )
    if model.input_channels != 1:
        manifest = manifest.replace("channels = 1", f"channels = {model.input_channels}", 1)
    for old, new in model.replace.items():
        manifest = manifest.replace(old, new)
    (folder / "model.toml").write_text(manifest, encoding="utf-8")
    return folder


def tiny_package(folder: Path, model: TinyModel | None = None) -> ModelPackage:
    """Write and load a package."""
    return load_package(write_package(folder, model))
