"""Queues: items that wait for a handler, kept until it has answered for them.

Promises, the same for every technology (tests/adapters/test_queue.py runs one body over all of them): what `round`
returned for is durable, all of the round or nothing of it; an item is taken by one at a time, for as long as its lease
is renewed; an answer counts only from who holds the lease now; of drafts with one dedup id one becomes an item for as
long as that is remembered; items of one key run one after another in the order in which they came; with many waiting a
round costs what it costs with few. Methods may be called from any thread and any process; they raise `Exhausted` when
the disk is full or not writable, and then nothing of the call has happened.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import msgspec

Place = tuple[str, str, str]  # project, environment, queue

# What becomes of an item. `behind` waits for an earlier one of its key, `delayed` for a time.
WAITING, BEHIND, DELAYED, RUNNING, DONE, DEAD = "waiting", "behind", "delayed", "running", "done", "dead"
STATES = (WAITING, BEHIND, DELAYED, RUNNING, DONE, DEAD)
BACK = "back"  # an outcome: not the item's fault, the attempt does not count
RANKS = 10  # 0 is taken first


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An item before it is one. `due_at` 0: at once."""

    place: Place
    body: bytes
    kind: str = ""  # content type; empty: JSON
    key: str = ""
    dedup: str = ""
    rank: int = 4
    due_at: float = 0.0


class Receipt(msgspec.Struct, frozen=True):
    """`fresh` is False for a draft whose dedup id an item has already: `id` is that item's."""

    id: str
    fresh: bool = True


class Take(msgspec.Struct, frozen=True, kw_only=True):
    """Asks for `count` items, held under `owner` until a time."""

    place: Place
    owner: str
    count: int
    until: float


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """`attempt` counts from 1 and is what an outcome must name."""

    place: Place
    id: str
    attempt: int
    body: bytes
    kind: str
    key: str
    dedup: str
    queued_at: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an attempt. `state`: DONE, DEAD, DELAYED (again at `until`), BACK (the same, not counted). For DONE
    and DEAD `until` is when it is forgotten (0: at once), and each of `tell` gets a delivery."""

    taken: Taken
    state: str
    at: float
    until: float = 0.0
    status: int = 0
    result: bytes = b""
    kind: str = ""
    error: str = ""
    tell: tuple[str, ...] = ()


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """In this order. `held`: leases to renew, with their new end."""

    outcomes: Sequence[Outcome] = ()
    held: Sequence[Taken] = ()
    until: float = 0.0
    drafts: Sequence[Draft] = ()
    takes: Sequence[Take] = ()
    now: float


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """One for each that was asked: `settled` and `renewed` say whether the lease still held."""

    settled: list[bool]
    renewed: list[bool]
    receipts: list[Receipt]
    taken: list[list[Taken]]


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """An item as it is kept, for people. `result` is the handler's answer."""

    place: Place
    id: str
    state: str
    attempts: int
    queued_at: float
    due_at: float
    ended_at: float
    rank: int
    key: str
    dedup: str
    kind: str
    body: bytes
    status: int
    error: str
    result: bytes
    result_kind: str


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How many items a queue has, and since when the oldest waits (0: none does)."""

    waiting: int = 0
    behind: int = 0
    delayed: int = 0
    running: int = 0
    dead: int = 0
    oldest_at: float = 0.0

    @property
    def items(self) -> int:
        """That somebody may still want to look after."""
        return self.waiting + self.behind + self.delayed + self.running + self.dead


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody is to be told of an item's end."""

    id: int
    to: str
    attempts: int
    item: Kept


class Tended(msgspec.Struct, frozen=True, kw_only=True):
    """What time has done, and whether there is more to do at once."""

    ready: int = 0  # came due
    lost: int = 0  # leases that ended
    forgotten: int = 0
    more: bool = False


class Queues(Protocol):
    def round(self, work: Round) -> Answers:
        """All of it in one commit, durable when it returns."""

    def tally(self) -> dict[Place, Tally]:
        """Of every queue that has ever had an item."""

    def oldest(self, place: Place) -> float:
        """Since when the oldest of the waiting has waited; 0 when none does. Cheap."""

    def find(self, place: Place, id: str) -> Kept | None:
        """None: never there, or forgotten."""

    def gone(self, ids: Sequence[str]) -> list[str]:
        """Which of these are nobody's: never there, removed or forgotten. Cheap, reads no content."""

    def peek(self, place: Place, state: str, limit: int) -> list[Kept]:
        """Items in a state, those first that would be taken first (of ended ones the oldest). Takes nothing."""

    def replay(self, place: Place, ids: Sequence[str], now: float) -> int:
        """Puts dead items back, their attempts forgotten; all of the queue when `ids` is empty. Says how many."""

    def purge(self, place: Place, state: str) -> int:
        """Removes the items in a state for good; says how many. Running ones stay: they are somebody's."""

    def after(self, place: Place, id: str, limit: int) -> list[Kept]:
        """Items in any state that came after this one, the oldest first; empty `id`: from the first."""

    def forget(self, place: Place, ids: Sequence[str]) -> list[str]:
        """Removes these items for good, and what was to be told of them; the ids of those that stay because they run
        are returned. Unknown ones are passed over."""

    def clear(self, place: Place, before: float) -> int:
        """Removes all items that came until then, whatever their state, what was to be told of them, and what was noted
        for the queue; says how many items. Who has one at work hears that its answer counts no more."""

    def tend(self, now: float, is_mine: Callable[[str], bool]) -> Tended:
        """What has come due becomes ready, leases that have ended go back unless the owner `is_mine`, what is to be
        forgotten goes. A bounded part at once."""

    def set_back(self, seconds: float) -> None:
        """The clock was: delays, leases and deliveries end as much earlier, so that none lasts longer for it."""

    def free(self, is_gone: Callable[[str], bool]) -> int:
        """Items held by owners that are gone go back to waiting; says how many."""

    def deliveries(self, now: float, limit: int, but: Collection[object] = ()) -> list[Delivery]:
        """Those that are due, the longest due first; without those to targets, (place, to), that are in `but`."""

    def owed(self, place: Place) -> dict[str, int]:
        """How many deliveries wait, due or not, by whom they are for."""

    def hurry(self, place: Place, now: float) -> int:
        """All of its deliveries are due now, their attempts forgotten; says how many."""

    def delivered(self, id: int) -> None:
        """Was told, or never will be."""

    def postpone(self, id: int, until: float) -> None:
        """Could not be told now: counts an attempt."""

    def changed(self) -> bool:
        """Whether somebody else has written since this was last asked. Cheap."""

    def mark(self, name: str) -> str:
        """What was last noted under a name; empty when nothing was."""

    def note(self, name: str, text: str) -> None:
        """How far a feed has come."""

    def close(self) -> None: ...
