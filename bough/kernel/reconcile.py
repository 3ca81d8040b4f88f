"""The one loop that makes desired state true.

An object of some kind becomes due when somebody wakes it or its time has come. The loop claims it with a lease token,
calls the kind's handler, and applies what the handler decides only while the token still matches. A handler always
runs from the top and must be idempotent: it looks at what is, compares it with what should be, does a little, and asks
to be called again. Nothing else is remembered between calls, so a change of code can never strand an object.

For the few effects that must not happen twice there are *steps*: `turn.step(name, effect)` runs the effect once per
generation of the object and returns the recorded result ever after. An effect that dies between happening and being
recorded runs again: at least once is the honest promise, so effects should be idempotent where they can.

Long work never runs inside a handler; the handler makes sure that a unit exists and asks to be called again. Whatever
it records renews its lease; nothing else does, so that a handler that hangs is taken over like one that died. One that
says nothing for a whole lease (30 s) is a fault: another worker may have done its work meanwhile, its own no longer
counts, and the log says so. What handlers wait for is bounded below that (the engine's answers: 10 s).

The lease keeps other workers away, not people: while a handler looks and thinks, an operation may decide something else
for the same object. What was read is therefore true when it is written over, or it is not written: `turn.apply(still)`
asks once more, inside of the transaction.

What was rejected: a workflow engine (replays tie running work to the code that started it) and queues of tasks (a task
says what to do, not what should be true, so a lost or doubled one is a fault; here both are harmless).
"""

from __future__ import annotations

import functools
import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeVar

import msgspec
import sqlalchemy as sa

from bough.kernel.clock import Clock
from bough.kernel.errors import Exhausted, Unavailable
from bough.kernel.prepared import Prepared
from bough.kernel.processes import is_gone, mark
from bough.kernel.tables import step as step_table
from bough.kernel.tables import work

LEASE_S = 30.0  # far longer than any handler should run, short enough that a takeover is not felt as an outage
RETRY_S = (0.2, 60.0)  # first and longest pause after a failing handler; doubles in between
_DOUBLINGS = 20  # more would overflow; the longest pause is reached long before
SET_BACK_S = 2.0  # a clock that has gone back further than this was set; less costs a turn as much
IDLE_S = 0.5  # how often it is asked whether another process has written; wakes of this one arrive at once

T = TypeVar("T")
Still = Callable[[sa.Connection], bool]
log = logging.getLogger("bough.reconcile")


class Store(Protocol):
    """What the loop needs of the database."""

    def write(self, *, lasting: bool = True) -> AbstractContextManager[sa.Connection]: ...

    def read(self) -> AbstractContextManager[sa.Connection]: ...

    def version(self) -> int: ...

    def glance(self) -> AbstractContextManager[sa.Connection]: ...


class LeaseLost(Exception):
    """Another worker has taken the object over: whatever was decided here no longer counts."""


class Outdated(Exception):
    """Somebody else has changed what this turn had read: it changes nothing, and begins again from the top."""


class Turn:
    """One call of a handler for one object."""

    def __init__(
        self, store: Store, clock: Clock, kind: str, id: str, token: str, generation: int, *, lease_s: float = LEASE_S
    ) -> None:
        self.kind, self.id, self.generation = kind, id, generation
        self.clock, self.token = clock, token
        self._store, self._lease_s = store, lease_s
        self.renewed_at = clock.now()

    @contextmanager
    def apply(self, still: Still | None = None, *, lasting: bool = True) -> Iterator[sa.Connection]:
        """A transaction in which the lease is still ours, and is renewed; raises `LeaseLost` otherwise. `still` says
        whether that holds which was decided on outside of it; raises `Outdated` where it does not. Without `lasting` a
        power cut may undo it, not a kill: for what is looked at often and counted again."""
        with self._store.write(lasting=lasting) as tx:
            now = self.clock.now()
            held = {"at_kind": self.kind, "at_id": self.id, "held": self.token, "until": now + self._lease_s}
            if _RENEW.run(tx, **held) == 0:
                raise LeaseLost(f"{self.kind} {self.id}")
            if still is not None and not still(tx):
                raise Outdated(f"{self.kind} {self.id}")
            self.renewed_at = now
            yield tx

    def read(self) -> AbstractContextManager[sa.Connection]:
        return self._store.read()

    def step(self, name: str, effect: Callable[[], T]) -> T:
        """The result of `effect`, which runs at most once per generation unless it dies unrecorded. The result must
        survive JSON."""
        key = (
            step_table.c.kind == self.kind,
            step_table.c.id == self.id,
            step_table.c.generation == self.generation,
            step_table.c.name == name,
        )
        with self._store.read() as tx:
            recorded = tx.execute(sa.select(step_table.c.result).where(*key)).scalar()
        if recorded is not None:
            result: T = msgspec.json.decode(recorded)
            return result
        result = effect()
        with self.apply() as tx:
            tx.execute(
                step_table.insert().values(
                    kind=self.kind,
                    id=self.id,
                    generation=self.generation,
                    name=name,
                    result=msgspec.json.encode(result).decode(),
                    at=self.clock.now(),
                )
            )
        return result


