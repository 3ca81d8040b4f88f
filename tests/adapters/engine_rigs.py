"""Engines to test, each behind one small interface, and units that behave alike on all of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from bough.adapters.accelerators.fake import FakeAccelerators
from bough.adapters.engine import Attempt, Engine, LogChunk, wire
from bough.adapters.engine.fake import Behaviour, FakeEngine
from bough.adapters.engine.faults import FaultyEngine
from bough.adapters.engine.local import LocalEngine
from bough.adapters.engine.remote import RemoteEngine
from bough.entrypoints.node_http import NodeServer
from bough.kernel.clock import VirtualClock
from bough.kernel.errors import Unavailable
from bough.runtime.spec import ModelSpec, UnitSpec

# One for all tests: its bytecode is then compiled once, as on a machine where Bough has run before.
_shared_runtime = tempfile.TemporaryDirectory(prefix="bough-runtime-")

LOADER_FOLDER = Path(__file__).parent / "engine_loader"
PATIENCE_S = 60.0
DEVICES = ("t4:2",)  # accelerators of each engine under test: 0 and 1


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """One unit, as a command for real engines and as a script for the fake one."""

    argv: list[str]
    behaviour: Behaviour = Behaviour()
    changes: dict[str, Any] = {}


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-u", "-c", code, *arguments]


def runs() -> Story:
    return Story(argv=["sleep", "1000"])


def exits(code: int) -> Story:
    return Story(argv=["sh", "-c", f"exit {code}"], behaviour=Behaviour(exit_after_s=0.0, code=code))


def stubborn() -> Story:
    """Ignores SIGTERM; says so first, so that a test can wait until it does."""
    code = "import signal,time; signal.signal(15, signal.SIG_IGN); print('deaf'); time.sleep(1000)"
    return Story(argv=python(code), behaviour=Behaviour(ignores_term=True, output=b"deaf\n"))


def prints(path: Path, output: bytes) -> Story:
    path.write_bytes(output)
    return Story(argv=["cat", str(path)], behaviour=Behaviour(exit_after_s=0.0, output=output))


def burns() -> Story:
    return Story(argv=python("while True: pass"), behaviour=Behaviour(cpu=1.0))


_WEB = """
import os, socket, sys, time
sick_for, status = float(sys.argv[1]), sys.argv[2].encode()
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
born = time.monotonic()
while True:
    peer = listener.accept()[0]
    peer.recv(4096)
    answer = status if time.monotonic() - born >= sick_for else b"503 Not Yet"
    peer.sendall(b"HTTP/1.1 " + answer + b"\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
    peer.close()
"""


def web(sick_for_s: float = 0.0, status: str = "200 OK", timeout_s: float = 30.0) -> Story:
    healthy = status < "5"
    return Story(
        argv=python(_WEB, str(sick_for_s), status),
        behaviour=Behaviour(ready_after_s=sick_for_s if healthy else None),
        changes={"kind": "web", "wants_port": True, "health_path": "/", "health_timeout_s": timeout_s},
    )


class Patient:
    """What every caller of an engine does: it asks again when the engine did not answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._engine, name)

        def call(*arguments: Any, **options: Any) -> Any:
            for _ in range(50):
                try:
                    return method(*arguments, **options)
                except Unavailable as error:
                    if error.own_code != "INJECTED":
                        raise
            raise AssertionError(f"{name} failed 50 times in a row")

        return call

    def logs(self, unit: str, attempt: int, offset: int, *, follow: bool) -> Iterator[LogChunk]:
        first = self.__getattr__("logs")(unit, attempt, offset, follow=follow)
        return self._resuming(first, unit, attempt, offset, follow)

    def _resuming(
        self, chunks: Iterator[LogChunk], unit: str, attempt: int, offset: int, follow: bool
    ) -> Iterator[LogChunk]:
        for _ in range(500):
            try:
                for chunk in chunks:
                    offset = chunk.offset + len(chunk.data)
                    yield chunk
                return
            except Unavailable as error:
                if error.own_code != "INJECTED":
                    raise
                chunks = self.__getattr__("logs")(unit, attempt, offset, follow=follow)
        raise AssertionError("the stream broke 500 times")


