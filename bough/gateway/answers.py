"""Response bytes: heads made once and used for a second, errors in the shape that the caller's protocol expects."""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus

import msgspec

from bough.kernel.errors import Busy, Detail, Problem

BOUGH, OIP, OPENAI = "bough", "oip", "openai"  # shapes of an error's body

JSON = b"Content-Type: application/json\r\n"
TEXT = b"Content-Type: text/plain; charset=utf-8\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
_OWNED = (b"content-length:", b"transfer-encoding:", b"connection:", b"x-request-id:", b"date:", b"keep-alive:")
_CACHED_HEADS = 256
_encode = msgspec.json.Encoder().encode


class TooManyHeaders(Problem):
    """A request's head is larger than the gateway reads."""

    code, http_status, exit_code = "HEAD_TOO_LARGE", 431, 2


class BadRequest(Problem):
    """Not HTTP, or HTTP that two parsers could read differently."""

    code, http_status, exit_code = "BAD_REQUEST", 400, 2


class MethodNotAllowed(Problem):
    code, http_status, exit_code = "METHOD_NOT_ALLOWED", 405, 2


class HeadTimeout(Problem):
    code, http_status, exit_code = "REQUEST_TIMEOUT", 408, 6


class Heads:
    """Response heads up to the request id, refreshed each second for the Date. `ok` is the commonest one: 200, JSON,
    and the prefix of ids that the gateway gives."""

    __slots__ = ("_cache", "_date", "ok", "prefix")

    def __init__(self, prefix: bytes) -> None:
        self.prefix = prefix
        self.refresh()

    def refresh(self) -> None:
        self._date = b"Date: " + formatdate(time.time(), usegmt=True).encode() + b"\r\n"
        self._cache: dict[tuple[int, bytes], bytes] = {}
        self.ok = self.head(200, b"") + self.prefix

    def head(self, status: int, headers: bytes) -> bytes:
        """Status line and headers, ending in `X-Request-Id: `. `headers` are whole lines; empty means JSON."""
        try:
            return self._cache[status, headers]
        except KeyError:
            pass
        lines = _clean(headers) if headers else JSON
        made = b"HTTP/1.1 %d %b\r\n%b%bX-Request-Id: " % (status, _PHRASES.get(status, b"Status"), self._date, lines)
        if len(self._cache) >= _CACHED_HEADS:
            self._cache.clear()
        self._cache[status, headers] = made
        return made


def processing(waited_s: float, replicas: int) -> bytes:
    """An answer before the answer, to a request that waits: `replicas` are there to take it."""
    said = b"X-Bough-Waited: %.1f\r\nX-Bough-Replicas: %d\r\n\r\n" % (waited_s, replicas)
    return b"HTTP/1.1 102 Processing\r\n" + said


def error_body(problem: Problem, shape: str) -> bytes:
    """The problem in the words of a protocol: OIP clients read a string in `error`, OpenAI's read an object with
    `message`, `type`, `param`, `code`."""
    if shape == OIP:
        return _encode({"error": problem.message, "code": problem.own_code, "hint": problem.hint})
    if shape == OPENAI:
        kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(problem.http_status)
        kind = kind or ("invalid_request_error" if problem.http_status < 500 else "server_error")
        return _encode(
            {"error": {"message": problem.message, "type": kind, "param": problem.fields.get("param"),
                       "code": problem.own_code.lower(), "hint": problem.hint}}
        )  # fmt: skip
    detail = problem.detail()
    return _encode({"error": Detail(code=detail.code, message=detail.message, hint=detail.hint, fields=detail.fields)})


def error_headers(problem: Problem) -> bytes:
    """Header lines that a client acts on."""
    lines = JSON
    if isinstance(problem, Busy):
        lines += b"Retry-After: %d\r\n" % max(1, int(problem.retry_after_s))
    elif problem.http_status in (503, 504):
        lines += b"Retry-After: %d\r\n" % max(1, int(problem.fields.get("retry_after_s", 1)))
    elif problem.http_status == 401:  # RFC 6750, 3.1: who shows nothing is not told of an error
        wrong = b"" if problem.own_code in ("TOKEN_MISSING", "KEY_MISSING") else b', error="invalid_token"'
        lines += b'WWW-Authenticate: Bearer realm="bough"%b\r\n' % wrong
    elif "scopes" in problem.fields:  # RFC 6750, 3.1
        scopes = " ".join(problem.fields["scopes"]).encode()
        lines += b'WWW-Authenticate: Bearer error="insufficient_scope", scope="%b"\r\n' % scopes
    elif problem.http_status == 405:
        lines += b"Allow: " + str(problem.fields.get("allow", "POST")).encode() + b"\r\n"
    return lines


def chunk(parts: list[bytes]) -> bytes:
    """One HTTP chunk of all that is ready; empty when there is nothing (an empty chunk would end the answer)."""
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _clean(headers: bytes) -> bytes:
    """A replica's header lines without those that frame the message: these are the gateway's."""
    lines = [
        line for line in headers.split(b"\r\n")
        if line and b":" in line and not line.lower().startswith(_OWNED) and b"\n" not in line and b"\r" not in line
    ]  # fmt: skip
    if not any(line.lower().startswith(b"content-type:") for line in lines):
        lines.append(JSON[:-2])
    return b"\r\n".join(lines) + b"\r\n"
