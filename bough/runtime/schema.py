"""Types as Open Inference Protocol tensors, and tensors as JSON Schemas.

A tensor stands for many items: its first dimension counts them. A scalar parameter is [-1], a list [-1, -1], and so
on; an item with fields (dataclass, Struct, TypedDict, several parameters) is one tensor for each field.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, Optional

import msgspec

from bough.runtime import arrays
from bough.runtime.frames import Tensor
from bough.runtime.items import Contract

_SCALARS = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES", bytes: "BYTES"}
_JSON_TYPES = {
    "BOOL": "boolean",
    "BYTES": "string",
    "FP16": "number",
    "BF16": "number",
    "FP32": "number",
    "FP64": "number",
}
_DTYPES = {
    "bool": "BOOL", "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64", "uint8": "UINT8",
    "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "float16": "FP16", "float32": "FP32", "float64": "FP64",
    "bool_": "BOOL", "str_": "BYTES", "bytes_": "BYTES",
}  # fmt: skip


def input_tensors(contract: Contract) -> list[Tensor]:
    """Empty where the types do not say."""
    if contract.single:
        parameter = contract.parameters[0]
        if parameter.stacked:
            return [Tensor(name=parameter.name, datatype="FP32", shape=[-1, -1])]
        return tensors_of(contract.item, parameter.name)
    return tensors_of(contract.item, "")


def output_tensors(contract: Contract) -> list[Tensor]:
    return tensors_of(contract.result, "output")


def tensors_of(kind: Any, name: str) -> list[Tensor]:
    if named := fields_of(kind):
        found = [_tensor(field, inner) for field, inner in named.items()]
        return [tensor for tensor in found if tensor is not None]
    tensor = _tensor(name, kind)
    return [tensor] if tensor is not None else []


def fields_of(kind: Any) -> dict[str, Any]:
    """Field names and types of an item with fields, as they are called in JSON; empty for anything else."""
    if not isinstance(kind, type):
        return {}
    if issubclass(kind, msgspec.Struct):
        return {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    if dataclasses.is_dataclass(kind) or hasattr(kind, "__total__") or hasattr(kind, "_fields"):
        return typing.get_type_hints(kind)
    if hasattr(kind, "model_fields"):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    return {}


def rank_of(kind: Any) -> Optional[int]:
    """How many dimensions one value has; None when it may have any."""
    kind = _bare(kind)
    if kind in _SCALARS:
        return 0
    origin = typing.get_origin(kind) or kind
    if origin in (list, tuple):
        arguments = typing.get_args(kind)
        inner = rank_of(arguments[0]) if arguments else None
        return None if inner is None else inner + 1
    return None


def of_rows(tensors: list[Tensor], what: str) -> dict[str, Any]:
    """The JSON Schema of one row of these tensors: the value itself for one tensor, an object for several."""
    properties = {tensor.name: _row_schema(tensor) for tensor in tensors}
    if len(properties) == 1:
        return {"title": what, **next(iter(properties.values()))}
    return (
        {"title": what, "type": "object", "properties": properties, "required": list(properties)} if properties else {}
    )


def datatype_of(dtype: Any) -> str:
    """The protocol's name for a numpy dtype; BYTES for text and objects."""
    return _DTYPES.get(getattr(dtype, "name", str(dtype)), "BYTES")


def _tensor(name: str, kind: Any) -> Optional[Tensor]:
    kind = _bare(kind)
    if arrays.is_array(kind):
        dtype = arrays.dtype_of(kind)
        return Tensor(name=name, datatype=_DTYPES.get(dtype.__name__, "FP32") if dtype else "FP32", shape=[-1, -1])
    shape = [-1]
    while (typing.get_origin(kind) or kind) in (list, tuple):
        arguments = typing.get_args(kind)
        if not arguments:
            return None
        kind = _bare(arguments[0])
        shape.append(-1)
    return Tensor(name=name, datatype=_SCALARS[kind], shape=shape) if kind in _SCALARS else None


def _bare(kind: Any) -> Any:
    """Without Annotated and Optional."""
    if hasattr(kind, "__metadata__"):
        kind = kind.__origin__
    arguments = [argument for argument in typing.get_args(kind) if argument is not type(None)]
    if len(arguments) == 1 and type(None) in typing.get_args(kind):
        return arguments[0]
    return kind


def _row_schema(tensor: Tensor) -> dict[str, Any]:
    found: dict[str, Any] = {"type": _JSON_TYPES.get(tensor.datatype, "integer")}
    for size in reversed(tensor.shape[1:]):
        found = {"type": "array", "items": found}
        if size >= 0:
            found |= {"minItems": size, "maxItems": size}
    return found
