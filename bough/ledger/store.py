"""Tables of the ledger, and the one way to add to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import msgspec
import sqlalchemy as sa

from bough.kernel.clock import Clock
from bough.kernel.errors import NotFound
from bough.kernel.tables import metadata
from bough.ledger import notes, rules
from bough.ledger.keys import SigningKey
from bough.ledger.models import ZERO, LedgerEntry, LedgerHead

ledger_entry = sa.Table(
    "ledger_entry",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("previous", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),  # JSON, as it was hashed
    sa.Column("hash", sa.Text, nullable=False),
    sa.Index("ix_ledger_entry_place", "project", "environment", "action", "number"),
)

# One row: the tree as it is now.
ledger_head = sa.Table(
    "ledger_head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("frontier", sa.LargeBinary, nullable=False),
    sa.Column("last", sa.Text, nullable=False),  # hash of the newest entry
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
)
_HEAD, _HASH = 1, 32  # the row's id; bytes of a hash


class Ledger:
    """The ledger of one Bough."""

    def __init__(self, key: SigningKey, clock: Clock) -> None:
        self.key = key
        self._clock = clock
        self._appended = self._remembered = 0  # numbers of entries
        self._remembering = threading.Lock()

    def append(
        self, tx: sa.Connection, project: str, environment: str, action: str, subject: str, *, by: str, why: str,
        evidence: dict[str, Any],
    ) -> LedgerEntry:  # fmt: skip
        """Adds an entry in the caller's transaction, and signs the new head."""
        row = tx.execute(_READ_HEAD).first()
        size, frontier, last, before = (row.size, row.frontier, row.last, row.at) if row else (0, b"", ZERO, 0.0)
        key = self.key.private(create=row is None)
        # A clock that went backwards must not make a younger entry look older: "what was true at noon" goes by time.
        bare = LedgerEntry(
            number=size + 1, previous=last, at=max(self._clock.now(), before), project=project, environment=environment,
            action=action, subject=subject, by=by, why=why, evidence=msgspec.to_builtins(evidence),
        )  # fmt: skip
        leaf = rules.leaf_hash(rules.content(bare))
        made = msgspec.structs.replace(bare, hash=leaf.hex())
        grown = rules.grown(_parts(frontier), size, leaf)
        kept = msgspec.structs.asdict(made) | {"evidence": msgspec.json.encode(made.evidence).decode()}
        tx.execute(ledger_entry.insert(), kept)
        head = {
            "size": made.number, "frontier": b"".join(grown), "last": made.hash, "at": made.at,
            "note": notes.sign(key, made.number, rules.root(grown)), "key": self.key.verifier,
        }  # fmt: skip
        if row is None:
            tx.execute(ledger_head.insert(), {"id": _HEAD, **head})
        else:
            tx.execute(_WRITE_HEAD, head)
        self._appended = made.number
        return made

    def rekey(self, tx: sa.Connection, by: str) -> LedgerEntry:
        """From now on another key signs. The first thing that it signs is that it took over, and from which one."""
        old = tx.execute(sa.select(ledger_head.c.key)).scalar() or ""
        self.key.renew()
        new = notes.verifier_key(self.key.private(create=False).public_key().public_bytes_raw())
        evidence = {"before": old, "key": new}
        return self.append(tx, "", "", "ledger.rekeyed", new, by=by, why="a new key", evidence=evidence)

    def remember(self, read: Callable[[], AbstractContextManager[sa.Connection]]) -> None:
        """After a commit: writes the head to where the database is not. Costs nothing unless there are new entries."""
        if self._appended == self._remembered:
            return
        with self._remembering:  # one at a time, so that the newest head is the one that stays
            with read() as tx:
                row = tx.execute(_READ_HEAD).first()
            if row is not None:
                self.key.witness(row.note)
                self._remembered = row.size


def head(tx: sa.Connection) -> LedgerHead | None:
    """The signed head; None of an empty ledger."""
    row = tx.execute(_READ_HEAD).first()
    if row is None:
        return None
    return LedgerHead(size=row.size, root=rules.root(_parts(row.frontier)).hex(), note=row.note, key=row.key)


def frontier(tx: sa.Connection) -> list[bytes]:
    return _parts(tx.execute(sa.select(ledger_head.c.frontier)).scalar() or b"")


def entries(
    tx: sa.Connection, *, project: str = "", environment: str = "", action: str = "", subject: str = "",
    until: float | None = None, limit: int = 100,
) -> list[LedgerEntry]:  # fmt: skip
    """Newest first. `action` may end in `*`."""
    query = ledger_entry.select().order_by(ledger_entry.c.number.desc()).limit(limit)
    wanted = {"project": project, "environment": environment, "subject": subject}
    for name, value in wanted.items():
        if value:
            query = query.where(ledger_entry.c[name] == value)
    if action.endswith("*"):
        query = query.where(ledger_entry.c.action.startswith(action[:-1], autoescape=True))
    elif action:
        query = query.where(ledger_entry.c.action == action)
    if until is not None:
        query = query.where(ledger_entry.c.at <= until)
    return [_entry(row) for row in tx.execute(query)]


def find(tx: sa.Connection, number: int) -> LedgerEntry:
    row = tx.execute(ledger_entry.select().where(ledger_entry.c.number == number)).first()
    if row is None:
        raise NotFound(f"the ledger has no entry {number}", code="ENTRY_NOT_FOUND", hint="bough audit ledger")
    return _entry(row)


def leaves(tx: sa.Connection, size: int) -> list[bytes]:
    """The hashes of the first `size` entries."""
    query = sa.select(ledger_entry.c.hash).where(ledger_entry.c.number <= size).order_by(ledger_entry.c.number)
    return [bytes.fromhex(each) for each in tx.execute(query).scalars()]


def rows(tx: sa.Connection) -> Iterator[tuple[Any, ...]]:
    """Every entry in order, as plain tuples of the table's columns: a row object for each would cost more than its
    check."""
    result = tx.exec_driver_sql(f"{_PLAIN} ORDER BY number")
    while found := result.cursor.fetchmany(2000):
        yield from found


def page(tx: sa.Connection, after: int, until: int) -> list[tuple[Any, ...]]:
    """The entries above `after` up to `until`, as `rows` gives them."""
    query = sa.select(ledger_entry).where(ledger_entry.c.number > after, ledger_entry.c.number <= until)
    return [tuple(row) for row in tx.execute(query.order_by(ledger_entry.c.number))]


def line_of(row: tuple[Any, ...]) -> bytes:
    """The leaf of a row."""
    number, previous, at, project, environment, action, subject, by, why, evidence, _ = row
    raw = msgspec.Raw(evidence.encode())
    return _encode(_Leaf(number, previous, at, project, environment, action, subject, by, why, raw))


def _parts(packed: bytes) -> list[bytes]:
    return [packed[at : at + _HASH] for at in range(0, len(packed), _HASH)]


def _entry(row: Any) -> LedgerEntry:
    fields = dict(row._mapping)
    return LedgerEntry(**fields | {"evidence": msgspec.json.decode(fields["evidence"])})


class _Leaf(msgspec.Struct, frozen=True):
    """A row as `rules.content` writes an entry, with the evidence as the text that it is."""

    number: int
    previous: str
    at: float
    project: str
    environment: str
    action: str
    subject: str
    by: str
    why: str
    evidence: msgspec.Raw


_PLAIN = str(sa.select(ledger_entry).compile())
_encode = msgspec.json.Encoder(order=None).encode
_READ_HEAD = sa.select(ledger_head)
_WRITE_HEAD = ledger_head.update().where(ledger_head.c.id == _HEAD)
