"""A small registry of operations of every shape, on a real database, served in process or over a socket."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import uvicorn

from bough.access import operations as access
from bough.adapters.blobs.memory import MemoryBlobs
from bough.adapters.database.sqlite import SqliteDatabase
from bough.entrypoints.http.app import build
from bough.entrypoints.http.streams import Streams
from bough.kernel.clock import SystemClock
from bough.kernel.context import Context, Parts, Principal, Role
from bough.kernel.errors import Busy, Exhausted, NotFound, Unauthenticated, Unavailable, WorkloadFailed
from bough.kernel.events import Events
from bough.kernel.operations import Operations, operation
from bough.kernel.tables import metadata

TOKENS = {
    "admin-token": Principal(id="pri_a", name="ada", role=Role.ADMIN),
    "developer-token": Principal(id="pri_d", name="dan", role=Role.DEVELOPER),
    "viewer-token": Principal(id="pri_v", name="vera", role=Role.VIEWER),
}
KINDS = {"not-found": NotFound, "failed": WorkloadFailed, "full": Exhausted, "away": Unavailable}


class Add(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    left: Annotated[int, msgspec.Meta(ge=-1000, le=1000, description="first number")]
    right: int = 1
    loud: bool = False


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    total: int
    text: str


class Note(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    text: str
    tags: list[str] = []
    labels: dict[str, str] = {}


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    text: str


class Count(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    to: Annotated[int, msgspec.Meta(ge=0, le=100_000)]
    then: str = ""


class Fail(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind: str = "bug"


@operation("sums.add", role=Role.VIEWER)
def add(context: Context, request: Add) -> Sum:
    """Adds two numbers.

    The second one is one if it is not given."""
    total = request.left + request.right
    return Sum(total=total, text=str(total) + "!" * request.loud)


@operation("notes.save", role=Role.DEVELOPER, writes=True)
def save(context: Context, request: Note) -> Saved:
    """Keeps a note."""
    written = context.part(Written)
    written.notes.append(request.text)
    return Saved(number=len(written.notes), text=request.text)


@operation("counts.up", role=Role.VIEWER)
def count(context: Context, request: Count) -> Iterator[int]:
    """Counts, then stops, waits for ever, or fails."""
    written = context.part(Written)
    try:
        yield from range(request.to)
        if request.then == "fail":
            raise NotFound("there are no more numbers", code="NUMBERS_OUT")
        while request.then == "wait":
            context.pause(0.01)
    finally:
        written.streams_ended.set()


@operation("failures.raise", role=Role.VIEWER, writes=True)
def fail(context: Context, request: Fail) -> Saved:
    """Fails in the way that is asked for."""
    if request.kind == "busy":
        raise Busy("all lines are taken", retry_after_s=7)
    if request.kind in KINDS:
        raise KINDS[request.kind](f"this is what {request.kind} looks like", hint="try less", place="here")
    raise ZeroDivisionError("a fault of our own")


class Written:
    """What the operations did."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.streams_ended = threading.Event()


class Toy:
    """As `app.Bough`, as far as the ways in can see."""

    def __init__(self, folder: Path) -> None:
        self.database = SqliteDatabase(folder / "toy.db", durable=False)
        with self.database.write() as tx:
            metadata.create_all(tx)
        clock = SystemClock()
        self.written = Written()
        self.blobs = MemoryBlobs()
        modules = [sys.modules[__name__], access]
        parts = Parts({Written: self.written})
        self.operations = Operations(modules, self.database, Events(clock), clock, parts)

    def authenticate(self, token: str) -> Principal:
        if token not in TOKENS:
            raise Unauthenticated("the token is not known", code="TOKEN_INVALID")
        return TOKENS[token]


class Served:
    """A toy behind a real socket, in a thread; `stop` and `start` keep the port."""

    def __init__(self, toy: Toy) -> None:
        self.toy = toy
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.streams = Streams()
        config = uvicorn.Config(
            build(self.toy, self.streams), port=self.port, ws="none", lifespan="off", log_config=None,
            timeout_graceful_shutdown=2,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.005)
            assert self._thread.is_alive()
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    def stop(self, *, politely: bool = True) -> None:
        if politely:
            self._server.servers[0].get_loop().call_soon_threadsafe(self.streams.stop)
        else:
            self._server.force_exit = True
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive()


def blob(content: bytes) -> io.BytesIO:
    return io.BytesIO(content)


__all__ = ["TOKENS", "Any", "Served", "Toy", "Written", "blob"]
