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

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from bough.adapters.engine import WOKEN_S, Attempt, Hint, LogChunk
from bough.adapters.engine import local_files as files
from bough.adapters.engine.devices import Allotment
from bough.adapters.engine.isolation import landlock_abi
from bough.adapters.engine.local_attempts import Attempts
from bough.adapters.engine.local_events import Events
from bough.adapters.engine.local_launch import Launcher
from bough.adapters.engine.local_records import Record, link_of
from bough.adapters.engine.local_registered import Registered
from bough.adapters.engine.local_runtime import stage_runtime
from bough.adapters.engine.local_zygotes import Zygotes
from bough.kernel.clock import left_s
from bough.kernel.devices import Device
from bough.kernel.errors import Busy, Conflict, Invalid, NotFound, Unavailable
from bough.kernel.files import as_exhausted
from bough.runtime.spec import UnitSpec, Usage

_LONGEST_HOME_BYTES = 85  # leaves room for run/u/<digest> in the path of a socket
_FIRST_WAKE_PAUSE_S, _LONGEST_WAKE_PAUSE_S = 0.1, 60.0
_LIVED_LONG_S = 10.0  # an attempt that was ready and lived for so long has not failed at once
_LAST_WORDS_S = 0.5  # a shim tells within milliseconds that its unit has ended, unless it has to kill what is left
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
        self._registered = Registered(self._home)
        self._woken_at: dict[str, float] = {}  # monotonic; of units that nobody has asked to sleep since
        self._draining = ""
        self._next_sweep = time.monotonic() + _SWEEP_S
        with as_exhausted(self._home):
            for name in ("units", "runtime", "run/u"):
                (self._home / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        self._events = Events(self._tick)
        self._zygotes = Zygotes(self._home, self._events, loader, lambda key: self._attempts.zygote_changed(key))
        runtime = stage_runtime(self._home)
        around = os.environ if inherited is None else inherited
        self._launcher = Launcher(runtime, self._zygotes, around, unseal or _no_secrets)
        self._attempts = Attempts(self._home, self._events, self._zygotes, self._launcher, Allotment(devices))
        self._zygotes.adopt()
        self._registered.adopt()
        self._attempts.adopt()
        self._events.start()

    def close(self) -> None:
        """Stops watching. Units and zygotes go on."""
        self._attempts.close()
        self._events.close()
        self._zygotes.close()
        self._attempts.let_go()

    def apply(self, spec: UnitSpec) -> Attempt:
        with self._attempts.lock:
            known = self._attempts.units.get(spec.unit, {})
            latest = max(known, default=0)
            if known and spec.attempt < latest:
                raise Conflict(
                    f"attempt {spec.attempt} of {spec.unit} is superseded by attempt {latest}",
                    code="ATTEMPT_SUPERSEDED", hint="read the snapshot again", attempt=latest,
                )  # fmt: skip
            record = known.get(spec.attempt)
            if record is None:
                record = self._create(spec)
            self._attempts.renew(record)
        self._attempts.launch(record)
        with self._attempts.lock:
            self._attempts.look(record)  # not a bare refresh: what it finds for the first time has consequences
            return self._show(spec.unit)

    def stop(self, unit: str, attempt: int, grace_s: float | None = None) -> None:
        with self._attempts.lock:
            record = self._attempts.latest(unit)
            if attempt != (record.spec.attempt if record else 0):
                return
            asleep = self._registered.is_asleep(unit, record)
            self._registered.drop(unit)
            if record is None or record.exit:
                if asleep:
                    self._attempts.note(unit)
                return
            self._attempts.stop(record, record.spec.grace_s if grace_s is None else grace_s)

    def register(self, spec: UnitSpec) -> Attempt:
        _check(spec)
        with self._attempts.lock:
            latest = self._attempts.latest(spec.unit)
            if self._registered.register(spec, latest):
                self._attempts.note(spec.unit)
            return self._show(spec.unit)

    def sleep(self, unit: str, attempt: int, grace_s: float | None = None) -> None:
        with self._attempts.lock:
            record = self._attempts.latest(unit)
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
                self._attempts.stop(record, record.spec.grace_s if grace_s is None else grace_s)
            self._attempts.note(unit)

    def forget(self, unit: str) -> None:
        with self._attempts.lock:
            records = self._attempts.units.get(unit, {})
            if any(record.exit is None for record in records.values()):
                return
            if not records and unit not in self._registered.units():
                return
            self._registered.drop(unit)
            files.remove_tree(self._home / "units" / unit)
            link_of(self._home, unit).unlink(missing_ok=True)
            self._attempts.units.pop(unit, None)
            self._woken_at.pop(unit, None)
            self._attempts.note(unit)

    def snapshot(self) -> list[Attempt]:
        with self._attempts.lock:
            return [self._show(unit) for unit in dict.fromkeys([*self._attempts.units, *self._registered.units()])]

    def watch(self, cursor: int, timeout_s: float) -> list[Hint]:
        return self._attempts.watch(cursor, timeout_s, self._registered.units())

    def logs(self, unit: str, attempt: int, offset: int, *, follow: bool) -> Iterator[LogChunk]:
        with self._attempts.lock:
            record = self._attempts.units.get(unit, {}).get(attempt)
            if record is None:
                raise NotFound(
                    f"no attempt {attempt} of {unit} is known here", code="ATTEMPT_UNKNOWN", hint="bough status"
                )
        return self._read_logs(record, offset, follow)

    def usage(self) -> dict[str, Usage]:
        with self._attempts.lock:
            return {record.key: self._attempts.look(record).usage() for record in self._attempts.all()}

    def wake(self, unit: str) -> Attempt:
        with self._attempts.lock:
            record = self._attempts.latest(unit)
            if record is not None and record.has_died():
                self._await_exit(record)
            asleep = self._registered.is_asleep(unit, record)
            if record is None and not asleep:
                raise NotFound(f"no unit {unit} is known here", code="UNIT_UNKNOWN", hint="bough status")
            going = asleep and (record is None or record.stopping or record.exit is not None)
            if record is None or going or (record.exit and not record.asked):
                self._refuse_early_wake(unit, record)
                record = self._create(self._registered.next_spec(unit, record))
                self._attempts.renew(record)
            self._woken_at[unit] = time.monotonic()
        self._attempts.launch(record)
        with self._attempts.lock:
            earlier = self._attempts.units[unit].get(record.spec.attempt - 1)
            before = earlier.exit if earlier is not None and not earlier.asked else None
            return msgspec.structs.replace(self._attempts.look(record).attempt(self.node), before=before)

    def drain(self, node: str, deadline_s: float, reason: str) -> None:
        if node != self.node:
            raise NotFound(f"this is node {self.node}, not {node}", code="NODE_UNKNOWN", hint="bough status")
        with self._attempts.lock:
            self._draining = reason or "draining"
            for record in self._attempts.all():
                if record.exit is None:
                    self._attempts.stop(record, min(record.spec.grace_s, deadline_s))
        self._zygotes.sweep(set(), 0.0)

    def stage(self, digests: list[str]) -> None:
        """Nothing to fetch: this machine's blobs are here."""

    def sweep(self) -> list[str]:
        """Stops zygotes that no replica has used for long; returns their keys. Also done by itself."""
        with self._attempts.lock:
            used = {self._launcher.zygote_key(record) for record in self._attempts.all() if record.exit is None}
        return self._zygotes.sweep(used, self._zygote_idle_s)

    def zygotes(self) -> dict[str, int]:
        """Key and pid of every zygote."""
        return self._zygotes.pids()

    def _create(self, spec: UnitSpec) -> Record:
        if self._draining:
            raise Unavailable(
                f"node {self.node} takes no new units: {self._draining}", code="NODE_DRAINING", hint="bough up"
            )
        _check(spec)
        return self._attempts.create(spec)

    def _show(self, unit: str) -> Attempt:
        record = self._attempts.latest(unit)
        ended = record is None or record.exit is not None
        if ended and self._registered.is_asleep(unit, record):
            return self._registered.attempt(unit, record, self.node)
        assert record is not None  # noqa: S101 - asked only of units that are known
        return record.attempt(self.node)

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
            if not follow or ended or self._attempts.closed:
                return
            with self._attempts.changed:
                if record.exit is None:
                    self._attempts.changed.wait(_FOLLOW_S)

    def _await_exit(self, record: Record) -> None:
        """Whoever had a connection to a process hears of its end before its shim has said so: to answer that it runs
        would send them away for a while."""
        deadline = time.monotonic() + _LAST_WORDS_S
        while record.exit is None and (left_s := deadline - time.monotonic()) > 0:
            self._attempts.changed.wait(left_s)

    def _refuse_early_wake(self, unit: str, latest: Record | None) -> None:
        """The first wake after an attempt that worked, or was put to sleep, is free; then the pause doubles with every
        early failure."""
        failures = 0
        for _, record in sorted(self._attempts.units.get(unit, {}).items(), reverse=True):
            if record.asked or (record.ready_at and record.lived_s() >= _LIVED_LONG_S):
                break
            failures += 1
        if failures < 2 or latest is None or latest.exit is None:
            return
        pause_s = min(_LONGEST_WAKE_PAUSE_S, _FIRST_WAKE_PAUSE_S * 2.0 ** (failures - 2))
        if wait_s := left_s(latest.exit.at, pause_s, time.time()):
            raise Busy(
                f"{unit} has failed {failures} times in a row; it is started again in {wait_s:.1f} s",
                code="WAKE_BACKOFF", retry_after_s=wait_s, hint="bough logs shows why it fails",
            )  # fmt: skip

    def _tick(self) -> None:
        """Stands in for what the kernel did not tell."""
        with self._attempts.lock:
            for record in self._attempts.all():
                self._attempts.look(record)
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
