"""The statements of a round. Many rows share one statement: with a busy event loop in the same process, each statement
may have to wait for the interpreter, and what a row costs is little beside that.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple, TypeVar

from bough.adapters.queue import BACK, RANKS, Draft, Outcome, Place, Receipt, Round, Take, Taken
from bough.adapters.queue import DEAD as DEAD_NAME
from bough.adapters.queue import DELAYED as DELAYED_NAME
from bough.adapters.queue import DONE as DONE_NAME
from bough.adapters.queue.sequence import Sequence as Numbers
from bough.adapters.queue.sequence import at_of, number_of, text_of
from bough.adapters.queue.sqlite_schema import BEHIND, DEAD, DELAYED, DONE, RUNNING, WAITING

INLINE_BYTES = 1024  # of a body or result that lies in the item's row
BODY, RESULT = 0, 1  # parts of `large`
_ROWS = 256  # of one statement: further ones save nothing
T = TypeVar("T")


class Put(NamedTuple):
    receipts: list[Receipt]
    taken: list[list[Taken]]


class _Fresh(NamedTuple):
    """A draft and the number that its item gets, if it becomes one."""

    number: int
    draft: Draft


def put(db: sqlite3.Connection, queues: dict[Place, int], numbers: Numbers, work: Round) -> Put:
    """The receipts, and what each take gets. An item that finds nobody before it, and somebody who takes it in the same
    round, is written once instead of twice."""
    fresh = [_Fresh(numbers.next(work.now), draft) for draft in work.drafts]
    takers: dict[int, Take] = {}
    whole: set[Place] = set()  # of these no item waits when all is put
    for asked in work.takes if fresh else ():
        first = db.execute(_FIRST_RANK, (queues[asked.place],)).fetchone()
        at_once, left = _at_once(fresh, asked, RANKS if first is None else int(first[0]), work.now)
        takers |= dict.fromkeys(at_once, asked)
        if first is None and not left:
            whole.add(asked.place)
    given = _insert_all(db, queues, fresh, takers, work.now)
    receipts = [Receipt(text_of(given.get(number, number)), number not in given) for number, _ in fresh]
    taken = []
    for asked in work.takes:
        got = [_taken(each) for each in fresh if takers.get(each.number) is asked and each.number not in given]
        got.sort(key=lambda pair: pair[0])
        items = [item for _, item in got]
        if len(items) < asked.count and asked.place not in whole:
            items += take(db, queues[asked.place], asked, asked.count - len(items))
        taken.append(items)
    return Put(receipts, taken)


def _at_once(fresh: list[_Fresh], asked: Take, below: int, now: float) -> tuple[list[int], bool]:
    """Which of them the taker gets before all that waits, whose first has the rank `below`; and whether others of them
    will wait. One with a key has to look at others first, and nobody is taken before it who came after it."""
    here = sorted((each for each in fresh if each.draft.place == asked.place), key=lambda each: each.draft.rank)
    found: list[int] = []
    for number, draft in here:
        if draft.due_at > now:
            continue
        if draft.key or draft.rank >= below or len(found) >= asked.count:
            return found, True
        found.append(number)
    return found, False


def _insert_all(
    db: sqlite3.Connection, queues: dict[Place, int], fresh: list[_Fresh], takers: dict[int, Take], now: float
) -> dict[int, int]:  # fmt: skip
    """For the drafts that are an item already: its number."""
    plain: list[tuple[object, ...]] = []
    once: list[_Fresh] = []
    given: dict[int, int] = {}
    for each in fresh:
        number, draft = each
        if draft.key:
            _put_keyed(db, queues[draft.place], number, draft, now, given)
        elif draft.dedup:
            once.append(each)
        else:
            plain.append(_row(queues[draft.place], number, draft, now, WAITING, takers.get(number)))
    for part in chunks(plain, _ROWS):
        db.execute(_insert(len(part)), [value for row in part for value in row])
    for some in chunks(once, _ROWS):
        rows = [_row(queues[draft.place], number, draft, now, WAITING, takers.get(number)) for number, draft in some]
        added = {seq for (seq,) in db.execute(_insert(len(rows)) + _ONCE, [value for row in rows for value in row])}
        given |= {
            number: int(db.execute(_OF_DEDUP, (queues[draft.place], draft.dedup)).fetchone()[0])
            for number, draft in some if number not in added
        }  # fmt: skip
    large = [each for each in fresh if len(each.draft.body) > INLINE_BYTES and each.number not in given]
    _put_large(db, [(number, BODY, draft.body) for number, draft in large])
    return given


def _put_keyed(
    db: sqlite3.Connection, queue: int, number: int, draft: Draft, now: float, given: dict[int, int]
) -> None:  # fmt: skip
    state = BEHIND if db.execute(_OF_KEY, (queue, draft.key)).fetchone() else WAITING
    if db.execute(_insert(1) + _ONCE, _row(queue, number, draft, now, state)).fetchone() is None:
        given[number] = int(db.execute(_OF_DEDUP, (queue, draft.dedup)).fetchone()[0])


def _taken(each: _Fresh) -> tuple[int, Taken]:
    number, draft = each
    return draft.rank, Taken(
        place=draft.place, id=text_of(number), attempt=1, queued_at=at_of(number), kind=draft.kind, key="",
        dedup=draft.dedup, body=draft.body,
    )  # fmt: skip


def take(db: sqlite3.Connection, queue: int, asked: Take, count: int) -> list[Taken]:
    rows = db.execute(_TAKE, (asked.owner, asked.until, queue, count)).fetchall()
    rows.sort(key=lambda row: (row[6], row[0]))
    return [
        Taken(
            place=asked.place, id=text_of(seq), attempt=attempts, queued_at=at_of(seq), kind=kind or "", key=key or "",
            dedup=dedup or "", body=body if body is not None else large(db, seq, BODY),
        )
        for seq, attempts, kind, key, dedup, body, _ in rows
    ]  # fmt: skip


def settle(db: sqlite3.Connection, queues: dict[Place, int], outcomes: Sequence[Outcome]) -> list[bool]:
    numbers = [number_of(each.taken.id) for each in outcomes]
    settled: set[int] = set()
    ended = [(seq, each) for seq, each in zip(numbers, outcomes, strict=True) if each.state in (DONE_NAME, DEAD_NAME)]
    for rows in chunks(ended, _ROWS):
        values: list[object] = []
        for seq, each in rows:
            inline = each.result if len(each.result) <= INLINE_BYTES else None
            state = DONE if each.state == DONE_NAME else DEAD
            values += (
                seq, each.taken.attempt, state, each.until, each.at, each.status, each.error or None, each.kind or None,
                inline,
            )  # fmt: skip
        settled.update(seq for (seq,) in db.execute(_end(len(rows)), values))
    for seq, each in zip(numbers, outcomes, strict=True):
        if each.state in (DELAYED_NAME, BACK):
            if _again(db, seq, each):
                settled.add(seq)
        elif seq in settled:
            _after(db, queues[each.taken.place], seq, each)
    return [seq in settled for seq in numbers]


def renew(db: sqlite3.Connection, held: Iterable[Taken], until: float) -> list[bool]:
    return [
        db.execute(_RENEW, (until, number_of(each.id), each.attempt)).rowcount > 0 for each in held
    ]  # fmt: skip


def promote(db: sqlite3.Connection, queue: int, key: str) -> None:
    """The earliest item of a key comes to the front, unless one is under way."""
    db.execute(_PROMOTE, (queue, key, queue, key))


def large(db: sqlite3.Connection, seq: int, part: int) -> bytes:
    row = db.execute("SELECT content FROM large WHERE seq = ? AND part = ?", (seq, part)).fetchone()
    return bytes(row[0]) if row else b""


def chunks(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _row(
    queue: int, number: int, draft: Draft, now: float, state: int = WAITING, by: Take | None = None
) -> tuple[object, ...]:  # fmt: skip
    delayed = draft.due_at > now
    due = by.until if by is not None else draft.due_at if delayed else None
    if state == WAITING:
        state = DELAYED if delayed else RUNNING if by is not None else WAITING
    return (
        number, queue, state, draft.rank, 0 if by is None else 1, due,
        None if by is None else by.owner, draft.kind or None,
        draft.body if len(draft.body) <= INLINE_BYTES else None, draft.key or None, draft.dedup or None,
    )  # fmt: skip


def _put_large(db: sqlite3.Connection, parts: Iterable[tuple[int, int, bytes]]) -> None:
    db.executemany("INSERT OR REPLACE INTO large (seq, part, content) VALUES (?, ?, ?)", parts)


def _again(db: sqlite3.Connection, seq: int, outcome: Outcome) -> bool:
    later = outcome.until > outcome.at
    state, due = (DELAYED, outcome.until) if later else (WAITING, None)
    uncounted = int(outcome.state == BACK)
    said = (outcome.status or None, outcome.error or None)
    return db.execute(_AGAIN, (state, due, uncounted, *said, seq, outcome.taken.attempt)).rowcount > 0


def _after(db: sqlite3.Connection, queue: int, seq: int, outcome: Outcome) -> None:
    """What the end of an item brings with it."""
    if len(outcome.result) > INLINE_BYTES:
        _put_large(db, [(seq, RESULT, outcome.result)])
    if outcome.state == DONE_NAME and len(outcome.taken.body) > INLINE_BYTES:
        db.execute("DELETE FROM large WHERE seq = ? AND part = ?", (seq, BODY))
    if outcome.taken.key:
        promote(db, queue, outcome.taken.key)
    for target in outcome.tell:
        db.execute("INSERT INTO delivery (seq, target, due) VALUES (?, ?, ?)", (seq, target, outcome.at))


@cache
def _insert(rows: int) -> str:
    columns = "seq, queue, state, rank, attempts, due, owner, kind, body, key, dedup"
    return f"INSERT INTO item ({columns}) VALUES " + ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"] * rows)


@cache
def _end(rows: int) -> str:
    values = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?)"] * rows)
    return (
        "WITH given (seq, attempt, state, due, ended, status, error, kind, result) AS (VALUES " + values + ")"
        " UPDATE item SET state = given.state, due = given.due, ended = given.ended, status = given.status,"
        " error = given.error, result_kind = given.kind, result = given.result, owner = NULL,"
        f" body = CASE given.state WHEN {DEAD} THEN item.body END"
        f" FROM given WHERE item.seq = given.seq AND item.attempts = given.attempt AND item.state = {RUNNING}"
        " RETURNING seq"
    )


_ONCE = " ON CONFLICT (queue, dedup) WHERE dedup IS NOT NULL DO NOTHING RETURNING seq"
_FIRST_RANK = f"""
SELECT rank FROM item WHERE queue = ? AND state = {WAITING} AND state <> {DONE} ORDER BY rank, seq LIMIT 1
"""
_TAKE = f"""
UPDATE item SET state = {RUNNING}, owner = ?, due = ?, attempts = attempts + 1
WHERE seq IN (SELECT seq FROM item WHERE queue = ? AND state = {WAITING} AND state <> {DONE} ORDER BY rank, seq LIMIT ?)
RETURNING seq, attempts, kind, key, dedup, body, rank
"""
_RENEW = f"UPDATE item SET due = ? WHERE seq = ? AND attempts = ? AND state = {RUNNING}"
_AGAIN = f"""
UPDATE item SET state = ?, due = ?, attempts = attempts - ?, status = ?, error = ?, owner = NULL
WHERE seq = ? AND attempts = ? AND state = {RUNNING}
"""
_LIVE_OF_KEY = f"state IN ({WAITING}, {BEHIND}, {DELAYED}, {RUNNING})"
_OF_KEY = f"SELECT 1 FROM item WHERE queue = ? AND key = ? AND {_LIVE_OF_KEY} LIMIT 1"
_OF_DEDUP = "SELECT seq FROM item WHERE queue = ? AND dedup = ?"
_PROMOTE = f"""
UPDATE item SET state = CASE WHEN due IS NULL THEN {WAITING} ELSE {DELAYED} END
WHERE seq = (SELECT seq FROM item WHERE queue = ? AND key = ? AND {_LIVE_OF_KEY} ORDER BY seq LIMIT 1)
AND state = {BEHIND}
AND NOT EXISTS (SELECT 1 FROM item WHERE queue = ? AND key = ? AND state IN ({WAITING}, {DELAYED}, {RUNNING}))
"""
