"""What one `predict` takes and gives: read from its signature once, then used for every request.

A `Contract` decodes a body into an item, calls the function with one item or with many, and writes the JSON Schemas.
An item is the value itself when `predict` has one parameter, else a struct with one field for each parameter.
"""

from __future__ import annotations

import collections.abc
import copy
import functools
import inspect
import re
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Any, Optional

import msgspec

from bough.runtime import arrays
from bough.runtime.answers import json_encoder
from bough.runtime.hints import hints
from bough.runtime.queued import Item, item_of
from bough.runtime.service import Reject, batch_similar, batch_size

_LISTS = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection, tuple)
_STREAMS = (
    collections.abc.Iterator, collections.abc.Generator, collections.abc.AsyncIterator, collections.abc.AsyncGenerator,
    collections.abc.AsyncIterable,
)  # fmt: skip
_MISSING: Any = inspect.Parameter.empty
_VALIDATION = re.compile(r"^(?P<said>.*?)(?: - at `(?P<path>.+)`)?$", re.DOTALL)
_EXPECTED = re.compile(r"^Expected `(?P<expected>[^`]+)`(?:, got `(?P<got>[^`]+)`)?")

_IN_WORDS = {
    "object": "a JSON object", "array": "a JSON list", "string": "a JSON text", "integer": "a whole number",
    "number": "a number", "boolean": "true or false",
}  # fmt: skip


class SignatureUnsupported(Exception):
    """`predict` is written in a way that requests cannot be mapped to; the message says what to write instead."""


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of `predict`; in a batching predict `kind` is the type of one element of the column."""

    name: str
    kind: Any
    default: Any = _MISSING
    stacked: bool = False  # the column is handed over as one numpy array


class Contract:
    """See the module. `function` may be unbound when only the types are wanted."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.batch = batch_size(function)
        self.similar = batch_similar(function)
        hints = _hints(function)
        self.asks = next((name for name, kind in hints.items() if kind in (Item, list[Item]) and name != "return"), "")
        self.parameters = _parameters(function, hints, bool(self.batch))
        self.is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        self.streams = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        self.result = self._result_kind(hints.get("return", Any))
        self.single = len(self.parameters) == 1
        self.item = self.parameters[0].kind if self.single else _struct_of(self.parameters)
        self.raw = self.single and self.item is bytes
        self.encode = json_encoder(self.result)
        self._decode = _decoder(self.item)
        if self.batch and self.streams:
            raise SignatureUnsupported("a batching predict cannot stream: remove @bough.batch or the yield")

    def decode(self, body: bytes, meta: str = "") -> Any:
        """The item in `body`; raises `Reject` (422 INPUT_INVALID) that names the path and what was expected. For a
        function that asks who the item is: with that."""
        if self.asks:
            who, meta = item_of(meta)
            return self._decoded(body, meta), who
        return self._decoded(body, meta)

    def _decoded(self, body: bytes, meta: str) -> Any:
        if self.raw and _is_raw(body, meta):
            return body
        try:
            return self._decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            if not body and self._has_defaults():
                return self._from_fields({})
            if not body:
                said = f"the body is empty; {self._wanted()} is expected"
                raise _invalid(said, path="$", expected="JSON") from error
            raise input_invalid(error) from error

    def from_fields(self, fields: dict[str, Any]) -> Any:
        """An item from values by parameter name (defaults count), checked like a request's."""
        return (self._from_fields(fields), Item()) if self.asks else self._from_fields(fields)

    def _from_fields(self, fields: dict[str, Any]) -> Any:
        try:
            if self.single and self.parameters[0].name in fields:
                return convert(fields[self.parameters[0].name], self.item)
            if self.single:
                return self.parameters[0].default
            return convert(fields, self.item)
        except (msgspec.MsgspecError, ValueError) as error:
            raise input_invalid(error) from error

    def call(self, item: Any) -> Any:
        if self.asks:
            item, who = item
            fields = [item] if self.single else []
            named = {} if self.single else msgspec.structs.asdict(item)
            return self.function(*fields, **named, **{self.asks: who})
        if self.single:
            return self.function(item)
        return self.function(**msgspec.structs.asdict(item))

    def call_batch(self, items: list[Any]) -> Any:
        asked: dict[str, Any] = {}
        if self.asks:
            asked = {self.asks: [who for _, who in items]}
            items = [item for item, _ in items]
        if self.single:
            return self.function(arrays.stack(items) if self.parameters[0].stacked else items, **asked)
        columns: dict[str, Any] = {}
        for parameter in self.parameters:
            column = [getattr(item, parameter.name) for item in items]
            columns[parameter.name] = arrays.stack(column) if parameter.stacked else column
        return self.function(**columns, **asked)

    @functools.cached_property
    def input_schema(self) -> dict[str, Any]:
        return schema(self.item)

    @functools.cached_property
    def output_schema(self) -> dict[str, Any]:
        return schema(self.result)

    def _wanted(self) -> str:
        """What a body should be, in words."""
        wanted = self.input_schema
        if reference := wanted.get("$ref"):
            wanted = wanted["$defs"][reference.rpartition("/")[2]]
        if names := wanted.get("required"):
            return f"a JSON object with {', '.join(names)}"
        return _IN_WORDS.get(str(wanted.get("type")), "JSON")

    def _has_defaults(self) -> bool:
        return all(parameter.default is not _MISSING for parameter in self.parameters)

    def _result_kind(self, kind: Any) -> Any:
        """The type of one answer: of a piece for a stream, of an element for a batch."""
        origin = typing.get_origin(kind) or kind
        arguments = typing.get_args(kind)
        if origin in _STREAMS or (self.streams and origin in _LISTS):
            self.streams = True
            self.is_async = self.is_async or "Async" in getattr(origin, "__name__", "")
            return arguments[0] if arguments else Any
        if self.batch:
            return arguments[0] if origin in _LISTS and arguments else Any
        return kind


