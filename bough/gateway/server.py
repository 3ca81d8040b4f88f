"""The gateway process: listeners, the table and its file, the control socket, the second-by-second chores."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import secrets
import ssl
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from bough.adapters.engine import EXITED
from bough.adapters.queue import Queues
from bough.gateway import portholder
from bough.gateway.answers import Heads
from bough.gateway.asking import Asked, Asking, Question
from bough.gateway.call import Call
from bough.gateway.callers.limits import Limiter
from bough.gateway.callers.tokens import AGAIN_S, Issuers
from bough.gateway.certificates import Certificate
from bough.gateway.control import Control
from bough.gateway.endpoints import Endpoints
from bough.gateway.http.connection import Connection
from bough.gateway.http.front import Front
from bough.gateway.http.proxy import start as start_proxy
from bough.gateway.lanes.lane import Lane
from bough.gateway.lanes.web import WebLane
from bough.gateway.mock import MockLane
from bough.gateway.models import (
    MOCK,
    WEB,
    GatewayState,
    Heard,
    LaneTraffic,
    Route,
    RouteTraffic,
    Silence,
    Starts,
    Traffic,
)
from bough.gateway.node import NodeSocket
from bough.gateway.openai import OpenAI
from bough.gateway.queues.intake import GatewayQueues
from bough.gateway.routing.plan import ASK, Plan, Planner
from bough.gateway.routing.routes import AnyLane, Routes, Scope, read_table
from bough.gateway.taps.tape import Tape
from bough.gateway.telemetry.access_log import Ledger, LogFile
from bough.gateway.telemetry.metrics import RouteStats
from bough.gateway.telemetry.otlp import exporter
from bough.kernel.errors import NotFound, Problem
from bough.runtime.frames import PREDICT
from bough.runtime.spec import Exited

WATCH_S = 0.5  # between two looks at the table's file
TOO_EARLY_S = 0.001  # a timer may end so much before its time
FLUSH_S = 0.25  # between two writes of the access log, while there is something to write …
QUIET_FLUSH_S = 1.0  # … and until the next look where there was nothing
BACKLOG = 4096
GOODBYE_S = 0.3
GRACE_S = 15.0  # for requests under way when asked to stop

log = logging.getLogger("bough.gateway")


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen for TLS, and with what; without `key` it stands in the certificate's file."""

    port: int
    certificate: str
    key: str = ""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Times and sizes that tests and operators may change."""

    access_log: bool = True
    grace_s: float = GRACE_S
    watch_s: float = WATCH_S
    tls: Tls | None = None
    keys_again_s: float = AGAIN_S  # between two looks at an issuer's keys because of one that is not known


class Gateway:
    """One per process. `start`, then `wait`, then `stop`; all in the event loop. `queues` opens what keeps items."""

    def __init__(
        self, home: Path, options: Options | None = None, queues: Callable[[], Queues] | None = None
    ) -> None:  # fmt: skip
        self.home = home
        self.options = options or Options()
        self.started_at = time.time()
        self.addresses: list[tuple[str, int]] = []
        self.tls_addresses: list[tuple[str, int]] = []
        self._tape = Tape(home / "traffic", f"{self.started_at:.3f}")
        self.routes = Routes(self._make_lane, _hand_over, self._tape)
        self.routes.switched = self._switched
        self._tokens = Issuers(home / "run" / "issuers.json", self._switched, self.options.keys_again_s)
        self.routes.tokens = self._tokens
        self._run = home / "run"
        self._log = LogFile(home / "logs" / "access.log") if self.options.access_log else None
        self.limiter = Limiter()
        planner = Planner(self.routes, self.limiter)
        self._other = planner.other
        self.ledger = Ledger(self._log, exporter(self._stats))
        self.front = Front(Heads(secrets.token_hex(4).encode() + b"-"), self.ledger, planner)
        self.front.local = Endpoints(self).serve
        self.front.named = OpenAI(self.routes, planner).serve
        self.front.proxy = start_proxy
        self.queues = planner.queues = GatewayQueues(queues, self.routes, self.front)
        self._node = NodeSocket(self._run / "node.sock")
        self._node.woken = self._woken
        tls = self.options.tls
        key = Path(tls.key) if tls is not None and tls.key else None
        self._certificate = Certificate(Path(tls.certificate), key) if tls is not None else None
        self._control = Control(self)
        self._table_seen: tuple[int, int, int] = (0, 0, 0)
        self._servers: list[asyncio.Server] = []
        self._ports: dict[int, asyncio.Server] = {}  # routes' own
        self._ports_lock = asyncio.Lock()
        self._silent_ports: dict[int, str] = {}  # of those, where it cannot listen, and why
        self._chores: list[asyncio.Task[None]] = []
        self._second = asyncio.Event()  # the present one has ended

    async def start(self, host: str, port: int) -> None:
        """Listens and serves. Raises `Unavailable` (code PORT_IN_USE) naming who holds the port."""
        self._run.mkdir(parents=True, exist_ok=True)
        self._host = host
        server = await self._listen(host, port, None, "gateway_port, or --gateway-port", serving=False)
        self._servers.append(server)
        await self.reload(quiet=True)  # before anybody is answered: without its table it would know no service
        await self._renew()
        try:
            await server.start_serving()
        except OSError as error:  # somebody has begun to listen meanwhile
            raise portholder.problem(host, port, error, "gateway_port, or --gateway-port") from error
        self.addresses = [sock.getsockname()[:2] for sock in server.sockets]
        await self._control.start(self._run / "gateway.sock")
        self._chores = [asyncio.create_task(chore) for chore in (self._watch(), self._tick(), self._flush())]
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)

    async def stop(self) -> None:
        """Stops accepting, lets what is under way end within the grace, and leaves nothing behind."""
        self.front.stopping = True
        for server in [*self._servers, *self._ports.values()]:
            server.close()
        self.queues.stop_taking()
        for connection in list(self.front.connections):
            connection.stop()
        deadline = monotonic() + self.options.grace_s
        while self._busy() and monotonic() < deadline:  # noqa: ASYNC110 - an event would cost every answer something
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)  # answers just written leave with this iteration
        for chore in self._chores:
            chore.cancel()
        await self.queues.close()
        self._tokens.close()
        for lane in self.routes.lanes():
            lane.close()
        for connection in list(self.front.connections):
            connection.transport.close()
        deadline = monotonic() + GOODBYE_S  # an encrypted connection ends with the client's consent
        while self.front.connections and monotonic() < deadline:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)
        for connection in list(self.front.connections):
            connection.transport.abort()
        self._control.stop()
        self.ledger.close()
        self._tape.close()

    async def ask(self, question: Question) -> Asked:
        """One request from this machine itself, such as a replay's: it needs no key and has no limit. Raises
        `NotFound` (ROUTE_NOT_FOUND), and what the lane raises."""
        entry = self.routes.find(Scope(question.project, question.environment), question.service, question.api or None)
        if entry.route.kind == WEB:
            raise NotFound(f"{question.service} is a web service: it has no predict", code="ROUTE_NOT_FOUND")
        answer: asyncio.Future[Asked] = asyncio.get_running_loop().create_future()
        self.front.count += 1
        plan, now = Plan(ASK, entry.stats), monotonic()
        plan.entry = entry
        call = Call(self.front.count, Asking(answer, now), plan, now)
        call.size = len(question.body)
        entry.lane.submit(call, PREDICT, bytes(question.body), question.meta, now)
        return await answer

    async def reload(self, *, quiet: bool = False) -> None:
        """Rereads the table. A file that is missing or torn changes nothing; raises `Invalid` unless `quiet`."""
        path = self._run / "routes.json"
        self._table_seen = _identity(path)
        try:
            table = read_table(path)
        except Problem as problem:
            if not quiet:
                raise
            if problem.own_code != "TABLE_MISSING":
                log.error("%s; the table of generation %d stays in use", problem.message, self.routes.generation)
            return
        self._tokens.use(table.routes)
        self.routes.apply(table)
        self.queues.apply(table.queues)
        self.front.forget()
        async with self._ports_lock:  # a poke and the watch may find the same change
            await self._listen_on_own_ports()

    async def listen(self, silence: Silence) -> Heard:
        """Answers when one of the deployments has been asked, at the next second, or when the time is over."""
        ends = monotonic() + silence.timeout_s
        while not (asked := self._arrived(silence.arrived) != silence.arrived) and monotonic() < ends:
            await self._second.wait()
        return Heard(asked=asked)

    def state(self) -> GatewayState:
        self.ledger.settle()
        answers = {entry.lane.route.deployment: entry.stats.buckets for entry in self.routes.entries.values()}
        lanes = [lane.state() for lane in self.routes.lanes()]
        return GatewayState(
            generation=self.routes.generation, pid=os.getpid(), started_at=self.started_at,
            lanes=[msgspec.structs.replace(each, buckets=answers.get(each.deployment, [])) for each in lanes],
            shares=list(self.routes.shares()), queues=self.queues.states(), silent_ports=self._silent_ports,
        )  # fmt: skip

    def traffic(self) -> Traffic:
        self.ledger.settle()
        answering = self.routes.answering()
        return Traffic(
            started_at=self.started_at,
            routes=[_route_traffic(stats, answering) for stats in self.routes.releases.all()],
            lanes=[_lane_traffic(lane) for lane in self.routes.lanes()],
        )

    @property
    def log_dropped(self) -> int:
        return self._log.dropped if self._log is not None else 0

    def _arrived(self, deployments: Iterable[str]) -> dict[str, int]:
        found = dict.fromkeys(deployments, 0)
        for lane in self.routes.lanes():
            if lane.route.deployment in found:
                found[lane.route.deployment] += lane.stats.arrived
        return found

    def _stats(self) -> list[RouteStats]:
        return [self._other, *self.routes.releases.all()]

    def _busy(self) -> bool:
        return self.queues.busy or any(connection.busy for connection in self.front.connections)

    # --- private: lanes

    def _make_lane(self, route: Route) -> AnyLane:
        if route.kind == WEB:
            return WebLane(route, self._node, self._ready)
        if route.kind == MOCK:
            return MockLane(route)
        return Lane(route, self._node, self._ready, self.routes.observed)

    def _ready(self, lane: AnyLane) -> None:
        for target in lane.route.targets:
            self._node.known_up(target.unit)
        self.routes.became_ready(lane)

    def _switched(self) -> None:
        self.front.forget()

    def _woken(self, unit: str, attempt: dict[str, Any]) -> None:
        ended = msgspec.convert(attempt.get("before"), Exited | None)
        for lane in self.routes.lanes():
            if isinstance(lane, WebLane):
                lane.partings.tell(unit, int(attempt.get("attempt", 0)), ended)
            elif isinstance(lane, Lane) and ended is not None:
                lane.ended(unit, ended)
        if attempt.get("state") != EXITED:
            for lane in self.routes.lanes():
                lane.woken(unit, str(attempt.get("address", "")), int(attempt.get("attempt", 0)))
                if attempt.get("cold") and isinstance(lane, Lane) and unit.startswith(lane.route.deployment):
                    lane.is_cold(unit)

    # --- private: listening

    async def _renew(self) -> None:
        """Takes in a new certificate, and begins to listen with the first one."""
        if self._certificate is None or self.front.stopping or not self._certificate.look() or self.tls_addresses:
            return
        port = self.options.tls.port if self.options.tls is not None else 0
        server = await self._listen(self._host, port, None, "tls_port, or --tls-port", self._certificate.context)
        if self.front.stopping:
            server.close()
            return
        self._servers.append(server)
        self.tls_addresses = [sock.getsockname()[:2] for sock in server.sockets]

    async def _listen(
        self, host: str, port: int, route: Route | None, setting: str, tls: ssl.SSLContext | None = None, *,
        serving: bool = True,
    ) -> asyncio.Server:  # fmt: skip
        loop = asyncio.get_running_loop()
        make: Callable[[], Connection] = functools.partial(Connection, self.front, route)
        try:
            return await loop.create_server(
                make, host, port, backlog=BACKLOG, reuse_address=True, ssl=tls, start_serving=serving
            )
        except OSError as error:
            raise portholder.problem(host, port, error, setting) from error

    async def _listen_on_own_ports(self) -> None:
        wanted = {entry.route.port: entry.route for entry in self.routes.entries.values() if entry.route.port}
        for port in [port for port in self._ports if port not in wanted]:
            self._ports.pop(port).close()
        self._silent_ports = {}
        for port, route in wanted.items():
            if port in self._ports:
                continue
            try:
                self._ports[port] = await self._listen(self._host, port, route, f"port of services.{route.service}")
            except Problem as problem:  # the other services must go on; the next reload tries again
                log.error("%s", problem.message)
                self._silent_ports[port] = problem.message

    # --- private: chores

    async def _watch(self) -> None:
        while True:
            await _beat(self.options.watch_s)
            if _identity(self._run / "routes.json") != self._table_seen:
                await self.reload(quiet=True)
            try:
                await self._renew()
            except Problem as problem:  # somebody else has the port; what listens already goes on
                log.error("%s", problem.message)

    async def _tick(self) -> None:
        while True:
            await _beat(1.0)
            now = monotonic()
            self._second.set()
            self._second = asyncio.Event()
            self.front.heads.refresh()
            self._tokens.tick()
            if self.limiter.sweep(now):
                self.front.forget()
            for connection in list(self.front.connections):
                connection.sweep(now)
            for lane in self.routes.lanes():
                lane.tick()
            for stats in self.routes.releases.all():
                stats.model.tick()
            for entry in self.routes.entries.values():
                if entry.tap is not None:
                    entry.tap.tell()

    async def _flush(self) -> None:
        while True:
            answered = self.ledger.flush()
            await _beat(FLUSH_S if answered else QUIET_FLUSH_S)


async def _beat(period_s: float) -> None:
    """Until the next multiple of it: chores that are due together wake an idle machine once."""
    late_s = (monotonic() + TOO_EARLY_S) % period_s
    await asyncio.sleep(period_s - late_s + TOO_EARLY_S)


def _hand_over(before: AnyLane, after: AnyLane) -> None:
    """What waits in the old lane's queue has not been sent to anybody: the new lane answers it."""
    if isinstance(before, Lane) and isinstance(after, Lane):
        after.adopt(before.surrender())


