"""The wire format of the Open Inference Protocol v2 over HTTP, with the binary tensor data extension.

A body is JSON, or JSON followed by the bytes of those tensors that carry `binary_data_size`; the header
Inference-Header-Content-Length tells where the JSON ends. Elements are little-endian in row-major order; BYTES elements
are each preceded by a four-byte length. Data is a numpy array where numpy is, else nested lists.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from bough.runtime import arrays
from bough.runtime.answers import OutputInvalid, encode_json
from bough.runtime.frames import Tensor
from bough.runtime.schema import datatype_of
from bough.runtime.service import Reject

_CODES = {
    "BOOL": "?", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT16": "H", "UINT32": "I",
    "UINT64": "Q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip
_U32 = struct.Struct("<I")
_MAX_RANK = 32
_Unset = msgspec.UNSET


class Input(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] = {}
    data: Any = _Unset


class Wanted(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class Inference(msgspec.Struct):
    """A request; after `parse` each input's `data` is an array (or nested list) of its `shape`."""

    inputs: list[Input]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[Wanted] = []


class Answered(msgspec.Struct):
    """An answer, as far as its tensors go."""

    outputs: list[Input]


_decode = msgspec.json.Decoder(Inference).decode
_decode_answer = msgspec.json.Decoder(Answered).decode


def parse(body: bytes, meta: str) -> Inference:
    """Raises `Reject` (400 TENSORS_INVALID) for anything that is not a well-formed request."""
    try:
        head = int(meta) if meta else len(body)
        if not 0 <= head <= len(body):
            raise ValueError(f"Inference-Header-Content-Length is {head}, the body has {len(body)} bytes")
        request = _decode(memoryview(body)[:head])
        _fill(request.inputs, body, head)
        return request
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, struct.error, RecursionError) as error:
        raise Reject(str(error), status=400, code="TENSORS_INVALID") from error


def answered(body: bytes, headers: bytes) -> list[Input]:
    """The outputs of an answer that `render` made."""
    _, found, length = headers.partition(b"Inference-Header-Content-Length: ")
    head = int(length.split(b"\r\n", 1)[0]) if found else len(body)
    outputs = _decode_answer(memoryview(body)[:head]).outputs
    _fill(outputs, body, head)
    return outputs


def render(model: str, request: Inference, outputs: dict[str, Any]) -> tuple[bytes, bytes]:
    """Body and headers of the answer. `outputs` maps names to arrays or nested lists."""
    default = bool(request.parameters.get("binary_data_output", False))
    wanted = request.outputs or [Wanted(name) for name in outputs]
    described: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for one in wanted:
        if one.name not in outputs:
            raise Reject(
                f"there is no output {one.name!r}; there are {', '.join(outputs)}", status=400, code="OUTPUT_UNKNOWN"
            )
        if "classification" in one.parameters or "shared_memory_region" in one.parameters:
            raise Reject(
                "the classification and shared memory extensions are not offered", status=400, code="UNSUPPORTED"
            )
        datatype, shape, flat = _flatten(outputs[one.name], one.name)
        entry: dict[str, Any] = {"name": one.name, "datatype": datatype, "shape": shape}
        if one.parameters.get("binary_data", default):
            data = _to_bytes(datatype, flat)
            entry["parameters"] = {"binary_data_size": len(data)}
            tail.append(data)
        else:
            entry["data"] = _to_json(datatype, flat, one.name)
        described.append(entry)
    answer: dict[str, Any] = {"model_name": model, "model_version": "1", "outputs": described}
    if request.id:
        answer["id"] = request.id
    head = encode_json(answer)
    if not tail:
        return head, b""
    headers = b"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: %d\r\n" % len(head)
    return b"".join([head, *tail]), headers


def zeros(inputs: Sequence[Tensor]) -> dict[str, Any]:
    """One row of zeros for each input, free dimensions as short as they can be; raises KeyError for what has none."""
    numpy = arrays.numpy()
    return {
        each.name: numpy.zeros([max(1, length) for length in each.shape], numpy.dtype(_CODES[each.datatype]))
        for each in inputs
    }


def to_lists(data: Any) -> Any:
    return data.tolist() if hasattr(data, "tolist") else data


def _fill(tensors: list[Input], body: bytes, at: int) -> None:
    for tensor in tensors:
        size = tensor.parameters.get("binary_data_size")
        _check(tensor, size)
        if size is None:
            tensor.data = _from_json(tensor)
            continue
        if at + size > len(body):
            raise ValueError(f"input {tensor.name!r}: binary_data_size {size} reaches beyond the body")
        tensor.data = _from_bytes(tensor, body[at : at + size])
        at += size
    if at != len(body):
        raise ValueError(f"{len(body) - at} bytes of the body belong to no input")


def _check(tensor: Input, size: Any) -> None:
    what = f"input {tensor.name!r}"
    if tensor.datatype not in _CODES and tensor.datatype not in ("BYTES", "BF16"):
        raise ValueError(f"{what}: unknown datatype {tensor.datatype!r}")
    if "shared_memory_region" in tensor.parameters:
        raise ValueError(f"{what}: shared memory is not offered; send the data")
    if any(n < 0 for n in tensor.shape) or len(tensor.shape) > _MAX_RANK:
        raise ValueError(f"{what}: shape {tensor.shape} must be of sizes from 0 up")
    if size is None and tensor.data is _Unset:
        raise ValueError(f"{what} has neither data nor binary_data_size")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise ValueError(f"{what}: binary_data_size must be a number of bytes")


