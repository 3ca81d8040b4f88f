"""safetensors: weights without code, so the project brings the code.

Beside `model.safetensors` stands `model.loader`, a text file with one line, `module:function`. The function is called
with the tensors, a dict of read-only numpy arrays by name, and returns an object with a `predict` written as in a
service class (`@bough.batch` and types included), or such a function.

The format is read here: eight bytes of length, a JSON header, the data. The file is mapped, so replicas share its
pages. BF16, which numpy does not have, is widened to float32.
"""

from __future__ import annotations

import importlib
import math
import struct
from pathlib import Path
from typing import Any

import msgspec

from bough.runtime.failures import LoadError
from bough.runtime.loaders.rows import required

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "?",
}  # fmt: skip
_MAX_HEADER_BYTES = 100 << 20  # what the format allows


class Entry(msgspec.Struct):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def open_model(path: Path, spec: Any) -> Any:
    beside = path.with_suffix(".loader")
    if not beside.exists():
        raise LoadError(
            "FILE_MISSING", f"{path.name} holds weights alone, and there is no {beside.name} beside it",
            f"write {beside.name} with one line, module:function; the function gets the tensors and returns the model",
        )  # fmt: skip
    module, _, function = beside.read_text("utf-8").strip().partition(":")
    make = getattr(importlib.import_module(module), function, None)
    if make is None:
        raise LoadError(
            "CLASS_MISSING", f"{beside.name} names {module}:{function}, which is not there", f"edit {beside.name}"
        )
    return make(read(path))


def read(path: Path) -> dict[str, Any]:
    """Tensors by name; raises `LoadError` when the file is damaged."""
    numpy = required("numpy", path.name)
    try:
        data = numpy.memmap(path, dtype="u1", mode="r")
        (size,) = struct.unpack("<Q", data[:8].tobytes())
        if size > min(_MAX_HEADER_BYTES, len(data) - 8):
            raise ValueError("its header is longer than the file")
        header = msgspec.json.decode(data[8 : 8 + size].tobytes(), type=dict[str, Any])
        header.pop("__metadata__", None)
        entries = msgspec.convert(header, dict[str, Entry])
        return {name: _tensor(numpy, data[8 + size :], entry) for name, entry in entries.items()}
    except (ValueError, KeyError, struct.error) as error:
        raise LoadError("FORMAT_UNKNOWN", f"{path.name} is no safetensors file: {error}", "write it again") from error


def _tensor(numpy: Any, data: Any, entry: Entry) -> Any:
    start, end = entry.data_offsets
    dtype = numpy.dtype(_DTYPES[entry.dtype])
    if not 0 <= start <= end <= len(data) or end - start != math.prod(entry.shape) * dtype.itemsize:
        raise ValueError("a tensor's bytes do not match its shape")
    tensor = data[start:end].view(dtype).reshape(entry.shape)
    if entry.dtype == "BF16":
        return (tensor.astype("u4") << 16).view("f4")
    return tensor