Handler = Callable[[Turn], float | None]
"""Makes one object a little truer. Returns seconds until it wants to be called again, or None to sleep until woken."""


def wake(tx: sa.Connection, kind: str, id: str, *, at: float = 0.0) -> None:
    """Makes an object due at `at` (0: now), or sooner if it already was. A wake that lands while a handler runs is
    kept: the object becomes due again when the handler is done."""
    if _WAKE.run(tx, at_kind=kind, at_id=id, soonest=at) == 0:
        fresh = {"kind": kind, "id": id, "wakes": 1, "due_at": at, "generation": 1, "failures": 0}
        tx.execute(work.insert(), fresh)


def is_awaited(tx: sa.Connection, kind: str, id: str, by: float) -> bool:
    """Whether a handler will begin for the object by then, and after this look: to wake it would change nothing."""
    row = _AWAITED.first(tx, at_kind=kind, at_id=id)
    if row is None:
        return False
    next_at = row.due_at if row.token is None else row.called_for
    return next_at is not None and bool(next_at <= by)


def renew(tx: sa.Connection, kind: str, id: str) -> None:
    """Starts a new generation: recorded steps of the old one no longer count."""
    tx.execute(work.update().where(work.c.kind == kind, work.c.id == id).values(generation=work.c.generation + 1))


def drop(tx: sa.Connection, kind: str, id: str) -> None:
    """Forgets an object; a handler that is running for it loses its lease."""
    for table in (work, step_table):
        tx.execute(table.delete().where(table.c.kind == kind, table.c.id == id))


