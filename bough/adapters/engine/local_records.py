"""What the local engine knows of one attempt. All of it can be read again from the attempt's folder."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bough.adapters.engine import EXITED, READY, RUNNING, STARTING, STOPPING, Attempt
from bough.adapters.engine import local_files as files
from bough.adapters.engine.local_processes import Handle, hold, kill_leftovers
from bough.kernel.devices import share_of
from bough.kernel.processes import began_at, boot, has_ended
from bough.runtime.spec import SOCKET_NAME, Exited, Failure, Started, UnitSpec, Usage

_SETTLES_NS = 50_000_000  # several ticks of the slowest usual kernel (100 Hz)


class StopRequest(msgspec.Struct, frozen=True, kw_only=True):
    """stop.json: the wish survives the node, and tells a shim that begins late not to start at all. `grace_s` is the
    only field that the shim reads, by its position: it stays the first and only one."""

    grace_s: float


class Record:
    """Changed only under the engine's lock."""

    def __init__(self, spec: UnitSpec, folder: Path, link: Path) -> None:
        self.spec = spec
        self.folder = folder
        self.link = link  # where a replica is reached, the same path over all attempts
        self.started: Started | None = None
        self.shim: Handle | None = None
        self.launched = False  # a shim was started, or is being started, by this or an earlier node
        self.waits_for = ""  # key of the zygote
        self.zygote_tries = 0
        self.asked = (folder / "stop.json").exists()  # to stop, by a caller: then nothing wakes it
        self.stopping = self.asked
        self.devices = _devices_of(folder)  # accelerators that it has
        self.waits = ""  # for which it waits, in words
        self.port = files.read_whole(folder / "port.json", int) or 0
        self.ready_at = 0.0
        self.signature: dict[str, Any] = {}
        self.exit: Exited | None = None
        self.watch = -1
        self._settled_at = 0

    @property
    def key(self) -> str:
        return f"{self.spec.unit}/{self.spec.attempt}"

    def refresh(self) -> bool:
        """Reads what has changed on disk; says whether anything has."""
        if self.exit:
            return False
        ended = self.shim is not None and not self.shim.alive()  # looked at first: a shim's last act is exit.json
        if not ended and not self._folder_has_changed():
            return False
        before = (self.started, self.ready_at)
        if self.started is None or self.started.pid == 0:
            self.started = files.read_whole(self.folder / "pid.json", Started)
        if not self.ready_at:
            self._read_ready()
        exited = files.read_whole(self.folder / "exit.json", Exited)
        if exited or ended:
            self._set_exit(exited or self._lost())
        return self.exit is not None or before != (self.started, self.ready_at)

    def is_guarded_by_another(self) -> bool:
        """The shim that was started has ended because an earlier one, which had not said so yet when the engine came
        back, runs the attempt."""
        if self.shim is None or self.shim.alive():
            return False
        started = files.read_whole(self.folder / "pid.json", Started)
        return started is not None and started.shim_pid not in (0, self.shim.pid)

    def has_died(self) -> bool:
        """The unit's process is gone, and its shim has not said so yet."""
        started = self.started
        return not self.exit and started is not None and started.pid > 0 and has_ended(started.pid, started.starttime)

    def adopt(self) -> None:
        """After the engine's own start: finds out how the attempt stands now."""
        self.started = files.read_whole(self.folder / "pid.json", Started)
        if self.started:
            self.launched = True
            self.shim = hold(self.started.shim_pid, self.started.shim_starttime, self.started.boot)
        self.refresh()
        if self.started and self.shim is None and self.exit is None:
            self._set_exit(self._lost())

    def signal_stop(self, grace_s: float) -> None:
        """Records the wish, then tells the shim. On a full disk the shim is told all the same, and keeps to the
        spec's grace."""
        self.asked = self.stopping = True
        try:
            files.write_whole(self.folder / "stop.json", msgspec.json.encode(StopRequest(grace_s=grace_s)))
        finally:
            if self.shim:
                self.shim.signal(signal.SIGTERM)

    def give(self, devices: Sequence[str]) -> None:
        """Before it starts: what it has is known again after a restart, and its shim measures it."""
        share = f"{share_of(self.spec.gpus):g}"
        files.write_whole(self.folder / "devices", " ".join((share, *devices)).encode())
        self.devices, self.waits = list(devices), ""

    def end_unhealthy(self, failure: Failure) -> None:
        """Ends a unit that never became healthy. Nobody asked for that, so a later `wake` may try again."""
        self.stopping = True
        try:
            files.write_whole(self.folder / "error.json", msgspec.json.encode(failure))
        finally:
            if self.shim:
                self.shim.signal(signal.SIGTERM)

    def declare_exit(self, code: int, reason: str, failure: Failure | None = None) -> bool:
        """Ends an attempt that no shim has begun; False when one has."""
        if not files.claim_for_nobody(self.folder):
            return False
        exited = Exited(code=code, reason=reason, at=time.time(), failure=failure)
        files.write_whole(self.folder / "exit.json", msgspec.json.encode(exited))
        self.exit = exited
        return True

    def mark_healthy(self) -> None:
        files.write_whole(self.folder / "healthy", b"")
        self._read_ready()

    def usage(self) -> Usage:
        if self.exit:
            return self.exit.usage
        return files.read_whole(self.folder / "usage.json", Usage) or Usage()

    def attempt(self, node: str) -> Attempt:
        spec, started = self.spec, self.started
        began = self._began_at()
        set_s = began - started.at if started else 0.0
        return Attempt(
            unit=spec.unit, attempt=spec.attempt, state=self._state(), kind=spec.kind, labels=spec.labels, node=node,
            address=self._address(), pid=started.pid if started else 0, started_at=began, set_s=set_s,
            ready_at=self.ready_at and self.ready_at + set_s, signature=self.signature, exit=self.exit,
            cold=bool(self.waits_for) and not self.launched, gpus=spec.gpus, devices=self.devices,
            waits=self.waits,
        )  # fmt: skip

    def lived_s(self) -> float:
        return self.exit.at - self.started.at if self.exit and self.started and self.started.pid else 0.0

    def _began_at(self) -> float:
        """By the clock as it is set now: what a unit has had is no more for a clock that was set forward. 0: it has not
        begun."""
        started = self.started
        if started is None or not started.starttime or started.boot != boot():
            return started.at if started else 0.0
        found = began_at(started.starttime, started.at)
        return found if self.exit is None or found <= self.exit.at else started.at  # else it was set after the end

    def _state(self) -> str:
        if self.exit:
            return EXITED
        if self.stopping:
            return STOPPING
        if not (self.started and self.started.pid):
            return STARTING  # also when it is ready already: a replica can be faster than its shim's note of its pid
        return READY if self.ready_at else RUNNING

    def _address(self) -> str:
        if self.spec.model:
            return f"unix:{self.link}"
        return f"127.0.0.1:{self.port}" if self.port else ""

    def _folder_has_changed(self) -> bool:
        """Every file here comes by a rename, which changes the folder's own time; one look then stands for five. The
        kernel's clock for it is coarse, so a change is only taken for the last one when it is not of just now."""
        try:
            at = self.folder.stat().st_mtime_ns
        except FileNotFoundError:
            return True
        changed = at != self._settled_at
        self._settled_at = at if time.time_ns() - at > _SETTLES_NS else 0
        return changed

    def _read_ready(self) -> None:
        probed = bool(self.spec.health_path)
        path = self.folder / ("healthy" if probed else "ready.json")
        try:
            at = path.stat().st_mtime
        except FileNotFoundError:
            return
        self.ready_at = at
        if not probed:
            self.signature = files.read_whole(path, dict[str, Any]) or {}

    def _lost(self) -> Exited:
        """The shim is gone without a word. Its unit dies with it; what the unit had started is killed here."""
        kill_leftovers(self.folder, self.started.pid if self.started else 0)
        complaint = self.folder / "shim.err"
        said = complaint.read_text("utf-8", "replace").strip() if complaint.exists() else ""
        failure = Failure(
            code="SHIM_FAILED", message="the unit's guardian failed", hint="bough doctor", traceback=said
        ) if said else None  # fmt: skip
        exited = Exited(code=-int(signal.SIGKILL), reason="lost", at=time.time(), usage=self.usage(), failure=failure)
        files.write_whole(self.folder / "exit.json", msgspec.json.encode(exited))
        return exited

    def _set_exit(self, exited: Exited) -> None:
        said = files.read_whole(self.folder / "error.json", Failure)
        failure = exited.failure or said
        self.exit = msgspec.structs.replace(exited, failure=failure)


def _devices_of(folder: Path) -> list[str]:
    path = folder / "devices"
    return path.read_text().split()[1:] if path.exists() else []


def link_of(home: Path, unit: str) -> Path:
    """Short whatever the unit is called: a Unix socket's path has at most 107 bytes."""
    return home / "run" / "u" / hashlib.sha256(unit.encode()).hexdigest()[:12]


def point_link(record: Record) -> None:
    files.point(record.link, record.folder / SOCKET_NAME)
