"""SQLite in WAL mode, a file of its own: its commits do not wait for the control plane's, and a round is one commit
with one sync, however many items it moves."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from bough.adapters.queue import (
    STATES,
    Answers,
    Delivery,
    Kept,
    Place,
    Round,
    Tally,
    Tended,
)
from bough.adapters.queue import sqlite_rounds as rounds
from bough.adapters.queue.sequence import Sequence as Numbers
from bough.adapters.queue.sequence import at_of, last_of, number_of, text_of
from bough.adapters.queue.sqlite_rounds import BODY, RESULT, chunks
from bough.adapters.queue.sqlite_schema import BEHIND, DEAD, DELAYED, DONE, RUNNING, WAITING, prepare
from bough.kernel.errors import Exhausted, Problem, Unavailable
from bough.kernel.files import as_exhausted, disk_full, not_writable

BUSY_TIMEOUT_S = 10.0
CACHE_KB = 32 << 10
CHECKPOINT_PAGES = 4000  # 16 MB of log: fewer, longer checkpoints, each of which syncs twice
TENDED = 1000  # items that one call looks after: the writer's lock is held no longer than for a large round
NOTHING = "nothing was changed"
_UNWRITABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_Change = Callable[[sqlite3.Connection, int, Sequence[int]], int]  # of these items of a queue; says how many


class SqliteQueues:
    """Implements `Queues`. One connection that writes and one that reads, each for one thread at a time; who reads does
    not wait for the disk."""

    def __init__(self, path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self.path = path
        self._lock, self._reading = threading.Lock(), threading.Lock()
        self._places: dict[Place, int] = {}
        with self._translated():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db, self._reader = (
                sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
                for _ in range(2)
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA secure_delete = FAST")
            self._db.execute(f"PRAGMA cache_size = -{CACHE_KB}")
            self._db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            self._db.execute(f"PRAGMA journal_size_limit = {64 << 20}")
            prepare(self._db)
            path.chmod(0o600)
            last = self._db.execute("SELECT max(seq) FROM item").fetchone()[0]
        self._numbers = Numbers(last or 0)
        self._version = self._data_version()

    def round(self, work: Round) -> Answers:
        places = {each.place for each in work.drafts} | {each.place for each in work.takes}
        with self._lock, self._writing() as db:
            known = self._known(db, places | {each.taken.place for each in work.outcomes})
            settled = rounds.settle(db, known, work.outcomes)
            renewed = rounds.renew(db, work.held, work.until)
            put = rounds.put(db, known, self._numbers, work)
            return Answers(settled=settled, renewed=renewed, receipts=put.receipts, taken=put.taken)

    def tally(self) -> dict[Place, Tally]:
        with self._reading, self._translated():
            places = _places(self._reader)
            counted: dict[int, dict[int, int]] = {number: {} for number in places.values()}
            for queue, state, count in self._reader.execute(_COUNT):
                counted[queue][state] = count
            oldest = {number: self._oldest(number) for number in counted}
        return {
            place: Tally(
                waiting=counted[number].get(WAITING, 0), behind=counted[number].get(BEHIND, 0),
                delayed=counted[number].get(DELAYED, 0), running=counted[number].get(RUNNING, 0),
                dead=counted[number].get(DEAD, 0), oldest_at=oldest[number],
            )
            for place, number in places.items()
        }  # fmt: skip

    def oldest(self, place: Place) -> float:
        with self._reading, self._translated():
            return self._oldest(_places(self._reader).get(place, -1))

    def find(self, place: Place, id: str) -> Kept | None:
        query = f"SELECT {_KEPT} FROM item WHERE seq = ? AND queue = ?"
        with self._reading, self._translated():
            row = self._reader.execute(query, (number_of(id), self._number(place))).fetchone()
            return self._kept(place, row) if row else None

    def gone(self, ids: Sequence[str]) -> list[str]:
        with self._reading, self._translated():
            return [each for each in ids if not self._reader.execute(_THERE, (number_of(each),)).fetchone()]

    def peek(self, place: Place, state: str, limit: int) -> list[Kept]:
        number = STATES.index(state)
        order = "due" if number == DONE else "rank, seq"
        which = f"state IN ({DONE}, {DEAD}) AND state = ?" if number == DONE else f"state = ? AND state <> {DONE}"
        query = f"SELECT {_KEPT} FROM item WHERE queue = ? AND {which} ORDER BY {order} LIMIT ?"
        with self._reading, self._translated():
            rows = self._reader.execute(query, (self._number(place), number, limit)).fetchall()
            return [self._kept(place, row) for row in rows]

    def replay(self, place: Place, ids: Sequence[str], now: float) -> int:
        def back(db: sqlite3.Connection, queue: int, part: Sequence[int]) -> int:
            keys = {seq: row[0] for seq in part if (row := db.execute(_REPLAY, (seq, queue)).fetchone())}
            db.executemany("DELETE FROM large WHERE seq = ? AND part = ?", [(seq, RESULT) for seq in keys])
            for key in filter(None, keys.values()):
                rounds.promote(db, queue, key)
            return len(keys)

        return self._in_parts(place, [number_of(each) for each in ids] if ids else self._numbers_of(place, DEAD), back)

    def purge(self, place: Place, state: str) -> int:
        number = STATES.index(state)

        def remove(db: sqlite3.Connection, queue: int, part: Sequence[int]) -> int:
            return _remove(db, queue, [seq for seq in part if db.execute(_IN_STATE, (seq, number)).fetchone()])

        return self._in_parts(place, self._numbers_of(place, number), remove) if number != RUNNING else 0

    def after(self, place: Place, id: str, limit: int) -> list[Kept]:
        query = f"SELECT {_KEPT} FROM item WHERE seq > ? AND queue = ? ORDER BY seq LIMIT ?"
        with self._reading, self._translated():
            values = (number_of(id) if id else -1, self._number(place), limit)
            return [self._kept(place, row) for row in self._reader.execute(query, values).fetchall()]

    def forget(self, place: Place, ids: Sequence[str]) -> list[str]:
        running: list[str] = []

        def remove(db: sqlite3.Connection, queue: int, part: Sequence[int]) -> int:
            states = {seq: row[0] for seq in part if (row := db.execute(_STATE, (seq, queue)).fetchone())}
            running.extend(text_of(seq) for seq, state in states.items() if state == RUNNING)
            return _remove(db, queue, [seq for seq, state in states.items() if state != RUNNING])

        self._in_parts(place, [number_of(each) for each in ids], remove)
        return running

    def clear(self, place: Place, before: float) -> int:
        query, end = "SELECT seq FROM item WHERE queue = ? AND seq <= ?", "/" + "/".join(place)
        with self._reading, self._translated():
            numbers = [seq for (seq,) in self._reader.execute(query, (self._number(place), last_of(before)))]
        gone = self._in_parts(place, numbers, _remove)
        with self._lock, self._writing() as db:
            db.execute("DELETE FROM mark WHERE substr(name, -length(?)) = ?", (end, end))
        return gone

    def tend(self, now: float, is_mine: Callable[[str], bool]) -> Tended:
        with self._lock:
            with self._translated():
                lost = [seq for seq, owner in self._db.execute(_LOST, (now,)) if not is_mine(owner or "")]
                due = [seq for (seq,) in self._db.execute(_DUE, (now, TENDED))]
                old = [seq for (seq,) in self._db.execute(_OLD, (now, TENDED))]
            if not (lost or due or old):
                return Tended()
            with self._writing() as db:
                db.executemany(_COME_DUE, [(seq,) for seq in due])
                db.executemany(_GIVE_BACK, [(seq,) for seq in lost[:TENDED]])
                _forget(db, old)
        full = TENDED in (len(due), len(old)) or len(lost) > TENDED
        return Tended(ready=len(due), lost=len(lost[:TENDED]), forgotten=len(old), more=full)

    def set_back(self, seconds: float) -> None:
        with self._lock, self._writing() as db:
            for statement in _SET_BACK:
                db.execute(statement, (seconds,))

    def free(self, is_gone: Callable[[str], bool]) -> int:
        with self._lock:
            with self._translated():
                owners = [owner for (owner,) in self._db.execute(_OWNERS) if owner and is_gone(owner)]
            if not owners:
                return 0
            with self._writing() as db:
                return sum(db.execute(_FREE, (owner,)).rowcount for owner in owners)

    def deliveries(self, now: float, limit: int, but: Collection[object] = ()) -> list[Delivery]:
        columns = ", ".join(f"item.{name.strip()}" for name in _KEPT.split(","))
        query = (
            f"SELECT delivery.id, target, delivery.attempts, project, environment, name, {columns} FROM delivery"
            " JOIN item USING (seq) JOIN queue ON queue.id = item.queue WHERE delivery.due <= ?"
            " ORDER BY delivery.due"
        )
        found: list[Delivery] = []
        with self._reading, self._translated():
            for row in self._reader.execute(query, (now,)):
                if len(found) == limit:
                    break
                if (tuple(row[3:6]), row[1]) not in but:
                    item = self._kept(row[3:6], row[6:])
                    found.append(Delivery(id=row[0], to=row[1], attempts=row[2], item=item))
        return found

    def owed(self, place: Place) -> dict[str, int]:
        query = "SELECT target, count(*) FROM delivery JOIN item USING (seq) WHERE queue = ? GROUP BY target"
        with self._reading, self._translated():
            return dict(self._reader.execute(query, (self._number(place),)).fetchall())

    def hurry(self, place: Place, now: float) -> int:
        with self._lock, self._writing() as db:
            return db.execute(_HURRY, (now, *place)).rowcount

    def delivered(self, id: int) -> None:
        with self._lock, self._writing() as db:
            db.execute("DELETE FROM delivery WHERE id = ?", (id,))

    def postpone(self, id: int, until: float) -> None:
        with self._lock, self._writing() as db:
            db.execute("UPDATE delivery SET due = ?, attempts = attempts + 1 WHERE id = ?", (until, id))

    def changed(self) -> bool:
        with self._lock, self._translated():
            version = self._data_version()
        before, self._version = self._version, version
        return before != version

    def mark(self, name: str) -> str:
        with self._reading, self._translated():
            row = self._reader.execute("SELECT text FROM mark WHERE name = ?", (name,)).fetchone()
            return str(row[0]) if row else ""

    def note(self, name: str, text: str) -> None:
        with self._lock, self._writing() as db:
            db.execute("INSERT OR REPLACE INTO mark (name, text) VALUES (?, ?)", (name, text))

    def close(self) -> None:
        with self._lock, self._reading:
            self._db.close()
            self._reader.close()

    # --- private

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                self._places.clear()  # numbers given in what was rolled back are void
                raise

    def _in_parts(self, place: Place, numbers: Sequence[int], change: _Change) -> int:
        """Changes many items, a commit for each part, so that those who put items need not wait for all of it; says how
        many. Where the disk ends it on the way, its error does."""
        done = 0
        for part in chunks(numbers, TENDED):
            try:
                with self._lock, self._writing() as db:
                    changed = change(db, self._known(db, {place})[place], part)
            except Exhausted as error:
                said = error.message.replace(NOTHING, f"{done} of {len(numbers)} items were changed")
                if done:
                    raise Exhausted(said, code=error.own_code, hint=error.hint, **error.fields) from error
                raise
            done += changed
        return done

    def _known(self, db: sqlite3.Connection, places: set[Place]) -> dict[Place, int]:
        """Numbers of queues; fresh ones for places that have none."""
        if not places <= self._places.keys():
            for place in places:
                db.execute("INSERT OR IGNORE INTO queue (project, environment, name) VALUES (?, ?, ?)", place)
            self._places = _places(db)
        return self._places

    def _number(self, place: Place) -> int:
        return self._places.get(place) or _places(self._reader).get(place, -1)

    def _numbers_of(self, place: Place, state: int) -> list[int]:
        which = f"state IN ({DONE}, {DEAD}) AND" if state == DONE else f"state <> {DONE} AND"
        query = f"SELECT seq FROM item WHERE queue = ? AND {which} state = ?"
        with self._reading, self._translated():
            return [seq for (seq,) in self._reader.execute(query, (self._number(place), state))]

    def _oldest(self, queue: int) -> float:
        first = [row[0] for row in self._reader.execute(_FIRST_OF_RANKS, {"queue": queue}) if row[0]]
        return at_of(min(first)) if first else 0.0

    def _kept(self, place: Place, row: tuple[object, ...]) -> Kept:
        seq, state, rank, attempts, due, ended, key, dedup, kind, body, status, error, result_kind, result = row
        number = int(seq)  # type: ignore[call-overload]  # a column of whole numbers
        values = (state, rank, attempts, due, ended, key, dedup, kind, status, error, result_kind)
        where, first, tries, until, end, of, once, content, code, why, answer = values
        return Kept(
            place=(place[0], place[1], place[2]), id=text_of(number), queued_at=at_of(number),
            state=STATES[int(where)], rank=int(first), attempts=int(tries), due_at=float(until or 0.0),  # type: ignore[call-overload, arg-type]
            ended_at=float(end or 0.0), key=str(of or ""), dedup=str(once or ""), kind=str(content or ""),  # type: ignore[arg-type]
            body=body if isinstance(body, bytes) else rounds.large(self._reader, number, BODY),
            status=int(code or 0), error=str(why or ""), result_kind=str(answer or ""),  # type: ignore[call-overload]
            result=result if isinstance(result, bytes) else rounds.large(self._reader, number, RESULT),
        )  # fmt: skip

    def _data_version(self) -> int:
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        with as_exhausted(self.path.parent):
            try:
                yield
            except sqlite3.OperationalError as error:
                raise self._problem(error) from error

    def _problem(self, error: sqlite3.OperationalError) -> Problem:
        code = error.sqlite_errorcode & 0xFF
        where = f"{self.path} cannot be written ({error}); {NOTHING}"
        if code == sqlite3.SQLITE_FULL:
            return disk_full(where, self.path.parent)
        if code in _UNWRITABLE:
            return not_writable(where, self.path.parent)
        if code == sqlite3.SQLITE_IOERR:
            hint = f"df -h {self.path.parent}; where there is room, look for the disk's own errors: dmesg"
            return Exhausted(where, code="DISK_FAILED", hint=hint)
        if code in _BUSY:
            return Unavailable(
                "the queues are busy with another writer", code="DATABASE_BUSY", hint="try again in a moment"
            )
        return Problem(f"the queues' database failed: {error}", code="DATABASE_FAILED", hint="bough doctor")


def _places(db: sqlite3.Connection) -> dict[Place, int]:
    rows = db.execute("SELECT id, project, environment, name FROM queue")
    return {(project, environment, name): id for id, project, environment, name in rows}


def _remove(db: sqlite3.Connection, queue: int, numbers: Sequence[int]) -> int:
    """Says how many were still there. Items that have not ended may have others of their key behind them."""
    keys = [row[0] for seq in numbers if (row := db.execute(_KEY, (seq,)).fetchone())]
    _forget(db, numbers)
    for key in filter(None, keys):
        rounds.promote(db, queue, key)
    return len(keys)


def _forget(db: sqlite3.Connection, numbers: Sequence[int]) -> None:
    rows = [(seq,) for seq in numbers]
    for table in ("delivery", "large", "item"):
        db.executemany(f"DELETE FROM {table} WHERE seq = ?", rows)


_KEPT = "seq, state, rank, attempts, due, ended, key, dedup, kind, body, status, error, result_kind, result"
_COUNT = f"SELECT queue, state, count(*) FROM item WHERE state <> {DONE} GROUP BY queue, state"
_FIRST_OF_RANKS = " UNION ALL ".join(
    f"SELECT * FROM (SELECT seq FROM item WHERE queue = :queue AND state = {WAITING} AND state <> {DONE}"
    f" AND rank = {rank} ORDER BY seq LIMIT 1)"
    for rank in range(10)
)
_REPLAY = f"""
UPDATE item SET attempts = 0, due = NULL, ended = NULL, status = NULL, error = NULL, result = NULL, result_kind = NULL,
state = CASE WHEN key IS NULL THEN {WAITING} ELSE {BEHIND} END
WHERE seq = ? AND queue = ? AND state = {DEAD} RETURNING key
"""
_THERE = "SELECT 1 FROM item WHERE seq = ?"
_IN_STATE = "SELECT 1 FROM item WHERE seq = ? AND state = ?"
_STATE = "SELECT state FROM item WHERE seq = ? AND queue = ?"
_KEY = "SELECT key FROM item WHERE seq = ?"
_RUNNING = f"queue IN (SELECT id FROM queue) AND state = {RUNNING} AND state <> {DONE}"  # by the index of live items
_LOST = f"SELECT seq, owner FROM item WHERE {_RUNNING} AND due <= ?"
_DUE = f"SELECT seq FROM item WHERE state = {DELAYED} AND due <= ? ORDER BY due LIMIT ?"
_OLD = f"""
SELECT seq FROM item WHERE state IN ({DONE}, {DEAD}) AND due <= ?
AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.seq = item.seq) ORDER BY due LIMIT ?
"""
_COME_DUE = f"UPDATE item SET state = {WAITING}, due = NULL WHERE seq = ? AND state = {DELAYED}"
_GIVE_BACK = f"UPDATE item SET state = {WAITING}, due = NULL, owner = NULL WHERE seq = ? AND state = {RUNNING}"
_SET_BACK = (
    f"UPDATE item SET due = due - ? WHERE state IN ({RUNNING}, {DELAYED}, {BEHIND}) AND due IS NOT NULL",
    "UPDATE delivery SET due = due - ?",
)
_HURRY = """
UPDATE delivery SET due = ?, attempts = 0 WHERE (SELECT queue FROM item WHERE item.seq = delivery.seq) =
(SELECT id FROM queue WHERE project = ? AND environment = ? AND name = ?)
"""
_OWNERS = f"SELECT DISTINCT owner FROM item WHERE {_RUNNING}"
_FREE = f"""
UPDATE item SET state = {WAITING}, due = NULL, owner = NULL, attempts = attempts - 1
WHERE owner = ? AND {_RUNNING}
"""
