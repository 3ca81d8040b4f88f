"""What a model's own files say of its inputs and outputs, without loading it and without its libraries.

ONNX is protocol buffers: a file is a sequence of numbered fields, and a field that does not interest us (weights, which
are nearly all of it) is stepped over by its length. Of a gigabyte a few kilobytes are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from bough.adapters.blobs import Blobs
from bough.data.models import File
from bough.kernel.errors import Problem
from bough.registry.models import ModelSignature
from bough.runtime.frames import Tensor

MLMODEL_BYTES = 1 << 20  # longest that is read
_ONNX_TYPES = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "BYTES", 9: "BOOL",
    10: "FP16", 11: "FP64", 12: "UINT32", 13: "UINT64", 16: "BF16",
}  # fmt: skip
_COLUMN_TYPES = {
    "double": "FP64", "float": "FP32", "integer": "INT32", "long": "INT64", "boolean": "BOOL", "string": "BYTES",
    "binary": "BYTES", "datetime": "BYTES",
}  # fmt: skip
_NUMPY_TYPES = {
    "float64": "FP64", "float32": "FP32", "float16": "FP16", "int64": "INT64", "int32": "INT32", "int16": "INT16",
    "int8": "INT8", "uint64": "UINT64", "uint32": "UINT32", "uint16": "UINT16", "uint8": "UINT8", "bool": "BOOL",
}  # fmt: skip
_GRAPH, _INITIALIZER, _INPUT, _OUTPUT = 7, 5, 11, 12
_LONGEST_BYTES = 1 << 20  # of a field that is read: names and shapes are short


def read_signature(blobs: Blobs, files: list[File]) -> ModelSignature | None:
    """From `MLmodel`, else from the only ONNX file; None when neither says anything. Never fails: who wants to be sure
    declares the signature."""
    described = next((each for each in files if each.path == "MLmodel" and each.size <= MLMODEL_BYTES), None)
    if described is not None and (found := of_mlmodel(blobs.read(described.digest).decode("utf-8", "replace"))):
        return found
    graphs = [each for each in files if each.path.lower().endswith(".onnx")]
    if len(graphs) != 1:
        return None
    try:
        path = blobs.local_path(graphs[0].digest)
        with path.open("rb") if path else blobs.open(graphs[0].digest) as stream:
            return of_onnx(stream)
    except (ValueError, EOFError, OSError, Problem):  # no ONNX inside, or not one that we can read
        return None


def of_mlmodel(text: str) -> ModelSignature | None:
    """MLflow writes a signature as JSON in YAML strings: two lines of it are looked for, and no YAML is parsed."""
    found: dict[str, list[Tensor]] = {}
    inside = False
    lines = _unfolded(text)
    for line in lines:
        if not line.startswith(" "):
            inside = line.rstrip() == "signature:"
            continue
        name, _, value = line.strip().partition(": ")
        if inside and name in ("inputs", "outputs"):
            found[name] = _columns(value.strip().strip("'").replace("''", "'"), name.removesuffix("s"))
    return ModelSignature(**found) if any(found.values()) else None


def of_onnx(stream: BinaryIO) -> ModelSignature:
    """Raises ValueError or EOFError when it is none."""
    weights: set[str] = set()
    values: dict[int, list[Tensor]] = {_INPUT: [], _OUTPUT: []}
    for field, start, size in _fields(stream, None):
        if field != _GRAPH:
            continue
        stream.seek(start)
        for inner, at, length in _fields(stream, start + size):
            if inner == _INITIALIZER:
                weights.add(_name_of_weights(stream, at, at + length))
            elif inner in values and length <= _LONGEST_BYTES:
                stream.seek(at)
                values[inner].append(_value_info(_message(stream.read(length))))
            stream.seek(at + length)
        stream.seek(start + size)
    inputs = [each for each in values[_INPUT] if each.name not in weights]
    if not values[_OUTPUT]:
        raise ValueError("no graph with outputs")
    return ModelSignature(inputs=inputs, outputs=values[_OUTPUT])


def _unfolded(text: str) -> list[str]:
    """A long string goes on in lines that are indented deeper than its key."""
    lines: list[str] = []
    for line in text.splitlines():
        depth = len(line) - len(line.lstrip())
        if lines and depth >= 4 and lines[-1].lstrip().startswith(("inputs:", "outputs:")):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    return lines


def _columns(text: str, what: str) -> list[Tensor]:
    try:
        columns = msgspec.json.decode(text, type=list[dict[str, Any]])
    except msgspec.MsgspecError:
        return []
    found = []
    for index, column in enumerate(columns):
        name = str(column.get("name") or (what if len(columns) == 1 else f"{what}_{index}"))
        tensor = column.get("tensor-spec") or {}
        if column.get("type") == "tensor":
            shape = [size if isinstance(size, int) else -1 for size in tensor.get("shape", [-1])]
            found.append(Tensor(name=name, datatype=_NUMPY_TYPES.get(tensor.get("dtype", ""), "BYTES"), shape=shape))
        else:
            found.append(Tensor(name=name, datatype=_COLUMN_TYPES.get(str(column.get("type")), "BYTES"), shape=[-1]))
    return found


def _fields(stream: BinaryIO, end: int | None) -> Iterator[tuple[int, int, int]]:
    """Number, start and length of each field with a length; what is between is stepped over. The caller may seek."""
    at = stream.tell()
    while end is None or at < end:
        stream.seek(at)
        tag = _varint(stream)
        if tag is None:
            return
        wire = tag & 7
        if wire == 2:
            size = _varint(stream)
            if size is None:
                raise EOFError
            start = stream.tell()
            yield tag >> 3, start, size
            at = start + size
        elif wire == 0:
            _varint(stream)
            at = stream.tell()
        elif wire in (1, 5):
            at = stream.tell() + (8 if wire == 1 else 4)
        else:
            raise ValueError("not protocol buffers")


def _varint(stream: BinaryIO) -> int | None:
    value = shift = 0
    while True:
        byte = stream.read(1)
        if not byte:
            if shift:
                raise EOFError
            return None
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
        shift += 7
        if shift > 63:
            raise ValueError("not protocol buffers")


def _name_of_weights(stream: BinaryIO, start: int, end: int) -> str:
    """TensorProto: its name is field 8, which may stand after the weights themselves."""
    stream.seek(start)
    for field, at, size in _fields(stream, end):
        if field == 8 and size <= _LONGEST_BYTES:
            stream.seek(at)
            return stream.read(size).decode("utf-8", "replace")
    return ""


def _message(content: bytes) -> dict[int, list[Any]]:
    """The fields of a short message by number: bytes, or whole numbers."""
    found: dict[int, list[Any]] = {}
    at = 0
    while at < len(content):
        tag, at = _number(content, at)
        if tag & 7 == 2:
            size, at = _number(content, at)
            found.setdefault(tag >> 3, []).append(content[at : at + size])
            at += size
        elif tag & 7 == 0:
            value, at = _number(content, at)
            found.setdefault(tag >> 3, []).append(value)
        elif tag & 7 in (1, 5):
            at += 8 if tag & 7 == 1 else 4
        else:
            raise ValueError("not protocol buffers")
    return found


def _number(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(content):
        byte = content[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
    raise EOFError


def _value_info(info: dict[int, list[Any]]) -> Tensor:
    """ValueInfoProto: name 1, type 2 -> tensor_type 1 -> elem_type 1, shape 2 -> dim 1 -> dim_value 1."""
    name = info.get(1, [b""])[0].decode("utf-8", "replace")
    tensor = _message(_message(info.get(2, [b""])[0]).get(1, [b""])[0])
    datatype = _ONNX_TYPES.get(tensor.get(1, [0])[0], "BYTES")
    shape: list[int] = []
    if 2 in tensor:
        for dimension in _message(tensor[2][0]).get(1, []):
            size = _message(dimension).get(1, [0])[0]
            shape.append(size if size > 0 else -1)
    return Tensor(name=name, datatype=datatype, shape=shape or [-1])
