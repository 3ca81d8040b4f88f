"""Rows to columns and back, for models that take arrays."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from bough.runtime.failures import library_missing
from bough.runtime.frames import Tensor
from bough.runtime.service import Reject


def required(module: str, wanted_by: str) -> Any:
    """Imports what a format needs; says what to add to the requirements when it is not there."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise library_missing(error.name or module, wanted_by) from error


def to_columns(rows: Sequence[Any], inputs: Sequence[Tensor], dtypes: Sequence[Any]) -> dict[str, Any]:
    """Arrays by input name. A row is the value of the only input, or an object by input name; raises `Reject` when the
    rows do not fit, which fails the batch so that the row that is wrong can be found."""
    numpy = importlib.import_module("numpy")
    columns: dict[str, Any] = {}
    for tensor, dtype in zip(inputs, dtypes):
        values = [_value(row, tensor.name, len(inputs)) for row in rows]
        try:
            columns[tensor.name] = array = numpy.asarray(values, dtype=dtype)
        except (ValueError, TypeError) as error:
            raise _misfit(f"{tensor.name} does not become a tensor of {tensor.datatype}: {error}") from error
        if not fits(array.shape[1:], tensor.shape[1:]):
            raise _misfit(f"{tensor.name} has shape {list(array.shape[1:])}, the model takes {tensor.shape[1:]}")
    return columns


def to_rows(columns: dict[str, Any], count: int) -> list[Any]:
    """One answer for each row: the value itself of a single output, an object by output name of several."""
    lists = {name: data.tolist() if hasattr(data, "tolist") else list(data) for name, data in columns.items()}
    for name, values in lists.items():
        if not isinstance(values, list) or len(values) != count:
            raise ValueError(f"output {name!r} does not hold one answer for each of {count} rows")
    if len(lists) == 1:
        return next(iter(lists.values()))
    return [dict(zip(lists, values)) for values in zip(*lists.values())]


def fits(shape: Sequence[int], expected: Sequence[int]) -> bool:
    return len(shape) == len(expected) and all(want in (-1, have) for want, have in zip(expected, shape))


def _value(row: Any, name: str, count: int) -> Any:
    if isinstance(row, dict):
        if name not in row:
            raise _misfit(f"the object has no {name!r}")
        return row[name]
    if count != 1:
        raise _misfit("this model has several inputs: send an object by input name")
    return row


def _misfit(message: str) -> Reject:
    return Reject(message, status=422, code="INPUT_INVALID", path="$")
