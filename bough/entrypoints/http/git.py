"""`/git/<project>`: git's smart HTTP protocol (gitprotocol-http(5)). Requests become calls of the remote, errors become
lines that git prints; what a push means is decided elsewhere."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from bough.adapters.repositories import FETCH, PUSH
from bough.entrypoints.http.answers import REQUEST_ID, request_id
from bough.entrypoints.http.threads import in_thread
from bough.kernel.context import Principal
from bough.kernel.errors import Busy, Invalid, NotFound, Problem, TooLarge, Unauthenticated
from bough.kernel.operations import out_of_scope

LARGEST_BYTES = {FETCH: 64 << 20, PUSH: (2 << 30) + (64 << 20)}  # of a request, unzipped; git itself limits the pack
MOST_FROM_ONE_PIECE_BYTES = 1 << 20
_PROTOCOL = re.compile(r"version=[0-2]")
_UNCACHED = {"Cache-Control": "no-cache, max-age=0, must-revalidate"}

log = logging.getLogger("bough.http")

Authenticate = Callable[[str], Principal]
Endpoint = Callable[[Request], Awaitable[Response | None]]


class Remote(Protocol):
    async def advertise(self, project: str, service: str, protocol: str, principal: Principal) -> bytes: ...

    def exchange(
        self, project: str, service: str, protocol: str, principal: Principal, sent: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]: ...


def endpoints(remote: Remote, authenticate: Authenticate) -> Iterator[tuple[str, Endpoint, str]]:
    """Path, endpoint, method."""
    yield "/git/{project}/info/refs", _telling(_advertise, remote, authenticate), "GET"
    for service in (FETCH, PUSH):
        yield f"/git/{{project}}/{service}", _telling(_exchange, remote, authenticate), "POST"


def _telling(
    endpoint: Callable[[Request, Remote, Principal], Awaitable[Response | None]],
    remote: Remote,
    authenticate: Authenticate,
) -> Endpoint:
    async def told(request: Request) -> Response | None:
        try:
            principal = await in_thread(partial(authenticate, _token(request)))
            if principal.scope is not None:
                raise out_of_scope("repositories")
            return await endpoint(request, remote, principal)
        except Problem as problem:
            return _refusal(request, problem)

    return told


async def _advertise(request: Request, remote: Remote, principal: Principal) -> Response:
    service = request.query_params.get("service", "")
    if service not in LARGEST_BYTES:
        raise Invalid("this git speaks only the old, dumb protocol", code="GIT_TOO_OLD", hint="install a newer git")
    refs = await remote.advertise(_project(request), service, _protocol(request), principal)
    if _protocol(request) != "version=2" or service == PUSH:  # the newest protocol begins without a word
        said = f"# service={service}\n".encode()
        refs = b"%04x" % (len(said) + 4) + said + b"0000" + refs
    headers = _UNCACHED | {REQUEST_ID: request_id(request)}
    return Response(refs, headers=headers, media_type=f"application/x-{service}-advertisement")


async def _exchange(request: Request, remote: Remote, principal: Principal) -> None:
    """Answers as git answers, piece by piece; a client that goes away ends the program, unless it has pushed all."""
    service = request.url.path.rpartition("/")[2]
    body = _Body(request, LARGEST_BYTES[service])
    answers = remote.exchange(_project(request), service, _protocol(request), principal, body.pieces())
    sending = asyncio.ensure_future(_send(request, service, answers))
    leaving = asyncio.ensure_future(body.left())
    try:
        await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
    finally:
        for task in (sending, leaving):
            task.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)


async def _send(request: Request, service: str, answers: AsyncIterator[bytes]) -> None:
    headers = {
        "content-type": f"application/x-{service}-result",
        "cache-control": "no-cache",
        REQUEST_ID: request_id(request),
    }
    begun = False
    try:
        async for piece in answers:
            if not begun:
                raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
                await request._send({"type": "http.response.start", "status": 200, "headers": raw})
                begun = True
            await request._send({"type": "http.response.body", "body": piece, "more_body": True})
    except Problem as problem:
        if begun:  # too late for a status: the answer breaks off, and git says so
            log.warning("%s failed: %s", request.url.path, problem.message)
        else:
            await _refusal(request, problem)(request.scope, request.receive, request._send)
            return
    if not begun:  # an empty answer is one too: git asks first whether it may send
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await request._send({"type": "http.response.start", "status": 200, "headers": raw})
    await request._send({"type": "http.response.body", "body": b"", "more_body": False})


class _Body:
    """The request's body, unzipped, and afterwards whether the client is still there."""

    def __init__(self, request: Request, limit: int) -> None:
        self._request, self._limit = request, limit
        self._read = asyncio.Event()

    async def pieces(self) -> AsyncIterator[bytes]:
        unzip = zlib.decompressobj(31) if self._request.headers.get("content-encoding") == "gzip" else None
        size = 0
        async for sent in self._request.stream():
            for piece in _unzipped(unzip, sent) if unzip else (sent,):
                size += len(piece)
                if size > self._limit:
                    raise TooLarge(f"the request has more than {self._limit:,} bytes", code="PUSH_TOO_LARGE",
                                   hint="large data goes by bough data put, not by git")  # fmt: skip
                if piece:
                    yield piece
        self._read.set()

    async def left(self) -> None:
        await self._read.wait()
        while (await self._request._receive())["type"] != "http.disconnect":
            pass


def _unzipped(unzip: zlib._Decompress, sent: bytes) -> Iterator[bytes]:
    try:
        while sent:
            yield unzip.decompress(sent, MOST_FROM_ONE_PIECE_BYTES)
            sent = unzip.unconsumed_tail
    except zlib.error as error:
        raise Invalid(f"the body is not gzip: {error}", code="REQUEST_INVALID") from error


def _token(request: Request) -> str:
    kind, _, rest = request.headers.get("Authorization", "").partition(" ")
    token = rest.strip() if kind.lower() == "bearer" else ""
    if kind.lower() == "basic":
        try:
            name, _, password = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            name = password = ""
        token = password or name
    if not token:
        raise Unauthenticated(
            "git sent no token; it is the password, and any user name will do",
            code="TOKEN_MISSING", hint="bough git remote sets git up to find it",
        )  # fmt: skip
    return token


def _project(request: Request) -> str:
    name: str = request.path_params["project"].removesuffix(".git")
    if not name:
        raise NotFound("this URL names no project", code="PROJECT_NOT_FOUND", hint="URL/git/PROJECT")
    return name


def _protocol(request: Request) -> str:
    """Nothing else may reach git's environment."""
    found = request.headers.get("Git-Protocol", "")
    return found if _PROTOCOL.fullmatch(found) else ""


def _refusal(request: Request, problem: Problem) -> Response:
    """Plain text: git prints it behind `remote:`."""
    headers = {REQUEST_ID: request_id(request)}
    if isinstance(problem, Unauthenticated):
        headers["WWW-Authenticate"] = 'Basic realm="Bough; the password is a token", charset="UTF-8"'
    if isinstance(problem, Busy):
        headers["Retry-After"] = str(max(1, round(problem.retry_after_s)))
    what, _, why = problem.message.partition("; ")
    lines = [what, f"  why: {why} ({problem.own_code})" if why else f"  why: {problem.own_code}"]
    lines += [f"  try: {problem.hint}"] if problem.hint else []
    return Response("\n".join(lines) + "\n", problem.http_status, headers, media_type="text/plain")
