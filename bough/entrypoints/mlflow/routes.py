"""Where MLflow's clients find Bough: one route that looks at the beginning of a path, and a table behind it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
from functools import partial
from typing import Protocol
from urllib.parse import unquote

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from bough.adapters.blobs import Blobs
from bough.entrypoints.http.answers import REQUEST_ID, request_id
from bough.entrypoints.http.requests import QUICK_BODY_BYTES, read_body
from bough.entrypoints.http.threads import in_thread
from bough.entrypoints.mlflow import (
    elsewhere,
    experiments,
    files,
    logged_models,
    otlp,
    registry,
    runs,
    traces,
    traces_v2,
)
from bough.entrypoints.mlflow.calls import Call, Endpoint, Raw, Table, read, refusal
from bough.kernel.context import Principal, WouldWait
from bough.kernel.errors import Problem, Unauthenticated
from bough.kernel.names import check_name
from bough.kernel.operations import Operations
from bough.kernel.project import PRODUCTION

DEFAULT_PROJECT = "default"
VERSION = "3.17.2"  # the release of MLflow whose endpoints these are: its clients ask for it
MAX_BODY_BYTES = 64 << 20  # traces of long conversations; artifacts are streams and have their own limit

_API = tuple(f"/{kind}/{version}/" for kind in ("api", "ajax-api") for version in ("2.0", "2.11", "3.0"))
_FILES = "/mlflow-artifacts/artifacts"
_TABLE = Table(experiments, runs, logged_models, registry, traces, traces_v2)
_INFO = {
    "store_type": "SqlStore", "workspaces_enabled": False, "trace_archival_enabled": False,
    "multipart_uploads_enabled": False, "multipart_downloads_enabled": False, "features_enabled": {"gateway": False},
}  # fmt: skip

log = logging.getLogger("bough.http")


class Served(Protocol):
    operations: Operations
    blobs: Blobs

    def authenticate(self, token: str) -> Principal: ...


class Mlflow(BaseRoute):
    def __init__(self, served: Served) -> None:
        self._served = served
        self._begun: set[str] = set()  # projects known to have their first experiment

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        path: str = scope["path"]
        ours = path.startswith((*_API, "/mlflow/")) or path in ("/version", "/health", otlp.PATH)
        return (Match.FULL, {}) if ours else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        except Problem as problem:
            response = _json(request, *refusal(problem))
        except Exception:  # the caller gets the request id, the log the rest
            log.exception("request %s failed: %s %s", request_id(request), request.method, request.url.path)
            what = f"the server failed to handle request {request_id(request)}"
            response = _json(request, *refusal(Problem(what, hint="see logs/server.log")))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        project, environment, path = _place(_path(request))
        if path in ("/version", "/health"):
            return PlainTextResponse(VERSION if path == "/version" else "OK")
        below = next((path[len(each) - 1 :] for each in _API if path.startswith(each)), path)
        if below == "/mlflow/server-info" and request.method == "GET":
            return _json(request, 200, msgspec.json.encode(_INFO))
        if below == _FILES or below.startswith(f"{_FILES}/"):
            token = _token(request)
            call = await in_thread(partial(self._call, request, token, project, environment))
            return await files.serve(request, call, self._served.blobs, below[len(_FILES) + 1 :])
        if below == otlp.PATH and request.method == "POST":
            body = await read_body(request, MAX_BODY_BYTES)
            return await in_thread(partial(self._spans, request, body, project, environment))
        found = _TABLE.find(request.method, below)
        if found is None:
            raise elsewhere.refused(request.method, below)
        body = await read_body(request, MAX_BODY_BYTES)
        work = partial(self._work, request, found, body, project, environment)
        if found[0].quick and len(body) <= QUICK_BODY_BYTES and project in self._begun:
            with contextlib.suppress(WouldWait):  # a change of threads would take longer than all of it
                return work(waits=False)
        return await in_thread(work)

    def _work(
        self, request: Request, found: tuple[Endpoint, dict[str, str]], body: bytes, project: str, environment: str,
        *, waits: bool = True,
    ) -> Response:  # fmt: skip
        """From who calls to the answer's bytes: one change of threads for all of it, or none."""
        endpoint, parameters = found
        call = self._call(request, _token(request), project, environment)._replace(waits=waits)
        typed = read(endpoint.request, body, request.scope["query_string"], parameters)
        answer = endpoint.function(call, typed)
        if isinstance(answer, Raw):
            return _raw(request, answer)
        return _json(request, 200, msgspec.json.encode(answer))

    def _spans(self, request: Request, body: bytes, project: str, environment: str) -> Response:
        return _raw(request, otlp.receive(self._call(request, _token(request), project, environment), body))

    def _call(self, request: Request, token: str, project: str, environment: str) -> Call:
        principal, served = self._served.authenticate(token), self._served
        call = Call(served.operations, principal, project, environment, request.headers, served.blobs)
        if project not in self._begun and call.principal.role >= self._served.operations.all["experiments.begin"].role:
            call.op("experiments.begin")
            self._begun.add(project)
        return call


def _path(request: Request) -> str:
    """As sent, so that a percent-encoded slash in a name stays one."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    return raw.decode("ascii", "replace")


def _place(path: str) -> tuple[str, str, str]:
    """Project, environment and the path below them, decoded part by part later."""
    if not path.startswith("/mlflow/"):
        return DEFAULT_PROJECT, PRODUCTION, _decoded(path)
    project, _, rest = path[len("/mlflow/") :].partition("/")
    environment = PRODUCTION
    if not f"/{rest}".startswith((*_API, "/version", "/health", otlp.PATH)):
        environment, _, rest = rest.partition("/")
    return (
        check_name(unquote(project), "project"),
        check_name(unquote(environment), "environment"),
        _decoded(f"/{rest}"),
    )


def _decoded(path: str) -> str:
    return unquote(path, errors="replace")


def _token(request: Request) -> str:
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer" and given.strip():
        return given.strip()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(given, validate=True).decode().partition(":")[2].strip()
        except (binascii.Error, UnicodeDecodeError):
            pass
    raise Unauthenticated(
        "the request has no token",
        code="TOKEN_MISSING", hint="set MLFLOW_TRACKING_TOKEN; on the machine of this Bough: bough tokens create",
    )  # fmt: skip


def _raw(request: Request, answer: Raw) -> Response:
    return Response(answer.body, headers={REQUEST_ID: request_id(request)}, media_type=answer.media_type)


def _json(request: Request, status: int, body: bytes) -> Response:
    return Response(body, status, {REQUEST_ID: request_id(request)}, media_type="application/json")
