"""Queues in memory, for tests: the same promises but that of the disk."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence

import msgspec

from bough.adapters.queue import (
    BACK,
    BEHIND,
    DEAD,
    DELAYED,
    DONE,
    RUNNING,
    WAITING,
    Answers,
    Delivery,
    Draft,
    Kept,
    Outcome,
    Place,
    Receipt,
    Round,
    Take,
    Taken,
    Tally,
    Tended,
)
from bough.adapters.queue.sequence import Sequence as Numbers
from bough.adapters.queue.sequence import at_of, last_of, number_of, text_of

_LIVE = (WAITING, BEHIND, DELAYED, RUNNING)
replace = msgspec.structs.replace


class MemoryQueues:
    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._items: dict[int, Kept] = {}
        self._owners: dict[int, str] = {}
        self._numbers = Numbers()
        self._places: set[Place] = set()
        self._told: dict[int, tuple[int, str, float, int]] = {}  # delivery: item, whom, when, attempts
        self._marks: dict[str, str] = {}

    def round(self, work: Round) -> Answers:
        with self._lock:
            return Answers(
                settled=[self._settle(each) for each in work.outcomes],
                renewed=[self._renew(each, work.until) for each in work.held],
                receipts=[self._put(each, work.now) for each in work.drafts],
                taken=[self._take(each) for each in work.takes],
            )

    def tally(self) -> dict[Place, Tally]:
        with self._lock:
            return {place: self._tally(place) for place in self._places}

    def oldest(self, place: Place) -> float:
        with self._lock:
            return self._tally(place).oldest_at

    def find(self, place: Place, id: str) -> Kept | None:
        with self._lock:
            found = self._items.get(number_of(id))
            return found if found is not None and found.place == place else None

    def gone(self, ids: Sequence[str]) -> list[str]:
        with self._lock:
            return [each for each in ids if number_of(each) not in self._items]

    def peek(self, place: Place, state: str, limit: int) -> list[Kept]:
        with self._lock:
            found = [each for each in self._of(place) if each.state == state]
            return sorted(found, key=lambda each: (each.rank, each.id))[:limit]

    def replay(self, place: Place, ids: Sequence[str], now: float) -> int:
        with self._lock:
            dead = [each for each in self._of(place) if each.state == DEAD and (not ids or each.id in ids)]
            for each in dead:
                state = BEHIND if each.key else WAITING
                self._keep(
                    replace(each, state=state, attempts=0, due_at=0.0, ended_at=0.0, status=0, error="", result=b"")
                )
                self._promote(place, each.key)
            return len(dead)

    def purge(self, place: Place, state: str) -> int:
        with self._lock:
            gone = [each for each in self._of(place) if each.state == state != RUNNING]
            self._forget(number_of(each.id) for each in gone)
            for each in gone:
                self._promote(place, each.key)
            return len(gone)

    def after(self, place: Place, id: str, limit: int) -> list[Kept]:
        with self._lock:
            found = [each for each in self._of(place) if not id or number_of(each.id) > number_of(id)]
            return sorted(found, key=lambda each: number_of(each.id))[:limit]

    def forget(self, place: Place, ids: Sequence[str]) -> list[str]:
        with self._lock:
            found = [each for each in self._of(place) if each.id in ids]
            gone = [each for each in found if each.state != RUNNING]
            self._forget(number_of(each.id) for each in gone)
            for each in gone:
                self._promote(place, each.key)
            return [each.id for each in found if each.state == RUNNING]

    def clear(self, place: Place, before: float) -> int:
        with self._lock:
            gone = [each for each in self._of(place) if number_of(each.id) <= last_of(before)]
            self._forget(number_of(each.id) for each in gone)
            for each in gone:
                self._promote(place, each.key)
            end = "/" + "/".join(place)
            self._marks = {name: text for name, text in self._marks.items() if not name.endswith(end)}
            return len(gone)

    def tend(self, now: float, is_mine: Callable[[str], bool]) -> Tended:
        with self._lock:
            ready = [each for each in self._items.values() if each.state == DELAYED and each.due_at <= now]
            lost = [
                each for number, each in self._items.items()
                if each.state == RUNNING and each.due_at <= now and not is_mine(self._owners.get(number, ""))
            ]  # fmt: skip
            owed = {item for item, *_ in self._told.values()}
            old = [
                number for number, each in self._items.items()
                if each.state in (DONE, DEAD) and each.due_at <= now and number not in owed
            ]  # fmt: skip
            for each in [*ready, *lost]:
                self._keep(replace(each, state=WAITING, due_at=0.0))
            self._forget(iter(old))
            return Tended(ready=len(ready), lost=len(lost), forgotten=len(old))

    def set_back(self, seconds: float) -> None:
        with self._lock:
            for each in list(self._items.values()):
                if each.state in (RUNNING, DELAYED, BEHIND) and each.due_at:
                    self._keep(replace(each, due_at=each.due_at - seconds))
            self._told = {id: (item, to, at - seconds, tries) for id, (item, to, at, tries) in self._told.items()}

    def free(self, is_gone: Callable[[str], bool]) -> int:
        with self._lock:
            held = [
                each for number, each in self._items.items()
                if each.state == RUNNING and is_gone(self._owners.get(number, ""))
            ]  # fmt: skip
            for each in held:
                self._keep(replace(each, state=WAITING, due_at=0.0, attempts=each.attempts - 1))
            return len(held)

    def deliveries(self, now: float, limit: int, but: Collection[object] = ()) -> list[Delivery]:
        with self._lock:
            due = sorted(
                (when, id) for id, (item, to, when, _) in self._told.items()
                if when <= now and (self._items[item].place, to) not in but
            )  # fmt: skip
            found = [(id, *self._told[id]) for _, id in due[:limit]]
            return [Delivery(id=id, to=to, attempts=tries, item=self._items[item]) for id, item, to, _, tries in found]

    def owed(self, place: Place) -> dict[str, int]:
        with self._lock:
            return dict(Counter(to for item, to, *_ in self._told.values() if self._items[item].place == place))

    def hurry(self, place: Place, now: float) -> int:
        with self._lock:
            owed = {id: (item, to, now, 0) for id, (item, to, *_) in self._told.items()
                    if self._items[item].place == place}  # fmt: skip
            self._told |= owed
            return len(owed)

    def delivered(self, id: int) -> None:
        with self._lock:
            self._told.pop(id, None)

    def postpone(self, id: int, until: float) -> None:
        with self._lock:
            if id in self._told:
                item, to, _, attempts = self._told[id]
                self._told[id] = (item, to, until, attempts + 1)

    def changed(self) -> bool:
        return False  # nobody else can see it

    def mark(self, name: str) -> str:
        return self._marks.get(name, "")

    def note(self, name: str, text: str) -> None:
        self._marks[name] = text

    def close(self) -> None:
        """Nothing is open."""

    # --- private

    def _of(self, place: Place) -> Iterator[Kept]:
        return (each for each in list(self._items.values()) if each.place == place)

    def _keep(self, item: Kept) -> None:
        self._items[number_of(item.id)] = item

    def _put(self, draft: Draft, now: float) -> Receipt:
        self._places.add(draft.place)
        same = [each for each in self._of(draft.place) if draft.dedup and each.dedup == draft.dedup]
        if same:
            return Receipt(same[0].id, fresh=False)
        delayed = draft.due_at > now
        behind = draft.key and any(each.key == draft.key and each.state in _LIVE for each in self._of(draft.place))
        number = self._numbers.next(now)
        made = Kept(
            place=draft.place, id=text_of(number), state=BEHIND if behind else DELAYED if delayed else WAITING,
            attempts=0, queued_at=at_of(number), due_at=draft.due_at if delayed else 0.0, ended_at=0.0, rank=draft.rank,
            key=draft.key, dedup=draft.dedup, kind=draft.kind, body=draft.body, status=0, error="", result=b"",
            result_kind="",
        )  # fmt: skip
        self._keep(made)
        return Receipt(made.id)

    def _take(self, asked: Take) -> list[Taken]:
        self._places.add(asked.place)
        found = self.peek(asked.place, WAITING, asked.count)
        for each in found:
            self._keep(replace(each, state=RUNNING, due_at=asked.until, attempts=each.attempts + 1))
            self._owners[number_of(each.id)] = asked.owner
        return [
            Taken(place=each.place, id=each.id, attempt=each.attempts + 1, body=each.body, kind=each.kind, key=each.key,
                  dedup=each.dedup, queued_at=each.queued_at)
            for each in found
        ]  # fmt: skip

    def _held(self, taken: Taken) -> Kept | None:
        found = self._items.get(number_of(taken.id))
        return found if found and (found.state, found.attempts) == (RUNNING, taken.attempt) else None

    def _renew(self, taken: Taken, until: float) -> bool:
        found = self._held(taken)
        if found is not None:
            self._keep(replace(found, due_at=until))
        return found is not None

    def _settle(self, outcome: Outcome) -> bool:
        found = self._held(outcome.taken)
        if found is None:
            return False
        said = replace(found, status=outcome.status, error=outcome.error)
        if outcome.state in (DELAYED, BACK):
            later = outcome.until > outcome.at
            self._keep(
                replace(
                    said, state=DELAYED if later else WAITING, due_at=outcome.until if later else 0.0,
                    attempts=said.attempts - (outcome.state == BACK),
                )
            )  # fmt: skip
            return True
        body = said.body if outcome.state == DEAD else b""
        self._keep(
            replace(
                said, state=outcome.state, due_at=outcome.until, ended_at=outcome.at, result=outcome.result,
                result_kind=outcome.kind, body=body,
            )
        )  # fmt: skip
        for to in outcome.tell:
            self._told[max(self._told, default=0) + 1] = (number_of(said.id), to, outcome.at, 0)
        self._promote(said.place, said.key)
        return True

    def _promote(self, place: Place, key: str) -> None:
        live = sorted(
            (each for each in self._of(place) if key and each.key == key and each.state in _LIVE),
            key=lambda each: each.id,
        )
        if live and live[0].state == BEHIND and all(each.state == BEHIND for each in live):
            self._keep(replace(live[0], state=DELAYED if live[0].due_at else WAITING))

    def _tally(self, place: Place) -> Tally:
        states = [each.state for each in self._of(place)]
        waiting = [each.queued_at for each in self._of(place) if each.state == WAITING]
        counts = {state: states.count(state) for state in (WAITING, BEHIND, DELAYED, RUNNING, DEAD)}
        return Tally(**counts, oldest_at=min(waiting, default=0.0))

    def _forget(self, numbers: Iterator[int]) -> None:
        for number in list(numbers):
            self._items.pop(number, None)
            self._told = {id: told for id, told in self._told.items() if told[0] != number}
