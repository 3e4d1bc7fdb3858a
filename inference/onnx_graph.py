"""What an ONNX file says about itself: its header, and its inputs and outputs against the manifest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from inference.manifest import Manifest
from inference.model_package import MODEL_FILE

# Field numbers of ModelProto and OperatorSetIdProto, and wire types, of the ONNX protobuf schema.
_IR_VERSION, _OPSET_IMPORT = 1, 8
_DOMAIN, _VERSION = 1, 2
_VARINT, _EIGHT_BYTES, _LENGTH_DELIMITED, _FOUR_BYTES = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class OnnxHeader:
    """Versions that an ONNX file asks for.

    Parameters
    ----------
    ir_version
        Of the file format.
    opsets
        Operator set version by domain; the standard operators have the domain "".
    """

    ir_version: int
    opsets: dict[str, int]


def read_header(content: bytes) -> OnnxHeader:
    """Read the versions of an ONNX file without the onnx package, which is no runtime dependency.

    Raises
    ------
    ValueError
        The bytes are no protobuf message.
    """
    ir_version = 0
    opsets: dict[str, int] = {}
    for number, value in _fields(memoryview(content)):
        if number == _IR_VERSION and isinstance(value, int):
            ir_version = value
        elif number == _OPSET_IMPORT and isinstance(value, memoryview):
            opset = dict(_fields(value))
            domain, version = opset.get(_DOMAIN, b""), opset.get(_VERSION, 0)
            if isinstance(version, int) and not isinstance(domain, int):
                opsets[bytes(domain).decode()] = version
    return OnnxHeader(ir_version, opsets)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Walk the fields of one protobuf message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == _LENGTH_DELIMITED:
            size, at = _varint(message, at)
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if wire == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"wire type {wire} does not exist")
        if at + size > len(message):
            raise ValueError("the file ends too early")
        yield number, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Read a base-128 number; return it and where the next byte stands."""
    value = 0
    for place, byte in enumerate(message[at : at + 10]):
        value |= (byte & 0x7F) << (7 * place)
        if not byte & 0x80:
            return value, at + place + 1
    raise ValueError("a number does not end")


def graph_faults(session: Any, manifest: Manifest) -> list[str]:
    """Compare a graph's inputs and outputs with the manifest.

    Returns
    -------
    list of str
        One line for every difference: what was found and what is wanted.
    """
    faults: list[str] = []
    inputs = {value.name: value for value in session.get_inputs()}
    outputs = {value.name: value for value in session.get_outputs()}
    wanted_input = manifest.input.tensor_shape
    wanted_output = (wanted_input[0], manifest.output.channels, *wanted_input[2:])
    for others in sorted(set(inputs) - {manifest.input.name}):
        faults.append(
            f"{MODEL_FILE}: input {others}: the graph wants more than one input; export it with one"
        )
    for key, values, name, shape in (
        ("input.name", inputs, manifest.input.name, wanted_input),
        ("output.name", outputs, manifest.output.name, wanted_output),
    ):
        if name not in values:
            faults.append(f"{MODEL_FILE}: {key}: found {', '.join(sorted(values))}; the manifest says {name}")
            continue
        if values[name].type != "tensor(float)":
            faults.append(f"{MODEL_FILE}: {name}: found {values[name].type}, wanted tensor(float): float32")
        if not _fits(values[name].shape, shape):
            faults.append(
                f"{MODEL_FILE}: {name}: found shape {values[name].shape}, "
                f"the manifest leads to {list(shape)} (axes, channels, patch_zyx, batch)"
            )
    return faults


def _fits(found: list[int | str | None] | None, wanted: tuple[int, ...]) -> bool:
    """Tell whether a graph's declared shape admits the wanted one; names and None admit any size."""
    if not found:  # no shape declared: the first run will tell
        return True
    return len(found) == len(wanted) and all(
        not isinstance(have, int) or have == want for have, want in zip(found, wanted, strict=True)
    )