class Loop:
    """Runs handlers in `workers` threads. Several processes may run a loop on one database."""

    def __init__(
        self, store: Store, clock: Clock, handlers: Mapping[str, Handler], *, lease_s: float = LEASE_S
    ) -> None:
        self._store, self._clock, self._handlers, self._lease_s = store, clock, dict(handlers), lease_s
        self._mark = mark()
        self._following, self._take = _statements(frozenset(handlers))
        self._latest = clock.now()
        self._poked = threading.Event()
        self._looking = threading.Lock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, workers: int = 4) -> None:
        try:
            self._end_leases_of_the_dead()
        except Exception:  # the database may be full or locked for a while: then those leases end by themselves
            log.exception("leases of dead processes")
        for number in range(workers):
            thread = threading.Thread(target=self._run, name=f"reconcile-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self, timeout_s: float = 10.0) -> None:
        self._stopping.set()
        self._poked.set()
        for thread in self._threads:
            thread.join(timeout_s)

    def poke(self) -> None:
        """Something may be due now."""
        self._poked.set()

    def run_once(self) -> bool:
        """Handles one due object; False when none was due."""
        self._follow_clock()
        claimed = self._claim(self._following_due())
        if claimed is None:
            return False
        self._handle(*claimed)
        return True

    def run_until_idle(self, limit: int = 10_000) -> int:
        """Handles everything that is due now; says how many turns that took."""
        return next(turns for turns in range(limit + 1) if turns == limit or not self.run_once())

    def _end_leases_of_the_dead(self) -> None:
        """A process of this machine that was killed within a turn does not come back: waiting for its lease to end
        would leave its object, such as the table of all routes, alone for half a minute."""
        with self._store.read() as tx:
            held = tx.execute(sa.select(work.c.token).where(work.c.token.is_not(None))).scalars().all()
        dead = [token for token in held if is_gone(token.partition("/")[0])]
        if dead:
            with self._store.write() as tx:
                tx.execute(work.update().where(work.c.token.in_(dead)).values(due_at=self._clock.now()))

    def _run(self) -> None:
        """One worker at a time looks for what is due, and waits for it; the others handle, or wait for their turn to
        look. All of them looking would be all of them reading the table at every commit."""
        while not self._stopping.is_set():
            with self._looking:
                claimed = self._next()
            if claimed is None:
                continue
            try:
                self._handle(*claimed)
            except Exception:  # the database may be full or locked for a while; the loop outlives it
                log.exception("reconcile loop")

    def _next(self) -> tuple[Turn, int] | None:
        """The next object that is due; None when another worker was faster, and when the loop ends."""
        seen, due = -1, None
        while not self._stopping.is_set():
            self._poked.clear()
            pause = IDLE_S
            try:
                self._follow_clock()
                version = self._store.version()
                if version != seen:  # before the table is read: what is written meanwhile counts as not seen
                    due = self._following_due()
                    seen = version
                if due is not None and due <= self._clock.now():
                    return self._claim(due)
                if due is not None:
                    pause = min(max(due - self._clock.now(), 0.01), IDLE_S)
            except Exception:  # an unreadable database is retried, not fatal
                log.exception("reconcile loop")
            self._clock.wait(self._poked, pause)
        return None

    def _follow_clock(self) -> None:
        """Where the clock was set back by an hour, what is due in a second would be due in an hour and a second. So
        everything is looked at anew: whoever is called too early asks to be called again."""
        now = self._clock.now()
        if now < self._latest - SET_BACK_S:
            log.warning("the clock was set back by %.0f s: everything is looked at anew", self._latest - now)
            free, held = work.c.token.is_(None), now + self._lease_s
            with self._store.write() as tx:
                tx.execute(work.update().where(work.c.due_at > now, free).values(due_at=now))
                tx.execute(work.update().where(work.c.due_at > held).values(due_at=held))
                tx.execute(work.update().where(work.c.called_for > now).values(called_for=now))
        self._latest = now

    def _following_due(self) -> float | None:
        """When the next object is due: a cheap look, for an idle loop takes no write lock."""
        with self._store.glance() as connection:
            first = self._following.first(connection)
        due: float | None = first and first.due_at
        return due

    def _claim(self, due: float | None) -> tuple[Turn, int] | None:
        now = self._clock.now()
        if due is None or due > now:
            return None
        token = f"{self._mark}/{secrets.token_hex(8)}"
        with self._store.write(lasting=False) as tx:  # without power nobody works, and a turn may come twice
            row = self._take.first(tx, now=now, new_token=token, until=now + self._lease_s)
        if row is None:  # another worker was faster
            return None
        turn = Turn(self._store, self._clock, row.kind, row.id, token, row.generation, lease_s=self._lease_s)
        return turn, row.failures

    def _handle(self, turn: Turn, failures: int) -> None:
        try:
            after = self._handlers[turn.kind](turn)
        except LeaseLost:
            self._lost(turn)
        except Outdated:  # whoever was faster has woken it, as a rule; a pause, lest the two chase each other
            self._release(turn, RETRY_S[0])
        except Exception as error:  # whatever a handler raises is kept, shown and tried again; the loop goes on
            pause = min(RETRY_S[0] * 2 ** min(failures, _DOUBLINGS), RETRY_S[1])
            if isinstance(error, Unavailable | Exhausted):  # of the world: where it arose says nothing
                log.warning("%s %s waits, again in %.1f s: %s", turn.kind, turn.id, pause, error.message)
            else:
                log.exception("%s %s failed, again in %.1f s", turn.kind, turn.id, pause)
            self._release(turn, pause, error=f"{type(error).__name__}: {error}")
        else:
            self._release(turn, after)

    def _release(self, turn: Turn, after_s: float | None, *, error: str | None = None) -> None:
        now = self._clock.now()
        # Who was called during the turn queues up behind the others, and behind its first pause if it failed: an object
        # that wakes itself neither starves the rest nor spins.
        soonest = now if error is None else now + RETRY_S[0]
        values = {
            "at_kind": turn.kind,
            "at_id": turn.id,
            "held": turn.token,
            "planned": None if after_s is None else now + after_s,
            "soonest": soonest,
            "failed": error is not None,
            "why": error,
        }
        with self._store.write(lasting=False) as tx:
            if _GIVE_BACK.run(tx, **values) == 0:
                self._lost(turn)

    def _lost(self, turn: Turn) -> None:
        silent_s = self._clock.now() - turn.renewed_at
        log.warning("%s %s lost its lease, after %.1f s without a word: its turn does not count", turn.kind, turn.id,
                    silent_s)  # fmt: skip


# The statements of every turn, built once: their building would cost more than their running.


@functools.cache
def _statements(kinds: frozenset[str]) -> tuple[Prepared, Prepared]:
    """When the next object is due, and taking it."""
    return Prepared(_following(kinds)), Prepared(_take(kinds))


def _following(kinds: Iterable[str]) -> sa.Select[Any]:
    return sa.select(work.c.due_at).where(_due_of(kinds)).order_by(work.c.due_at).limit(1)


def _take(kinds: Iterable[str]) -> sa.sql.dml.ReturningUpdate[Any]:
    """Takes the object that has been due longest; one whose lease has ended counts, for its holder is dead."""
    now = sa.bindparam("now", type_=sa.Float)
    first = (
        sa.select(work.c.kind, work.c.id).where(_due_of(kinds), work.c.due_at <= now).order_by(work.c.due_at).limit(1)
    )
    return (
        work.update()
        .where(sa.tuple_(work.c.kind, work.c.id).in_(first))
        .values(
            token=sa.bindparam("new_token"),
            due_at=sa.bindparam("until", type_=sa.Float),
            # what a dead holder was asked for later is still asked for; what it was asked for by now is answered
            called_for=sa.case((work.c.called_for > now, work.c.called_for), else_=None),
        )
        .returning(work.c.kind, work.c.id, work.c.generation, work.c.failures)
    )


def _due_of(kinds: Iterable[str]) -> sa.ColumnElement[bool]:
    # `|| ''` keeps the database from choosing the primary key's index, which would sort every object of the kind
    return sa.and_(work.c.due_at.is_not(None), (work.c.kind + "").in_([sa.literal(each) for each in sorted(kinds)]))


def _wake() -> sa.Update:
    free, soonest = work.c.token.is_(None), sa.bindparam("soonest", type_=sa.Float)
    return (
        work.update()
        .where(work.c.kind == sa.bindparam("at_kind"), work.c.id == sa.bindparam("at_id"))
        .values(
            wakes=work.c.wakes + 1,
            due_at=sa.case(
                (sa.and_(free, sa.or_(work.c.due_at.is_(None), work.c.due_at > soonest)), soonest), else_=work.c.due_at
            ),
            called_for=sa.case((free, None), (work.c.called_for < soonest, work.c.called_for), else_=soonest),
        )
    )


def _give_back() -> sa.Update:
    planned, soonest = sa.bindparam("planned", type_=sa.Float), sa.bindparam("soonest", type_=sa.Float)
    called = sa.case((work.c.called_for < soonest, soonest), else_=work.c.called_for)
    return (
        work.update()
        .where(
            work.c.kind == sa.bindparam("at_kind"),
            work.c.id == sa.bindparam("at_id"),
            work.c.token == sa.bindparam("held"),
        )
        .values(
            token=None,
            # somebody called while the handler ran: what it saw may be stale
            due_at=sa.case((sa.or_(called < planned, planned.is_(None)), called), else_=planned),
            called_for=None,
            failures=sa.case((sa.bindparam("failed", type_=sa.Boolean), work.c.failures + 1), else_=0),
            error=sa.bindparam("why", type_=sa.Text),
        )
    )


def _renew() -> sa.Update:
    return (
        work.update()
        .where(
            work.c.kind == sa.bindparam("at_kind"),
            work.c.id == sa.bindparam("at_id"),
            work.c.token == sa.bindparam("held"),
        )
        .values(due_at=sa.bindparam("until", type_=sa.Float))
    )


_WAKE, _GIVE_BACK, _RENEW = Prepared(_wake()), Prepared(_give_back()), Prepared(_renew())
_AWAITED = Prepared(
    sa.select(work.c.token, work.c.due_at, work.c.called_for).where(
        work.c.kind == sa.bindparam("at_kind"), work.c.id == sa.bindparam("at_id")
    )
)
