"""A control plane in one process, for tests: real SQLite, and the fakes that ship for everything outside."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from bough.adapters.accelerators import Accelerators
from bough.adapters.accelerators.fake import FakeAccelerators
from bough.adapters.blobs import Blobs
from bough.adapters.connectors import Connectors, Objects
from bough.adapters.database.migrate import upgrade
from bough.adapters.database.sqlite import SqliteDatabase
from bough.adapters.engine import ASLEEP, EXITED, Attempt, Engine
from bough.adapters.engine.fake import Behaviour, FakeEngine
from bough.adapters.lineage import Receiver
from bough.adapters.queue.sqlite import SqliteQueues
from bough.adapters.tables import Tables
from bough.app import Bough
from bough.builds.models import BuildResult, Bundle, Entry
from bough.gateway.models import GatewayState, Heard, LaneState, Route, ShareState, Silence, Table
from bough.kernel.clock import VirtualClock
from bough.kernel.context import Principal, Role
from bough.kernel.platform import Home, Platform
from bough.kernel.reconcile import Still, Turn
from bough.queues.models import QueueState
from bough.runtime.spec import Failure
from bough.serving import store as deployments
from bough.tracking import schema as tracking_schema

ADMIN = Principal(id="pri_admin", name="admin", role=Role.ADMIN)
_open: list[Bough] = []


def close_all() -> None:
    """Lets go of the files of all that were made; one that is used on opens them again."""
    while _open:
        _open.pop().technologies.close()


class Plane:
    """`through`: what stands between the control plane and its engine.

    `builds_fail` and `behaviour` say what builds and replicas that begin from now on will do."""

    def __init__(
        self, folder: Path, *, tables: Tables | None = None, receiver: Receiver | None = None,
        accelerators: Accelerators | None = None, through: Callable[[FakeEngine], Engine] | None = None,
        after: Plane | None = None, platform: Platform | None = None, connectors: Connectors | None = None,
        objects: Objects | None = None,
    ) -> None:  # fmt: skip
        """`after`: one that was killed over the same folder. Its units and the time go on."""
        self.clock = after.clock if after else VirtualClock()
        accelerators = accelerators or FakeAccelerators()
        self.engine = after.engine if after else FakeEngine(self.clock, devices=accelerators.devices)
        self.lanes: list[LaneState] | None = None  # what the gateway says; None: it does not answer
        self.shares: list[ShareState] = []  # the same, of routes that are split
        self.queues: list[QueueState] = []  # and of queues
        self.asked_gateway = 0  # how often somebody wanted to know all of it
        self.bough = Bough(
            laid(folder / "home"),
            platform or Platform(),
            engine=through(self.engine) if through else self.engine,
            clock=self.clock,
            tables=tables,
            ask_gateway=self._ask_gateway,
            hear_gateway=self._hear_gateway,
            receiver=receiver,
            accelerators=accelerators,
            connectors=connectors,
            objects=objects,
            durable=False,  # a test takes no power away
        )
        _open.append(self.bough)
        self.builds_fail: Failure | None = None
        self.behaviour: dict[str, Behaviour] = {}
        self.build_s = 0.0  # for which a build runs
        self.built: list[str] = []
        self._cursor = 0

    def call(self, operation: str, /, *, by: Principal = ADMIN, **fields: Any) -> Any:
        return self.bough.operations.call(operation, fields, by)

    def deploy(self, file: str, *, content: str = "one", environment: str = "main", seconds: float = 3.0) -> Any:
        """Creates a release and lets `seconds` pass; the release as it is then."""
        made = self.create(file, content=content, environment=environment)
        self.let_pass(seconds)
        return self.release(made)

    def create(self, file: str, *, content: str = "one", environment: str = "main") -> Any:
        digest = bundle(self.bough.blobs, {"service.py": content})
        return self.call("releases.create", file=file, bundles={".": digest}, environment=environment)

    def bundle(self, files: dict[str, str]) -> str:
        return bundle(self.bough.blobs, files)

    def release(self, made: Any) -> Any:
        number = {"project": made.project, "environment": made.environment, "number": made.number}
        return self.call("releases.show", **number).release

    def let_pass(self, seconds: float) -> None:
        """Runs the loop and the world around it, a tenth of a second at a time."""
        for _ in range(max(round(seconds * 10), 1)):
            self.bough.listening.once()
            self.bough.loop.run_until_idle()
            self._work_at_builds()
            self._script_replicas()
            self.clock.advance(0.1)
            self._pass_hints_on()
        self.bough.loop.run_until_idle()

    def before_writing(self, kind: str, happens: Callable[[], object]) -> None:
        """When the handler of such objects has looked and is about to write what it has decided, `happens`: each time,
        until that returns something."""
        handlers = self.bough.loop._handlers
        handler, left = handlers[kind], [happens]
        handlers[kind] = lambda turn: handler(Interrupted(turn, left))

    def set_clock(self, seconds: float) -> None:
        """By so much, as somebody sets the clock of a machine: nothing passes."""
        self.clock.set_by(seconds)
        self.engine.clock_was_set(seconds)

    def units(self) -> list[Attempt]:
        return [each for each in self.engine.snapshot() if each.kind in ("replica", "web")]

    def running(self) -> list[str]:
        return [each.unit for each in self.units() if each.state not in (EXITED, ASLEEP)]

    def routes(self) -> list[Route]:
        path = self.bough.home.table
        return msgspec.json.decode(path.read_bytes(), type=Table).routes if path.exists() else []

    def _ask_gateway(self) -> GatewayState | None:
        if self.lanes is None:
            return None
        self.asked_gateway += 1
        return GatewayState(
            generation=1, pid=1, started_at=0.0, lanes=self.lanes, shares=self.shares, queues=self.queues
        )  # fmt: skip

    def _hear_gateway(self, silence: Silence) -> Heard | None:
        if self.lanes is None:
            return None
        arrived = dict.fromkeys(silence.arrived, 0) | {each.deployment: each.arrived for each in self.lanes}
        return Heard(asked=any(arrived[id] != before for id, before in silence.arrived.items()))

    def _work_at_builds(self) -> None:
        for each in self.engine.snapshot():
            if each.kind == "build" and each.state != EXITED and each.seconds(self.clock.now()) >= self.build_s:
                folder = self.bough.home.builds / each.unit
                made = BuildResult(
                    request=each.unit, folder=str(folder), workdir=str(folder), python="/usr/bin/python3"
                )
                outcome: Any = {"failure": self.builds_fail} if self.builds_fail else made
                (folder / "result.json").write_bytes(msgspec.json.encode(outcome))
                self.engine.crash(each.unit, code=1 if self.builds_fail else 0)
                self.built.append(each.unit)

    def _script_replicas(self) -> None:
        if not self.behaviour:
            return
        with self.bough.database.read() as tx:
            starting = deployments.in_state(tx, "building", "starting")
        for each in starting:
            if found := self.behaviour.get(each.service):
                for number in range(10):
                    self.engine.script(each.unit(number), found)

    def _pass_hints_on(self) -> None:
        hints = self.engine.watch(self._cursor, 0.0)
        self._cursor = max([self._cursor, *(hint.cursor for hint in hints)])
        if hints:
            self.bough.wake_units({hint.unit for hint in hints})


class Interrupted(Turn):
    """A turn in which somebody else is faster: what is `left` to happen does so before a write."""

    def __init__(self, turn: Turn, left: list[Callable[[], object]]) -> None:
        self.__dict__.update(vars(turn))
        self._left = left

    @contextmanager
    def apply(self, still: Still | None = None, *, lasting: bool = True) -> Iterator[sa.Connection]:
        if self._left:
            happens = self._left.pop()
            if not happens():
                self._left.append(happens)
        with super().apply(still, lasting=lasting) as tx:
            yield tx


def laid(home: Path) -> Path:
    """The home, with databases where it has none: to make their tables is most of a control plane's first start."""
    if not Home(home).database.exists():
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, content in _fresh().items():
            (home / name).write_bytes(content)
    return home


@cache
def _fresh() -> dict[str, bytes]:
    """What a first start makes, by file."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        upgrade(home.database, durable=False)
        tracking = SqliteDatabase(home.tracking, durable=False)
        tracking_schema.prepare(tracking)
        tracking.close()
        SqliteQueues(home.queues).close()
        files = (home.database, home.tracking, home.queues)
        return {str(each.relative_to(home.path)): each.read_bytes() for each in files}


def bundle(blobs: Blobs, files: dict[str, str]) -> str:
    """The digest of a bundle with these files, uploaded."""
    entries = tuple(
        Entry(path=name, digest=blobs.put(text.encode()), size=len(text.encode()))
        for name, text in sorted(files.items())
    )
    return blobs.put(Bundle(entries=entries).manifest)
