"""Build models/densitometry/model.onnx: rules of density and shape, written as an ONNX graph; no training.

The graph takes Hounsfield units at 1.35 mm in every direction, everything outside the lungs set to
parenchyma, and gives two shares per voxel: ground-glass opacity and consolidation.

How it works
------------
1. Two ramps say how far a voxel has left healthy parenchyma (−860 HU): `opaque` crosses one half at −750 HU
   (midway to ground-glass opacity), `dense` at −460 HU (a little before midway to soft tissue, which makes
   up for the volume that curved borders lose to blur).
2. Erosion by an octahedron 8.1 mm across leaves markers in lesions of 10 mm and more; vessels and bronchial
   walls are thinner and vanish. Markers of ground glass need −720 HU, so that parenchyma near the border of
   −750 HU does not break up into specks, and stand off everything above −300 HU by more than one voxel,
   because the blurred border of a vessel or of a consolidation passes through the ground-glass range.
3. A shell of ground glass around a consolidation may be thinner than the octahedron: it is marked where it
   reaches further than blur does.
4. Geodesic reconstruction (Vincent, IEEE TIP 1993, doi 10.1109/83.217222) grows the markers back inside the
   ramps in a few steps: lesions regain their exact borders, while a vessel that touches one is followed a
   few millimetres at most.
5. What is above −300 HU inside a dense lesion is consolidation, and so is its own blurred rim where no
   ground-glass opacity surrounds it. The rest of a lesion, with the vessels inside it, is ground glass.

Run it without arguments; the same onnx release writes the same bytes. It also writes the digest into
model.toml.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).resolve().parents[1] / "densitometry"

OPSET = 17
IR_VERSION = 8
PARENCHYMA_HU = -860.0
#: HU at which each ramp leaves 0 and reaches 1.
OPAQUE_HU = (-860.0, -640.0)
DENSE_HU = (-860.0, -60.0)
SOLID_HU = (-500.0, -100.0)
SEED_HU = (-800.0, -640.0)
HALO_HU = (-760.0, -620.0)
#: Weight of either neighbour in the smoothing along each axis.
SMOOTHING = 0.08
#: Steps of the erosion by one voxel, of growing back, and of growing by two voxels from a core to its halo.
EROSIONS = 2
GROWTH_STEPS = 3
HALO_REACH = 3


class _Graph:
    """Collects nodes, and names each value after what it is."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Append a node with one output."""
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: object) -> str:
        """Append a float32 initializer."""
        self.initializers.append(numpy_helper.from_array(np.asarray(values, dtype=np.float32), name))
        return name

    def smooth(self, value: str, name: str) -> str:
        """Average with the 26 neighbours by a separable kernel."""
        line = np.array([SMOOTHING, 1.0 - 2.0 * SMOOTHING, SMOOTHING])
        kernel = self.constant(
            f"{name}_kernel", np.einsum("i,j,k->ijk", line, line, line)[np.newaxis, np.newaxis]
        )
        # Beyond the patch lies more of the same, not zero HU.
        padding = self.constant_int(f"{name}_padding", [0, 0, 1, 1, 1, 0, 0, 1, 1, 1])
        padded = self.add("Pad", [value, padding], f"{name}_padded", mode="edge")
        return self.add("Conv", [padded, kernel], name, kernel_shape=[3, 3, 3])

    def constant_int(self, name: str, values: list[int]) -> str:
        """Append an int64 initializer."""
        self.initializers.append(numpy_helper.from_array(np.asarray(values, dtype=np.int64), name))
        return name

    def ramp(self, hu: str, ends_hu: tuple[float, float], name: str) -> str:
        """Rise from 0 to 1 between two HU."""
        low, high = ends_hu
        scale = self.constant(f"{name}_scale", 1.0 / (high - low))
        offset = self.constant(f"{name}_offset", -low / (high - low))
        scaled = self.add("Mul", [hu, scale], f"{name}_scaled")
        line = self.add("Add", [scaled, offset], f"{name}_line")
        return self.add("Clip", [line, "zero", "one"], name)

    def dilate_cross(self, value: str, name: str) -> str:
        """Greatest of a voxel and its six neighbours."""
        z, y, x = (
            self.add_max_pool(value, kernel, f"{name}_{axis}")
            for axis, kernel in (("z", [3, 1, 1]), ("y", [1, 3, 1]), ("x", [1, 1, 3]))
        )
        return self.add("Max", [self.add("Max", [z, y], f"{name}_zy"), x], name)

    def erode_cross(self, value: str, name: str) -> str:
        """Least of a voxel and its six neighbours."""
        negative = self.add("Neg", [value], f"{name}_negative")
        return self.add("Neg", [self.dilate_cross(negative, f"{name}_dilated")], name)

    def erode(self, value: str, name: str) -> str:
        """Least within an octahedron of six voxels across, its faces one voxel flat."""
        current = self.add("Neg", [value], f"{name}_negative")
        for step in range(EROSIONS):
            current = self.dilate_cross(current, f"{name}_{step}")
        # Even: the marker moves by half a voxel, which growing back makes up for.
        current = self.add_max_pool(current, [2, 2, 2], f"{name}_widened")
        return self.add("Neg", [current], name)

    def reconstruct(self, marker: str, mask: str, name: str) -> str:
        """Grow a marker inside a mask, a 26-neighbourhood at a time."""
        current = marker
        for step in range(GROWTH_STEPS):
            grown = self.add_max_pool(current, [3, 3, 3], f"{name}_grown_{step}")
            current = self.add("Min", [grown, mask], f"{name}_{step}")
        return current

    def complement(self, value: str, name: str) -> str:
        """One minus a share."""
        return self.add("Sub", ["one", value], name)

    def add_max_pool(self, value: str, kernel: list[int], name: str) -> str:
        """Greatest within a box; an even box reaches further forward."""
        pads = [(size - 1) // 2 for size in kernel] + [size // 2 for size in kernel]
        return self.add("MaxPool", [value], name, kernel_shape=kernel, pads=pads, strides=[1, 1, 1])


def build() -> bytes:
    """Return the model as the bytes of an ONNX file."""
    graph = _Graph()
    graph.constant("zero", 0.0)
    graph.constant("one", 1.0)
    hu = graph.smooth("hu", "smoothed_hu")
    opaque = graph.ramp(hu, OPAQUE_HU, "opaque")
    dense = graph.ramp(hu, DENSE_HU, "dense")
    solid = graph.ramp(hu, SOLID_HU, "solid")
    solid_and_rim = graph.dilate_cross(solid, "solid_and_rim")

    dense_marker = graph.erode(dense, "dense_marker")
    dense_lesion = graph.reconstruct(dense_marker, dense, "dense_lesion")
    seed = graph.ramp(hu, SEED_HU, "seed")
    hazy = graph.add("Min", [seed, graph.complement(solid_and_rim, "not_solid")], "hazy")
    halo = _halo(graph, hu, solid_and_rim, dense_marker)
    hazy_marker = graph.add("Max", [graph.erode(hazy, "hazy_core"), halo], "hazy_marker")
    hazy_lesion = graph.reconstruct(hazy_marker, opaque, "hazy_lesion")
    lesion = graph.add("Max", [dense_lesion, hazy_lesion], "lesion")

    # A rim belongs to the consolidation unless ground glass surrounds it.
    own_rim = graph.add(
        "Min", [solid_and_rim, graph.complement(hazy_lesion, "not_hazy")], "rim_of_consolidation"
    )
    solid_part = graph.add("Max", [solid, own_rim], "solid_part")
    in_dense = graph.add("Min", [solid_part, dense_lesion], "solid_part_of_dense_lesion")
    consolidation = graph.add("Min", [in_dense, lesion], "consolidation")
    ground_glass = graph.add("Sub", [lesion, consolidation], "ground_glass")
    graph.add("Concat", [ground_glass, consolidation], "shares", axis=1)
    return _serialized(graph)


def _halo(graph: _Graph, hu: str, solid_and_rim: str, dense_marker: str) -> str:
    """Mark ground glass around a consolidation that is too thin for the octahedron.

    Within reach of a consolidation thicker than any vessel, and further off what is solid than blur reaches.
    """
    wide_rim = graph.dilate_cross(solid_and_rim, "wide_rim")
    # Thick slices blur further along z than across it.
    wide_rim = graph.add_max_pool(wide_rim, [5, 1, 1], "wide_rim_along_z")
    off_solid = graph.complement(wide_rim, "off_solid")
    clearly_hazy = graph.ramp(hu, HALO_HU, "clearly_hazy")
    reach = graph.erode_cross(dense_marker, "thick_core")
    for step in range(HALO_REACH):
        reach = graph.add_max_pool(reach, [5, 5, 5], f"reach_{step}")
    return graph.add("Min", [graph.add("Min", [clearly_hazy, off_solid], "hazy_off_solid"), reach], "halo")


def _serialized(graph: _Graph) -> bytes:
    """Wrap the nodes into a checked model."""
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "densitometry",
            [helper.make_tensor_value_info("hu", TensorProto.FLOAT, ["n", 1, "z", "y", "x"])],
            [helper.make_tensor_value_info("shares", TensorProto.FLOAT, ["n", 2, "z", "y", "x"])],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="lesion-node",
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def main() -> int:
    """Write model.onnx and its digest in model.toml."""
    content = build()
    (FOLDER / "model.onnx").write_bytes(content)
    manifest = FOLDER / "model.toml"
    digest = hashlib.sha256(content).hexdigest()
    text, count = re.subn(
        r'(?m)^sha256 = "[0-9a-f]*"$', f'sha256 = "{digest}"', manifest.read_text(encoding="utf-8")
    )
    if count != 1:
        print(f'{manifest} has no line sha256 = "..."; write it yourself: {digest}', file=sys.stderr)
        return 1
    manifest.write_text(text, encoding="utf-8")
    print(f"{FOLDER / 'model.onnx'}: {len(content)} bytes, sha256 {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
