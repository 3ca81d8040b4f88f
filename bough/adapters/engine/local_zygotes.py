"""Zygotes: one for everything that loading a model can see, started when first needed and shared by all its replicas,
of whatever deployment: a branch wakes through the zygote of its parent.

What is a unit's own (its name, labels, limits) is set after the fork. A zygote that no running unit needs is kept for
`zygote_idle_s` (ten minutes) and then ends: sleeping units alone keep no memory, and the next wake loads anew.

A zygote outlives the node. After a restart the node finds it by its folder `zygotes/<key>/` and goes on using it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from bough.adapters.engine import local_files as files
from bough.adapters.engine.local_events import Events
from bough.adapters.engine.local_processes import Handle, hold
from bough.kernel.errors import Unavailable
from bough.kernel.files import as_exhausted
from bough.runtime.spec import CONTROL_NAME, Failure, Limits, Started, UnitSpec

_BOOT = "import sys; sys.path[:1] = []; from bough.runtime.zygote import main; main()"
_ORDER_TIMEOUT_S = 10.0
_SUN_PATH_BYTES = 107
# What loading allocates lies in huge pages then (glibc 2.35 and later): a fork copies an entry for each page, not its
# bytes, and takes a fifth of the time. The zygote itself takes no further ones, and its replicas none (`zygote.serve`).
_HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
LOG_NAME = f"log.{0:020d}"


class Zygote:
    """Changed only under the lock of `Zygotes`."""

    def __init__(self, key: str, folder: Path, process: Handle) -> None:
        self.key = key
        self.folder = folder
        self.process = process
        self.idle_since = time.monotonic()
        self.watch = -1

    def is_ready(self) -> bool:
        return (self.folder / "ready.json").exists()


class Zygotes:
    def __init__(self, home: Path, events: Events, loader: str, changed: Callable[[str], None]) -> None:
        """`loader`: module given to every zygote instead of Bough's own, or empty. `changed(key)` is called, from any
        thread, when a zygote has become ready or has ended."""
        self._home = home / "zygotes"
        self._events = events
        self._loader = loader
        self._changed = changed
        self._lock = threading.RLock()
        self._living: dict[str, Zygote] = {}
        self._dying: set[Zygote] = set()

    def adopt(self) -> None:
        """Takes over those that survived the node, and removes what is left of the others."""
        with as_exhausted(self._home):
            self._home.mkdir(exist_ok=True)
        for folder in self._home.iterdir():
            started = files.read_whole(folder / "pid.json", Started)
            process = hold(started.shim_pid, started.shim_starttime, started.boot) if started else None
            if process is None:
                files.remove_tree(folder)
                continue
            self._add(Zygote(folder.name, folder, process))

    def ensure(self, spec: UnitSpec, environment: dict[str, str], secrets: dict[str, str]) -> Zygote:
        """The zygote for `spec`, started if there is none; look at `is_ready`. `secrets` are the opened ones, which
        loading the model may need."""
        key = key_of(spec, environment)
        with self._lock:
            zygote = self._living.get(key)
            if zygote and zygote.process.alive():
                zygote.idle_since = time.monotonic()
                return zygote
            return self._start(key, spec, environment | secrets)

    def fork(self, zygote: Zygote, folder: Path, environment: dict[str, str]) -> int:
        """Has a replica forked for the attempt in `folder`; returns its shim's pid."""
        order = msgspec.json.encode({"folder": str(folder), "environment": environment})
        try:
            with socket.socket(socket.AF_UNIX) as connection, _reachable(zygote.folder / CONTROL_NAME) as path:
                connection.settimeout(_ORDER_TIMEOUT_S)
                connection.connect(path)
                connection.sendall(order)
                connection.shutdown(socket.SHUT_WR)
                answer: dict[str, Any] = msgspec.json.decode(connection.recv(65536) or b"{}")
        except (OSError, msgspec.MsgspecError) as error:
            self.stop(zygote.key)  # one that does not answer is of no use to the next replica either
            raise Unavailable(f"the model's warm process did not answer: {error}", code="ZYGOTE_SILENT") from error
        if "pid" not in answer:
            raise Unavailable("the model's warm process refused to fork", code="ZYGOTE_SILENT")
        return int(answer["pid"])

    def settled(self, key: str) -> bool:
        """Whether the zygote has become ready, or has ended: nothing more will be told of it."""
        with self._lock:
            zygote = self._living.get(key)
            return zygote is None or zygote.is_ready() or not zygote.process.alive()

    def failure(self, key: str) -> tuple[Failure, Path] | None:
        """Why the zygote `key` ended without ever becoming ready, and its output; None when it lives, was ready or
        is unknown."""
        folder = self._home / key
        with self._lock:
            zygote = self._living.get(key)
            if (zygote and zygote.process.alive()) or (folder / "ready.json").exists() or not folder.exists():
                return None
        said = files.read_whole(folder / "error.json", Failure)
        unsaid = Failure(
            code="LOAD_DIED", message="the process that loads the model ended without a word",
            hint="see its output (bough logs); a native library may have crashed, or memory may be short",
        )  # fmt: skip
        return said or unsaid, folder / LOG_NAME

    def sweep(self, used: set[str], idle_s: float) -> list[str]:
        """Stops the zygotes that are not in `used` and have not been for `idle_s`; returns their keys."""
        now = time.monotonic()
        with self._lock:
            for key in used & self._living.keys():
                self._living[key].idle_since = now
            unused = self._living.keys() - used
            idle = [key for key in unused if now - self._living[key].idle_since >= idle_s]
        for key in idle:
            self.stop(key)
        return idle

    def stop(self, key: str) -> None:
        with self._lock:
            if zygote := self._living.pop(key, None):  # at once: the next `ensure` must not meet it dying
                self._dying.add(zygote)
                zygote.process.signal(signal.SIGKILL)  # it holds nothing that a gentler end would save

    def pids(self) -> dict[str, int]:
        with self._lock:
            return {key: zygote.process.pid for key, zygote in self._living.items()}

    def close(self) -> None:
        with self._lock:
            for zygote in [*self._living.values(), *self._dying]:
                self._events.forget_process(zygote.process.pidfd)
                zygote.process.close()
            self._living.clear()

    def _start(self, key: str, spec: UnitSpec, environment: dict[str, str]) -> Zygote:
        folder = self._home / key
        files.remove_tree(folder)  # of one that has died
        with as_exhausted(folder):
            folder.mkdir(mode=0o700)
        files.write_whole(folder / "model.json", msgspec.json.encode(spec.model))
        python = spec.python or sys.executable
        argv = [python, "-c", _BOOT, str(folder), *filter(None, [self._loader])]
        log = str(folder / LOG_NAME)
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        environment = {**_HUGE_PAGES, **environment, "BOUGH_ZYGOTE": "1"}
        try:
            pid = os.posix_spawn(python, argv, environment, file_actions=actions, setsid=True)
        except OSError as error:
            files.remove_tree(folder)
            raise Unavailable(
                f"cannot start {python}: {error.strerror}", code="PYTHON_MISSING", hint="deploy again to rebuild it"
            ) from error
        process = hold(pid)
        if process is None:
            raise Unavailable("the model's process ended before it began", code="ZYGOTE_SILENT")
        zygote = Zygote(key, folder, process)
        self._add(zygote)
        return zygote

    def _add(self, zygote: Zygote) -> None:
        with self._lock:
            self._living[zygote.key] = zygote
            zygote.watch = self._events.on_file(zygote.folder, lambda name: self._appeared(zygote, name))
            self._events.on_exit(zygote.process.pidfd, lambda: self._ended(zygote))

    def _appeared(self, zygote: Zygote, name: str) -> None:
        if name == "ready.json":
            self._changed(zygote.key)

    def _ended(self, zygote: Zygote) -> None:
        with self._lock:
            if self._living.get(zygote.key) is zygote:
                del self._living[zygote.key]
            self._dying.discard(zygote)
            self._events.forget_folder(zygote.watch)
            self._events.forget_process(zygote.process.pidfd)
            zygote.process.close()
        self._changed(zygote.key)


def key_of(spec: UnitSpec, environment: dict[str, str]) -> str:
    """Equal only where nothing that loading could have seen differs. Named is what may differ: a field that UnitSpec
    gets one day counts until somebody thinks about it."""
    shared = msgspec.structs.replace(
        spec, unit="", attempt=0, labels={}, environment={}, python=spec.python or sys.executable, limits=Limits(),
        devices=[], health_timeout_s=0.0, grace_s=0.0, lease_s=0.0, confine=False,
    )  # fmt: skip
    return hashlib.sha256(msgspec.json.encode((shared, environment), order="sorted")).hexdigest()[:16]


@contextlib.contextmanager
def _reachable(path: Path) -> Any:
    """`path` in a form short enough to connect to: itself, or through an open descriptor of its folder."""
    if len(os.fsencode(path)) <= _SUN_PATH_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
