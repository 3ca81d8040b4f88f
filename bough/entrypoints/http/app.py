"""The ASGI application: a route per operation, an upload for blobs, /healthz, and the OpenAPI document."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from typing import Any, Protocol

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from bough.adapters.blobs import Blobs
from bough.entrypoints.http import git, openapi, requests, uploads
from bough.entrypoints.http.answers import JSON, REQUEST_ID, answer, not_routed, refusal, request_id
from bough.entrypoints.http.streams import Streams
from bough.entrypoints.http.threads import in_thread
from bough.entrypoints.mlflow.routes import Mlflow
from bough.kernel.context import Principal, Role, WouldWait
from bough.kernel.errors import Detail, Forbidden, Problem, Unauthenticated
from bough.kernel.learning import learn_all
from bough.kernel.operations import Operation, Operations, out_of_scope

HOOK_BYTES = 25 << 20  # GitHub sends no more

log = logging.getLogger("bough.http")


class Served(Protocol):
    """What the API needs of `app.Bough`."""

    operations: Operations
    blobs: Blobs

    def authenticate(self, token: str) -> Principal: ...


Endpoint = Callable[[Request], Awaitable[Response | None]]


class Hooks(Protocol):
    """Takes what forges send."""

    def take(self, id: str, headers: Mapping[str, str], body: bytes) -> Any: ...


def build(
    served: Served, streams: Streams | None = None, remote: git.Remote | None = None, hooks: Hooks | None = None
) -> Starlette:
    """`streams` lets the caller end the open ones before it stops; `remote` is what git pushes to."""
    learn_all()
    open_streams = streams or Streams()
    verbs = {operation.path: operation for operation in served.operations.all.values()}
    routes: list[BaseRoute] = [Mlflow(served), _Verbs(verbs, partial(_operation, served, open_streams))]
    routes += [
        _route(openapi.BLOB_PATH, partial(_upload, served), "PUT"),
        _route(openapi.BLOBS_PATH, partial(_upload_many, served), "PUT"),
        _route(openapi.BLOB_PATH, partial(_download, served), "GET"),
        _route(openapi.BLOB_PATH + "/partial", partial(_partial, served), "GET"),
        _route(openapi.LINEAGE_PATH, partial(_lineage, served), "POST"),
        _route(openapi.DOCUMENT_PATH, _document(served), "GET"),
        _route(openapi.HEALTH_PATH, _health, "GET"),
    ]
    if remote is not None:
        routes += [_route(*each) for each in git.endpoints(remote, served.authenticate)]
    if hooks is not None:
        routes.append(_route(openapi.HOOK_PATH, partial(_hook, hooks), "POST"))
    return Starlette(routes=routes, exception_handlers={HTTPException: _not_routed})


def _operation(served: Served, streams: Streams, operation: Operation[Any, Any]) -> Endpoint:
    async def endpoint(request: Request) -> Response | None:
        token, key = _token(request), requests.idempotency_key(request)
        if not requests.is_small(request):  # whoever is not known is not listened to for long
            await in_thread(lambda: served.authenticate(token))
        read = await requests.reader(operation, request)
        if operation.streams:
            caller, typed = await in_thread(lambda: served.authenticate(token)), read()
            await streams.respond(
                request, request.scope, request.receive, request._send,
                lambda closed: served.operations.call(operation.name, typed, caller, closed=closed),
            )  # fmt: skip
            return None

        def work(*, waits: bool = True) -> Any:
            """One change of threads for all that may wait."""
            caller = served.authenticate(token)
            return served.operations.call(operation.name, read(), caller, key=key, waits=waits)

        if requests.is_quick(operation, request):
            with contextlib.suppress(WouldWait):  # a change of threads would take longer than all of it
                return answer(request, work(waits=False))
        return answer(request, await in_thread(work))

    return endpoint


class _Verbs(BaseRoute):
    """The operations as one route: their paths are plain texts, so that no pattern of hundreds has to be tried. Each
    one's own is made when it is asked for first: hundreds would be a tenth of a server's start."""

    def __init__(
        self, operations: Mapping[str, Operation[Any, Any]], serve: Callable[[Operation[Any, Any]], Endpoint]
    ) -> None:
        self._operations, self._serve = operations, serve
        self._routes: dict[str, Route] = {}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        found = self._route(scope["path"])
        return found.matches(scope) if found is not None else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._route(scope["path"])
        assert found is not None, "handled without a match"  # noqa: S101 - Starlette asks `matches` first
        await found.handle(scope, receive, send)

    def _route(self, path: str) -> Route | None:
        if path not in self._routes and (operation := self._operations.get(path)) is not None:
            self._routes[path] = _route(path, self._serve(operation), operation.method)
        return self._routes.get(path)


async def _upload(served: Served, request: Request) -> Response:
    await _check_role(served, request, "uploading", Role.DEVELOPER)
    digest, offset = request.path_params["digest"], request.headers.get(uploads.OFFSET)
    if offset is not None:
        return answer(request, await uploads.resume(request, served.blobs, digest, offset))
    return answer(request, await uploads.store(request, served.blobs, digest))


async def _upload_many(served: Served, request: Request) -> Response:
    await _check_role(served, request, "uploading", Role.DEVELOPER)
    return answer(request, await uploads.store_many(request, served.blobs))


async def _download(served: Served, request: Request) -> Response:
    await _check_role(served, request, "downloading", Role.VIEWER)
    return await uploads.send(request, served.blobs, request.path_params["digest"])


async def _partial(served: Served, request: Request) -> Response:
    await _check_role(served, request, "uploading", Role.DEVELOPER)
    digest = request.path_params["digest"]
    size = await in_thread(partial(served.blobs.partial, digest))
    return answer(request, uploads.Partial(digest=digest, size=size))


async def _lineage(served: Served, request: Request) -> Response:
    """Where clients of OpenLineage send to: the body is the event itself."""
    caller = await in_thread(partial(_caller, served, request))
    event = await requests.event(request)
    call = partial(served.operations.call, "lineage.accept", {"event": event}, caller)
    return answer(request, await in_thread(call), 201)


async def _hook(hooks: Hooks, request: Request) -> Response:
    """A forge's signature takes the place of a token."""
    body = await requests.read_body(request, HOOK_BYTES)
    call = partial(hooks.take, request.path_params["id"], request.headers, body)
    return answer(request, await in_thread(call), 202)


