"""What every answer of the API has in common: JSON, a request id, errors as `{"error": Detail}`."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from bough.kernel.errors import Busy, Detail, Problem, Unauthenticated
from bough.kernel.names import new_id

JSON = "application/json"
REQUEST_ID = "X-Request-Id"

_USABLE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class Failure(msgspec.Struct, frozen=True):
    """The body of every answer that is not a success."""

    error: Detail
    status: int | msgspec.UnsetType = msgspec.UNSET  # in the last line of a stream, which has no other


def request_id(request: Request) -> str:
    """The caller's own id if it sent a usable one, else a fresh one; the same for the whole request."""
    known: str | None = getattr(request.state, "request_id", None)
    if known is None:
        sent = request.headers.get(REQUEST_ID, "")
        known = request.state.request_id = sent if _USABLE_ID.fullmatch(sent) else new_id("req")
    return known


def answer(request: Request, value: Any, status: int = 200) -> Response:
    return _response(request, status, msgspec.json.encode(value), {})


def refusal(request: Request, problem: Problem) -> Response:
    headers = {}
    if isinstance(problem, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(problem, Busy):
        headers["Retry-After"] = str(max(1, round(problem.retry_after_s)))
    return _response(request, problem.http_status, encode_failure(problem), headers)


def not_routed(request: Request, status: int, detail: Detail, headers: dict[str, str]) -> Response:
    """For what HTTP itself refuses (404, 405) and no error of the kernel stands for."""
    return _response(request, status, msgspec.json.encode(Failure(detail)), headers)


def encode_failure(problem: Problem, *, last: bool = False) -> bytes:
    """`last`: of a stream."""
    status = problem.http_status if last else msgspec.UNSET
    try:
        return msgspec.json.encode(Failure(problem.detail(), status))
    except (TypeError, ValueError):  # a field that is no data: the message still has to arrive
        detail = Detail(code=problem.own_code, message=problem.message, hint=problem.hint)
        return msgspec.json.encode(Failure(detail, status))


def _response(request: Request, status: int, body: bytes, headers: dict[str, str]) -> Response:
    return Response(body, status, headers | {REQUEST_ID: request_id(request)}, media_type=JSON)