def _from_json(tensor: Input) -> Any:
    if tensor.datatype == "BF16":
        raise ValueError(f"input {tensor.name!r}: BF16 must be sent as binary data")
    flat = list(_leaves(tensor.data)) if isinstance(tensor.data, list) else [tensor.data]
    _count(tensor, len(flat))
    if tensor.datatype == "BYTES":
        if not all(isinstance(value, str) for value in flat):
            raise ValueError(f"input {tensor.name!r}: BYTES in JSON are strings")
        return _shaped([value.encode() for value in flat], tensor)
    kind = bool if tensor.datatype == "BOOL" else (int, float) if tensor.datatype.startswith("FP") else int
    if not all(isinstance(value, kind) for value in flat):
        raise ValueError(f"input {tensor.name!r}: every element must be a {tensor.datatype}")
    if not tensor.datatype.startswith("FP") and tensor.datatype != "BOOL":
        try:
            struct.pack(f"<{len(flat)}{_CODES[tensor.datatype]}", *flat)
        except struct.error as error:
            raise ValueError(f"input {tensor.name!r}: a value is out of range: {error}") from error
    return _shaped(flat, tensor)


def _from_bytes(tensor: Input, data: bytes) -> Any:
    if tensor.datatype == "BYTES":
        flat = list(_elements(data))
        _count(tensor, len(flat))
        return _shaped(flat, tensor)
    width = 2 if tensor.datatype == "BF16" else struct.calcsize("<" + _CODES[tensor.datatype])
    if len(data) != math.prod(tensor.shape) * width:
        raise ValueError(
            f"input {tensor.name!r}: {len(data)} bytes do not fill shape {tensor.shape} of {tensor.datatype}"
        )
    numpy = arrays.numpy()
    if tensor.datatype == "BF16":  # the upper half of a float32
        data = b"".join(b"\0\0" + data[n : n + 2] for n in range(0, len(data), 2))
    code = "f" if tensor.datatype == "BF16" else _CODES[tensor.datatype]
    if numpy is not None:
        return numpy.frombuffer(data, dtype=numpy.dtype(code).newbyteorder("<")).reshape(tensor.shape)
    return _nest(list(struct.unpack(f"<{len(data) // struct.calcsize('<' + code)}{code}", data)), tensor.shape)


def _count(tensor: Input, found: int) -> None:
    if found != math.prod(tensor.shape):
        raise ValueError(f"input {tensor.name!r}: {found} elements do not fill shape {tensor.shape}")


def _shaped(flat: list[Any], tensor: Input) -> Any:
    numpy = arrays.numpy()
    if numpy is None:
        return _nest(flat, tensor.shape)
    if tensor.datatype != "BYTES":
        return numpy.array(flat, dtype=numpy.dtype(_CODES[tensor.datatype])).reshape(tensor.shape)
    array = numpy.empty(len(flat), dtype=object)
    array[:] = flat
    return array.reshape(tensor.shape)


def _nest(flat: list[Any], shape: Sequence[int]) -> Any:
    if not shape:
        return flat[0]
    for size in reversed(shape[1:]):
        flat = (
            [flat[n : n + size] for n in range(0, len(flat), size)]
            if size
            else [[] for _ in range(math.prod(shape[:-1]))]
        )
    return flat


def _leaves(data: Any) -> Iterator[Any]:
    for value in data:
        if isinstance(value, list):
            yield from _leaves(value)
        else:
            yield value


def _elements(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        (size,) = _U32.unpack_from(data, at)
        if at + 4 + size > len(data):
            raise ValueError("a BYTES element reaches beyond its tensor")
        yield data[at + 4 : at + 4 + size]
        at += 4 + size


def _flatten(value: Any, name: str) -> tuple[str, list[int], Any]:
    """Datatype, shape, and the elements as a flat array (numbers) or list."""
    numpy = arrays.numpy()
    if numpy is None:
        return _flatten_lists(value, name)
    try:
        array = numpy.asarray(value)
    except ValueError as error:
        raise OutputInvalid(f"output {name!r} is not a tensor: {error}") from error
    datatype = datatype_of(array.dtype)
    if datatype == "BYTES":
        return datatype, list(array.shape), array.ravel().tolist()
    return datatype, list(array.shape), array.ravel()


def _flatten_lists(value: Any, name: str) -> tuple[str, list[int], Any]:
    shape: list[int] = []
    level: Any = value
    while isinstance(level, (list, tuple)):
        shape.append(len(level))
        level = level[0] if level else None
    flat = list(_leaves(value)) if isinstance(value, list) else [value]
    if len(flat) != math.prod(shape):
        raise OutputInvalid(f"output {name!r} is ragged: its rows differ in length")
    kinds = {type(entry) for entry in flat}
    for kinds_known, datatype in (({bool}, "BOOL"), ({int}, "INT64"), ({int, float, bool}, "FP64")):
        if kinds <= kinds_known:
            return datatype, shape, flat
    return "BYTES", shape, flat


def _to_bytes(datatype: str, flat: Any) -> bytes:
    if datatype == "BYTES":
        return b"".join(_U32.pack(len(data)) + data for data in map(_as_bytes, flat))
    if hasattr(flat, "tobytes"):
        return bytes(flat.astype(flat.dtype.newbyteorder("<"), copy=False).tobytes())
    return struct.pack(f"<{len(flat)}{_CODES[datatype]}", *flat)


def _to_json(datatype: str, flat: Any, name: str) -> Any:
    if datatype != "BYTES":
        return to_lists(flat)
    try:
        return [_as_bytes(value).decode() for value in flat]
    except UnicodeDecodeError as error:
        raise OutputInvalid(f"output {name!r} is not UTF-8 text: ask for it with binary_data") from error


def _as_bytes(value: Any) -> bytes:
    """Text as it is; anything that is not text (a dict, a list inside a column) as its JSON."""
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else encode_json(value)
