"""An engine in memory on a virtual clock: units do what their script says, and time passes when a test says so."""

from __future__ import annotations

import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from bough.adapters.engine import (
    ASLEEP,
    EXITED,
    READY,
    RUNNING,
    STARTING,
    STOPPING,
    WOKEN_S,
    Attempt,
    Hint,
    LogChunk,
)
from bough.adapters.engine.devices import Allotment, waits
from bough.kernel.clock import Clock, VirtualClock
from bough.kernel.devices import Device
from bough.kernel.errors import Busy, Conflict, NotFound, Problem, Unavailable
from bough.runtime.spec import Exited, Failure, UnitSpec, Usage

_SEGMENTS = 8
_FOLLOW_S = 0.05
_LIVED_LONG_S = 10.0


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """What a unit does, in seconds after its start. `ready_after_s` is for replicas and web units, None: it never
    becomes ready. `exit_after_s` None: it runs until stopped. `ignores_term`: only SIGKILL ends it. `output` is
    written at the start."""

    ready_after_s: float | None = 0.0
    exit_after_s: float | None = None
    code: int = 0
    failure: Failure | None = None
    ignores_term: bool = False
    output: bytes = b""
    cpu: float = 0.0  # share of one core that it uses
    gpu: float = 0.0  # and of one device
    signature: dict[str, Any] = {}  # what a model replica says that it takes and gives, once it is ready


class _Run:
    def __init__(self, spec: UnitSpec, behaviour: Behaviour, port: int, pid: int) -> None:
        self.spec = spec
        self.behaviour = behaviour
        self.port = port
        self.pid = pid
        self.started_at = 0.0  # 0: waits for an older attempt to end, or for accelerators
        self.set_s = 0.0
        self.devices: list[str] = []
        self.waits = ""
        self.renewed_at = 0.0
        self.kill_at: float | None = None
        self.reason = ""
        self.asked = False  # to stop, by a caller
        self.failure: Failure | None = None
        self.exit: Exited | None = None
        self.was_ready = False

    @property
    def key(self) -> str:
        return f"{self.spec.unit}/{self.spec.attempt}"

    def ready_at(self) -> float:
        after = self.behaviour.ready_after_s if self.spec.kind in ("replica", "web") else None
        return self.started_at + after if self.started_at and after is not None else float("inf")

    def used(self, now: float) -> Usage:
        seconds = max(0.0, now - self.started_at) if self.started_at else 0.0
        return Usage(cpu_s=seconds * self.behaviour.cpu, gpu_s=seconds * self.behaviour.gpu)


class _Registration(msgspec.Struct, frozen=True):
    spec: UnitSpec
    at: int  # the latest attempt when it was given
    asleep: int  # attempts up to this one have gone to sleep; -1: none


