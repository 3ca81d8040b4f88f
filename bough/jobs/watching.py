"""Watching what runs: when an attempt is asked to end, and what its end means."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bough.adapters.engine import EXITED, Attempt, Engine
from bough.builds import resumable
from bough.capacity.changeovers import Changeover
from bough.capacity.models import KEEP, MOVE, NOTICED, ON_DEMAND, Capacity, Lease, Situation
from bough.jobs import rules, units
from bough.jobs.machine import Here, part_held
from bough.jobs.models import (
    CANCELLED,
    CAPACITY_LOST,
    DECIDED,
    ENDING,
    GAVE_BACK,
    MOVING,
    QUEUED,
    RESIZING,
    SILENT,
    STOPPING,
    TIME_LIMIT,
    UNDER_WAY,
    USED,
    WELL,
    JobRun,
)
from bough.jobs.turning import Turnover, World
from bough.jobs.units import Places
from bough.kernel.clock import left_s
from bough.kernel.errors import NotFound
from bough.runtime.checkpoints.progress import Progress, read_progress
from bough.runtime.spec import Exited
from bough.serving.reading import text_of

SETTLED_STEPS = 3  # of an attempt: then it is seen whether its first one took longer than others
SAVED_WITHIN = 3.0  # times what a step and a save take lately: the step that runs, the save, and what varies
WITHOUT_ONE_S = 5.0  # that processes have at least to end, one of which has died
ALIVE = "alive"  # a program that does not use `bough.checkpoint` touches this file beside its checkpoints
LAST_BYTES, LINE_SAID = 4096, 200  # of what it printed: so much is read, and so many characters of it are said
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x1f\x7f-\x9f]")  # colours, and what else moves a terminal
HINT = "try: "  # so an error of `bough.checkpoint` says what to do below what is wrong
SILENT_EXIT = Exited(code=-9, reason="lost", at=0.0)  # of a process that nobody knows any more


class Watching:
    def __init__(self, engine: Engine, capacity: Capacity, places: Places, here: Here) -> None:
        self._engine, self._capacity, self._places, self._here = engine, capacity, places, here
        self._asked: dict[str, tuple[float, float]] = {}  # when capacity was, and for how long its answer holds
        # Attempt, its last sign of life, and how long it had run by then.
        self._heard: dict[str, tuple[int, tuple[float, ...], float]] = {}

    def situation(self, world: World, run: JobRun, lease: Lease | None) -> Situation:
        """As capacity sees it now."""
        proven = resumable.found(self._places.home, resumable.key(run.manifest.bundle, run.manifest.settings))
        found = situation(run, lease, self.progress(run), proven=proven is not None and proven.passed)
        return msgspec.structs.replace(
            found, changeover=world.changeovers.get((run.project, run.job), Changeover()),
            under_way=run.under_way == run.attempt,
        )  # fmt: skip

    def watch(self, turnover: Turnover, run: JobRun) -> None:
        """One run that is running or stopping."""
        if run.lease is None:  # it was cancelled between two attempts
            turnover.change(run, state=CANCELLED, finished_at=turnover.world.now, stopping_for="", stop_by=0.0)
            return
        found = units.of(run, turnover.world.attempts)
        run = self._notice_steps(turnover, run, found[0])
        if all(each is None or each.state == EXITED for each in found):
            if any(found) or run.stopping_for:
                self._ended(turnover, run, found)
            return  # else: not started yet
        failed = [each for each in found if each is not None and each.exit is not None and each.exit.code != 0]
        if run.state == STOPPING:
            self._hurry(turnover, run, found)
        elif failed:
            ended = min((each.exit for each in failed if each.exit), key=lambda exit: exit.at)
            others = run.size - len(failed)
            are = "is" if others == 1 else "are"
            said = f"{rules.words(ended)}; the other {units.processes(others)} {are} stopped"
            self._stop(turnover, run, "", said, run.manifest.settings.grace_s)
        else:
            ran_s = max((each.seconds(turnover.world.now) for each in found if each is not None), default=0.0)
            self._look(turnover, run, ran_s or turnover.world.now - run.attempt_at)

    def _notice_steps(self, turnover: Turnover, run: JobRun, first: Attempt | None) -> JobRun:
        """Notes once in an attempt how long it took until the program made steps."""
        if run.under_way == run.attempt or first is None:
            return run
        said, over = self.progress(run), first.state == EXITED
        since = run.attempt_at + min(first.set_s, 0.0)
        if said is None or said.began_at < since or said.made < (1 if over else SETTLED_STEPS):
            return run
        if not first.set_s:  # else nobody knows how long it took
            turnover.note(UNDER_WAY, run, attempt=run.attempt, project=run.project, job=run.job,
                          **rules.under_way(run, first, said))  # fmt: skip
        return turnover.change(run, under_way=run.attempt)

    def _hurry(self, turnover: Turnover, run: JobRun, found: Sequence[Attempt | None]) -> None:
        """What it runs on may be gone before the time that it was given, and a notice of that may have come since. And
        without one that has died on the way to a change the others make no step any more: a save is all they may do."""
        lease, now = turnover.world.lease(run), turnover.world.now
        ends_at = now if lease is None else lease.ends_at if lease.state == NOTICED else run.stop_by
        if run.stopping_for in (MOVING, RESIZING) and any(map(_has_died, found)):
            progress = self.progress(run)
            save_s = SAVED_WITHIN * progress.save_s if progress is not None else 0.0
            ends_at = min(ends_at, now + max(WITHOUT_ONE_S, save_s))
        if run.stop_by > ends_at:
            said = run.said if lease is None or run.stopping_for != CAPACITY_LOST else _noticed(lease, now)
            turnover.change(run, stop_by=ends_at, said=said)

    def _look(self, turnover: Turnover, run: JobRun, ran_s: float) -> None:
        """`ran_s`: for how long its processes have run, or it has waited for them. The engine knows that of a process,
        whoever sets the clock."""
        now, settings = turnover.world.now, run.manifest.settings
        lease = turnover.world.lease(run)
        if lease is None:
            self._stop(turnover, run, CAPACITY_LOST, _taken_away(turnover.world.leases.get(run.id)), 0.0)
        elif lease.state == NOTICED:
            self._stop(turnover, run, CAPACITY_LOST, _noticed(lease, now), max(lease.ends_at - now, 0.0))
        elif ran_s > settings.timeout_s:
            said = f"it ran longer than its limit of {settings.timeout_s:g} s (timeout_s)"
            self._stop(turnover, run, TIME_LIMIT, said, settings.grace_s)
        elif settings.heartbeat_s and self._silent_s(run, ran_s) > settings.heartbeat_s:
            said = f"no sign of life for {settings.heartbeat_s:g} s (heartbeat_s)"
            self._stop(turnover, run, SILENT, said, min(settings.grace_s, settings.heartbeat_s))
        else:
            self._reconsider(turnover, run, lease)

    def _reconsider(self, turnover: Turnover, run: JobRun, lease: Lease) -> None:
        """Whether another place, or waiting, is better than going on."""
        now = turnover.world.now
        if left_s(*self._asked.get(run.id, (0.0, 0.0)), now):
            return
        decision = self._capacity.decide(self.situation(turnover.world, run, lease))
        self._asked[run.id] = now, decision.again_s
        if decision.action == KEEP:
            return
        turnover.note(DECIDED, run, action=decision.action, why=decision.why, late=decision.late)
        what = "moves" if decision.action == MOVE else "waits"
        self._stop(turnover, run, MOVING, f"{what}: {decision.why}", run.manifest.settings.grace_s)

    def resize(self, turnover: Turnover, run: JobRun, size: int, said: str) -> JobRun:
        """Has it go on with so many processes from its next save on, for which nobody hurries it."""
        progress = self.progress(run)
        to_a_save_s = SAVED_WITHIN * (progress.step_s + progress.save_s) if progress is not None else 0.0
        grace_s = max(run.manifest.settings.grace_s, to_a_save_s)
        return self._stop(turnover, turnover.change(run, next_size=size), RESIZING, said, grace_s)

    def _stop(self, turnover: Turnover, run: JobRun, why: str, said: str, grace_s: float) -> JobRun:
        by = turnover.world.now + grace_s
        return turnover.change(run, state=STOPPING, stopping_for=why, said=said, stop_by=by)

    def _ended(self, turnover: Turnover, run: JobRun, found: Sequence[Attempt | None]) -> None:
        """Every process of the attempt has ended."""
        now = turnover.world.now
        exits = [each.exit if each is not None and each.exit else SILENT_EXIT for each in found]
        self._keep_logs(run)
        if run.stopping_for == CAPACITY_LOST:  # it was to be, and now it is
            run = msgspec.structs.replace(run, said=_taken_away(turnover.world.leases.get(run.id)))
        progress = self.progress(run)
        done = progress is not None and progress.done
        began = units.began_at(run, turnover.world.attempts)
        fresh = progress is not None and progress.at >= min(began, run.attempt_at)
        came_on = progress is not None and fresh and progress.saved_step > progress.restored_step
        came_on = came_on or max(each.at for each in exits) - began > rules.LIVED_S
        refused = progress.refused if progress is not None and fresh and not progress.made else None
        last_line = self._last_line(run, exits)
        outcome = rules.outcome(run, exits, done=done, came_on=came_on, refused=refused, last_line=last_line)
        turnover.note(USED, run, attempt=run.attempt, **_payer(run), **rules.used(began, exits))
        run = self.give_back(turnover, run, max(each.at for each in exits) or now)
        self._asked.pop(run.id, None)
        self._heard.pop(run.id, None)
        shared = {"said": outcome.said, "spent": outcome.spent, "failure": outcome.failure, "stopping_for": "",
                  "devices": [], "port": 0, "stop_by": 0.0,
                  "next_size": run.next_size if run.stopping_for == RESIZING else 0}  # fmt: skip
        if not outcome.state:
            turnover.change(run, state=QUEUED, not_before=now + outcome.pause_s, **shared)
        elif outcome.state in WELL and any(self._places.output(run.id).glob("*")):
            turnover.change(run, state=ENDING, ends_as=outcome.state, **shared)
        else:
            turnover.change(run, state=outcome.state, finished_at=now, **shared)

    def give_back(self, turnover: Turnover, run: JobRun, until: float) -> JobRun:
        """Its lease is not wanted any more: what it has cost is part of the run from now on."""
        held = turnover.world.leases.get(run.id) or run.lease
        if run.lease is None or held is None or held.id != run.lease.id:
            return turnover.change(run, lease=None)
        held = rules.as_set(held, units.set_s(run, turnover.world.attempts))
        until = max(until, held.acquired_at)
        seconds, cost = until - held.acquired_at, held.cost(until)
        offer = held.offer
        turnover.note(
            GAVE_BACK, run, lease=held.id, pool=offer.pool, zone=offer.zone, kind=offer.kind,
            accelerator=offer.accelerator, seconds=seconds, cost=cost, price_per_h=offer.price_per_h,
            on_demand_per_h=offer.on_demand_per_h, work_s=self._saved_s(run),
            work_rate=offer.work_rate, speed=offer.speed, acquired_at=held.acquired_at, until=until, cause=held.cause,
            **_payer(run),
        )  # fmt: skip
        occupied_s = run.occupied_s + seconds * part_held(self._here(), run)
        return turnover.change(
            run, lease=None, seconds=run.seconds + seconds, cost=run.cost + cost, occupied_s=occupied_s
        )  # fmt: skip

    def progress(self, run: JobRun) -> Progress | None:
        return read_progress(self._places.checkpoints(run.id))

    def _saved_s(self, run: JobRun) -> float:
        """Seconds of work that are done and will not be done again; 0: the program does not say."""
        progress = self.progress(run)
        if progress is None:
            return 0.0
        return (progress.total if progress.done else progress.saved_step) * progress.step_s

    def _silent_s(self, run: JobRun, ran_s: float) -> float:
        """For how long it has run since its last sign of life was seen: what the clock said then only tells one sign
        from another. A server that has just come gives it the whole time anew."""
        sign = self._signs(run)
        attempt, before, heard_s = self._heard.get(run.id, (0, (), 0.0))
        if (attempt, before) != (run.attempt, sign):
            heard_s = ran_s
            self._heard[run.id] = run.attempt, sign, heard_s
        return ran_s - heard_s

    def _signs(self, run: JobRun) -> tuple[float, ...]:
        """Of life: any of them moves with the next one, in whichever direction the clock was set."""
        said = self.progress(run)
        signs = [said.at if said is not None else 0.0]
        with contextlib.suppress(OSError):
            signs.append((self._places.checkpoints(run.id) / ALIVE).stat().st_mtime)
        return tuple(signs)

    def _last_line(self, run: JobRun, exits: Sequence[Exited]) -> str:
        """Of the kept output of the process that is to blame."""
        rank = rules.guilty_of(exits)
        if rank is None:
            return ""
        with contextlib.suppress(OSError), self._places.log(run.id, run.attempt, rank).open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - LAST_BYTES, 0))
            lines = [line for each in file.read().splitlines() if (line := _readable(text_of(each)))]
            while len(lines) > 1 and lines[-1].startswith(HINT):
                lines.pop()
            return lines[-1][:LINE_SAID] if lines else ""
        return ""

    def _keep_logs(self, run: JobRun) -> None:
        """What it printed is read from files as soon as the engine may forget it."""
        for rank in range(run.size):
            path = self._places.log(run.id, run.attempt, rank)
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                _keep(self._engine, run.unit(rank), run.attempt, path)


def _has_died(attempt: Attempt | None) -> bool:
    """Beside one that ended well, and one that knows no better than to end by the signal that asks it to."""
    return attempt is not None and attempt.exit is not None and attempt.exit.code not in (0, -signal.SIGTERM)


def _readable(line: str) -> str:
    """As it can stand in a sentence; a program may print anything."""
    return _CONTROL.sub("", line).strip()


def situation(run: JobRun, lease: Lease | None, progress: Progress | None, *, proven: bool) -> Situation:
    """A job run as capacity sees it. `proven`: it has shown that it goes on after an interruption."""
    settings = run.manifest.settings
    deadline = run.created_at + settings.deadline_s if settings.deadline_s else 0.0
    found = Situation(
        holder=run.id, capacity=settings.capacity, accelerators=settings.resources.accelerators,
        work_left_s=settings.work_s, deadline=deadline, lease=lease,
        held_back="" if proven or settings.capacity == ON_DEMAND
        else f"on-demand, for nothing shows yet that it goes on after an interruption: bough check resume {run.job}",
    )  # fmt: skip
    if progress is None:
        return found
    left = settings.work_s
    if progress.total and progress.step_s:
        rate = lease.offer.work_rate if lease is not None else 1.0
        left = max(progress.total - progress.saved_step, 0) * progress.step_s * rate
    elif progress.total:
        left = settings.work_s * max(progress.total - progress.saved_step, 0) / progress.total
    unsaved = max(progress.step - progress.saved_step, 0) * progress.step_s
    return msgspec.structs.replace(
        found, work_left_s=left, save_s=progress.cost_s, to_disk_s=progress.save_s, interval_s=progress.interval_s,
        unsaved_s=unsaved,
    )  # fmt: skip


def _noticed(lease: Lease, now: float) -> str:
    left = max(lease.ends_at - now, 0.0)
    return f"its capacity will be taken away in {left:.0f} s ({lease.cause or 'noticed'})"


def _taken_away(lease: Lease | None) -> str:
    cause = f": {lease.cause}" if lease is not None and lease.cause else ""
    return f"its capacity was taken away{cause}"


def _payer(run: JobRun) -> dict[str, Any]:
    """Who pays for it."""
    payer = units.payer_of(run)
    return {"project": payer.project, "environment": payer.environment, "job": payer.workload,
            "cost_center": payer.cost_center, "tags": payer.tags}  # fmt: skip


def _keep(engine: Engine, unit: str, attempt: int, path: Path) -> None:
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file, contextlib.suppress(NotFound):
        for chunk in engine.logs(unit, attempt, 0, follow=False):
            file.write(chunk.data)
    temporary.rename(path)
