"""What to do with a request, decided from its head alone.

    POST /<api>/<service>/predict              one prediction, Bough's own JSON
    /v2 …                                      Open Inference Protocol (health, models, repository)
    /v1/models, /v1/chat/completions, /v1/embeddings   OpenAI; the service is the body's `model`
    /web/<service>/…                           a web service, path form
    /queues/<queue>[/…]                        items of a queue: `queues`
    <service>[--<environment>].<project>.localhost     the same by host; a web service owns its whole host
    /healthz, /readyz, /metrics                the gateway itself
    /.well-known/acme-challenge/<token>        challenges for an authority that certifies the gateway's names

`POST /v2/<service>/predict` (an api named v2) and `/v2/models/<m>` differ by shape: exactly three parts with method
POST and `predict` at the end is Bough's.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from bough.gateway.answers import BOUGH, OIP, OPENAI, MethodNotAllowed
from bough.gateway.call import Head
from bough.gateway.callers.limits import Guard, Limiter
from bough.gateway.models import WEB, Route
from bough.gateway.routing.admission import Admission, allowed, is_preflight, shared_with
from bough.gateway.routing.item_heads import wanted
from bough.gateway.routing.routes import Entry, Routes, Scope
from bough.gateway.telemetry.metrics import RouteStats
from bough.kernel.errors import NotFound, Problem
from bough.runtime.frames import CHAT, EMBED, INFER, PREDICT

# How a plan is carried out.
ASK, NAMED_BY_BODY, LOCAL, PROXY, REFUSE = range(5)

PREFLIGHT = ("", "preflight")  # in place of a path's parts
LOCAL_BODY_BYTES = 64 << 10
OPENAI_BODY_BYTES = 16 << 20
_json = msgspec.json.Encoder().encode


class Queued(Protocol):
    """What the planner needs of the queues."""

    def find(self, scope: Scope, name: str) -> Entry: ...


class Plan:
    """Shared by all requests with the same head, so nothing in it belongs to one request."""

    __slots__ = (
        "act", "caller", "entry", "expires_at", "extra", "fresh", "guard", "length", "log", "mark", "max_body", "meta",
        "method", "parts", "picked", "plain", "prefix", "problem", "progress", "rank", "scope", "shape", "stats",
        "verb", "wanted",
    )  # fmt: skip

    def __init__(self, act: int, stats: RouteStats, *, shape: str = BOUGH, max_body: int = LOCAL_BODY_BYTES) -> None:
        self.act = act
        self.stats = stats
        self.shape = shape
        self.max_body = max_body
        self.method = b"GET"
        self.entry: Entry | None = None
        self.verb = PREDICT
        self.meta = ""
        self.extra = b""  # header lines of every answer
        self.length = 0  # of the body, where the head was remembered
        self.log = b""  # this plan's part of a line in the access log
        self.expires_at = 0.0  # of the key that was presented
        self.problem: Problem | None = None
        self.parts: tuple[str, ...] = ()  # of a LOCAL path
        self.prefix = b""  # of a PROXY path, taken off
        self.mark = b""  # what a split goes by
        self.picked = ""  # the side of a split that this head asks for
        self.caller = ""  # the key's id, or the subject of a token
        self.fresh = False  # no answer that was kept will do
        self.rank = 0  # above 0: goes first; below: is shed first
        self.guard: Guard | None = None  # what is limited
        self.plain = True  # answers carry nothing but what all do
        self.progress = False  # the client wants to hear how it stands while it waits
        self.scope = Scope()
        self.wanted: Any = None  # of a queue: what the head says of the item; then no other head is like it

    def refuse(self, problem: Problem) -> None:
        """Makes this plan a refusal, which still carries what all answers of its route do."""
        self.act, self.problem, self.verb = REFUSE, problem, PREDICT

    def with_stats(self, stats: RouteStats) -> Plan:
        """The same, counted elsewhere."""
        made = Plan.__new__(Plan)
        for name in Plan.__slots__:
            setattr(made, name, getattr(self, name))
        made.stats = stats
        return made


class Planner:
    """Stateless but for the table and what is limited; `bound` is the route of a listener that serves one service
    alone."""

    def __init__(self, routes: Routes, limiter: Limiter | None = None, suffix: str = ".localhost") -> None:
        self._routes = routes
        self._suffix = suffix
        self._admission = Admission(routes, limiter or Limiter())
        self.other = RouteStats("", "", "", "", "")  # what is no service's
        self.queues: Queued

    def plan(self, head: Head, bound: Route | None = None) -> Plan:
        """Never raises: a refusal is a plan too."""
        shape = BOUGH
        try:
            scope = self._scope(head, bound)
            parts = tuple(head.path.decode("latin-1").split("/")[1:])
            shape = _shape(parts)
            plan = self._by_host(head, scope, bound) or self._by_path(head, scope, parts)
            plan.scope = scope
        except Problem as problem:
            return self.refusal(head, problem, shape)
        plan.method = head.method
        self.describe(plan, head)
        return plan

    def refusal(self, head: Head, problem: Problem, shape: str = BOUGH) -> Plan:
        plan = Plan(REFUSE, self.other, shape=shape)
        plan.problem, plan.method = problem, head.method
        self.describe(plan, head)
        return plan

    def ask(self, entry: Entry, head: Head, verb: int, meta: str = "", shape: str = BOUGH) -> Plan:
        """A plan that sends the request to the entry's replicas, or refuses it."""
        plan = Plan(ASK, entry.stats, shape=shape, max_body=entry.route.max_body_bytes)
        plan.verb, plan.meta = verb, meta
        plan.progress = "progress" in head_value(head, b"prefer") and not head.http10
        self._admission.admit(plan, entry, head)
        return plan

    # --- private: who is meant

    def _scope(self, head: Head, bound: Route | None) -> Scope:
        if bound is not None:
            return Scope(bound.project, bound.environment, bound.service)
        host = head.host.decode("latin-1").lower()
        host = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
        scope = Scope()
        if host.endswith(self._suffix):
            labels = host.removesuffix(self._suffix).split(".")
            if len(labels) != 2:
                raise NotFound(
                    f"the host {host} names no service", code="ROUTE_NOT_FOUND",
                    hint="hosts are SERVICE.PROJECT.localhost or SERVICE--ENVIRONMENT.PROJECT.localhost",
                )  # fmt: skip
            scope.service, _, scope.environment = labels[0].partition("--")
            scope.project = labels[1]
        scope.project = scope.project or head.project
        scope.environment = scope.environment or head.environment
        return scope

    def _by_host(self, head: Head, scope: Scope, bound: Route | None) -> Plan | None:
        """A web service whose host or port this is."""
        if not scope.service:
            return None
        entry = self._routes.find(scope, scope.service, bound.api if bound is not None else None)
        return self._proxy(entry, head) if entry.route.kind == WEB else None

    def _by_path(self, head: Head, scope: Scope, parts: tuple[str, ...]) -> Plan:
        post = head.method == b"POST"
        if len(parts) == 3 and parts[2] == "predict" and parts[0] != "web" and (post or parts[0] != "v2"):
            return self._predict(head, scope, parts[1], parts[0])
        if scope.service and parts[-1] == "predict" and len(parts) <= 2:  # the host or port already says which
            return self._predict(head, scope, scope.service, parts[0] if len(parts) == 2 else None)
        match parts:
            case ("healthz",) | ("readyz",) | ("metrics",):
                return self._local(parts, head)
            case (".well-known", "acme-challenge", _):
                return self._local(parts, head)
            case ("v2", *_):
                return self._inference(head, scope, tuple(part for part in parts if part))
            case ("v1", "models") | ("v1", "models", _):
                return self._local(parts, head, OPENAI)
            case ("v1", "chat", "completions") | ("v1", "embeddings"):
                _allow(head, b"POST")
                plan = Plan(NAMED_BY_BODY, self.other, shape=OPENAI, max_body=OPENAI_BODY_BYTES)
                plan.verb = CHAT if parts[1] == "chat" else EMBED
                return plan
            case ("queues", queue) | ("queues", queue, _) | ("queues", queue, _, "result"):
                return self._queue(head, scope, parts, queue)
            case ("web", service, *_):
                entry = self._routes.find(scope, service)
                if entry.route.kind != WEB:
                    raise NotFound(
                        f"{service} is not a web service", code="ROUTE_NOT_FOUND",
                        hint=f"POST /{entry.route.api}/{service}/predict",
                    )  # fmt: skip
                plan = self._proxy(entry, head)
                plan.prefix = f"/web/{service}".encode("latin-1")
                return plan
        raise NotFound(
            f"nothing is at {head.path.decode('latin-1')}", code="ROUTE_NOT_FOUND",
            hint="predictions are at POST /v1/SERVICE/predict, web services at /web/SERVICE/",
        )  # fmt: skip

    # --- private: kinds of plans

    def _predict(self, head: Head, scope: Scope, service: str, api: str | None) -> Plan:
        entry = self._routes.find(scope, service, api)
        if entry.route.kind == WEB:
            raise NotFound(
                f"{service} is a web service: it has no predict", code="ROUTE_NOT_FOUND", hint=f"use /web/{service}/"
            )
        if entry.route.cors is not None and is_preflight(head):
            return self._preflight(entry, head)
        _allow(head, b"POST")
        kind = head_value(head, b"content-type")  # matters to models whose input is bytes
        kind = "" if kind.startswith("application/json") else kind
        if "ndjson" in head_value(head, b"accept"):
            kind = f"{kind};ndjson" if kind else "ndjson"
        return self.ask(entry, head, PREDICT, kind)

    def _proxy(self, entry: Entry, head: Head) -> Plan:
        if entry.route.cors is not None and is_preflight(head):
            return self._preflight(entry, head)
        plan = Plan(PROXY, entry.stats, max_body=entry.route.max_body_bytes)
        self._admission.admit(plan, entry, head)
        return plan

    def _preflight(self, entry: Entry, head: Head) -> Plan:
        """No key is asked for: browsers do not send any with it."""
        plan = Plan(LOCAL, entry.stats)
        plan.entry, plan.parts = entry, PREFLIGHT
        rule = entry.route.cors
        if rule is not None:
            plan.extra = shared_with(rule, head) + allowed(rule, head)
        return plan

    def _queue(self, head: Head, scope: Scope, parts: tuple[str, ...], name: str) -> Plan:
        entry = self.queues.find(scope, name)
        if len(parts) == 2 and head.method not in (b"GET", b"HEAD"):
            _allow(head, b"POST", b"GET")
            plan = self.ask(entry, head, PREDICT)
            plan.wanted = wanted(head)
            return plan
        plan = self._local(parts, head)
        self._admission.admit(plan, entry, head)
        return plan

    def _local(self, parts: tuple[str, ...], head: Head, shape: str = BOUGH) -> Plan:
        _allow(head, b"GET", b"HEAD")
        plan = Plan(LOCAL, self.other, shape=shape)
        plan.parts = parts
        return plan

    def _inference(self, head: Head, scope: Scope, parts: tuple[str, ...]) -> Plan:
        match parts:
            case ("v2", "models", model, "infer") | ("v2", "models", model, "versions", _, "infer"):
                entry = self.versioned(scope, model, parts[4] if len(parts) == 6 else "")
                if entry.route.cors is not None and is_preflight(head):
                    return self._preflight(entry, head)
                _allow(head, b"POST")
                if entry.route.kind == WEB:
                    raise NotFound(f"{model} is a web service, not a model", code="ROUTE_NOT_FOUND")
                return self.ask(entry, head, INFER, head.infer_length, OIP)
            case ("v2", "models", model, *rest) if model != "stats":
                version = rest[1] if len(rest) >= 2 and rest[0] == "versions" else ""
                plan = self._local(parts, head, OIP)
                self._admission.admit(plan, self.versioned(scope, model, version), head)
                return plan
            case ("v2", "repository", "index"):
                _allow(head, b"POST", b"GET")
                plan = Plan(LOCAL, self.other, shape=OIP)
                plan.parts = parts
                return plan
            case ("v2",) | ("v2", "health", "live" | "ready") | ("v2", "models", "stats") | ("v2", "models"):
                return self._local(parts, head, OIP)
        raise NotFound(
            f"{'/'.join(('', *parts))} is not served here", code="ROUTE_NOT_FOUND",
            hint="models are loaded and unloaded by 'bough deploy'; see GET /v2",
        )  # fmt: skip

    def versioned(self, scope: Scope, model: str, version: str) -> Entry:
        """The entry of a model; `version` is an api with or without its v, or a release number."""
        if not version:
            return self._routes.find(scope, model)
        try:
            return self._routes.find(scope, model, version if version.startswith("v") else f"v{version}")
        except NotFound:
            entry = self._routes.find(scope, model)
            if str(entry.route.release) == version:
                return entry
            raise

    def describe(self, plan: Plan, head: Head) -> None:
        """Fills in the plan's part of its lines in the access log, and whether its answers carry more than others."""
        said: dict[str, Any] = {"method": head.method.decode("latin-1"), "path": head.path.decode("latin-1")}
        if plan.entry is not None:
            route = plan.entry.route
            said |= {"project": route.project, "environment": route.environment, "service": route.service}
            said |= {"api": route.api}
        if plan.caller:
            said["caller"] = plan.caller
        plan.log = _json(said)[1:-1]
        plan.plain = not plan.extra and plan.guard is None


def head_value(head: Head, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in head.headers if key == name), "")


def _allow(head: Head, *methods: bytes) -> None:
    if head.method not in methods:
        allow = ", ".join(method.decode() for method in methods)
        raise MethodNotAllowed(
            f"{head.method.decode('latin-1')} is not possible here", hint=f"use {allow}", allow=allow
        )


def _shape(parts: tuple[str, ...]) -> str:
    match parts:
        case ("v2", _, "predict") | ("v1", _, "predict"):
            return BOUGH
        case ("v2", *_):
            return OIP
        case ("v1", "models" | "chat" | "embeddings", *_):
            return OPENAI
    return BOUGH
