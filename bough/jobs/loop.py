"""Makes job runs true: one object looks after all of them, because what they share (devices, queues, capacity) must be
given out in one place.

A turn reads what is (rows, units, leases), decides, commits all of it at once, and only then acts: units are started
for rows that say running, stopped for rows that say stopping, and whatever no row wants (a unit, a lease, a folder of
data) is let go. So a turn that dies anywhere is made good by the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

import msgspec
import sqlalchemy as sa

from bough.adapters.engine import EXITED, Engine
from bough.builds import loop as builds
from bough.builds.models import BuildResult
from bough.capacity.models import Capacity
from bough.capacity.store import changeovers as changeovers_of
from bough.data.models import Content
from bough.data.views import Views
from bough.databases.disk import Databases
from bough.databases.giving import under, variables_of
from bough.environments import references
from bough.environments.references import Filled
from bough.jobs import beginnings, rules, saved, store, sweeping, taking, units
from bough.jobs.groups import Groups
from bough.jobs.models import (
    ALL,
    BRINGING,
    BUILDING,
    CANCELLED,
    ENDING,
    FAILED,
    KIND,
    LAID_OUT,
    PREFIX,
    QUEUED,
    RUN,
    RUNNING,
    SKIPPED,
    STOPPING,
    SUCCEEDED,
    WAITING,
    JobRun,
)
from bough.jobs.placing import Placing
from bough.jobs.store import Standing
from bough.jobs.tokens import VARIABLE, RunTokens
from bough.jobs.tracked import Tracked
from bough.jobs.turning import Turnover, World
from bough.jobs.units import Places
from bough.jobs.watching import Watching
from bough.kernel.errors import Exhausted, Problem, Unavailable
from bough.kernel.events import Events
from bough.kernel.files import as_exhausted
from bough.kernel.platform import Home, Platform
from bough.kernel.reconcile import Turn, is_awaited, wake
from bough.runtime.spec import Failure, UnitSpec

CHECK_S = 1.0  # while something runs: hints of the engine wake the loop sooner
BUILD_CHECK_S = 0.25
REST_S = 60.0  # while nothing does
TOGETHER_S = 0.01  # ends that come so close after each other are handled in one turn
COUNT_S = 10.0  # between two looks at what queues have had
VIEW = "BOUGH_DATA"
NOT_YET = "it is started as soon as this passes: "

Place = tuple[str, str]  # project, environment
Holding = Callable[[sa.Connection, float], Mapping[Place, str]]
"""Environments of which no job may begin at this time, and why."""

log = logging.getLogger("bough.jobs")


class JobLoop:
    """The handler. `assembly.py` puts its parts together."""

    def __init__(
        self, home: Home, platform: Platform, engine: Engine, events: Events, capacity: Capacity,
        placing: Placing, watching: Watching, views: Views, tokens: RunTokens,
        tracked: Tracked, databases: Databases, holding: Holding,
    ) -> None:  # fmt: skip
        self._home, self._platform, self._engine, self._events = home, platform, engine, events
        self._capacity, self._databases, self._holding = capacity, databases, holding
        self._placing, self._watching, self._views = placing, watching, views
        self._tokens, self._tracked, self._places = tokens, tracked, Places(home)
        self._active, self._groups = store.Active(), Groups(tracked)
        self._had, self._counted_at = dict[str, float](), float("-inf")
        self._given: dict[str, Filled] = {}  # what runs find around them, as found in this turn
        self._data: dict[str, list[Content]] = {}  # and what of data
        self._delayed: dict[str, Problem] = {}  # what has to pass before it starts
        self._refused: dict[str, Problem] = {}  # what speaks against starting an attempt, seen after its commit

    def handle(self, turn: Turn) -> float | None:
        now = turn.clock.now()
        with turn.read() as tx:
            runs = self._active.read(tx)
            needed = store.standings(tx, {id for run in runs for id in run.needs})
            changeovers = changeovers_of(tx, {(run.project, run.job) for run in runs if rules.is_planned(run)})
        leases = {lease.holder: lease for lease in self._capacity.leases()}
        there = self._engine.snapshot()
        mine = {each.unit: each for each in there if each.unit.startswith(PREFIX)}
        if not runs and not leases and not mine:
            return None
        turnover = Turnover(World(now, {run.id: run for run in runs}, mine, leases, units.lent(there), changeovers))
        self._advance(turnover, needed)
        self._groups.look(turn, turnover)
        with turn.read() as tx:
            self._given, self._data = {}, {}
            moves = any(run.state == QUEUED or rules.is_elastic(run) for run in turnover.world.singles)
            if moves and (now - self._counted_at > COUNT_S or now < self._counted_at):
                self._had, self._counted_at = store.shares(tx, now), now
            self._count(run for run in turnover.changed if run.ended or run.state == ENDING)
            held = self._holding(tx, now) if moves else {}
            self._placing.place(turnover, self._had, lambda run: self._is_ready(tx, run), held)
        moved = self._commit(turn, turnover)
        self._act(turn, turnover, moved)
        return self._pause(turnover, moved)

    def _count(self, over: Iterable[JobRun]) -> None:
        """What is over in this turn is part of what its queue has had, before anybody takes its place. All that was
        over lately, which may be thousands, is counted anew now and then."""
        for run in over:
            queue = run.manifest.settings.queue
            self._had[queue] = self._had.get(queue, 0.0) + rules.lately(run.occupied_s, run.seconds)

    def _advance(self, turnover: Turnover, needed: Mapping[str, Standing]) -> None:
        for run in turnover.world.singles:
            if run.state in (RUNNING, STOPPING):
                self._watch(turnover, run)
        now = dict(needed) | {run.id: Standing(run.job, run.state, run.said) for run in turnover.ended}
        outcomes: dict[str, BuildResult | Failure | None] = {}
        for run in turnover.world.singles:
            if run.state == WAITING:
                self._wait(turnover, run, {id: now.get(id, Standing("a job", FAILED, "")) for id in run.needs})
        for run in turnover.world.singles:
            if run.state == BUILDING:
                self._build(turnover, run, outcomes)

    def _watch(self, turnover: Turnover, run: JobRun) -> None:
        """What goes wrong with one of them, such as a full disk for its log, is no matter of the others."""
        if (refused := self._refused.pop(run.id, None)) is not None and run.state == RUNNING:
            run = self._watching.give_back(turnover, run, turnover.world.now)
            failure = msgspec.to_builtins(refused.detail())
            said = f"it could not be started: {refused.message}"
            turnover.change(run, state=FAILED, said=said, failure=failure, finished_at=turnover.world.now)
            return
        run = self._say_delay(turnover, run)
        try:
            self._watching.watch(turnover, run)
        except (Problem, OSError) as error:
            log.warning("%s is looked at again later: %s", run.id, error)

    def _say_delay(self, turnover: Turnover, run: JobRun) -> JobRun:
        """Why an attempt that has its place does not begin, and that it has begun."""
        problem = self._delayed.pop(run.id, None)
        if run.state != RUNNING:
            return run
        if problem is not None:
            said = f"{NOT_YET}{problem.message}"
            return run if run.said == said else turnover.change(run, said=said)
        if run.said.startswith(NOT_YET) and any(units.of(run, turnover.world.attempts)):
            return turnover.change(run, said="it has been started")
        return run

    def _wait(self, turnover: Turnover, run: JobRun, needed: Mapping[str, Standing]) -> None:
        if all(each.state == SUCCEEDED for each in needed.values()):
            turnover.change(run, state=BUILDING, said="builds")
        elif bad := next((id for id, each in needed.items() if each.state in (FAILED, SKIPPED, CANCELLED)), None):
            job, state, said = needed[bad]
            if state != SKIPPED:  # else for the same reason
                said = f"{job} ({bad}), which it comes after, {'has' if state == FAILED else 'was'} {state}"
            turnover.change(run, state=SKIPPED, said=said, finished_at=turnover.world.now)
        elif run.said != (said := rules.waits_for(_unmet(needed))):
            turnover.change(run, said=said)

    def _build(self, turnover: Turnover, run: JobRun, outcomes: dict[str, BuildResult | Failure | None]) -> None:
        request = units.build_request(run)
        unit = builds.unit_of(request)
        if unit not in outcomes:
            outcomes[unit] = builds.ensure(self._home, self._engine, request, units.payer_of(run))
        found = outcomes[unit]
        if isinstance(found, BuildResult):
            settings = run.manifest.settings
            state, said = QUEUED, "waits for its turn"
            if settings.source is not None:
                state, said = BRINGING, f"reads {settings.source.url}"
            elif settings.checkpoints is not None and saved.is_wanted(self._places, run):
                state, said = BRINGING, f"fetches what was saved from {settings.checkpoints.url}"
            turnover.change(run, state=state, said=said, build=found)
        elif found is not None:
            said = f"it could not be built: {found.message}"
            failure = msgspec.to_builtins(found)
            turnover.change(run, state=FAILED, said=said, failure=failure, finished_at=turnover.world.now)

    def _is_ready(self, tx: sa.Connection, run: JobRun) -> bool:
        filled = self._filled(tx, run)
        if filled is not None:
            self._given[run.id] = filled
            if data := run.manifest.settings.data:
                self._data[run.id] = self._views.contents(tx, run.place, data, run.seen)
        return filled is not None

    def _filled(self, tx: sa.Connection, run: JobRun) -> Filled | None:
        """Its variables and data; None while data are laid out. Raises what it refers to and is not there."""
        view = None
        if run.manifest.settings.data:
            view = self._views.ensure(tx, run.place, run.id, run.manifest.settings.data, run.seen)
            if view is None:
                return None
        given = variables_of(tx, run.place, self._databases)
        if given is None:
            return None
        filled = references.fill(tx, run.place, run.manifest, self._platform, run.manifest.secrets)
        filled = under(given, filled)
        return Filled(plain=filled.plain | ({VIEW: str(view)} if view else {}), secrets=filled.secrets)

    def _commit(self, turn: Turn, turnover: Turnover) -> set[str]:
        started = [run for run in turnover.begun if run.attempt == 1]
        with turn.read() as tx:
            read = {run.id: taking.as_input(run.manifest.settings.source, taking.of(tx, run.id)) for run in started
                    if run.manifest.settings.source}  # fmt: skip
        ended = [run for run in turnover.ended if run.run and not run.children]  # a group's run is that of its best
        self._tracked.keep(started, ended, turnover.world.now, read)
        if not turnover.changed:
            return set()
        with turn.apply() as tx:
            for run in turnover.begun:
                if data := self._data.get(run.id):
                    turnover.note(LAID_OUT, run, **rules.laid_out(data))
                turnover.change(run, token=self._tokens.issue(tx, run, turnover.world.now))
            for run in turnover.changed:
                if run.token and run.state not in (RUNNING, STOPPING):
                    self._tokens.withdraw(tx, run)
                    run = turnover.change(run, token="")
                if run.state in (BRINGING, ENDING) or (run.attempt and run.manifest.settings.checkpoints is not None):
                    wake(tx, RUN, run.id)
            return turnover.commit(tx, self._events, self._active)

    def _act(self, turn: Turn, turnover: Turnover, moved: set[str]) -> None:
        """Everything here may be done twice."""
        world = turnover.world
        mine = [run for run in world.singles if run.id not in moved]
        for run in mine:
            if run.state == STOPPING:
                self._stop(world, run)
        self._let_go(world, moved)
        with turn.read() as tx:
            for run in mine:
                if run.state == RUNNING:
                    self._try_start(tx, world, run)
        self._forget(world, moved)  # last: whoever was started runs meanwhile

    def _try_start(self, tx: sa.Connection, world: World, run: JobRun) -> None:
        try:
            with as_exhausted(self._places.folder(run.id)):
                self._start(tx, world, run)
        except (Unavailable, Exhausted) as problem:  # of the machine: it passes
            log.warning("%s is started later: %s", run.id, problem.message)
            self._delayed[run.id] = problem
        except Problem as problem:
            self._refused[run.id] = problem

    def _start(self, tx: sa.Connection, world: World, run: JobRun) -> None:
        missing = [rank for rank, each in enumerate(units.of(run, world.attempts)) if each is None]
        if not missing:
            return
        beginnings.lay(self._places, run)
        for folder in (self._places.output(run.id), self._places.checkpoints(run.id)):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        filled = self._given.get(run.id) or self._filled(tx, run)
        before = {each.job: str(self._places.output(each.id)) for each in (store.get(tx, id) for id in run.needs)}
        if filled is None:
            return
        specs = self._specs(run, filled, before, world.now)
        for rank in missing:
            self._engine.apply(specs[rank])

    def _specs(self, run: JobRun, filled: Filled, before: Mapping[str, str], now: float) -> list[UnitSpec]:
        sealed = Filled(plain=filled.plain, secrets=filled.secrets | {VARIABLE: self._tokens.sealed(run, now)})
        return units.specs(run, sealed, self._places, self._platform, before)

    def _stop(self, world: World, run: JobRun) -> None:
        for each in units.of(run, world.attempts):
            if each is not None and each.state != EXITED:
                self._engine.stop(each.unit, each.attempt, max(run.stop_by - world.now, 0.0))

    def _let_go(self, world: World, moved: set[str]) -> None:
        """Of what no run wants any more: leases, units that still run, folders of data."""
        for lease in world.leases.values():
            run = world.runs.get(lease.holder)
            wanted = run is not None and (run.id in moved or (run.lease is not None and run.lease.id == lease.id))
            if not wanted:
                self._capacity.release(lease)
        for each in world.attempts.values():
            if each.state != EXITED and not world.wants(each, moved):
                self._engine.stop(each.unit, each.attempt, 0.0)
        for run in world.runs.values():
            if run.ended and run.manifest.settings.data and run.id not in moved:
                self._views.remove(run.id)

    def _forget(self, world: World, moved: set[str]) -> None:
        for each in world.attempts.values():
            if each.state == EXITED and not world.wants(each, moved):
                self._engine.forget(each.unit)

    def _pause(self, turnover: Turnover, moved: set[str]) -> float:
        runs = turnover.world.runs.values()
        # What waits for the end of another, or for its own old lease to be given back, was not decided in this turn.
        again = moved or any(run.state == QUEUED and run.attempt for run in turnover.changed)
        again = again or any(run.id in other.needs for run in turnover.ended if run.children for other in runs)
        if again and not self._only_said(turnover):
            return 0.0
        if any(run.state == BUILDING for run in runs):
            return BUILD_CHECK_S
        later = [rules.waits_s(run, turnover.world.now) for run in runs if run.state == QUEUED]
        soon = [each for each in later if each > 0]
        active = any(run.state in (RUNNING, STOPPING, QUEUED) for run in runs)
        return min([CHECK_S if active else REST_S, *soon])

    def _only_said(self, turnover: Turnover) -> bool:
        """Nothing but why somebody waits has changed."""
        return all(run.state == QUEUED and run.lease is None and not run.attempt for run in turnover.changed)


def _unmet(needed: Mapping[str, Standing]) -> list[tuple[str, str]]:
    """By id and job, those that have not succeeded."""
    return [(id, each.job) for id, each in needed.items() if each.state != SUCCEEDED]


def hinted(tx: sa.Connection, now: float) -> None:
    """Something happened to a unit: many of them are looked at together."""
    wake(tx, KIND, ALL, at=now + TOGETHER_S)


def expects_hints(tx: sa.Connection, now: float) -> bool:
    """Whether they will be looked at so soon anyway."""
    return is_awaited(tx, KIND, ALL, now + TOGETHER_S)


def begin(tx: sa.Connection) -> None:
    """Everything is looked at once more."""
    wake(tx, KIND, ALL)
    sweeping.begin(tx)