class FakeEngine:
    def __init__(
        self, clock: Clock | None = None, *, node: str = "fake", devices: Callable[[], Sequence[Device]] = list
    ) -> None:
        self.clock: Clock = clock or VirtualClock()
        self._allotment = Allotment(devices)
        self.node = node
        self._scripts: dict[str, Behaviour] = {}
        self._says: Callable[[UnitSpec], Behaviour | None] = lambda spec: None
        self._units: dict[str, dict[int, _Run]] = defaultdict(dict)
        self._registered: dict[str, _Registration] = {}
        self._woken_at: dict[str, float] = {}
        self._lock = threading.RLock()
        self._news = threading.Event()
        self._cursor = 1
        self._hints: dict[str, int] = {}
        self._next_port, self._next_pid = 20_000, 1000
        self._draining = ""
        self.staged: list[str] = []

    def script(self, unit: str, behaviour: Behaviour) -> None:
        """What attempts of `unit` that begin from now on will do."""
        self._scripts[unit] = behaviour

    def script_by(self, says: Callable[[UnitSpec], Behaviour | None]) -> None:
        """For units that have no script of their own, what `says` says when they begin."""
        self._says = says

    def crash(self, unit: str, *, code: int = -int(signal.SIGKILL)) -> None:
        """Ends the present attempt as if it had been killed from outside."""
        with self._lock:
            self._settle()
            run = self._latest(unit)
            if run.exit is None:
                self._end(run, code, "killed" if code < 0 else "exited", self.clock.now())

    def clock_was_set(self, seconds: float) -> None:
        """So much of what the clock says has not passed: whatever runs has begun as much later."""
        with self._lock:
            for run in (each for runs in self._units.values() for each in runs.values() if each.exit is None):
                if run.started_at:
                    run.started_at, run.set_s = run.started_at + seconds, run.set_s + seconds
                if run.kill_at is not None:
                    run.kill_at += seconds
                run.renewed_at += seconds

    def apply(self, spec: UnitSpec) -> Attempt:
        with self._lock:
            self._settle()
            runs = self._units.get(spec.unit, {})
            latest = max(runs, default=0)
            if spec.attempt < latest:
                raise Conflict(
                    f"attempt {spec.attempt} of {spec.unit} is superseded by attempt {latest}",
                    code="ATTEMPT_SUPERSEDED", hint="read the snapshot again", attempt=latest,
                )  # fmt: skip
            run = runs.get(spec.attempt) or self._create(spec)
            run.renewed_at = self.clock.now()
            self._settle()
            return self._show(spec.unit)

    def stop(self, unit: str, attempt: int, grace_s: float | None = None) -> None:
        with self._lock:
            self._settle()
            run = self._newest(unit)
            if attempt != (run.spec.attempt if run else 0):
                return
            if self._registered.pop(unit, None):
                self._note(unit)
            if run is not None and run.exit is None:
                run.asked = True
                self._stop(run, "stopped", run.spec.grace_s if grace_s is None else grace_s)
                self._settle()

    def register(self, spec: UnitSpec) -> Attempt:
        with self._lock:
            self._settle()
            run, before = self._newest(spec.unit), self._registered.get(spec.unit)
            number = run.spec.attempt if run else 0
            asleep = number if run is None or run.exit else before.asleep if before else -1
            made = _Registration(msgspec.structs.replace(spec, attempt=number + 1), number, asleep)
            if made != before:
                self._registered[spec.unit] = made
                self._note(spec.unit)
            return self._show(spec.unit)

    def sleep(self, unit: str, attempt: int, grace_s: float | None = None) -> None:
        with self._lock:
            self._settle()
            run = self._newest(unit)
            if run is None or run.spec.attempt != attempt or (run.asked and not self._is_asleep(unit, run)):
                return
            left_s = self._woken_at.get(unit, float("-inf")) + WOKEN_S - self.clock.now()
            if left_s > 0:
                raise Busy(f"{unit} has just been woken", code="JUST_WOKEN", retry_after_s=left_s, hint="ask later")
            before = self._registered.get(unit)
            given = before if before and before.at >= attempt else _Registration(run.spec, attempt, attempt)
            self._registered[unit] = _Registration(given.spec, given.at, attempt)
            run.asked = True
            self._stop(run, "stopped", run.spec.grace_s if grace_s is None else grace_s)
            self._settle()
            self._note(unit)

    def forget(self, unit: str) -> None:
        with self._lock:
            self._settle()
            runs = self._units.get(unit, {})
            if all(run.exit for run in runs.values()) and (runs or unit in self._registered):
                self._units.pop(unit, None)
                self._registered.pop(unit, None)
                self._woken_at.pop(unit, None)
                self._note(unit)

    def snapshot(self) -> list[Attempt]:
        with self._lock:
            self._settle()
            return [self._show(unit) for unit in self._known()]

    def watch(self, cursor: int, timeout_s: float) -> list[Hint]:
        news = self._hints_after(cursor)
        if not news:
            self._news.clear()
            self.clock.wait(self._news, timeout_s)
            news = self._hints_after(cursor)
        return news

    def logs(self, unit: str, attempt: int, offset: int, *, follow: bool) -> Iterator[LogChunk]:
        with self._lock:
            run = self._units.get(unit, {}).get(attempt)
        if run is None:
            raise NotFound(f"no attempt {attempt} of {unit} is known here", code="ATTEMPT_UNKNOWN", hint="bough status")
        return self._read(run, offset, follow)

    def usage(self) -> dict[str, Usage]:
        with self._lock:
            self._settle()
            now = self.clock.now()
            return {
                f"{unit}/{attempt}": run.exit.usage if run.exit else run.used(now)
                for unit, runs in self._units.items()
                for attempt, run in runs.items()
            }

    def wake(self, unit: str) -> Attempt:
        with self._lock:
            self._settle()
            run = self._newest(unit) if self._is_asleep(unit, self._newest(unit)) else self._latest(unit)
            going = self._is_asleep(unit, run) and (run is None or run.exit or run.reason)
            if run is None or going or (run.exit and not run.asked):
                if run is not None and run.exit is not None:
                    self._refuse_early_wake(unit, run.exit)
                run = self._create(self._next_spec(unit, run))
                run.renewed_at = self.clock.now()
                self._settle()
            self._woken_at[unit] = self.clock.now()
            earlier = self._units[unit].get(run.spec.attempt - 1)
            before = earlier.exit if earlier is not None and not earlier.asked else None
            return msgspec.structs.replace(self._attempt(run), before=before)

    def next_spec(self, unit: str) -> UnitSpec:
        """For tests: what a wake, or the next attempt, would start."""
        with self._lock:
            return self._next_spec(unit, self._newest(unit))

    def spec(self, unit: str) -> UnitSpec:
        """For tests: what the present attempt was started with."""
        with self._lock:
            return self._latest(unit).spec

    def drain(self, node: str, deadline_s: float, reason: str) -> None:
        if node != self.node:
            raise NotFound(f"this is node {self.node}, not {node}", code="NODE_UNKNOWN", hint="bough status")
        with self._lock:
            self._draining = reason or "draining"
            for runs in self._units.values():
                for run in runs.values():
                    run.asked = True
                    self._stop(run, "stopped", min(run.spec.grace_s, deadline_s))
            self._settle()

    def stage(self, digests: list[str]) -> None:
        self.staged += digests

    def _known(self) -> list[str]:
        return list(dict.fromkeys([*self._units, *self._registered]))

    def _newest(self, unit: str) -> _Run | None:
        runs = self._units.get(unit)
        return runs[max(runs)] if runs else None

    def _is_asleep(self, unit: str, run: _Run | None) -> bool:
        found = self._registered.get(unit)
        return found is not None and found.asleep >= (run.spec.attempt if run else 0)

    def _next_spec(self, unit: str, run: _Run | None) -> UnitSpec:
        found, number = self._registered.get(unit), run.spec.attempt if run else 0
        spec = run.spec if run and (found is None or found.at < number) else self._registered[unit].spec
        return msgspec.structs.replace(spec, attempt=number + 1)

    def _show(self, unit: str) -> Attempt:
        run = self._newest(unit)
        if run is not None and not (run.exit and self._is_asleep(unit, run)):
            return self._attempt(run)
        spec = self._next_spec(unit, run)
        return Attempt(
            unit=unit, attempt=spec.attempt - 1, state=ASLEEP, kind=spec.kind, labels=spec.labels, node=self.node,
            address=f"unix:/fake/{unit}" if spec.model else "",
        )  # fmt: skip

    def _create(self, spec: UnitSpec) -> _Run:
        if self._draining:
            raise Unavailable(
                f"node {self.node} takes no new units: {self._draining}", code="NODE_DRAINING", hint="bough up"
            )
        for older in [each for each in self._units[spec.unit].values() if each.exit is None]:
            older.asked = True
            self._stop(older, "stopped", older.spec.grace_s)
        self._next_pid += 1
        if spec.wants_port:
            self._next_port += 1
        port = self._next_port if spec.wants_port else 0
        behaviour = self._scripts.get(spec.unit) or self._says(spec) or Behaviour()
        run = _Run(spec, behaviour, port, self._next_pid)
        self._units[spec.unit][spec.attempt] = run
        self._note(spec.unit)
        return run

    def _settle(self) -> None:
        """Lets everything happen that is due by now, each at its own moment."""
        now = self.clock.now()
        for unit, runs in self._units.items():
            for attempt in sorted(runs):
                run = runs[attempt]
                if not run.started_at and run.exit is None:
                    older = [runs[other] for other in runs if other < attempt]
                    if all(other.exit for other in older) and self._give(run):
                        run.started_at = now
                        self._note(unit)
                self._pass_time(run, now)

    def _give(self, run: _Run) -> bool:
        """Its accelerators, unless somebody has them, or asked for some before."""
        if not run.spec.gpus:
            return True
        runs = [each for runs in self._units.values() for each in runs.values() if each.exit is None]
        holders = [(each.spec, each.devices) for each in runs if each.devices]
        try:
            found = self._allotment.give(run.key, run.spec, holders)
        except Problem as problem:
            detail = problem.detail()
            run.failure = Failure(code=detail.code, message=detail.message, hint=detail.hint)
            self._end(run, 1, "exited", self.clock.now())
            return False
        if found is None:
            if not run.waits:
                self._note(run.spec.unit)
            run.waits = waits(run.spec, holders)
            return False
        run.devices, run.waits = list(found), ""
        return True

    def _pass_time(self, run: _Run, now: float) -> None:
        if run.exit or not run.started_at:
            return
        if run.spec.lease_s and now - run.renewed_at > run.spec.lease_s and not run.reason:
            self._stop(run, "lease", run.spec.grace_s, run.renewed_at + run.spec.lease_s)
        health_ends = run.started_at + run.spec.health_timeout_s if run.spec.health_path else float("inf")
        if not run.was_ready and now >= run.ready_at() and run.ready_at() <= health_ends and not run.reason:
            run.was_ready = True
            self._note(run.spec.unit)
        elif not run.was_ready and now >= health_ends and not run.reason:
            run.failure = Failure(code="NOT_HEALTHY", message="it was never ready", hint="bough logs")
            self._stop(run, "stopped", run.spec.grace_s, health_ends)
        after = run.behaviour.exit_after_s
        own_end = run.started_at + after if after is not None else float("inf")
        killed_at = run.kill_at if run.kill_at is not None else float("inf")
        if own_end <= now and own_end <= killed_at:
            self._end(run, run.behaviour.code, run.reason or "exited", own_end)
        elif killed_at <= now:
            number = signal.SIGKILL if run.behaviour.ignores_term else signal.SIGTERM
            self._end(run, -int(number), run.reason, killed_at)

    def _stop(self, run: _Run, reason: str, grace_s: float, at: float | None = None) -> None:
        if run.exit:
            return
        now = self.clock.now() if at is None else at
        run.reason = run.reason or reason
        if not run.started_at:
            self._end(run, 0, run.reason, now)
            return
        kill_at = now + grace_s if run.behaviour.ignores_term else now
        run.kill_at = kill_at if run.kill_at is None else min(run.kill_at, kill_at)
        self._note(run.spec.unit)

    def _end(self, run: _Run, code: int, reason: str, at: float) -> None:
        failure = run.failure or (run.behaviour.failure if reason == "exited" else None)
        self._allotment.leave(run.key)
        run.exit = Exited(code=code, reason=reason, at=at, usage=run.used(at), failure=failure)
        self._note(run.spec.unit)

    def _refuse_early_wake(self, unit: str, last: Exited) -> None:
        failures = 0
        for _, run in sorted(self._units[unit].items(), reverse=True):
            if run.asked or (run.was_ready and run.exit and run.exit.at - run.started_at >= _LIVED_LONG_S):
                break
            failures += 1
        left_s = last.at + (0.1 * 2.0 ** (failures - 2) if failures >= 2 else 0.0) - self.clock.now()
        if left_s > 0:
            raise Busy(
                f"{unit} has failed {failures} times in a row", code="WAKE_BACKOFF", retry_after_s=left_s,
                hint="bough logs shows why it fails",
            )  # fmt: skip

    def _read(self, run: _Run, offset: int, follow: bool) -> Iterator[LogChunk]:
        size = max(1, (run.spec.limits.log_mb << 20) // _SEGMENTS)
        while True:
            output = run.behaviour.output if run.started_at else b""
            kept = (max(0, (len(output) - 1) // size - _SEGMENTS + 1)) * size
            ended = run.exit is not None
            offset = max(offset, kept)
            while offset < len(output):
                yield LogChunk(offset=offset, data=output[offset : offset + 65536])
                offset = min(len(output), offset + 65536)
            if ended or not follow:
                return
            self.clock.wait(threading.Event(), _FOLLOW_S)
            with self._lock:
                self._settle()

    def _attempt(self, run: _Run) -> Attempt:
        spec = run.spec
        state = RUNNING if run.started_at else STARTING
        if run.exit:
            state = EXITED
        elif run.reason:
            state = STOPPING
        elif run.was_ready:
            state = READY
        address = f"unix:/fake/{spec.unit}" if spec.model else f"127.0.0.1:{run.port}" if run.port else ""
        return Attempt(
            unit=spec.unit, attempt=spec.attempt, state=state, kind=spec.kind, labels=spec.labels, node=self.node,
            address=address, pid=run.pid, started_at=run.started_at, set_s=run.set_s,
            ready_at=run.ready_at() if run.was_ready else 0.0, exit=run.exit,
            signature=run.behaviour.signature if run.was_ready else {}, gpus=spec.gpus, devices=run.devices,
            waits=run.waits,
        )  # fmt: skip

    def _latest(self, unit: str) -> _Run:
        runs = self._units.get(unit)
        if not runs:
            raise NotFound(f"no unit {unit} is known here", code="UNIT_UNKNOWN", hint="bough status")
        return runs[max(runs)]

    def _hints_after(self, cursor: int) -> list[Hint]:
        with self._lock:
            self._settle()
            if cursor > self._cursor:  # of another engine
                return [Hint(cursor=self._cursor, unit=unit) for unit in self._known()]
            return [Hint(cursor=at, unit=unit) for unit, at in sorted(self._hints.items(), key=_second) if at > cursor]

    def _note(self, unit: str) -> None:
        self._cursor += 1
        self._hints[unit] = self._cursor
        self._news.set()


def _second(pair: tuple[str, int]) -> int:
    return pair[1]
