"""From the queue to a place: whose turn it is, whether it fits, what capacity says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from bough.adapters.accelerators import Accelerators
from bough.capacity.market import LOCAL
from bough.capacity.models import START, Capacity, Decision
from bough.jobs import rules, tracked, units
from bough.jobs.machine import Machine, Room
from bough.jobs.models import DECIDED, FAILED, QUEUED, RUNNING, STOPPING, JobRun
from bough.jobs.turning import Turnover
from bough.jobs.watching import GROW_AFTER_S, Watching
from bough.kernel.errors import Problem, Unavailable

LOOKED_AT_MOST = 50  # queued runs in a row that do not fit, before the turn ends
STARVES_AFTER_S = 60.0  # whoever has waited so long for room is not overtaken by smaller ones any more

Ready = Callable[[JobRun], bool]
"""Whether all that it will find around it is laid out; raises what is wrong with it."""


class Placing:
    def __init__(
        self, capacity: Capacity, accelerators: Accelerators, machine: Machine, watching: Watching,
        weights: Mapping[str, float],
    ) -> None:  # fmt: skip
        self._capacity, self._accelerators, self._machine = capacity, accelerators, machine
        self._watching, self._weights = watching, weights
        self._waits: dict[str, tuple[float, str]] = {}  # until when capacity is not asked again, and the gist of why

    def place(self, turnover: Turnover, shares: Mapping[str, float], ready: Ready) -> None:
        world = turnover.world
        running = [run for run in world.singles if run.state in (RUNNING, STOPPING)]
        queued = [run for run in world.singles if run.state == QUEUED and run.not_before <= world.now]
        self._waits = {id: waits for id, waits in self._waits.items() if id in world.runs}
        if not queued:
            self._grow(turnover, running)
            return
        room = Room(self._here(), running, world.lent)
        used = dict(shares)
        for run in running:
            queue = run.manifest.settings.queue
            used[queue] = used.get(queue, 0.0) + max(world.now - run.attempt_at, 0.0) + 1.0
        at_once = _Groups(world.singles)
        unfit = 0
        for run in rules.turn_order(queued, used, self._weights):
            if run.id in world.leases or (run.group and not at_once.room(run)):  # an old lease is given back first
                continue
            if room.fit(run, simulated=True) is None:
                self._wait(turnover, run, room.lacks(run))
                unfit += 1
                if unfit >= LOOKED_AT_MOST or world.now - max(run.changed_at, run.not_before) > STARVES_AFTER_S:
                    break
                continue
            if (placed := self._start(turnover, run, room, ready)) is not None:
                room.take(placed, placed.size, placed.devices)
                at_once.take(placed)

    def _start(self, turnover: Turnover, run: JobRun, room: Room, ready: Ready) -> JobRun | None:
        now = turnover.world.now
        until, gist = self._waits.get(run.id, (0.0, ""))
        if now < until:
            return None
        try:
            if not ready(run):
                return None
            decision = self._capacity.decide(self._watching.situation(turnover.world, run, None))
        except Unavailable as problem:
            self._wait(turnover, run, problem.message)
            return None
        except Problem as problem:
            failure = {"code": problem.own_code, "message": problem.message, "hint": problem.hint}
            turnover.change(run, state=FAILED, said=problem.message, failure=failure, finished_at=now)
            return None
        if decision.action != START or decision.offer is None:
            self._waits[run.id] = now + decision.again_s, decision.gist
            if decision.gist != gist:
                turnover.note(DECIDED, run, action=decision.action, why=decision.why, late=decision.late)
            if decision.gist != gist or not run.said.startswith(gist):
                self._wait(turnover, run, decision.why)
            return None
        fit = room.fit(run, simulated=decision.offer.pool != LOCAL)
        if fit is None:
            self._wait(turnover, run, room.lacks(run))
            return None
        return self._take(turnover, run, decision, fit.size, list(fit.devices))

    def _take(
        self, turnover: Turnover, run: JobRun, decision: Decision, size: int, devices: list[str]
    ) -> JobRun | None:
        assert decision.offer is not None  # noqa: S101 - it says start
        now = turnover.world.now
        try:
            lease = self._capacity.acquire(run.id, decision.offer)
        except Problem as problem:
            self._wait(turnover, run, problem.message)
            return None
        turnover.world.leases[run.id] = lease
        offer = lease.offer
        turnover.note(
            DECIDED, run, action=decision.action, why=decision.why, late=decision.late, pool=offer.pool,
            zone=offer.zone, kind=offer.kind, accelerator=offer.accelerator, price_per_h=offer.price_per_h,
            expected_cost=decision.expected_cost,
        )  # fmt: skip
        taken = [each.port for each in turnover.world.runs.values()]
        return turnover.change(
            run, state=RUNNING, said=f"{decision.why} ({offer.pool}, {offer.kind})", lease=lease, devices=devices,
            price_per_h=offer.price_per_h, size=size, attempt=run.attempt + 1, attempt_at=now,
            started_at=run.started_at or now, run=tracked.id_of(run), failure={},
            port=units.free_port(taken) if units.is_parallel(run) else 0,
        )  # fmt: skip

    def _wait(self, turnover: Turnover, run: JobRun, why: str) -> None:
        if run.said != why:
            turnover.change(run, said=why)

    def _grow(self, turnover: Turnover, running: list[JobRun]) -> None:
        """With nobody waiting, a run that could use more processes gets them, at its next save."""
        room = Room(self._here(), running, turnover.world.lent)
        for run in running:
            bounds_left = units.is_parallel(run) and run.state == RUNNING and not run.wanted_size
            if not bounds_left or turnover.world.now - run.attempt_at < GROW_AFTER_S:
                continue
            if (size := room.could_grow(run)) > run.size:
                self._watching.grow(turnover, run, size)
                return

    def _here(self) -> Machine:
        devices = tuple(self._accelerators.devices())
        return Machine(cpus=self._machine.cpus, memory_mb=self._machine.memory_mb, devices=devices)


class _Groups:
    """How many of a group run, where it says how many may."""

    def __init__(self, runs: Iterable[JobRun]) -> None:
        self._running: dict[str, int] = {}
        for run in runs:
            if run.state in (RUNNING, STOPPING):
                self.take(run)

    def room(self, run: JobRun) -> bool:
        most = run.manifest.settings.sweep.parallel
        return not most or self._running.get(run.group, 0) < most

    def take(self, run: JobRun) -> None:
        if run.group:
            self._running[run.group] = self._running.get(run.group, 0) + 1