def schema(kind: Any) -> dict[str, Any]:
    """The JSON Schema of `kind`, `$defs` inside; empty (anything) for what has none."""
    if kind is Any or kind is inspect.Parameter.empty:
        return {}
    if _is_pydantic(kind):
        return dict(kind.model_json_schema())
    try:
        (found,), definitions = msgspec.json.schema_components(
            [kind], schema_hook=_schema_hook, ref_template="#/$defs/{name}"
        )
    except (TypeError, NotImplementedError):
        return {}
    return {**found, "$defs": definitions} if definitions else dict(found)


def convert(value: Any, kind: Any) -> Any:
    return value if kind is Any else msgspec.convert(value, kind, dec_hook=_dec_hook)


def input_invalid(error: Exception) -> Reject:
    """A decoding error as a 422 that a person can act on."""
    if isinstance(error, RecursionError):
        return _invalid("the body is nested too deeply", path="$")
    if hasattr(error, "errors") and callable(error.errors):  # pydantic's
        first = error.errors()[0]
        path = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        return _invalid(f"{first['msg']} - at {path}", path=path, expected=first["type"])
    if not isinstance(error, msgspec.ValidationError):
        return _invalid(f"the body is not valid JSON: {error}", path="$", expected="JSON")
    found = _VALIDATION.match(str(error))
    said, path = (found["said"], found["path"] or "$") if found else (str(error), "$")
    fields = {"path": path}
    if expected := _EXPECTED.match(said):
        fields.update({name: text for name, text in expected.groupdict().items() if text})
    said = said.replace("Object missing", "the object lacks the").replace("Object", "the object")
    return _invalid(f"{said} - at {path}", **fields)


def _invalid(message: str, **fields: Any) -> Reject:
    return Reject(message, status=422, code="INPUT_INVALID", hint=hints.types, **fields)


def _is_raw(body: bytes, content_type: str) -> bool:
    """Whether `body` is the item itself, and not JSON text that holds it: by the content type where it is known, else
    by the quotation mark that such JSON begins with."""
    content_type = content_type.partition(";bough-item=")[0]
    if content_type and "json" not in content_type:
        return True
    return body[:64].lstrip()[:1] != b'"'


