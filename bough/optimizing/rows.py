"""Data as a model's own input: rows of a file, made to fit what the model takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bough.gates import reading
from bough.kernel.errors import Invalid
from bough.runtime.frames import Tensor
from bough.runtime.loaders.rows import required


class Samples(msgspec.Struct, frozen=True):
    """`rows` as `predict` takes them; `labels` is empty where nobody named a column."""

    rows: list[Any]
    labels: list[Any]


def read(
    files: Sequence[tuple[str, Path]], inputs: Sequence[Tensor], most: int, label: str = "", hidden: Sequence[str] = ()
) -> Samples:
    """Raises `Invalid` (DATA_UNREADABLE, DATA_UNFIT)."""
    found = _arrays(files, most) if files[0][0].lower().endswith(".npz") else reading.rows(files, most)
    if not found or (label and label not in found[0]):
        known = ", ".join(found[0]) if found else "no rows"
        raise _unfit(f"{files[0][0]} has no column {label!r}; it has {known}")
    labels = [_plain(row[label]) for row in found] if label else []
    without = {label, *hidden}
    return Samples([_fitted(inputs, {k: v for k, v in row.items() if k not in without}) for row in found], labels)


def _arrays(files: Sequence[tuple[str, Path]], most: int) -> list[dict[str, Any]]:
    """An NPZ holds one array for each column, whose first dimension counts the rows."""
    found: list[dict[str, Any]] = []
    for name, place in files:
        try:
            with required("numpy", name).load(place, allow_pickle=False) as opened:
                columns = {key: opened[key] for key in opened.files}
        except (ValueError, OSError) as error:
            raise Invalid(f"{name} cannot be read: {error}", code="DATA_UNREADABLE", hint="numpy.savez(…)") from error
        count = min(map(len, columns.values()), default=0)
        found += [{key: column[at] for key, column in columns.items()} for at in range(min(count, most - len(found)))]
    return found


def _fitted(inputs: Sequence[Tensor], row: dict[str, Any]) -> Any:
    """An object by input name, where the columns are called so; else the columns in their order, as the only input."""
    if all(each.name in row for each in inputs):
        named = {each.name: _shaped(row[each.name], each) for each in inputs}
        return next(iter(named.values())) if len(named) == 1 else named
    if len(inputs) != 1:
        wanted = ", ".join(each.name for each in inputs)
        raise _unfit(f"the model takes {wanted}, and the data has {', '.join(row)}")
    (only,) = row.values() if len(row) == 1 else (list(row.values()),)
    return _shaped(only, inputs[0])


def _shaped(value: Any, wanted: Tensor) -> Any:
    """In the shape that the model takes, where that says it: an image may be kept as a line."""
    if wanted.datatype == "BYTES":
        return value
    array, shape = required("numpy", wanted.name).asarray(value), wanted.shape[1:]
    if -1 not in shape and array.shape != tuple(shape):
        if array.size != math.prod(shape):
            raise _unfit(f"{wanted.name} takes {list(shape)} values, and a row of the data has {list(array.shape)}")
        array = array.reshape(shape)
    return array


def _plain(value: Any) -> Any:
    """A label as Python has it."""
    return value.item() if getattr(value, "shape", None) == () else value


def _unfit(why: str) -> Invalid:
    return Invalid(
        why, code="DATA_UNFIT", hint="columns are called as the model's inputs, or are their values in order"
    )
