"""The course of attempts on this machine, from being written down to their end: one is launched when nothing stands in
its way any more, looked at whenever something of it has changed, and taken over by the next engine."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import msgspec

from bough.adapters.engine import Hint
from bough.adapters.engine import local_files as files
from bough.adapters.engine.devices import Allotment, waits
from bough.adapters.engine.health import await_health
from bough.adapters.engine.local_events import Events
from bough.adapters.engine.local_launch import Launcher
from bough.adapters.engine.local_processes import hold
from bough.adapters.engine.local_records import Record, link_of
from bough.adapters.engine.local_registered import FILE_NAME as REGISTERED
from bough.adapters.engine.local_runtime import free_port
from bough.adapters.engine.local_zygotes import LOG_NAME, Zygotes
from bough.kernel.errors import Exhausted, Problem, Unavailable
from bough.kernel.files import as_exhausted
from bough.runtime.spec import Failure, UnitSpec

_LOGS_KEPT, _ATTEMPTS_KEPT = 3, 64  # of one unit
_ZYGOTE_TRIES = 3


class Attempts:
    """Of one node, by unit and number. Guarded by `lock`, which methods that change something want held where they do
    not say otherwise; `changed` tells who waits that something has."""

    def __init__(self, home: Path, events: Events, zygotes: Zygotes, launcher: Launcher, allotment: Allotment) -> None:
        self.units: dict[str, dict[int, Record]] = defaultdict(dict)
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.closed = False
        self._home = home
        self._events = events
        self._zygotes = zygotes
        self._launcher = launcher
        self._allotment = allotment
        self._first_cursor = self._cursor = time.time_ns() // 1000  # later than any cursor of an earlier engine
        self._hints: dict[str, int] = {}

    def close(self) -> None:
        """Nothing is launched or waited for any more. Takes the lock."""
        with self.lock:
            self.closed = True
            self.changed.notify_all()

    def let_go(self) -> None:
        """After all events: gives back what it holds of processes, which go on. Takes the lock."""
        with self.lock:
            for record in self.all():
                if record.shim:
                    record.shim.close()

    def adopt(self) -> None:
        """Finds what an earlier engine on this home has left, running or not."""
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
            self.units[spec.unit][spec.attempt] = record
            self._take_over(record)

    def create(self, spec: UnitSpec) -> Record:
        """Writes down a new attempt, which stops older ones; nothing is left of it when the disk has no room."""
        for older in self.units.get(spec.unit, {}).values():
            if older.exit is None and not older.asked:
                self.stop(older, older.spec.grace_s)
        folder = self._home / "units" / spec.unit / str(spec.attempt)
        with as_exhausted(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            record = Record(spec, folder, link_of(self._home, spec.unit))
            if spec.wants_port:
                record.port = free_port({other.port for other in self.all() if other.exit is None})
                files.write_whole(folder / "port.json", msgspec.json.encode(record.port))
            files.write_whole(folder / "spec.json", msgspec.json.encode(spec))
        except Problem:
            files.remove_tree(folder)
            with contextlib.suppress(OSError):
                folder.parent.rmdir()
            raise
        self.units[spec.unit][spec.attempt] = record
        self._prune(spec.unit)
        self._follow_folder(record)
        self.note(spec.unit)
        return record

    def renew(self, record: Record) -> None:
        if record.spec.lease_s and record.exit is None:
            with as_exhausted(record.folder):
                (record.folder / "lease").touch(mode=0o600)

    def launch(self, record: Record) -> None:
        """Starts the attempt unless something stands in the way: an older attempt that still runs, accelerators that
        others have, a zygote that still loads. Called again when that has changed. Slow parts run outside the lock."""
        with self.lock:
            older = [other for other in self.units.get(record.spec.unit, {}).values()
                     if other.spec.attempt < record.spec.attempt and other.exit is None]  # fmt: skip
            if record.launched or record.stopping or record.exit or older or self.closed:
                return
            try:
                if not self._give(record):
                    self.note(record.spec.unit)
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
        with self.lock:
            if pid == 0:
                record.launched = False
            else:
                record.waits_for = ""
                self._hold(record, pid)
                if record.stopping and record.shim:  # asked to stop meanwhile
                    record.shim.signal(signal.SIGTERM)
        if pid == 0 and self._zygotes.settled(record.waits_for):
            self._events.soon(lambda: self.zygote_changed(record.waits_for))

    def stop(self, record: Record, grace_s: float) -> None:
        self.note(record.spec.unit)
        with contextlib.suppress(Exhausted):  # the shim was told; only a restart of the node would not know
            record.signal_stop(grace_s)
        if not record.launched and record.exit is None and record.declare_exit(0, "stopped"):
            self._settled(record)

    def look(self, record: Record) -> Record:
        if record.exit is None and record.shim and record.is_guarded_by_another():
            self._events.forget_process(record.shim.pidfd)
            record.shim.close()
            self._adopt_guardian(record)
        had_pid = record.started is not None and record.started.pid > 0
        if record.exit is None and record.refresh():
            self.note(record.spec.unit)
            if record.exit:
                self._settled(record)
            elif not had_pid and record.started and record.started.pid:
                self._await_health(record)
        return record

    def note(self, unit: str) -> None:
        self._cursor += 1
        self._hints[unit] = self._cursor
        self.changed.notify_all()

    def all(self) -> list[Record]:
        return [record for records in self.units.values() for record in records.values()]

    def zygote_changed(self, key: str) -> None:
        """A zygote has become ready, or has ended."""
        with self.lock:
            waiting = [record for record in self.all() if record.waits_for == key and not record.launched]
        failed = self._zygotes.failure(key)
        for record in waiting:
            if failed is None:
                self.launch(record)
            else:
                failure, output = failed
                with contextlib.suppress(OSError):
                    (record.folder / LOG_NAME).write_bytes(output.read_bytes())
                self._give_up(record, failure)

    def latest(self, unit: str) -> Record | None:
        records = self.units.get(unit)
        return self.look(records[max(records)]) if records else None

    def watch(self, cursor: int, timeout_s: float, registered: Iterable[str]) -> list[Hint]:
        """`registered`: units that may have no attempt."""
        deadline = time.monotonic() + timeout_s
        with self.changed:
            if not self._first_cursor <= cursor <= self._cursor:
                if known := dict.fromkeys([*self.units, *registered]):
                    return [Hint(cursor=self._cursor, unit=unit) for unit in known]
                cursor = self._cursor  # nothing to speak of yet; else who asks would ask again and again
            while True:
                news = sorted((at, unit) for unit, at in self._hints.items() if at > cursor)
                left = deadline - time.monotonic()
                if news or left <= 0 or self.closed:
                    return [Hint(cursor=at, unit=unit) for at, unit in news]
                self.changed.wait(left)

    def _take_over(self, record: Record) -> None:
        record.adopt()
        if record.exit is None:
            self._follow_folder(record)
        if record.exit is None and record.shim:
            self._events.on_exit(record.shim.pidfd, lambda: self._look_again(record))
            self._await_health(record)
            if record.stopping:
                record.shim.signal(signal.SIGTERM)
        elif record.exit is None and record.asked:
            record.declare_exit(0, "stopped")
        elif record.exit is None:
            self._events.soon(lambda: self.launch(record))

    def _give(self, record: Record) -> bool:
        """Whether it has the accelerators that it asks for. What each has is in its folder, and nowhere else."""
        if not record.spec.gpus or record.devices:
            return True
        holders = [(each.spec, each.devices) for each in self.all() if each.devices and not each.exit]
        found = self._allotment.give(record.key, record.spec, holders)
        if found is None:
            record.waits = waits(record.spec, holders)
            return False
        record.give(found)
        return True

    def _launch_failed(self, record: Record, problem: Problem) -> None:
        with self.lock:
            record.launched = False
            retry = isinstance(problem, Unavailable) and record.zygote_tries < _ZYGOTE_TRIES and bool(record.waits_for)
        if retry:
            self._events.soon(lambda: self.launch(record))
            return
        detail = problem.detail()
        self._give_up(record, Failure(code=detail.code, message=detail.message, hint=detail.hint))

    def _give_up(self, record: Record, failure: Failure) -> None:
        with self.lock:
            if record.exit is None and record.declare_exit(1, "exited", failure):
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
        with self.lock:
            self.look(record)

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
                with self.lock, contextlib.suppress(Exhausted):
                    if record.exit is None and not record.stopping:
                        record.end_unhealthy(Failure(code="NOT_HEALTHY", message=message, hint=hint))
                        self.note(spec.unit)
                return False
            with self.changed:
                if record.exit is None and not record.stopping and not self.closed:
                    self.changed.wait(pause_s)
                return record.exit is None and not record.stopping and not self.closed

        if await_health(record.port, spec.health_path, go_on):
            with self.lock:
                if record.exit is None:
                    record.mark_healthy()
                    self.note(spec.unit)

    def _settled(self, record: Record) -> None:
        """An attempt has ended: lets go of what it held and lets a newer one begin."""
        self._events.forget_folder(record.watch)
        if record.shim:
            self._events.forget_process(record.shim.pidfd)
            record.shim.close()
        self.note(record.spec.unit)
        latest = self.units[record.spec.unit][max(self.units[record.spec.unit])]
        if latest is not record:
            self._events.soon(lambda: self.launch(latest))
        if record.spec.gpus:
            self._allotment.leave(record.key)
            line = {other.key: other for other in self.all()}
            for key in self._allotment.waiting:
                self._events.soon(lambda other=line[key]: self.launch(other))  # type: ignore[misc]  # bound now

    def _prune(self, unit: str) -> None:
        records = self.units[unit]
        for attempt in sorted(records)[:-_LOGS_KEPT]:
            files.drop_logs(records[attempt].folder)
        for attempt in sorted(records)[:-_ATTEMPTS_KEPT]:
            if records[attempt].exit:
                files.remove_tree(records.pop(attempt).folder)
