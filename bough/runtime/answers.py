"""Results into bytes, and failures into answers.

Decisions that live here:
* NaN and infinity have no JSON form and encoders write `null` without a word. An answer that holds one is refused with
  500 OUTPUT_INVALID and the path of the value. Binary tensors carry them as they are. The check is nearly free: only
  an answer whose text contains `null` is looked at again.
* numpy arrays and scalars, torch tensors (by `tolist`), dataclasses, Structs, dates, Decimal, UUID, Enum, sets and
  pydantic models encode; bytes as the whole answer go out raw. orjson, where the user's environment has it, writes
  arrays and lists of floats (1.5 times as fast); everything else is msgspec's.
* A refusal is worded for the caller; the traceback of a failure goes to standard error, at most `_BURST` of them in
  `_WINDOW_S`, with the request's number on its connection.
"""

from __future__ import annotations

import math
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Optional, get_args, get_origin

import msgspec

from bough.runtime.frames import Reply
from bough.runtime.hints import hints
from bough.runtime.redaction import redact
from bough.runtime.service import Reject

try:
    import orjson
except ImportError:  # optional: whatever the user's environment has
    orjson = None  # type: ignore[assignment,unused-ignore]

BYTES_HEADERS = b"Content-Type: application/octet-stream\r\n"
_BURST = 10  # tracebacks in one window: enough to see a pattern, too few to fill a disk
_WINDOW_S = 10.0


class OutputInvalid(Exception):
    """The model answered something that cannot be sent."""


def to_plain(value: Any) -> Any:
    """msgspec's `enc_hook`: what the encoder does not know by itself, as something that it does."""
    if hasattr(value, "dtype"):
        if not getattr(value, "ndim", 1):
            return value.item()
        if orjson is not None and hasattr(value, "__array_interface__") and _is_plain(value):
            return msgspec.Raw(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))
        return value.tolist()
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, range):
        return list(value)
    raise NotImplementedError(f"a {type(value).__module__}.{type(value).__qualname__} has no JSON form")


_encode = msgspec.json.Encoder(enc_hook=to_plain).encode


def encode_json(value: Any) -> bytes:
    """`value` as JSON; raises `OutputInvalid` when it has none."""
    try:
        body = _encode(value)
    except (TypeError, NotImplementedError, ValueError, OverflowError, RecursionError) as error:
        raise OutputInvalid(f"the answer cannot be written as JSON: {error}") from error
    if b"null" in body:
        _refuse_not_finite(value)
    return body


def _encode_floats(value: Any) -> bytes:
    try:
        body: bytes = orjson.dumps(value)
    except TypeError:  # numpy scalars inside, a subclass of list, or not what the annotation says
        return encode_json(value)
    if b"null" in body:
        _refuse_not_finite(value)
    return body


def json_encoder(annotation: Any) -> Callable[[Any], bytes]:
    """The fastest encoder for answers of this type."""
    while get_origin(annotation) is list:
        annotation = get_args(annotation)[0]
        if annotation is float and orjson is not None:
            return _encode_floats
    return encode_json


def whole(number: int, value: Any, encode: Callable[[Any], bytes] = encode_json) -> Reply:
    """The reply that carries one result; an answer that cannot be sent becomes a 500."""
    try:
        if isinstance(value, (bytes, bytearray, memoryview)):
            return Reply(number, 200, bytes(value), 0, BYTES_HEADERS)
        if isinstance(value, Reject):
            return refusal(number, value)
        return Reply(number, 200, encode(value))
    except OutputInvalid as error:
        return failure(number, error)


def refusal(number: int, reject: Reject) -> Reply:
    """`{"error": {code, message, hint, fields}}`, as everywhere on the platform."""
    detail: dict[str, Any] = {"code": reject.code, "message": reject.message}
    if reject.hint:
        detail["hint"] = reject.hint
    if reject.fields:
        detail["fields"] = reject.fields
    try:
        return Reply(number, reject.status, encode_json({"error": detail}))
    except OutputInvalid:
        return Reply(number, reject.status, encode_json({"error": {"code": reject.code, "message": reject.message}}))


def failure(number: int, error: BaseException) -> Reply:
    """The reply for an exception out of the user's code, by its kind; logs it unless it is a refusal."""
    if isinstance(error, Reject):
        return refusal(number, error)
    return refusal(number, explain(number, error))


def explain(number: int, error: BaseException) -> Reject:
    """`error` as the refusal that a caller may see. The log gets the traceback."""
    if isinstance(error, Reject):
        return error
    failure_log.write(number, error)
    if isinstance(error, OutputInvalid):
        return Reject(str(error), status=500, code="OUTPUT_INVALID", hint=hints.logs)
    kind = type(error).__name__
    message = redact(f"predict raised {kind}: {error}")
    return Reject(message, status=500, code="PREDICT_FAILED", hint=hints.logs, type=kind)


class FailureLog:
    """Tracebacks on standard error, so many and no more: a model that fails at every request must not fill the disk."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.reset()

    def reset(self) -> None:
        """Begins a new window, as if nothing had been written."""
        self._began, self._count = self._now(), 0

    def write(self, number: int, error: BaseException) -> None:
        if self._now() - self._began > _WINDOW_S:
            if self._count > _BURST:
                sys.stderr.write(f"... and {self._count - _BURST} more failures that were not printed\n")
            self.reset()
        self._count += 1
        if self._count <= _BURST:
            text = redact("".join(traceback.format_exception(type(error), error, _user_frames(error))))
            sys.stderr.write(f"request {number} failed\n{text}")
            sys.stderr.flush()


failure_log = FailureLog()


def _user_frames(error: BaseException) -> Any:
    """The traceback without the frames of this package that stand before the user's."""
    here, at = os.path.dirname(__file__), error.__traceback__  # noqa: PTH120 - must not import pathlib on a hot error path
    while at is not None and at.tb_next is not None and at.tb_frame.f_code.co_filename.startswith(here):
        at = at.tb_next
    return at


def _is_plain(array: Any) -> bool:
    return bool(array.dtype.kind in "biuf" and array.flags.c_contiguous and array.dtype.isnative)


def _refuse_not_finite(value: Any) -> None:
    if found := _not_finite(value, "$"):
        path, what = found
        raise OutputInvalid(f"the answer holds {what} at {path}, which JSON cannot carry; answer None there instead")


def _not_finite(value: Any, path: str) -> Optional[tuple[str, str]]:
    if isinstance(value, float) or (getattr(value, "ndim", None) == 0 and getattr(value.dtype, "kind", "") == "f"):
        return None if math.isfinite(value) else (path, str(float(value)))
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        value = value.tolist()
    items: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        items = [(f"{path}.{key}", entry) for key, entry in value.items()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        items = [(f"{path}[{index}]", entry) for index, entry in enumerate(value)]
    elif isinstance(value, msgspec.Struct):
        items = [(f"{path}.{name}", getattr(value, name)) for name in value.__struct_fields__]
    elif hasattr(value, "__dataclass_fields__"):
        items = [(f"{path}.{name}", getattr(value, name)) for name in value.__dataclass_fields__]
    elif hasattr(value, "model_dump"):
        return _not_finite(value.model_dump(), path)
    for inner, entry in items:
        if found := _not_finite(entry, inner):
            return found
    return None
