"""Who calls, and with what in hand."""

from __future__ import annotations

import enum
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from bough.kernel.clock import Clock

if TYPE_CHECKING:  # the node and the command line know principals, and need not load a database for that
    import sqlalchemy as sa

    from bough.kernel.events import Events

T = TypeVar("T")


class Role(enum.IntEnum):
    """Each role may do all that the ones before it may."""

    VIEWER = 1
    DEVELOPER = 2
    APPROVER = 3
    ADMIN = 4


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What a token may be used for, however far the role of its owner reaches: these operations in this project, where
    those of `own_only` must name something of `own` as their `id` or `owner`."""

    project: str
    operations: tuple[str, ...] = ()
    own_only: tuple[str, ...] = ()
    own: tuple[str, ...] = ()

    def allows(self, operation: str, request: Any = None) -> bool:
        if getattr(request, "project", self.project) != self.project:
            return False
        if operation in self.own_only:
            return (getattr(request, "owner", "") or getattr(request, "id", "")) in self.own
        return operation in self.operations


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A person or a service account that has shown who it is; `scope`: what its token is for, None: anything."""

    id: str
    name: str
    role: Role
    scope: Scope | None = None


SYSTEM = Principal(id="system", name="system", role=Role.ADMIN)


class Parts:
    """What `composition/workings.py` has put together, found by interface: `parts.get(Engine)`."""

    def __init__(self, parts: Mapping[type[Any], Any]) -> None:
        self._parts = dict(parts)

    def get(self, interface: type[T]) -> T:
        part: T = self._parts[interface]
        return part


class StreamClosed(Exception):
    """Not a failure: the reader of a stream has gone, or the server is about to."""


class WouldWait(Exception):
    """Not a failure: what was to be done without waiting has not begun, and is to be done where one may wait."""


class _Store(Protocol):
    def read(self) -> AbstractContextManager[sa.Connection]: ...


class Context:
    """Handed to every operation. `tx` is its transaction: readable, and writable where the operation says so."""

    def __init__(
        self,
        principal: Principal,
        tx: sa.Connection | None,
        clock: Clock,
        events: Events,
        parts: Parts,
        store: _Store,
        closed: threading.Event | None = None,
    ) -> None:
        self.principal, self.clock, self.events = principal, clock, events
        self._tx, self._parts, self._store = tx, parts, store
        self._closed = closed or threading.Event()

    @property
    def tx(self) -> sa.Connection:
        if self._tx is None:
            raise RuntimeError("a streaming or slow operation has no open transaction: use context.read()")
        return self._tx

    def read(self) -> AbstractContextManager[sa.Connection]:
        """A short read of its own, for streams and slow operations."""
        return self._store.read()

    def pause(self, seconds: float) -> None:
        """Between two looks of a stream at what is new. Raises `StreamClosed` as soon as nobody reads any more: a
        generator that slept by other means would keep its thread until it had something to say."""
        if self._closed.wait(seconds):
            raise StreamClosed

    def part(self, interface: type[T]) -> T:
        return self._parts.get(interface)

    def emit(self, name: str, subject: str, /, **data: Any) -> None:
        self.events.emit(self.tx, name, subject, **data)
