"""What the gateway itself is asked: health, metrics, the metadata of the Open Inference Protocol, OpenAI's list."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any, Protocol, cast

import msgspec

from bough import __version__
from bough.gateway.answers import TEXT, error_body, error_headers
from bough.gateway.call import Call, Head
from bough.gateway.http.connection import Connection
from bough.gateway.http.front import Front
from bough.gateway.models import WEB
from bough.gateway.openai import listing
from bough.gateway.queues.intake import GatewayQueues
from bough.gateway.routing.plan import PREFLIGHT, Plan
from bough.gateway.routing.routes import Entry, Routes
from bough.gateway.telemetry import metrics
from bough.kernel.errors import NotFound, Problem, Unavailable
from bough.kernel.project import PRODUCTION
from bough.runtime.frames import Signature, Tensor

_PROMETHEUS = b"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
_TRITON_TYPES = {"BYTES": "TYPE_STRING"}
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}\Z")
_encode = msgspec.json.Encoder().encode
Answer = tuple[int, bytes, bytes]


class Served(Protocol):
    """What is reported on."""

    home: Path
    routes: Routes
    front: Front
    queues: GatewayQueues
    started_at: float

    @property
    def log_dropped(self) -> int: ...


class Endpoints:
    def __init__(self, gateway: Served) -> None:
        self._gateway = gateway
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, call: Call) -> None:
        """Answers a call whose plan is LOCAL."""
        client = cast(Connection, call.client)
        if call.plan.parts[0] == "queues":
            self._gateway.queues.serve(call)
            return
        if call.plan.parts == ("metrics",):
            task = asyncio.get_running_loop().create_task(self._metrics(call, client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        try:
            status, headers, body = self._answer(call.plan, cast(Head, call.head))
        except Problem as problem:
            status, headers, body = problem.http_status, error_headers(problem), error_body(problem, call.plan.shape)
        client.respond(call, status, headers, body, monotonic())

    def _answer(self, plan: Plan, head: Head) -> Answer:
        if plan.parts == PREFLIGHT:
            return 204, TEXT, b""
        self._gateway.front.ledger.settle()  # what is reported includes the request before this one
        match plan.parts:
            case ("healthz",):
                return 200, TEXT, b"ok\n"
            case ("readyz",):
                self._check_ready()
                return 200, TEXT, b"ready\n"
            case (".well-known", "acme-challenge", token):
                return 200, TEXT, self._challenge(token)
            case ("v1", "models", *name):
                return 200, b"", _encode(listing(self._gateway.routes, plan.scope, head, "".join(name)))
            case ("v2",):
                extensions = ["binary_tensor_data", "model_repository", "statistics", "model_configuration"]
                return 200, b"", _encode({"name": "bough", "version": __version__, "extensions": extensions})
            case ("v2", "health", "live"):
                return 200, b"", b'{"live":true}'
            case ("v2", "health", "ready"):
                self._check_ready()
                return 200, b"", b'{"ready":true}'
            case ("v2", "models", "stats"):
                entries = list(self._models(plan, head))
                return 200, b"", _encode({"model_stats": [statistics(entry) for entry in entries]})
            case ("v2", "repository", "index") | ("v2", "models"):
                return 200, b"", _encode([_index(entry) for entry in self._models(plan, head)])
        return self._model(plan)

    def _model(self, plan: Plan) -> Answer:
        entry = cast(Entry, plan.entry)
        rest = plan.parts[3:]
        if rest[:1] == ("versions",):
            rest = rest[2:]
        match rest:
            case ():
                return 200, b"", _encode(metadata(entry, self._versions(entry)))
            case ("ready",):
                if not entry.lane.ready:
                    raise Unavailable(f"{entry.route.service} has no replica that is up", code="NOT_READY")
                return 200, b"", _encode({"name": entry.route.service, "ready": True})
            case ("stats",):
                return 200, b"", _encode({"model_stats": [statistics(entry)]})
            case ("config",):
                return 200, b"", _encode(configuration(entry))
        raise NotFound(f"{'/'.join(rest)} is not known of a model", code="ROUTE_NOT_FOUND", hint="see GET /v2")

    def _challenge(self, token: str) -> bytes:
        """What the server has put there for an authority."""
        with contextlib.suppress(OSError):
            if _TOKEN.match(token):
                return (self._gateway.home / "run" / "acme" / token).read_bytes()
        raise NotFound("there is no such challenge", code="ROUTE_NOT_FOUND")

    def _check_ready(self) -> None:
        if not self._gateway.routes.generation:
            raise Unavailable("the gateway has no routing table yet", code="NOT_READY", hint="bough up")

    def _models(self, plan: Plan, head: Head) -> Iterator[Entry]:
        """Those that the caller's scope and key reach."""
        scope, routes = plan.scope, self._gateway.routes
        for entry in routes.entries.values():
            route = entry.route
            if route.kind == WEB or route.environment != (scope.environment or PRODUCTION):
                continue
            if scope.project and route.project != scope.project:
                continue
            if routes.keys.opens(route, head):
                yield entry

    def _versions(self, of: Entry) -> list[str]:
        route = of.route
        same = (route.project, route.environment, route.service)
        return sorted(name[3].removeprefix("v") for name in self._gateway.routes.entries if name[:3] == same)

    async def _metrics(self, call: Call, client: Connection) -> None:
        gateway = self._gateway
        gateway.front.ledger.settle()
        shot = metrics.Snapshot()
        shot.routes = [gateway.front.planner.other, *gateway.routes.releases.all()]
        shot.live = [(entry.stats.labels, entry.lane.route.deployment) for entry in gateway.routes.entries.values()]
        for lane in gateway.routes.lanes():
            state = lane.state()
            shot.lanes.append((lane.stats, state.queued, state.in_flight, state.links))
        shot.queues = gateway.queues.states()
        shot.connections = len(gateway.front.connections)
        shot.generation = gateway.routes.generation
        shot.log_dropped = gateway.log_dropped
        body = await asyncio.get_running_loop().run_in_executor(None, metrics.render, shot)
        client.respond(call, 200, _PROMETHEUS, body, monotonic())