def _hints(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        raise SignatureUnsupported(f"an annotation of predict cannot be read: {error}") from error


def _parameters(function: Any, hints: dict[str, Any], batching: bool) -> list[Parameter]:
    found: list[Parameter] = []
    listed = list(inspect.signature(function).parameters.values())
    if not inspect.ismethod(function) and listed and listed[0].name == "self":
        listed = listed[1:]
    for parameter in listed:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise SignatureUnsupported(f"predict has the parameter {parameter}: write each parameter with a name")
        default = parameter.default
        kind = hints.get(parameter.name, Any)
        if kind in (Item, list[Item]):
            continue  # not of the body: who it is
        if not batching:
            found.append(Parameter(parameter.name, kind, default))
        elif default is _MISSING:  # a parameter with a default is a setting of the function, not a column
            found.append(_column(parameter.name, kind))
    if batching and not found:
        raise SignatureUnsupported("a batching predict needs a parameter for its list of items")
    return found


def _column(name: str, kind: Any) -> Parameter:
    origin = typing.get_origin(kind) or kind
    if kind is Any or kind in _LISTS:
        return Parameter(name, Any)
    if arrays.is_array(kind):
        return Parameter(name, Any, stacked=True)
    if origin in _LISTS and typing.get_args(kind):
        return Parameter(name, typing.get_args(kind)[0])
    raise SignatureUnsupported(f"a batching predict takes lists: write {name}: list[{getattr(kind, '__name__', kind)}]")


def _struct_of(parameters: Sequence[Parameter]) -> Any:
    fields: list[Any] = []
    for parameter in parameters:
        if parameter.default is _MISSING:
            fields.append((parameter.name, parameter.kind))
        else:
            fresh = functools.partial(copy.deepcopy, parameter.default)
            fields.append((parameter.name, parameter.kind, msgspec.field(default_factory=fresh)))
    return msgspec.defstruct("Request", fields, kw_only=True, forbid_unknown_fields=True)


def _decoder(kind: Any) -> Callable[[bytes], Any]:
    if _is_pydantic(kind):
        validate: Callable[[bytes], Any] = kind.model_validate_json
        return validate
    try:
        _refuse_unknown(msgspec.inspect.type_info(kind))
        return msgspec.json.Decoder(kind, dec_hook=_dec_hook).decode
    except TypeError as error:
        raise SignatureUnsupported(f"predict's input cannot be decoded from JSON: {error}") from error


def _refuse_unknown(info: Any, seen: Optional[set[Any]] = None) -> None:
    """Finds types that no JSON value can become, now rather than at the first request."""
    seen = set() if seen is None else seen
    if isinstance(info, msgspec.inspect.CustomType):
        if not (arrays.is_array(info.cls) or _is_pydantic(info.cls)):
            name = f"{info.cls.__module__}.{info.cls.__qualname__}"
            raise SignatureUnsupported(
                f"predict takes a {name}, which no JSON becomes: take bytes, list or a dataclass"
            )
        return
    if isinstance(info, msgspec.inspect.Type) and id(info) not in seen:
        seen.add(id(info))
        for name in info.__struct_fields__:
            value = getattr(info, name)
            for entry in value if isinstance(value, tuple) else (value,):
                is_type = isinstance(entry, msgspec.inspect.Type)
                _refuse_unknown(entry if is_type else getattr(entry, "type", None), seen)  # a field holds its type


def _dec_hook(kind: Any, value: Any) -> Any:
    if _is_pydantic(kind):
        try:
            return kind.model_validate(value)
        except ValueError as error:
            raise ValueError(input_invalid(error).message) from error
    return arrays.to_array(value, arrays.dtype_of(kind))


def _schema_hook(kind: Any) -> dict[str, Any]:
    if arrays.is_array(kind):
        return {"type": "array"}
    if _is_pydantic(kind):
        return dict(kind.model_json_schema(ref_template="#/$defs/{model}"))
    raise NotImplementedError


def _is_pydantic(kind: Any) -> bool:
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)
