"""From the queue to a place: whose turn it is, whether it fits, what capacity says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from bough.capacity.market import LOCAL
from bough.capacity.models import START, Capacity, Decision
from bough.jobs import rules, tracked, units
from bough.jobs.machine import Here, Room, part_asked, part_held
from bough.jobs.models import DECIDED, FAILED, QUEUED, RUNNING, STOPPING, JobRun
from bough.jobs.resizing import Place, Resizing, Short
from bough.jobs.turning import Turnover
from bough.jobs.watching import Watching
from bough.kernel.clock import left_s
from bough.kernel.errors import Problem, Unavailable

LOOKED_AT_MOST = 50  # queued runs in a row that do not fit, before the turn ends
STARVES_AFTER_S = 60.0  # whoever has waited so long for room is not overtaken by smaller ones any more

Ready = Callable[[JobRun], bool]
"""Whether all that it will find around it is laid out; raises what is wrong with it."""


class Placing:
    def __init__(
        self, capacity: Capacity, here: Here, watching: Watching, weights: Mapping[str, float]
    ) -> None:  # fmt: skip
        self._capacity, self._here, self._watching, self._weights = capacity, here, watching, weights
        # Since when, and for how long, capacity is not asked again; the gist of why.
        self._waits: dict[str, tuple[float, float, str]] = {}

    def place(self, turnover: Turnover, shares: Mapping[str, float], ready: Ready, held: Mapping[Place, str]) -> None:
        """`shares`: seconds of the whole machine that queues had lately; `held`: environments of which nothing may
        begin now, and why."""
        world = turnover.world
        running = [run for run in world.singles if run.state in (RUNNING, STOPPING)]
        waiting = [run for run in world.singles if run.state == QUEUED]
        queued = [run for run in waiting if not rules.waits_s(run, world.now)]
        self._waits = {id: waits for id, waits in self._waits.items() if id in world.runs}
        if not queued and not any(map(units.is_parallel, running)):
            return
        machine, used = self._here(), dict(shares)
        for run in running:
            queue, ran_s = run.manifest.settings.queue, world.now - units.began_at(run, world.attempts)
            lately_s = min(max(ran_s, 0.0) + 1.0, rules.SHARE_S)
            earlier_s = rules.lately(run.occupied_s, run.seconds, rules.SHARE_S - lately_s)
            used[queue] = used.get(queue, 0.0) + lately_s * part_held(machine, run) + earlier_s
        for run in waiting:
            if run.occupied_s:  # by earlier attempts: only what is over is part of the shares
                queue, earlier_s = run.manifest.settings.queue, rules.lately(run.occupied_s, run.seconds)
                used[queue] = used.get(queue, 0.0) + earlier_s
        had = rules.had_of(used, self._weights, {run.manifest.settings.queue for run in (*queued, *running)})
        room = Room(machine, running, world.lent)
        turns = rules.turn_order(queued, used, self._weights, lambda run: part_asked(machine, run))
        order = _Order(queued, turns)
        short = self._start_all(turnover, order, room, had, ready, held)
        resizing = Resizing(turnover, self._watching, machine, had, held)
        resizing.obey()
        told = set[str]()  # what else they wait for

        def asks(run: JobRun) -> Decision | None:
            if (decision := self._ask(turnover, run, ready)) is None:
                told.add(run.id)
            return decision

        makers = resizing.give_back(short.for_room, asks)
        for run, simulated in short.for_room:
            if run.id not in told:
                by = f"; {makers[run.id]} makes room for it at its next save" if run.id in makers else ""
                self._wait(turnover, run, room.lacks(run, simulated=simulated) + by)
        if not short.for_room and not short.a_moment:
            resizing.grow()

    def _start_all(
        self, turnover: Turnover, order: _Order, room: Room, had: Mapping[str, float], ready: Ready,
        held: Mapping[Place, str],
    ) -> _Waiting:  # fmt: skip
        """Those whose turn it is, as far as there is room. Elastic ones get their least where others wait who may have
        the rest, and what nobody has taken at the end."""
        world, at_once, waiting, frugal = turnover.world, _Groups(turnover.world.singles), _Waiting(), list[JobRun]()
        for run in order:
            if run.group and not at_once.room(run):
                continue
            if (why := held.get(run.place)) is not None:
                self._wait(turnover, run, why)
                continue
            least = rules.is_elastic(run) and any(rules.may_take(each, run, had) for each in order.left)
            if (old := world.leases.get(run.id)) is not None:  # it is given back first
                waiting.a_moment.append(run)
                fit = room.fit(run, simulated=old.offer.pool != LOCAL, least=least)
                if fit is not None and run.next_size:
                    room.take(run, fit.size, fit.devices)
                continue
            fit = room.fit(run, simulated=True, least=least)
            if fit is None:
                self._lacks(turnover, run, room, waiting)
                if waiting.is_enough(world.now):
                    break
                continue
            if (placed := self._start(turnover, run, room, ready, waiting, least=least)) is not None:
                room.take(placed, placed.size, placed.devices)
                at_once.take(placed)
                frugal += [placed] if least else []
        for run in frugal:
            self._widen(turnover, run, room)
        return waiting

    def _lacks(self, turnover: Turnover, run: JobRun, room: Room, waiting: _Waiting) -> None:
        if room.never(run, simulated=True):
            self._wait(turnover, run, room.lacks(run, simulated=True))
            waiting.for_ever += 1
        else:
            waiting.for_room.append(Short(run, simulated=True))

    def _start(
        self, turnover: Turnover, run: JobRun, room: Room, ready: Ready, waiting: _Waiting, *, least: bool
    ) -> JobRun | None:
        decision = self._ask(turnover, run, ready)
        if decision is None or decision.offer is None:
            if run.next_size and (waits := turnover.world.runs[run.id]).state == QUEUED:
                turnover.change(waits, next_size=0)  # from now on it waits like others
            waiting.a_moment += [] if run.id in self._waits else [run]
            return None
        simulated = decision.offer.pool != LOCAL
        fit = room.fit(run, simulated=simulated, least=least)
        if fit is None:
            waiting.for_room.append(Short(run, simulated))
            return None
        return self._take(turnover, run, decision, fit.size, list(fit.devices))

    def _ask(self, turnover: Turnover, run: JobRun, ready: Ready) -> Decision | None:
        """What capacity says, where it says start; None: why it waits is said."""
        now = turnover.world.now
        since, seconds, gist = self._waits.get(run.id, (0.0, 0.0, ""))
        if left_s(since, seconds, now):
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
        if decision.action == START and decision.offer is not None:
            self._waits.pop(run.id, None)
            return decision
        self._waits[run.id] = now, decision.again_s, decision.gist
        if decision.gist != gist:
            turnover.note(DECIDED, run, action=decision.action, why=decision.why, late=decision.late)
        if decision.gist != gist or not run.said.startswith(gist):
            self._wait(turnover, run, decision.why)
        return None

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
            price_per_h=offer.price_per_h, size=size, next_size=0, attempt=run.attempt + 1, attempt_at=now,
            started_at=run.started_at or now, run=tracked.id_of(run), failure={},
            port=units.free_port(taken) if units.is_parallel(run) else 0,
        )  # fmt: skip

    def _wait(self, turnover: Turnover, run: JobRun, why: str) -> None:
        if run.said != why:
            turnover.change(run, said=why)

    def _widen(self, turnover: Turnover, run: JobRun, room: Room) -> None:
        """Gives a run that has not been started yet what is left."""
        room.put_back(run, run.size, run.devices)
        fit = room.fit(run, simulated=run.lease is not None and run.lease.offer.pool != LOCAL)
        if fit is not None and fit.size > run.size:
            run = turnover.change(run, size=fit.size, devices=list(fit.devices))
        room.take(run, run.size, run.devices)


class _Order:
    """Those who wait for a place, as their turn comes; `left`: who has not been asked yet."""

    def __init__(self, queued: Iterable[JobRun], turns: Iterator[JobRun]) -> None:
        self._left, self._turns = {run.id: run for run in queued}, turns

    def __iter__(self) -> Iterator[JobRun]:
        for run in self._turns:
            del self._left[run.id]
            yield run

    @property
    def left(self) -> Collection[JobRun]:
        return self._left.values()


class _Waiting:
    """Who could not start in a turn, and lacks nothing else."""

    def __init__(self) -> None:
        self.for_room: list[Short] = []
        self.a_moment: list[JobRun] = []
        self.for_ever = 0  # for a larger machine

    def is_enough(self, now: float) -> bool:
        """Whether nobody else is to be asked in this turn."""
        if len(self.for_room) + self.for_ever >= LOOKED_AT_MOST:
            return True
        last = self.for_room[-1].run if self.for_room else None
        return last is not None and now - max(last.changed_at, last.not_before) > STARVES_AFTER_S


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