async def _check_role(served: Served, request: Request, what: str, role: Role) -> None:
    caller = await in_thread(partial(_caller, served, request))
    if caller.role < role:
        raise Forbidden(
            f"{what} needs the role {role.name.lower()}, and {caller.name} is a {caller.role.name.lower()}",
            code="ROLE_MISSING",
            hint=f"ask an admin: bough principals set-role {caller.name} {role.name.lower()}",
        )
    if caller.scope is not None and not caller.scope.allows(f"blobs.{what}"):
        raise out_of_scope(f"{what} blobs")


def _document(served: Served) -> Endpoint:
    @cache
    def encoded() -> bytes:
        return msgspec.json.encode(openapi.document(served.operations.all))

    async def endpoint(request: Request) -> Response:
        return Response(encoded(), headers={REQUEST_ID: request_id(request)}, media_type=JSON)

    return endpoint


async def _health(request: Request) -> Response:
    return answer(request, {"status": "ok"})


def _caller(served: Served, request: Request) -> Principal:
    return served.authenticate(_token(request))


def _token(request: Request) -> str:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise Unauthenticated(
            "the request has no token",
            code="TOKEN_MISSING",
            hint="send Authorization: Bearer TOKEN; the command line takes --token or BOUGH_TOKEN",
        )
    return token.strip()


def _route(path: str, endpoint: Endpoint, method: str) -> Route:
    """A class is handed over as ASGI as it is; a plain function would be wrapped and could not stream by itself."""
    return Route(path, _Endpoint(endpoint), methods=[method])


class _Endpoint:
    """Runs an endpoint and turns whatever it raises into an answer: never a bare 500, never a traceback."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await self._endpoint(request)
        except ClientDisconnect:
            return
        except Problem as problem:
            response = refusal(request, problem)
        except Exception:  # the caller gets the request id, the log the rest
            log.exception("request %s failed: %s %s", request_id(request), request.method, request.url.path)
            response = refusal(
                request,
                Problem(
                    f"the server failed to handle request {request_id(request)}",
                    hint="see logs/server.log in Bough's home, and report it",
                ),
            )
        if response is not None:
            await response(scope, receive, send)


async def _not_routed(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if status == 405:
        code, message = "METHOD_NOT_ALLOWED", f"{request.url.path} does not take {request.method}"
        hint = f"use {headers.get('Allow', '')}"
    elif status == 404:
        code, message = "ROUTE_NOT_FOUND", f"there is nothing at {request.url.path}"
        hint = f"GET {openapi.DOCUMENT_PATH} lists what there is"
    else:
        code, message, hint = "HTTP_REFUSED", str(error), ""
    return not_routed(request, status, Detail(code=code, message=message, hint=hint), headers)
