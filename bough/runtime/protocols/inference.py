"""Open Inference Protocol v2: tensors onto the parameters of `predict`, and results back.

The first dimension of a tensor counts the items. Which tensor feeds which parameter (or field of the item) goes by
name; where no name fits and the numbers are equal, by order. With one tensor fewer dimensions than that are possible:
`predict(x: list[float])` takes a tensor of shape [n, k] as n items, and one of shape [k] as one item whose answer has
no leading dimension. A parameter typed numpy.ndarray in a `predict` without @bough.batch takes its tensor whole.

Results become one tensor called `output`, or one for each field when they are objects. What has no tensor form (nested
objects) travels as BYTES holding JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Optional

import msgspec

from bough.runtime import arrays
from bough.runtime.answers import OutputInvalid, encode_json, to_plain
from bough.runtime.frames import Reply, Request
from bough.runtime.items import Contract
from bough.runtime.loaders import TensorModel
from bough.runtime.protocols import tensors
from bough.runtime.protocols.work import Work
from bough.runtime.schema import fields_of, rank_of
from bough.runtime.service import Reject


def refuse(number: int, reject: Reject) -> Reply:
    """Errors as this protocol has them: a status and `{"error": text}`; our code beside it."""
    return Reply(number, reject.status, encode_json({"error": reject.message, "code": reject.code}))


class Mapper:
    """Built once for a class; turns a request into items."""

    def __init__(self, contract: Contract, model: str) -> None:
        self._contract = contract
        self._model = model
        self._fields = self._named_fields()
        self._object = contract.single and bool(fields_of(contract.item))
        self._open = (contract.single and contract.item in (dict, Any)) or getattr(
            contract.item, "__origin__", 0
        ) is dict

    def expand(self, request: Request) -> Work:
        inference = tensors.parse(request.body, request.meta)
        columns = self._columns(inference)
        rows = self._count(columns)
        items = [self._item(columns, n) for n in range(rows)] if rows is not None else [self._item(columns, None)]
        return Work(request.id, items, lambda results: self._finish(request.id, inference, results, rows), refuse)

    def _named_fields(self) -> dict[str, Any]:
        if self._contract.single:
            parameter = self._contract.parameters[0]
            return fields_of(self._contract.item) or {parameter.name: self._contract.item}
        return {parameter.name: parameter.kind for parameter in self._contract.parameters}

    def _columns(self, inference: tensors.Inference) -> dict[str, Any]:
        """Tensor data by field."""
        given = {tensor.name: tensor.data for tensor in inference.inputs}
        if self._open and len(given) > 1:
            return given
        if set(given) <= set(self._fields):
            return given
        if len(given) == len(self._fields):
            return dict(zip(self._fields, given.values()))
        raise Reject(
            f"inputs are {', '.join(given) or 'none'}; predict takes {', '.join(self._fields)}",
            status=400,
            code="INPUTS_DIFFER",
        )

    def _count(self, columns: dict[str, Any]) -> Optional[int]:
        """How many items the columns hold; None when they are one item without a leading dimension."""
        counts: set[Optional[int]] = set()
        for name, data in columns.items():
            rank, kind = _rank(data), self._fields.get(name, Any)
            expected = rank_of(kind)
            if not self._contract.batch and arrays.is_array(kind):
                counts.add(None)
            elif expected is None:
                counts.add(len(data) if self._contract.batch or len(columns) > 1 else None)
            elif rank == expected:
                counts.add(None)
            elif rank == expected + 1 or (
                rank > expected + 1 and all(size == 1 for size in _shape(data)[expected + 1 :])
            ):
                counts.add(len(data))
            else:
                raise Reject(
                    f"input {name!r} has {rank} dimensions; predict takes {expected} for each item", status=400
                )
        if len(counts) != 1:
            raise Reject(
                "inputs differ in their first dimension, which counts the items", status=400, code="INPUTS_DIFFER"
            )
        return counts.pop()

    def _item(self, columns: dict[str, Any], row: Optional[int]) -> Any:
        values = {name: self._value(name, data if row is None else data[row]) for name, data in columns.items()}
        contract = self._contract
        if not contract.single:
            return contract.from_fields(values)
        name = contract.parameters[0].name
        if self._object or (self._open and len(values) > 1):
            return contract.from_fields({name: values})
        (value,) = values.values()
        if contract.parameters[0].stacked or arrays.is_array(contract.item):
            return value
        return contract.from_fields({name: value})

    def _value(self, name: str, data: Any) -> Any:
        kind = self._fields.get(name, Any)
        if arrays.is_array(kind) or (self._contract.parameters[0].stacked and self._contract.single):
            return data
        value = tensors.to_lists(data)
        if kind is not bytes:
            value = _as_text(value)
        while isinstance(value, list) and len(value) == 1 and rank_of(kind) == 0:
            value = value[0]
        return value

    def _finish(
        self, number: int, inference: tensors.Inference, results: list[Any], rows: Optional[int]
    ) -> list[Reply]:
        body, headers = tensors.render(self._model, inference, _outputs(results, rows is None))
        return [Reply(number, 200, body, 0, headers)]


def answer_natively(
    requests: Sequence[Request], model: TensorModel, name: str, further: Callable[[int], None] = lambda _: None
) -> list[tuple[int, Any]]:
    """Replies of a model that takes tensors as they are. Requests that fit together are one call; when that fails, each
    is tried alone. Failures come back as exceptions beside the request's number. `further` is told of the rows beyond
    the first of a request."""
    done: list[tuple[int, Any]] = []
    groups: dict[Any, list[tuple[int, tensors.Inference, dict[str, Any]]]] = {}
    for request in requests:
        try:
            inference = tensors.parse(request.body, request.meta)
            columns = _checked(inference, model)
            key = tuple((field, data.dtype.str, data.shape[1:]) for field, data in columns.items())
            groups.setdefault(key, []).append((request.id, inference, columns))
            if (rows := len(next(iter(columns.values())))) > 1:
                further(rows - 1)
        except Reject as error:
            done.append((request.id, error))
    for group in groups.values():
        done += _infer_together(group, model, name)
    return done


def _infer_together(group: list[Any], model: TensorModel, name: str) -> list[tuple[int, Any]]:
    numpy = arrays.numpy()
    done: list[tuple[int, Any]] = []
    try:
        joined = {field: numpy.concatenate([columns[field] for _, _, columns in group]) for field in group[0][2]}
        outputs = model.infer(joined)
        at = 0
        for number, inference, columns in group:
            count = len(next(iter(columns.values())))
            own = {field: data[at : at + count] for field, data in outputs.items()}
            body, headers = tensors.render(name, inference, own)
            done.append((number, Reply(number, 200, body, 0, headers)))
            at += count
    except Exception as error:  # whatever the model raised: told to the request that it belongs to
        if len(group) == 1:
            return [(group[0][0], error)]
        return [entry for one in group for entry in _infer_together([one], model, name)]
    return done


def _checked(inference: tensors.Inference, model: TensorModel) -> dict[str, Any]:
    """Arrays by the model's own input names, in its order."""
    given = {tensor.name: tensor for tensor in inference.inputs}
    names = [tensor.name for tensor in model.inputs]
    if set(given) != set(names):
        if len(given) != len(names):
            raise Reject(
                f"inputs are {', '.join(given)}; the model takes {', '.join(names)}", status=400, code="INPUTS_DIFFER"
            )
        given = dict(zip(names, given.values()))
    for expected in model.inputs:
        shape = given[expected.name].shape
        fits = len(shape) == len(expected.shape) and all(
            want in (-1, have) for want, have in zip(expected.shape, shape)
        )
        if not fits:
            text = f"input {expected.name!r} has shape {shape}; the model takes {expected.shape}"
            raise Reject(text, status=400, code="SHAPE_DIFFERS")
    return {name: given[name].data for name in names}


