"""Units as processes of this machine: the engine of one node.

Everything is on disk under `home`, and nothing depends on this process staying alive: a unit runs under its shim, a
replica is forked from its zygote, and an engine that starts on the same home finds both again.

    home/units/<unit>/<attempt>/   files named in bough/runtime/spec.py, and stop.json, port.json, healthy, lease
    home/units/<unit>/registered.json   what a sleeping unit is woken as
    home/zygotes/<key>/            model.json, pid.json, ready.json or error.json, control.sock, log
    home/runtime/<digest>/bough/   what units find on their path
    home/run/u/<digest>            link to the socket of a unit's present attempt

An attempt is begun at most once: whoever creates `pid.json` first (a shim, or the engine that gives the attempt up)
has it, so no crash in between can run it twice.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from bough.adapters.engine import WOKEN_S, Attempt, Hint, LogChunk
from bough.adapters.engine import local_files as files
from bough.adapters.engine.devices import Allotment, waits
from bough.adapters.engine.health import await_health
from bough.adapters.engine.isolation import landlock_abi
from bough.adapters.engine.local_events import Events
from bough.adapters.engine.local_launch import Launcher
from bough.adapters.engine.local_processes import hold
from bough.adapters.engine.local_records import Record, link_of
from bough.adapters.engine.local_registered import FILE_NAME as REGISTERED
from bough.adapters.engine.local_registered import Registered
from bough.adapters.engine.local_runtime import free_port, stage_runtime
from bough.adapters.engine.local_zygotes import LOG_NAME, Zygotes
from bough.kernel.devices import Device
from bough.kernel.errors import Busy, Conflict, Exhausted, Invalid, NotFound, Problem, Unavailable
from bough.kernel.files import as_exhausted
from bough.runtime.spec import Failure, UnitSpec, Usage

_LOGS_KEPT, _ATTEMPTS_KEPT = 3, 64  # of one unit
_LONGEST_HOME_BYTES = 85  # leaves room for run/u/<digest> in the path of a socket
_FIRST_WAKE_PAUSE_S, _LONGEST_WAKE_PAUSE_S = 0.1, 60.0
_LIVED_LONG_S = 10.0  # an attempt that was ready and lived for so long has not failed at once
_LAST_WORDS_S = 0.5  # a shim tells within milliseconds that its unit has ended, unless it has to kill what is left
_ZYGOTE_TRIES = 3
_SWEEP_S = 15.0
_FOLLOW_S = 0.05  # how often a follower looks for output; an exit is told at once
_HEARTBEAT_S = 5.0


class LocalEngine:
    """`loader` replaces Bough's own loading of models in zygotes (for tests and other runtimes); `unseal` opens sealed
    secrets; `devices` are the accelerators that units may ask for."""

    def __init__(
        self,
        home: Path,
        *,
        node: str = "local",
        zygote_idle_s: float = 600.0,
        loader: str = "",
        inherited: Mapping[str, str] | None = None,
        unseal: Callable[[str], str] | None = None,
        devices: Callable[[], Sequence[Device]] = list,
    ) -> None:
        self.node = node
        self._home = home.resolve()
        if len(os.fsencode(self._home)) > _LONGEST_HOME_BYTES:
            raise Invalid(
                f"the path {self._home} is too long for the sockets below it", code="HOME_TOO_LONG",
                hint=f"choose a home of at most {_LONGEST_HOME_BYTES} bytes (BOUGH_HOME)",
            )  # fmt: skip
        self._zygote_idle_s = zygote_idle_s
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._units: dict[str, dict[int, Record]] = defaultdict(dict)
        self._registered = Registered(self._home)
        self._allotment = Allotment(devices)
        self._woken_at: dict[str, float] = {}  # monotonic; of units that nobody has asked to sleep since
        self._first_cursor = self._cursor = time.time_ns() // 1000  # later than any cursor of an earlier engine
        self._hints: dict[str, int] = {}
        self._draining = ""
        self._closed = False
        self._next_sweep = time.monotonic() + _SWEEP_S
        with as_exhausted(self._home):
            for name in ("units", "runtime", "run/u"):
                (self._home / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        self._events = Events(self._tick)
        self._zygotes = Zygotes(self._home, self._events, loader, self._zygote_changed)
        runtime = stage_runtime(self._home)
        around = os.environ if inherited is None else inherited
        self._launcher = Launcher(runtime, self._zygotes, around, unseal or _no_secrets)
        self._adopt()
        self._events.start()

    def close(self) -> None:
        """Stops watching. Units and zygotes go on."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
        self._events.close()
        self._zygotes.close()
        with self._lock:
            for record in self._records():
                if record.shim:
                    record.shim.close()

    def apply(self, spec: UnitSpec) -> Attempt:
        with self._lock:
            known = self._units.get(spec.unit, {})
            latest = max(known, default=0)
            if known and spec.attempt < latest:
                raise Conflict(
                    f"attempt {spec.attempt} of {spec.unit} is superseded by attempt {latest}",
                    code="ATTEMPT_SUPERSEDED", hint="read the snapshot again", attempt=latest,
                )  # fmt: skip
            record = known.get(spec.attempt)
            if record is None:
                record = self._create(spec)
            self._renew(record)
        self._launch(record)
        with self._lock:
            self._look(record)  # not a bare refresh: what it finds for the first time has consequences
            return self._show(spec.unit)

    def stop(self, unit: str, attempt: int, grace_s: float | None = None) -> None:
        with self._lock:
            record = self._latest(unit)
            if attempt != (record.spec.attempt if record else 0):
                return
            asleep = self._registered.is_asleep(unit, record)
            self._registered.drop(unit)
            if record is None or record.exit:
                if asleep:
                    self._note(unit)
                return
            self._stop(record, record.spec.grace_s if grace_s is None else grace_s)

    def register(self, spec: UnitSpec) -> Attempt:
        _check(spec)
        with self._lock:
            latest = self._latest(spec.unit)
            if self._registered.register(spec, latest):
                self._note(spec.unit)
            return self._show(spec.unit)

    def sleep(self, unit: str, attempt: int, grace_s: float | None = None) -> None:
        with self._lock:
            record = self._latest(unit)
            if record is None or record.spec.attempt != attempt:
                return
            if record.asked and not self._registered.is_asleep(unit, record):
                return  # stopped for good
            left_s = self._woken_at.get(unit, -WOKEN_S) + WOKEN_S - time.monotonic()
            if left_s > 0:
                raise Busy(
                    f"{unit} has just been woken", code="JUST_WOKEN", retry_after_s=left_s, hint="ask again later"
                )
            self._woken_at.pop(unit, None)
            self._registered.put_to_sleep(record)
            if record.exit is None:
                self._stop(record, record.spec.grace_s if grace_s is None else grace_s)
            self._note(unit)

    def forget(self, unit: str) -> None:
        with self._lock:
            records = self._units.get(unit, {})
            if any(record.exit is None for record in records.values()):
                return
            if not records and unit not in self._registered.units():
                return
            self._registered.drop(unit)
            files.remove_tree(self._home / "units" / unit)
            link_of(self._home, unit).unlink(missing_ok=True)
            self._units.pop(unit, None)
            self._woken_at.pop(unit, None)
            self._note(unit)

    def snapshot(self) -> list[Attempt]:
        with self._lock:
            return [self._show(unit) for unit in dict.fromkeys([*self._units, *self._registered.units()])]

    def watch(self, cursor: int, timeout_s: float) -> list[Hint]:
        deadline = time.monotonic() + timeout_s
        with self._changed:
            if not self._first_cursor <= cursor <= self._cursor:
                if known := dict.fromkeys([*self._units, *self._registered.units()]):
                    return [Hint(cursor=self._cursor, unit=unit) for unit in known]
                cursor = self._cursor  # nothing to speak of yet; else who asks would ask again and again
            while True:
                news = sorted((at, unit) for unit, at in self._hints.items() if at > cursor)
                left = deadline - time.monotonic()
                if news or left <= 0 or self._closed:
                    return [Hint(cursor=at, unit=unit) for at, unit in news]
                self._changed.wait(left)

    def logs(self, unit: str, attempt: int, offset: int, *, follow: bool) -> Iterator[LogChunk]:
        with self._lock:
            record = self._units.get(unit, {}).get(attempt)
            if record is None:
                raise NotFound(
                    f"no attempt {attempt} of {unit} is known here", code="ATTEMPT_UNKNOWN", hint="bough status"
                )
        return self._read_logs(record, offset, follow)

    def usage(self) -> dict[str, Usage]:
        with self._lock:
            return {record.key: self._look(record).usage() for record in self._records()}

    def wake(self, unit: str) -> Attempt:
        with self._lock:
            record = self._latest(unit)
            if record is not None and record.has_died():
                self._await_exit(record)
            asleep = self._registered.is_asleep(unit, record)
            if record is None and not asleep:
                raise NotFound(f"no unit {unit} is known here", code="UNIT_UNKNOWN", hint="bough status")
            going = asleep and (record is None or record.stopping or record.exit is not None)
            if record is None or going or (record.exit and not record.asked):
                self._refuse_early_wake(unit, record)
                record = self._create(self._registered.next_spec(unit, record))
                self._renew(record)
            self._woken_at[unit] = time.monotonic()
        self._launch(record)
        with self._lock:
            earlier = self._units[unit].get(record.spec.attempt - 1)
            before = earlier.exit if earlier is not None and not earlier.asked else None
            return msgspec.structs.replace(self._look(record).attempt(self.node), before=before)

    def drain(self, node: str, deadline_s: float, reason: str) -> None:
        if node != self.node:
            raise NotFound(f"this is node {self.node}, not {node}", code="NODE_UNKNOWN", hint="bough status")
        with self._lock:
            self._draining = reason or "draining"
            for record in self._records():
                if record.exit is None:
                    self._stop(record, min(record.spec.grace_s, deadline_s))
        self._zygotes.sweep(set(), 0.0)

    def stage(self, digests: list[str]) -> None:
        """Nothing to fetch: this machine's blobs are here."""

    def sweep(self) -> list[str]:
        """Stops zygotes that no replica has used for long; returns their keys. Also done by itself."""
        with self._lock:
            used = {self._launcher.zygote_key(record) for record in self._records() if record.exit is None}
        return self._zygotes.sweep(used, self._zygote_idle_s)

    def zygotes(self) -> dict[str, int]:
        """Key and pid of every zygote."""
        return self._zygotes.pids()

    def _latest(self, unit: str) -> Record | None:
        records = self._units.get(unit)
        return self._look(records[max(records)]) if records else None

    def _show(self, unit: str) -> Attempt:
        record = self._latest(unit)
        ended = record is None or record.exit is not None
        if ended and self._registered.is_asleep(unit, record):
            return self._registered.attempt(unit, record, self.node)
        assert record is not None  # noqa: S101 - asked only of units that are known
        return record.attempt(self.node)

    def _create(self, spec: UnitSpec) -> Record:
        """Writes down a new attempt; nothing is left of it when the disk has no room."""
        if self._draining:
            raise Unavailable(
                f"node {self.node} takes no new units: {self._draining}", code="NODE_DRAINING", hint="bough up"
            )
        _check(spec)
        for older in self._units.get(spec.unit, {}).values():
            if older.exit is None and not older.asked:
                self._stop(older, older.spec.grace_s)
        folder = self._home / "units" / spec.unit / str(spec.attempt)
        with as_exhausted(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            record = Record(spec, folder, link_of(self._home, spec.unit))
            if spec.wants_port:
                record.port = free_port({other.port for other in self._records() if other.exit is None})
                files.write_whole(folder / "port.json", msgspec.json.encode(record.port))
            files.write_whole(folder / "spec.json", msgspec.json.encode(spec))
        except Problem:
            files.remove_tree(folder)
            with contextlib.suppress(OSError):
                folder.parent.rmdir()
            raise
        self._units[spec.unit][spec.attempt] = record
        self._prune(spec.unit)
        self._follow_folder(record)
        self._note(spec.unit)
        return record

    def _renew(self, record: Record) -> None:
        if record.spec.lease_s and record.exit is None:
            with as_exhausted(record.folder):
                (record.folder / "lease").touch(mode=0o600)

    def _launch(self, record: Record) -> None:
        """Starts the attempt unless something stands in the way: an older attempt that still runs, accelerators that
        others have, a zygote that still loads. Called again when that has changed. Slow parts run outside the lock."""
        with self._lock:
            older = [other for other in self._units.get(record.spec.unit, {}).values()
                     if other.spec.attempt < record.spec.attempt and other.exit is None]  # fmt: skip
            if record.launched or record.stopping or record.exit or older or self._closed:
                return
            try:
                if not self._give(record):
                    self._note(record.spec.unit)
                    return
            except Problem as problem:
                self._launch_failed(record, problem)
                return
            record.launched = True
        try:
            pid = self._launcher.launch(record)
        except Problem as problem:
            self._launch_failed(record, problem)
            return
        with self._lock:
            if pid == 0:
                record.launched = False
            else:
                record.waits_for = ""
                self._hold(record, pid)
                if record.stopping and record.shim:  # asked to stop meanwhile
                    record.shim.signal(signal.SIGTERM)
        if pid == 0 and self._zygotes.settled(record.waits_for):
            self._events.soon(lambda: self._zygote_changed(record.waits_for))

    def _give(self, record: Record) -> bool:
        """Whether it has the accelerators that it asks for. What each has is in its folder, and nowhere else."""
        if not record.spec.gpus or record.devices:
            return True
        holders = [(each.spec, each.devices) for each in self._records() if each.devices and not each.exit]
        found = self._allotment.give(record.key, record.spec, holders)
        if found is None:
            record.waits = waits(record.spec, holders)
            return False
        record.give(found)
        return True

    def _launch_failed(self, record: Record, problem: Problem) -> None:
        with self._lock:
            record.launched = False
            retry = isinstance(problem, Unavailable) and record.zygote_tries < _ZYGOTE_TRIES and bool(record.waits_for)
        if retry:
            self._events.soon(lambda: self._launch(record))
            return
        detail = problem.detail()
        self._give_up(record, Failure(code=detail.code, message=detail.message, hint=detail.hint))

    def _zygote_changed(self, key: str) -> None:
        """A zygote has become ready, or has ended."""
        with self._lock:
            waiting = [record for record in self._records() if record.waits_for == key and not record.launched]
        failed = self._zygotes.failure(key)
        for record in waiting:
            if failed is None:
                self._launch(record)
            else:
                failure, output = failed
                with contextlib.suppress(OSError):
                    (record.folder / LOG_NAME).write_bytes(output.read_bytes())
                self._give_up(record, failure)

    def _give_up(self, record: Record, failure: Failure) -> None:
        with self._lock:
            if record.exit is None and record.declare_exit(1, "exited", failure):
                self._settled(record)

    def _stop(self, record: Record, grace_s: float) -> None:
        self._note(record.spec.unit)
        with contextlib.suppress(Exhausted):  # the shim was told; only a restart of the node would not know
            record.signal_stop(grace_s)
        if not record.launched and record.exit is None and record.declare_exit(0, "stopped"):
            self._settled(record)

    def _hold(self, record: Record, pid: int) -> None:
        record.shim = hold(pid)
        if record.shim:
            self._events.on_exit(record.shim.pidfd, lambda: self._look_again(record))
        elif record.exit is None:  # it has ended already: it has left its word, is lost, or was not the first
            self._adopt_guardian(record)

    def _adopt_guardian(self, record: Record) -> None:
        record.adopt()
        if record.exit:
            self._settled(record)
        elif record.shim:
            self._events.on_exit(record.shim.pidfd, lambda: self._look_again(record))

    def _follow_folder(self, record: Record) -> None:
        record.watch = self._events.on_file(record.folder, lambda name: self._appeared(record, name))

    def _appeared(self, record: Record, name: str) -> None:
        if name in ("pid.json", "ready.json", "exit.json"):
            self._look_again(record)

    def _look_again(self, record: Record) -> None:
        with self._lock:
            self._look(record)

    def _look(self, record: Record) -> Record:
        if record.exit is None and record.shim and record.is_guarded_by_another():
            self._events.forget_process(record.shim.pidfd)
            record.shim.close()
            self._adopt_guardian(record)
        had_pid = record.started is not None and record.started.pid > 0
        if record.exit is None and record.refresh():
            self._note(record.spec.unit)
            if record.exit:
                self._settled(record)
            elif not had_pid and record.started and record.started.pid:
                self._await_health(record)
        return record

    def _await_health(self, record: Record) -> None:
        spec = record.spec
        if spec.health_path and record.port and not record.ready_at:
            threading.Thread(target=self._ask_until_healthy, args=(record,), name="engine-health", daemon=True).start()

    def _ask_until_healthy(self, record: Record) -> None:
        spec = record.spec
        deadline = time.monotonic() + spec.health_timeout_s

        def go_on(pause_s: float, seen: str) -> bool:
            if time.monotonic() >= deadline:
                message = f"GET {spec.health_path} did not answer below 500 in {spec.health_timeout_s:g} s: {seen}"
                hint = "see its output (bough logs); does it listen on 127.0.0.1 at $PORT?"
                with self._lock, contextlib.suppress(Exhausted):
                    if record.exit is None and not record.stopping:
                        record.end_unhealthy(Failure(code="NOT_HEALTHY", message=message, hint=hint))
                        self._note(spec.unit)
                return False
            with self._changed:
                if record.exit is None and not record.stopping and not self._closed:
                    self._changed.wait(pause_s)
                return record.exit is None and not record.stopping and not self._closed

        if await_health(record.port, spec.health_path, go_on):
            with self._lock:
                if record.exit is None:
                    record.mark_healthy()
                    self._note(spec.unit)

    def _settled(self, record: Record) -> None:
        """An attempt has ended: lets go of what it held and lets a newer one begin."""
        self._events.forget_folder(record.watch)
        if record.shim:
            self._events.forget_process(record.shim.pidfd)
            record.shim.close()
        self._note(record.spec.unit)
        latest = self._units[record.spec.unit][max(self._units[record.spec.unit])]
        if latest is not record:
            self._events.soon(lambda: self._launch(latest))
        if record.spec.gpus:
            self._allotment.leave(record.key)
            line = {other.key: other for other in self._records()}
            for key in self._allotment.waiting:
                self._events.soon(lambda other=line[key]: self._launch(other))  # type: ignore[misc]  # bound now

    def _note(self, unit: str) -> None:
        self._cursor += 1
        self._hints[unit] = self._cursor
        self._changed.notify_all()

    def _read_logs(self, record: Record, offset: int, follow: bool) -> Iterator[LogChunk]:
        heard = time.monotonic()
        while True:
            ended = record.exit is not None  # before reading: what is read after the end is all there is
            while chunk := files.read_log(record.folder, offset):
                yield chunk
                offset = chunk.offset + len(chunk.data)
                heard = time.monotonic()
            if follow and time.monotonic() - heard >= _HEARTBEAT_S:
                yield LogChunk(offset=offset, data=b"")
                heard = time.monotonic()
            if not follow or ended or self._closed:
                return
            with self._changed:
                if record.exit is None:
                    self._changed.wait(_FOLLOW_S)

    def _await_exit(self, record: Record) -> None:
        """Whoever had a connection to a process hears of its end before its shim has said so: to answer that it runs
        would send them away for a while."""
        deadline = time.monotonic() + _LAST_WORDS_S
        while record.exit is None and (left_s := deadline - time.monotonic()) > 0:
            self._changed.wait(left_s)

    def _refuse_early_wake(self, unit: str, latest: Record | None) -> None:
        """The first wake after an attempt that worked, or was put to sleep, is free; then the pause doubles with every
        early failure."""
        failures = 0
        for _, record in sorted(self._units.get(unit, {}).items(), reverse=True):
            if record.asked or (record.ready_at and record.lived_s() >= _LIVED_LONG_S):
                break
            failures += 1
        if failures < 2 or latest is None or latest.exit is None:
            return
        pause_s = min(_LONGEST_WAKE_PAUSE_S, _FIRST_WAKE_PAUSE_S * 2.0 ** (failures - 2))
        left_s = latest.exit.at + pause_s - time.time()
        if left_s > 0:
            raise Busy(
                f"{unit} has failed {failures} times in a row; it is started again in {left_s:.1f} s",
                code="WAKE_BACKOFF", retry_after_s=left_s, hint="bough logs shows why it fails",
            )  # fmt: skip

    def _prune(self, unit: str) -> None:
        records = self._units[unit]
        for attempt in sorted(records)[:-_LOGS_KEPT]:
            files.drop_logs(records[attempt].folder)
        for attempt in sorted(records)[:-_ATTEMPTS_KEPT]:
            if records[attempt].exit:
                files.remove_tree(records.pop(attempt).folder)

    def _records(self) -> list[Record]:
        return [record for records in self._units.values() for record in records.values()]

    def _adopt(self) -> None:
        """Finds what an earlier engine on this home has left, running or not."""
        self._zygotes.adopt()
        self._registered.adopt()
        units = self._home / "units"
        for unit in units.iterdir():
            if unit.name.startswith("."):
                files.remove_tree(unit)  # was being forgotten
        for path in units.glob("*/.*~"):
            path.unlink()  # was being written
        for folder in sorted(path for path in units.glob("*/*") if path.name != REGISTERED):
            spec = files.read_whole(folder / "spec.json", UnitSpec) if folder.name.isdigit() else None
            if spec is None:
                files.remove_tree(folder)  # cut short before it was written down
                with contextlib.suppress(OSError):
                    folder.parent.rmdir()
                continue
            record = Record(spec, folder, link_of(self._home, spec.unit))
            self._units[spec.unit][spec.attempt] = record
            record.adopt()
            if record.exit is None:
                self._follow_folder(record)
            if record.exit is None and record.shim:
                self._events.on_exit(record.shim.pidfd, lambda record=record: self._look_again(record))  # type: ignore[misc]  # bound now
                self._await_health(record)
                if record.stopping:
                    record.shim.signal(signal.SIGTERM)
            elif record.exit is None and record.asked:
                record.declare_exit(0, "stopped")
            elif record.exit is None:
                self._events.soon(lambda record=record: self._launch(record))  # type: ignore[misc]  # bound now

    def _tick(self) -> None:
        """Stands in for what the kernel did not tell."""
        with self._lock:
            for record in self._records():
                self._look(record)
            due = time.monotonic() >= self._next_sweep
        if due:
            self._next_sweep = time.monotonic() + _SWEEP_S
            self.sweep()


def _no_secrets(sealed: str) -> str:
    raise Invalid("this node opens no secrets", code="SECRETS_NOT_HERE", hint="run the unit on another node")


def _check(spec: UnitSpec) -> None:
    if not spec.unit or "/" in spec.unit or spec.unit.startswith(".") or len(spec.unit) > 200:
        raise Invalid(f"{spec.unit!r} cannot name a unit", code="UNIT_NAME_INVALID", hint="use a plain name")
    if spec.attempt < 1:
        raise Invalid("attempts count from 1", code="ATTEMPT_INVALID", hint="start with attempt 1")
    if bool(spec.argv) == bool(spec.model):
        raise Invalid("a unit has either a command or a model", code="UNIT_EMPTY", hint="set argv or model")
    if spec.confine and not landlock_abi():
        raise Invalid(
            "this kernel cannot confine a unit's writes (Landlock)", code="ISOLATION_MISSING",
            hint="bough doctor shows what this machine can isolate; set confine = false to run without",
        )  # fmt: skip