def _route_traffic(stats: RouteStats, answering: dict[tuple[str, ...], str]) -> RouteTraffic:
    project, environment, service, api, release = stats.labels
    return RouteTraffic(
        project=project, environment=environment, service=service, api=api, release=release,
        deployment=answering.get(stats.labels, ""), statuses=dict(stats.statuses), buckets=list(stats.buckets),
        last_at=stats.last, refused=sum(stats.refused), further=stats.model.further,
        further_per_s=stats.model.further_per_s,
    )  # fmt: skip


def _lane_traffic(lane: AnyLane) -> LaneTraffic:
    stats = lane.stats
    starts = {kind: Starts(count=sum(counts), seconds=total[0]) for kind, (counts, total) in stats.starts.items()}
    return LaneTraffic(
        deployment=lane.route.deployment, replicas=lane.state().links, replica_s=stats.replica_s,
        per_s=stats.per_second, batches=stats.batches, begun=stats.sent, late=stats.late, queue_s=stats.queue_s,
        starts={kind: each for kind, each in starts.items() if each.count},
    )  # fmt: skip


def _identity(path: Path) -> tuple[int, int, int]:
    with contextlib.suppress(OSError):
        stat = path.stat()
        return stat.st_mtime_ns, stat.st_ino, stat.st_size
    return 0, 0, 0
