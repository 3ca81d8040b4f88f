"""OpenAI's `/v1`: the service is named by `model` in the body. Bodies go to the replica as they came."""

from __future__ import annotations

from time import monotonic
from typing import Any, cast

import msgspec

from bough.gateway.answers import OPENAI
from bough.gateway.call import Call, Head
from bough.gateway.http.connection import Connection
from bough.gateway.routing.plan import Planner
from bough.gateway.routing.routes import Entry, Routes, Scope
from bough.kernel.errors import Invalid, NotFound, TooLarge
from bough.kernel.project import PRODUCTION
from bough.runtime.frames import CHAT

CHAT_MODEL, EMBEDDING_MODEL = "chat", "embeddings"


class Named(msgspec.Struct):
    model: str


class BadBody(Invalid):
    """OpenAI's clients expect 400 where Bough says 422."""

    code, http_status, exit_code = "INVALID_BODY", 400, 2


_decode = msgspec.json.Decoder(Named).decode


class OpenAI:
    def __init__(self, routes: Routes, planner: Planner) -> None:
        self._routes = routes
        self._planner = planner

    def serve(self, call: Call, body: bytes) -> None:
        """Sends on a call to the service that its body names; raises a `Problem` for the caller."""
        head, before = cast(Head, call.head), call.plan
        try:
            name = _decode(body).model
        except msgspec.DecodeError as error:
            raise BadBody(f"the body must be a JSON object with a string 'model': {error}", param="model") from error
        entry = find(self._routes, before.scope, name, CHAT_MODEL if before.verb == CHAT else EMBEDDING_MODEL)
        meta = f"chatcmpl-{cast(Connection, call.client).rid(call).decode()}" if before.verb == CHAT else ""
        plan = self._planner.ask(entry, head, before.verb, meta, OPENAI)
        plan.method = head.method
        self._planner.describe(plan, head)
        call.plan = plan
        if plan.problem is not None:
            raise plan.problem
        now = monotonic()
        if plan.guard is not None:
            client = cast(Connection, call.client)
            plan.guard.take(now, client.peer, client.secure)
        if len(body) > plan.max_body:
            raise TooLarge(f"the body is larger than {plan.max_body} bytes", hint="raise max_body_mb in bough.toml")
        entry.way.submit(call, before.verb, body, meta, now)


def find(routes: Routes, scope: Scope, name: str, kind: str = "") -> Entry:
    """The service behind a model's name, `SERVICE` or `PROJECT/SERVICE`. Raises `NotFound` (code MODEL_NOT_FOUND)."""
    project, _, service = name.rpartition("/")
    wanted = Scope(project or scope.project, scope.environment, scope.service)
    missing = f"the model {name!r} does not exist" + (f" for {kind}" if kind else "")
    try:
        entry = routes.find(wanted, service)
    except NotFound as error:
        raise NotFound(missing, code="MODEL_NOT_FOUND", hint="GET /v1/models lists them", param="model") from error
    if kind != (_kind(entry) if kind else ""):
        raise NotFound(missing, code="MODEL_NOT_FOUND", hint=f'set openai = "{kind}" for the service', param="model")
    return entry


def listing(routes: Routes, scope: Scope, head: Head, name: str) -> dict[str, Any]:
    """`GET /v1/models`, or one of them when `name` is given."""
    if name:
        entry = find(routes, scope, name)
        routes.keys.check(entry.route, head)
        return _model(entry)
    shown = [
        _model(entry) for entry in routes.entries.values()
        if _kind(entry) and entry.route.environment == (scope.environment or PRODUCTION)
        and scope.project in ("", entry.route.project) and routes.keys.opens(entry.route, head)
    ]  # fmt: skip
    return {"object": "list", "data": shown}


def _kind(entry: Entry) -> str:
    signature = entry.route.signature
    return (signature.openai or "") if signature is not None else ""


def _model(entry: Entry) -> dict[str, Any]:
    return {"id": entry.route.service, "object": "model", "created": 0, "owned_by": entry.route.project}