def metadata(entry: Entry, versions: list[str]) -> dict[str, Any]:
    signature = _signature(entry)
    return {
        "name": entry.route.service,
        "versions": versions,
        "platform": signature.platform,
        "inputs": [_tensor(tensor) for tensor in signature.inputs],
        "outputs": [_tensor(tensor) for tensor in signature.outputs],
    }


def configuration(entry: Entry) -> dict[str, Any]:
    """The part of Triton's model configuration that clients read."""
    signature = _signature(entry)

    def field(tensor: Tensor) -> dict[str, Any]:
        return {
            "name": tensor.name,
            "data_type": _TRITON_TYPES.get(tensor.datatype, f"TYPE_{tensor.datatype}"),
            "dims": tensor.shape,
        }

    return {
        "name": entry.route.service,
        "platform": signature.platform,
        "backend": "bough",
        "max_batch_size": 0,  # shapes above include the batch's dimension
        "input": [field(tensor) for tensor in signature.inputs],
        "output": [field(tensor) for tensor in signature.outputs],
    }


def statistics(entry: Entry) -> dict[str, Any]:
    stats, lane = entry.stats, entry.lane.stats
    sent, queue_s = lane.sent, lane.queue_s
    compute_s = max(0.0, stats.seconds - queue_s)

    def spent(count: int, seconds: float) -> dict[str, int]:
        return {"count": count, "ns": int(seconds * 1e9)}

    return {
        "name": entry.route.service,
        "version": entry.route.api.removeprefix("v"),
        "last_inference": int(stats.last * 1000),
        "inference_count": stats.succeeded,
        "execution_count": lane.batches,
        "inference_stats": {
            "success": spent(stats.succeeded, stats.seconds),
            "fail": spent(stats.failed, 0.0),
            "queue": spent(sent, queue_s),
            "compute_input": spent(sent, 0.0),
            "compute_infer": spent(sent, compute_s),
            "compute_output": spent(sent, 0.0),
        },
        "batch_stats": [],
    }


def _index(entry: Entry) -> dict[str, str]:
    state = "READY" if entry.lane.ready else "UNAVAILABLE"
    return {"name": entry.route.service, "version": entry.route.api.removeprefix("v"), "state": state, "reason": ""}


def _signature(entry: Entry) -> Signature:
    return entry.route.signature or Signature(mode="item")


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
