"""How many processes elastic runs have: what somebody asked for, what they give back to those who wait, what they grow.

A change of size costs a start, and nothing else only where a save comes before it. So nobody is changed by itself who
has not made a step since it was started (its first `save` is taken, and so is the one after the notice), who is about
to be done, or who was changed half a minute ago. What was given back is not grown again at once: those who wait come in
waves, and each would cost two starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from bough.capacity.market import LOCAL
from bough.capacity.models import Decision
from bough.jobs import rules, units
from bough.jobs.machine import Machine, Room, said
from bough.jobs.models import CANCEL, RUNNING, STOPPING, WORSE, JobRun
from bough.jobs.turning import Turnover
from bough.jobs.watching import Watching
from bough.kernel.jobs import bounds
from bough.runtime.checkpoints.progress import Progress

CHANGED_AFTER_S = 30.0  # of an attempt: a start is to be worth something
AGAIN_AFTER_S = (300.0, 3600.0)  # what gave back grows again; the first of them doubles with every time

Place = tuple[str, str]  # project, environment


class Short(NamedTuple):
    """A run that waits for room. `simulated`: accelerators that it may need are not of this machine."""

    run: JobRun
    simulated: bool


Asks = Callable[[JobRun], Decision | None]
"""Whether a run that waits could start, if there were room; None: it waits for something else too."""


class Resizing:
    """Of one turn. `had`: what queues have had for their weights; `held`: environments whose runs could not go on now
    if they were stopped."""

    def __init__(
        self, turnover: Turnover, watching: Watching, machine: Machine, had: Mapping[str, float],
        held: Mapping[Place, str],
    ) -> None:  # fmt: skip
        self._turnover, self._watching, self._machine, self._had = turnover, watching, machine, had
        running = [run for run in turnover.world.singles if run.state in (RUNNING, STOPPING)]
        self._running = {run.id: run for run in running}
        self._free = {
            run.id: progress
            for run in running
            if rules.is_elastic(run) and run.state == RUNNING and not run.wanted_size and run.place not in held
            and (progress := self._ready(run)) is not None
        }  # fmt: skip

    def obey(self) -> None:
        """Gives runs the number that somebody asked for, as far as there is room."""
        room = self._room()
        for run in list(self._running.values()):
            if run.state != RUNNING or not run.wanted_size or run.wanted_size == run.size:
                continue
            size = min(run.wanted_size, max(room.could_grow(run), run.size))
            settled = self._ran_s(run) >= CHANGED_AFTER_S
            if size != run.size and (size == run.wanted_size or settled):
                self._resize(run, size, f"goes on with {units.processes(size)} instead of {run.size}")

    def give_back(self, short: Sequence[Short], asks: Asks) -> dict[str, str]:
        """Has runs give back what lets the first of `short` start that can be helped so. By the id of each for whom
        room is being made: who makes it."""
        makers = [run for run in self._running.values() if run.state == STOPPING and 0 < run.next_size < run.size]
        helped: dict[str, str] = {}
        after = self._room(after_stops=True)
        for each in short:
            if makers and (fit := after.fit(each.run, simulated=each.simulated, least=True)) is not None:
                after.take(each.run, fit.size, fit.devices)
                helped[each.run.id] = _names(makers)
            elif self._free and (given := self._for(each, asks)):
                helped[each.run.id] = _names(given)
                break
        return helped

    def grow(self) -> None:
        """With nobody waiting for room, a run that could use more processes gets them at its next save."""
        room = self._room()
        for id, progress in self._free.items():
            run = self._running[id]
            if self._ran_s(run) < _grown_after_s(run) or (size := room.could_grow(run)) <= run.size:
                continue
            if rules.left_s(progress) * (1.0 - run.size / size) > _start_s(run, progress):
                why = f"goes on with {units.processes(size)} instead of {run.size}: there is room for them"
                self._resize(run, size, why)
                return

    def _ready(self, run: JobRun) -> Progress | None:
        """What it says of itself, where it can be changed."""
        if self._ran_s(run) < CHANGED_AFTER_S:
            return None
        progress = self._watching.progress(run)
        return progress if progress is not None and progress.made and progress.began_at >= run.attempt_at else None

    def _ran_s(self, run: JobRun) -> float:
        world = self._turnover.world
        return world.now - units.began_at(run, world.attempts)

    def _for(self, short: Short, asks: Asks) -> list[JobRun]:
        waiting = short.run
        givers = [
            self._running[id]
            for id, progress in self._free.items()
            if rules.left_s(progress) > _start_s(self._running[id], progress)
            and rules.may_take(waiting, self._running[id], self._had)
        ]
        if not made_room(self._room, waiting, givers, simulated=short.simulated):  # before anybody is asked
            return []
        decision = asks(waiting)
        if decision is None or decision.offer is None:
            return []
        sizes = made_room(self._room, waiting, givers, simulated=decision.offer.pool != LOCAL)
        settings = waiting.manifest.settings
        wants = said(settings.resources, bounds(settings.processes).min)
        for id, size in sizes.items():
            run = self._running[id]
            why = f"gives back {run.size - size} of its {units.processes(run.size)} to {waiting.job} ({waiting.id}),"
            self._resize(run, size, f"{why} which waits for {wants}", gave_back=run.gave_back + 1)
        return [self._running[id] for id in sizes]

    def _room(self, sizes: Mapping[str, int] | None = None, *, after_stops: bool = False) -> Room:
        """What is left with other `sizes`, or once those that are stopping have stopped."""
        running = []
        for run in self._running.values():
            stops = after_stops and run.state == STOPPING
            size = (sizes or {}).get(run.id) or (run.next_size if stops else 0) or run.size
            if not (stops and run.stopping_for in (CANCEL, WORSE)):
                devices = run.devices[: len(run.devices) // run.size * size]
                running.append(msgspec.structs.replace(run, size=size, devices=devices))
        return Room(self._machine, running, self._turnover.world.lent)

    def _resize(self, run: JobRun, size: int, why: str, **values: object) -> None:
        self._free.pop(run.id, None)
        self._running[run.id] = self._watching.resize(self._turnover, self._turnover.change(run, **values), size, why)


def made_room(
    room: Callable[[Mapping[str, int]], Room], waiting: JobRun, givers: Sequence[JobRun], *, simulated: bool
) -> dict[str, int]:
    """With which sizes of `givers`, none below its least, `waiting` fits into the `room` that they leave: of the one
    that has most beyond its least first, and no more than is needed. Empty: not even then."""

    def fits(sizes: Mapping[str, int]) -> bool:
        return room(sizes).fit(waiting, simulated=simulated, least=True) is not None

    found: dict[str, int] = {}
    for giver in sorted(givers, key=lambda run: bounds(run.manifest.settings.processes).min - run.size):
        for size in range(giver.size - 1, bounds(giver.manifest.settings.processes).min - 1, -1):
            found[giver.id] = size
            if fits(found):
                for id in list(found):  # what the first gave may have been of no use
                    if fits(without := {other: number for other, number in found.items() if other != id}):
                        found = without
                return found
    return {}


def _grown_after_s(run: JobRun) -> float:
    if not run.gave_back:
        return CHANGED_AFTER_S
    return min(AGAIN_AFTER_S[0] * 2.0 ** min(run.gave_back - 1, 20), AGAIN_AFTER_S[1])


def _start_s(run: JobRun, progress: Progress) -> float:
    """What its present start took."""
    return progress.began_at - run.attempt_at + progress.warm_s


def _names(runs: Sequence[JobRun]) -> str:
    return ", ".join(f"{run.job} ({run.id})" for run in runs)
