"""A call of MLflow's REST API: how it is declared, read and refused."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec

from bough.adapters.blobs import Blobs
from bough.kernel.context import Principal
from bough.kernel.errors import (
    Busy,
    Conflict,
    Exhausted,
    Forbidden,
    Invalid,
    NotFound,
    Problem,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from bough.kernel.operations import Operations

R = TypeVar("R", bound=msgspec.Struct)
_PARAMETER = re.compile(r"\{(\w+)\}")
# Codes of Bough that mean the same as one of MLflow's whatever their class: its clients act upon them.
_EXISTS = ("EXPERIMENT_EXISTS", "RUN_EXISTS", "MODEL_EXISTS")
_CODES: list[tuple[type[Problem], str, int]] = [
    (NotFound, "RESOURCE_DOES_NOT_EXIST", 404),
    (TooLarge, "INVALID_PARAMETER_VALUE", 413),
    (Invalid, "INVALID_PARAMETER_VALUE", 400),
    (Conflict, "INVALID_PARAMETER_VALUE", 400),
    (Unauthenticated, "UNAUTHENTICATED", 401),
    (Forbidden, "PERMISSION_DENIED", 403),
    (Busy, "RESOURCE_EXHAUSTED", 429),
    (Unavailable, "TEMPORARILY_UNAVAILABLE", 503),
    (Exhausted, "INTERNAL_ERROR", 507),
]


class Call(NamedTuple):
    """Who calls, about which project and environment."""

    operations: Operations
    principal: Principal
    project: str
    environment: str
    headers: Mapping[str, str]
    blobs: Blobs
    waits: bool = True

    def op(self, name: str, /, **fields: Any) -> Any:
        return self.operations.call(name, {"project": self.project, **fields}, self.principal, waits=self.waits)


class Raw(msgspec.Struct, frozen=True):
    """An answer that is not JSON made from data."""

    body: bytes
    media_type: str = "application/json"


class Endpoint(NamedTuple):
    method: str
    path: str  # below /api/2.0 and /api/3.0; {name} stands for a part
    function: Callable[[Call, Any], Any]
    request: type[msgspec.Struct]
    quick: bool = False  # a few rows by their keys, whatever there is besides: in the event loop


class Empty(msgspec.Struct, frozen=True):
    """A request of which nothing is read, or an answer that says no more than that it is done."""


def endpoint(
    method: str, *paths: str, quick: bool = False
) -> Callable[[Callable[[Call, R], Any]], Callable[[Call, R], Any]]:
    """Declares `function(call, request)`; the request's type says what is read of body, query and path. A `quick` one
    that writes calls one operation, of what programs report: in the event loop if that need not wait there, for another
    write or for a disk, and in a thread else."""

    def declare(function: Callable[[Call, R], Any]) -> Callable[[Call, R], Any]:
        hints = typing.get_type_hints(function)
        request = hints[list(inspect.signature(function).parameters)[1]]
        made = [Endpoint(each, path, function, request, quick) for each in method.split() for path in paths]
        function.__dict__.setdefault("endpoints", []).extend(made)
        return function

    return declare


class Table:
    """All endpoints, found by method and path."""

    def __init__(self, *modules: ModuleType) -> None:
        self.endpoints: list[Endpoint] = [
            each
            for module in modules
            for value in vars(module).values()
            for each in getattr(value, "endpoints", ())
            if value.__module__ == module.__name__
        ]
        self._plain = {(each.method, each.path): each for each in self.endpoints if "{" not in each.path}
        self._shaped = [(_pattern(each.path), each) for each in self.endpoints if "{" in each.path]

    def find(self, method: str, path: str) -> tuple[Endpoint, dict[str, str]] | None:
        if (found := self._plain.get((method, path))) is not None:
            return found, {}
        for pattern, each in self._shaped:
            if each.method == method and (match := pattern.fullmatch(path)):
                return each, match.groupdict()
        return None


def read(kind: type[R], body: bytes, query: bytes, path: Mapping[str, str]) -> R:
    """Numbers may come as texts, as protocol buffers write large ones; null means not given; what is not known is
    passed over. Raises `Invalid`."""
    if body and not query and not path:
        try:
            return msgspec.json.decode(body, type=kind, strict=False)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
            pass  # again, without nulls and with what is wrong said
    try:
        given = _without_nulls(msgspec.json.decode(body)) if body else {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Invalid(f"the body is not JSON: {error}", code="REQUEST_INVALID") from error
    if not isinstance(given, dict):
        raise Invalid("the body is not a JSON object", code="REQUEST_INVALID")
    try:
        given |= {**_query(kind, query), **path}
        return msgspec.convert(given, kind, strict=False)
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        raise Invalid(f"the request is not as expected: {error}", code="REQUEST_INVALID") from error


def refusal(problem: Problem) -> tuple[int, bytes]:
    """Status and body for an error."""
    code, status = "INTERNAL_ERROR", 500
    for kind, name, its_status in _CODES:
        if isinstance(problem, kind):
            code, status = name, its_status
            break
    if problem.own_code in _EXISTS:
        code, status = "RESOURCE_ALREADY_EXISTS", 400
    elif problem.own_code == "ENDPOINT_NOT_FOUND":
        code = problem.own_code
    hint = f" ({problem.hint})" if problem.hint else ""
    said = f"{problem.message}{hint}".encode("utf-8", "replace").decode()
    return status, msgspec.json.encode({"error_code": code, "message": said})


def pairs(given: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in given.items()]


class Pair(msgspec.Struct, frozen=True):
    key: str
    value: str = ""


def mapping(given: list[Pair]) -> dict[str, str]:
    return {each.key: each.value for each in given}


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def view(name: str | int) -> str:
    """The state that a view type of MLflow stands for."""
    found = {
        "ACTIVE_ONLY": "active",
        "DELETED_ONLY": "deleted",
        "ALL": "all",
        "1": "active",
        "2": "deleted",
        "3": "all",
    }
    if str(name) not in found:
        raise Invalid(f"{str(name)[:100]!r} is not a view type", code="REQUEST_INVALID", hint="ACTIVE_ONLY")
    return found[str(name)]


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(_PARAMETER.sub(r"(?P<\1>[^/]+)", path))


def _query(kind: type[msgspec.Struct], query: bytes) -> dict[str, Any]:
    try:
        given = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=10_000)
    except (UnicodeDecodeError, ValueError) as error:
        raise Invalid(f"the query cannot be read: {error}", code="REQUEST_INVALID") from error
    lists = _lists(kind)
    found: dict[str, Any] = {}
    for name, value in given:
        if name in lists:
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found


@cache
def _lists(kind: type[msgspec.Struct]) -> frozenset[str]:
    """Names of the fields that may come more than once."""
    fields = msgspec.structs.fields(kind)
    return frozenset(each.encode_name for each in fields if typing.get_origin(each.type) is list)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value