class Rig:
    """One engine under test. `engine` may be wrapped; `real` says whether there are processes."""

    real = True

    def __init__(self, seed: int | None) -> None:
        self._seed = seed
        self.engine: Any = None

    def spec(self, unit: str, story: Story, attempt: int = 1, **changes: Any) -> UnitSpec:
        self.script(unit, story.behaviour)
        fields: dict[str, Any] = {"kind": "job", "argv": story.argv, "grace_s": 5.0, **story.changes, **changes}
        return UnitSpec(unit=unit, attempt=attempt, **fields)

    def model(self, unit: str, name: str, **changes: Any) -> UnitSpec:
        """A replica whose loader is tests/adapters/engine_loader; `name` tells it what to do."""
        spec = ModelSpec(reference=name, folder=str(LOADER_FOLDER), preload=changes.pop("preload", "auto"))
        environment = {"PYTHONPATH": str(LOADER_FOLDER), **changes.pop("environment", {})}
        attempt = changes.pop("attempt", 1)
        return UnitSpec(unit=unit, attempt=attempt, kind="replica", model=spec, environment=environment, **changes)

    def script(self, unit: str, behaviour: Behaviour) -> None:
        pass

    def look(self, unit: str) -> Attempt:
        return next(attempt for attempt in self.engine.snapshot() if attempt.unit == unit)

    def until(self, unit: str, wanted: Callable[[Attempt], bool] | str) -> Attempt:
        """Waits for hints, never for time alone; decides by the snapshot only."""
        cursor, deadline = 0, self.now() + PATIENCE_S
        while True:
            seen = self.look(unit)
            if seen.state == wanted if isinstance(wanted, str) else wanted(seen):
                return seen
            if self.now() > deadline:
                raise AssertionError(f"{wanted} was never true: {seen}")
            for hint in self.engine.watch(cursor, 0.1):
                cursor = hint.cursor

    def exited(self, unit: str) -> Any:
        return self.until(unit, "exited").exit

    def output(self, unit: str, attempt: int = 1, offset: int = 0, *, follow: bool = False) -> bytes:
        return b"".join(chunk.data for chunk in self.engine.logs(unit, attempt, offset, follow=follow))

    def until_output(self, unit: str, wanted: bytes) -> bytes:
        seen = b""
        for chunk in self.engine.logs(unit, 1, 0, follow=True):
            seen += chunk.data
            if wanted in seen:
                return seen
        raise AssertionError(f"{wanted!r} is not in {seen!r}")

    def now(self) -> float:
        return time.monotonic()

    def let_pass(self, seconds: float) -> None:
        time.sleep(seconds)

    def restart(self) -> None:
        """The engine goes and comes again; units do not notice."""

    def close(self) -> None:
        pass

    def wrap(self, engine: Engine) -> Any:
        return engine if self._seed is None else Patient(FaultyEngine(engine, self._seed))


class FakeRig(Rig):
    real = False

    def __init__(self, seed: int | None) -> None:
        super().__init__(seed)
        self._clock = VirtualClock()
        self.inner = FakeEngine(self._clock, node="local", devices=FakeAccelerators(*DEVICES).devices)
        self.engine = self.wrap(self.inner)

    def script(self, unit: str, behaviour: Behaviour) -> None:
        self.inner.script(unit, behaviour)

    def now(self) -> float:
        return self._clock.now()

    def let_pass(self, seconds: float) -> None:
        self._clock.advance(seconds)


class LocalRig(Rig):
    def __init__(self, seed: int | None) -> None:
        super().__init__(seed)
        self.home = Path(tempfile.mkdtemp(dir="/tmp", prefix="be-"))
        (self.home / "runtime").symlink_to(shared_runtime())
        self.start()

    def start(self) -> None:
        self.inner = LocalEngine(
            self.home, loader="engine_loader_module", inherited=clean_environment(),
            devices=FakeAccelerators(*DEVICES).devices,
        )  # fmt: skip
        self.engine = self.wrap(self.inner)

    def restart(self) -> None:
        self.inner.close()
        self.start()

    def close(self) -> None:
        end_all(self.inner)
        self.inner.close()
        remove(self.home)


class RemoteRig(LocalRig):
    def start(self) -> None:
        self.inner = LocalEngine(
            self.home, loader="engine_loader_module", inherited=clean_environment(),
            devices=FakeAccelerators(*DEVICES).devices,
        )  # fmt: skip
        state = wire.NodeState(node="local", pid=os.getpid(), starttime=0, started_at=0.0)
        self._server = NodeServer(self.home / "run" / "node.sock", self.inner, state)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self._remote = RemoteEngine(self.home / "run" / "node.sock")
        self.engine = self.wrap(self._remote)

    def restart(self) -> None:
        self._end_server()
        super().restart()

    def close(self) -> None:
        self._end_server()
        super().close()

    def _end_server(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._remote.close()
        self._server.server_close()


RIGS: dict[str, Callable[[int | None], Rig]] = {"fake": FakeRig, "local": LocalRig, "remote": RemoteRig}


@contextlib.contextmanager
def rig(name: str) -> Iterator[Rig]:
    """`name`: fake, local, remote, or one of them behind faults: `local-faulty`."""
    kind, _, faulty = name.partition("-")
    under_test = RIGS[kind](20261123 if faulty else None)
    try:
        yield under_test
    finally:
        under_test.close()


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def end_all(engine: Any) -> None:
    """Stops everything and waits for it, so that no test leaves a process behind."""
    deadline = time.monotonic() + PATIENCE_S
    while living := [attempt for attempt in engine.snapshot() if attempt.exit is None]:
        for attempt in living:
            engine.stop(attempt.unit, attempt.attempt, 0.0)
        assert time.monotonic() < deadline, f"still there: {living}"
        engine.watch(0, 0.01)
        time.sleep(0.005)
    with contextlib.suppress(Exception):
        engine.drain("local", 0.0, "the test has ended")


def shared_runtime() -> str:
    return _shared_runtime.name


def remove(home: Path) -> None:
    (home / "runtime").unlink(missing_ok=True)
    shutil.rmtree(home)


def kill(attempt: Attempt) -> None:
    assert attempt.pid > 1, attempt  # 0 would be ourselves
    os.kill(attempt.pid, 9)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def gone(pid: int) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.002)
    return not alive(pid)