def _outputs(results: list[Any], single: bool) -> dict[str, Any]:
    """Tensors by name out of the results, one for each item."""
    for result in results:
        if isinstance(result, Reject):
            raise result
    first = results[0] if results else None
    if (
        isinstance(first, (dict, msgspec.Struct))
        or hasattr(first, "__dataclass_fields__")
        or hasattr(first, "model_dump")
    ):
        rows = [msgspec.to_builtins(result, enc_hook=to_plain, builtin_types=(bytes,)) for result in results]
        if any(set(row) != set(rows[0]) for row in rows):
            raise OutputInvalid("answers differ in their fields, so that they are no columns of a tensor")
        return {str(name): _column([row[name] for row in rows], single) for name in rows[0]}
    return {"output": _column(results, single)}


def _column(values: list[Any], single: bool) -> Any:
    if single:
        return _tensor_or_text(values[0])
    if values and all(hasattr(value, "shape") for value in values):
        return arrays.numpy().stack(values) if len({value.shape for value in values}) == 1 else _ragged(values)
    return [_tensor_or_text(value) for value in values]


def _ragged(values: list[Any]) -> Any:
    raise OutputInvalid("answers differ in shape: " + ", ".join(str(value.shape) for value in values[:4]))


def _tensor_or_text(value: Any) -> Any:
    if isinstance(value, dict):
        return encode_json(value).decode()
    if isinstance(value, (list, tuple)) and any(isinstance(entry, dict) for entry in value):
        return encode_json(value).decode()
    return "" if value is None else value


def _as_text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return [_as_text(entry) for entry in value] if isinstance(value, list) and _holds_bytes(value) else value


def _holds_bytes(value: Any) -> bool:
    while isinstance(value, list):
        if not value:
            return False
        value = value[0]
    return isinstance(value, bytes)


def _shape(data: Any) -> list[int]:
    if hasattr(data, "shape"):
        return list(data.shape)
    shape: list[int] = []
    while isinstance(data, list):
        shape.append(len(data))
        data = data[0] if data else None
    return shape


def _rank(data: Any) -> int:
    return len(_shape(data))
