"""One body over all technologies of `Queues`; below it, what only a file can suffer."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bough.adapters.queue import (
    BACK,
    BEHIND,
    DEAD,
    DELAYED,
    DONE,
    RUNNING,
    Draft,
    Kept,
    Outcome,
    Place,
    Queues,
    Round,
    Take,
    Taken,
)
from bough.adapters.queue.memory import MemoryQueues
from bough.adapters.queue.sequence import Sequence, at_of, number_of, text_of
from bough.adapters.queue.sqlite import TENDED, SqliteQueues
from bough.kernel.errors import Exhausted

PLACE: Place = ("shop", "main", "documents")
NOW = 1_800_000_000.0


@pytest.fixture(params=[SqliteQueues, lambda path: MemoryQueues()], ids=["sqlite", "memory"])
def queues(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Queues]:
    make: Callable[[Path], Queues] = request.param
    made = make(tmp_path / "queues.db")
    yield made
    made.close()


def put(queues: Queues, *bodies: bytes, now: float = NOW, **rest: Any) -> list[str]:
    drafts = [Draft(**({"place": PLACE, "body": body} | rest)) for body in bodies]
    return [each.id for each in queues.round(Round(drafts=drafts, now=now)).receipts]


def take(queues: Queues, count: int = 100, *, until: float = NOW + 30, owner: str = "me") -> list[Taken]:
    asked = Take(place=PLACE, owner=owner, count=count, until=until)
    return queues.round(Round(takes=[asked], now=NOW)).taken[0]


def end(queues: Queues, taken: Taken, state: str = DONE, **rest: Any) -> bool:
    outcome = Outcome(**({"taken": taken, "state": state, "at": NOW, "until": NOW + 3600} | rest))
    return queues.round(Round(outcomes=[outcome], now=NOW)).settled[0]


def kept(queues: Queues, id: str) -> Kept:
    found = queues.find(PLACE, id)
    assert found is not None
    return found


def nobody(owner: str) -> bool:
    return False


@pytest.mark.parametrize("size", [0, 10, 1024, 1025, 100_000])
def test_an_item_comes_out_as_it_went_in_and_its_result_is_kept(queues: Queues, size: int) -> None:
    body, result = b"b" * size, b"r" * size
    [id] = put(queues, body, kind="text/plain")
    [taken] = take(queues)
    assert (taken.id, taken.body, taken.kind, taken.attempt, taken.place) == (id, body, "text/plain", 1, PLACE)
    assert end(queues, taken, result=result, kind="application/json", status=200)
    found = kept(queues, id)
    assert (found.state, found.result, found.result_kind, found.status) == (DONE, result, "application/json", 200)
    assert take(queues) == []


def test_items_come_out_in_the_order_they_came_urgent_ones_first(queues: Queues) -> None:
    plain = put(queues, *(b"%d" % number for number in range(600)))
    urgent = put(queues, b"now", rank=0)
    assert [each.id for each in take(queues, 300)] == [*urgent, *plain[:299]]
    assert [each.id for each in take(queues, 1000)] == plain[299:]


def test_items_are_looked_through_and_forgotten_by_id_but_for_what_runs(queues: Queues) -> None:
    ids = put(queues, b"0", b"1", b"2", b"3", key="k")
    other = put(queues, b"elsewhere", place=("shop", "main", "others"))
    assert [each.id for each in queues.after(PLACE, "", 3)] == ids[:3]
    assert [each.id for each in queues.after(PLACE, ids[2], 3)] == ids[3:]
    [first] = take(queues, 1)
    assert queues.forget(PLACE, [*ids[:2], *other, text_of(1)]) == [first.id] == ids[:1]
    assert [(each.id, each.state) for each in queues.after(PLACE, "", 9)] == [
        (ids[0], RUNNING), (ids[2], BEHIND), (ids[3], BEHIND),
    ]  # fmt: skip
    end(queues, first)
    assert queues.forget(PLACE, ids[2:3]) == [] and [each.id for each in take(queues)] == ids[3:], "the next is ready"
    assert queues.find(("shop", "main", "others"), other[0]) is not None


def both(queues: Queues, drafts: list[Draft], count: int) -> tuple[list[bytes], list[str]]:
    """Puts and takes in one round: what was taken, in its order, and the ids that the drafts got."""
    asked = Take(place=PLACE, owner="me", count=count, until=NOW + 30)
    answers = queues.round(Round(drafts=drafts, takes=[asked], now=NOW))
    return [each.body for each in answers.taken[0]], [each.id for each in answers.receipts]


def test_what_is_put_and_taken_in_one_round_comes_out_in_the_order_of_all(queues: Queues) -> None:
    def draft(body: bytes, **rest: Any) -> Draft:
        return Draft(**({"place": PLACE, "body": body} | rest))

    later = draft(b"later", rank=0, due_at=NOW + 60)
    assert both(queues, [draft(b"1"), later, draft(b"now", rank=0), draft(b"2")], 2)[0] == [b"now", b"1"]
    assert both(queues, [draft(b"3"), draft(b"at once", rank=1)], 2)[0] == [b"at once", b"2"]
    assert both(queues, [draft(b"4", key="k"), draft(b"5", key="k"), draft(b"6")], 2)[0] == [b"3", b"4"]
    mixed = [draft(b"7", rank=9), draft(b"8", rank=3), draft(b"9", rank=3)]
    assert both(queues, mixed, 4)[0] == [b"8", b"9", b"6", b"7"]
    put(queues, b"least", rank=9)
    assert both(queues, [draft(b"10")], 1)[0] == [b"10"]
    assert both(queues, [draft(b"11")], 9)[0] == [b"11", b"least"]


def test_a_dedup_id_holds_in_a_round_that_takes(queues: Queues) -> None:
    drafts = [Draft(place=PLACE, body=body, dedup=dedup) for body, dedup in ((b"1", "a"), (b"2", "b"), (b"3", "a"))]
    taken, ids = both(queues, drafts, 9)
    assert taken == [b"1", b"2"] and ids[0] == ids[2] != ids[1]
    taken, again = both(queues, [*drafts, Draft(place=PLACE, body=b"4", dedup="c")], 9)
    assert taken == [b"4"] and again[:3] == ids


def test_order_survives_a_clock_that_goes_back(queues: Queues) -> None:
    ids = [*put(queues, b"first"), *put(queues, b"second", now=NOW - 86_400), *put(queues, b"third", now=NOW + 5)]
    assert [each.id for each in take(queues)] == ids


def test_of_one_dedup_id_one_item_is_made_for_as_long_as_it_is_known(queues: Queues) -> None:
    drafts = [Draft(place=PLACE, body=b"x", dedup="order-7") for _ in range(3)]
    receipts = queues.round(Round(drafts=drafts, now=NOW)).receipts
    assert [each.fresh for each in receipts] == [True, False, False]
    assert len({each.id for each in receipts}) == 1
    [taken] = take(queues)
    assert taken.dedup == "order-7"
    end(queues, taken)
    again = queues.round(Round(drafts=drafts[:1], now=NOW)).receipts[0]
    assert (again.id, again.fresh) == (taken.id, False)
    queues.tend(NOW + 3601, nobody)
    assert queues.round(Round(drafts=drafts[:1], now=NOW)).receipts[0].fresh
    elsewhere = Draft(place=("shop", "feature", "documents"), body=b"x", dedup="order-7")
    assert queues.round(Round(drafts=[elsewhere], now=NOW)).receipts[0].fresh


def test_items_of_one_key_run_one_after_another(queues: Queues) -> None:
    ids = [put(queues, b"%d" % number, key="abc"[number % 3])[0] for number in range(9)]
    seen: list[str] = []
    while taken := take(queues):
        assert len({each.key for each in taken}) == len(taken)
        for each in taken:
            if each.attempt == 1 and each.id == ids[0]:  # fails once: those behind it wait all the same
                end(queues, each, DELAYED, until=0.0)
                continue
            seen.append(each.id)
            end(queues, each, DEAD if each.id == ids[1] else DONE)
    assert sorted(seen) == sorted(ids)
    assert [[id for id in seen if ids.index(id) % 3 == rest] for rest in range(3)] == [
        ids[rest::3] for rest in range(3)
    ]


def test_a_delay_is_kept(queues: Queues) -> None:
    [id] = put(queues, b"later", due_at=NOW + 60)
    assert take(queues) == [] and kept(queues, id).state == DELAYED
    assert queues.tend(NOW + 59, nobody).ready == 0
    assert queues.tend(NOW + 60, nobody).ready == 1
    assert [each.id for each in take(queues)] == [id]


def test_a_clock_that_is_set_back_makes_nothing_wait_longer(queues: Queues) -> None:
    """Not a delay, not the lease of one that hangs, not somebody who is to be told."""
    put(queues, b"held", b"failed", b"done")
    held, failed, done = take(queues, until=NOW + 30)
    end(queues, failed, DELAYED, until=NOW + 5)
    end(queues, done, DONE, until=NOW + 1000, tell=["webhook"])
    put(queues, b"delayed", due_at=NOW + 60)
    back = NOW - 5 * 3600
    queues.set_back(5 * 3600.0)
    assert [each.item.id for each in queues.deliveries(back, 10)] == [done.id]
    assert take(queues) == [] and queues.tend(back + 5, nobody).ready == 1
    assert [each.id for each in take(queues, until=back + 1000)] == [failed.id]
    assert queues.tend(back + 30, nobody).lost == 1 and [each.id for each in take(queues)] == [held.id]
    assert queues.tend(back + 60, nobody).ready == 1 and [each.body for each in take(queues)] == [b"delayed"]


def test_a_lease_that_ended_gives_the_item_to_another_and_the_first_answer_counts_no_more(queues: Queues) -> None:
    [id] = put(queues, b"x")
    [first] = take(queues, until=NOW + 30)
    assert queues.tend(NOW + 29, nobody).lost == 0 and take(queues) == []
    assert queues.tend(NOW + 30, lambda owner: owner == "me").lost == 0, "a clock that jumped takes nothing from us"
    assert queues.tend(NOW + 30, nobody).lost == 1
    [second] = take(queues, owner="other", until=NOW + 90)
    assert (second.id, second.attempt) == (id, 2)
    assert not end(queues, first, result=b"late")
    assert end(queues, second, result=b"in time")
    assert kept(queues, id).result == b"in time"


def test_a_lease_that_is_renewed_holds(queues: Queues) -> None:
    put(queues, b"x")
    [taken] = take(queues, until=NOW + 30)
    assert queues.round(Round(held=[taken], until=NOW + 60, now=NOW)).renewed == [True]
    assert queues.tend(NOW + 59, nobody).lost == 0
    assert end(queues, taken)
    assert queues.round(Round(held=[taken], until=NOW + 60, now=NOW)).renewed == [False]


def test_items_of_an_owner_that_is_gone_are_free_at_once(queues: Queues) -> None:
    put(queues, b"a", b"b")
    [mine] = take(queues, 1, owner="alive")
    [theirs] = take(queues, 1, owner="dead")
    assert queues.free(lambda owner: owner == "dead") == 1
    [again] = take(queues)
    assert (again.id, again.attempt) == (theirs.id, 1), "a death that is not the item's fault is no attempt"
    assert end(queues, mine)


def test_a_failure_is_tried_again_later_and_what_was_not_its_fault_does_not_count(queues: Queues) -> None:
    [id] = put(queues, b"x")
    [taken] = take(queues)
    assert end(queues, taken, DELAYED, until=NOW + 5, error="boom", status=500)
    assert (kept(queues, id).attempts, kept(queues, id).error) == (1, "boom")
    queues.tend(NOW + 5, nobody)
    [taken] = take(queues)
    assert taken.attempt == 2
    assert end(queues, taken, BACK, until=0.0)
    [taken] = take(queues)
    assert taken.attempt == 2


def test_the_dead_are_kept_with_their_body_and_can_be_replayed(queues: Queues) -> None:
    ids = put(queues, b"a" * 5000, b"b", b"c")
    for taken in take(queues):
        end(queues, taken, DEAD, error="no", result=b"why" * 1000)
    assert [each.id for each in queues.peek(PLACE, DEAD, 10)] == ids
    assert kept(queues, ids[0]).body == b"a" * 5000
    assert queues.replay(PLACE, [ids[0], "itm_nonsense"], NOW) == 1
    [taken] = take(queues)
    assert (taken.id, taken.attempt, taken.body) == (ids[0], 1, b"a" * 5000)
    assert kept(queues, ids[0]).error == ""
    assert queues.replay(PLACE, [], NOW) == 2
    assert queues.tally()[PLACE].waiting == 2


def test_a_queue_is_counted_and_purged_by_state(queues: Queues) -> None:
    put(queues, b"a", b"b", now=NOW - 60)
    put(queues, b"later", due_at=NOW + 60)
    put(queues, b"1", key="k")
    put(queues, b"2", key="k")
    [taken] = take(queues, 1)
    tally = queues.tally()[PLACE]
    assert (tally.waiting, tally.behind, tally.delayed, tally.running, tally.dead) == (2, 1, 1, 1, 0)
    assert abs(tally.oldest_at - (NOW - 60)) < 0.01
    assert queues.purge(PLACE, "running") == 0
    assert queues.purge(PLACE, "waiting") == 2
    assert queues.tally()[PLACE].behind == 0, "what waited behind a purged one has come to the front"
    assert queues.purge(PLACE, "delayed") == 1
    assert end(queues, taken)


def test_replaying_what_is_not_dead_leaves_its_result(queues: Queues) -> None:
    [id] = put(queues, b"a")
    [taken] = take(queues)
    end(queues, taken, result=b"r" * 100_000)
    assert queues.replay(PLACE, [id, text_of(1)], NOW) == 0
    assert kept(queues, id).result == b"r" * 100_000


def test_items_that_are_gone_are_told_from_those_that_are_there(queues: Queues) -> None:
    there, gone, last = put(queues, b"a", b"b", b"c")
    queues.forget(PLACE, [gone])
    assert queues.gone([there, gone, last, text_of(1)]) == [gone, text_of(1)]
    assert queues.gone([]) == [] and queues.gone([there] * 3000) == []


def test_what_has_ended_is_forgotten_in_time_but_not_before_everybody_was_told(queues: Queues) -> None:
    first, second = put(queues, b"a", b"b")
    taken = take(queues)
    end(queues, taken[0])
    end(queues, taken[1], tell=("webhook",), result=b"r")
    assert queues.tend(NOW + 3600, nobody).forgotten == 1
    assert queues.find(PLACE, first) is None
    assert queues.deliveries(NOW, 10, but={(PLACE, "webhook")}) == []
    assert queues.owed(PLACE) == {"webhook": 1}
    [delivery] = queues.deliveries(NOW, 10, but={(PLACE, "sql"), (("shop", "main", "other"), "webhook")})
    assert (delivery.to, delivery.attempts, delivery.item.id, delivery.item.result) == ("webhook", 0, second, b"r")
    queues.postpone(delivery.id, NOW + 10)
    assert queues.deliveries(NOW + 9, 10) == []
    [delivery] = queues.deliveries(NOW + 10, 10)
    assert delivery.attempts == 1
    assert queues.hurry(("shop", "main", "other"), NOW) == 0 and queues.deliveries(NOW, 10) == []
    assert queues.hurry(PLACE, NOW) == 1
    [delivery] = queues.deliveries(NOW, 10)
    assert delivery.attempts == 0, "as if it had never been tried"
    queues.delivered(delivery.id)
    assert queues.deliveries(NOW + 99, 10) == [] and queues.owed(PLACE) == {}
    assert queues.tend(NOW + 3600, nobody).forgotten == 1


def test_a_queue_is_cleared_of_all_that_came_until_then(queues: Queues) -> None:
    """Whatever its state, with what was to be told of it and what was noted; what came later stays, and may run."""
    ended, running = put(queues, b"1", b"2")
    [one, other] = take(queues)
    end(queues, one, tell=("webhook",))
    put(queues, b"3", due_at=NOW + 60)
    put(queues, b"4", b"5" * 5000, key="k")
    [later] = put(queues, b"6", key="k", now=NOW + 1)
    elsewhere: Place = ("shop", "main", "more-documents")
    put(queues, b"7", place=elsewhere)
    for name in ("schedule/shop/main/documents", "refused/webhook/shop/main/documents", "schedule/other", "changes"):
        queues.note(name, "far")
    assert queues.clear(PLACE, NOW) == 5
    assert [each.id for each in queues.after(PLACE, "", 9)] == [later]
    assert not end(queues, other) and queues.find(PLACE, ended) is queues.find(PLACE, running) is None
    assert queues.deliveries(NOW + 9, 9) == []
    assert [each.body for each in take(queues)] == [b"6"], "nothing of its key is before it any more"
    assert queues.tally()[elsewhere].waiting == 1
    assert [queues.mark(f"{name}/shop/main/documents") for name in ("schedule", "refused/webhook")] == ["", ""]
    assert (queues.mark("changes"), queues.mark("schedule/other")) == ("far", "far")


def test_a_mark_is_kept(queues: Queues) -> None:
    assert queues.mark("feed") == ""
    queues.note("feed", "7")
    queues.note("feed", "8")
    assert queues.mark("feed") == "8"


def test_an_id_that_is_none_is_not_found(queues: Queues) -> None:
    put(queues, b"x")
    for id in ("", "itm_", "itm_zzzzzzzzzzzzz", "itm_!!!!!!!!!!!!!", "rel_0000000000000"):
        assert queues.find(PLACE, id) is None
    [id] = put(queues, b"y")
    assert queues.find(("shop", "feature", "documents"), id) is None


def test_many_takers_at_once_take_every_item_once(queues: Queues) -> None:
    put(queues, *(b"%d" % number for number in range(400)))
    got: list[str] = []

    def consume(owner: str) -> None:
        while taken := take(queues, 7, owner=owner):
            got.extend(each.id for each in taken)

    threads = [threading.Thread(target=consume, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == len(set(got)) == 400


def test_ids_grow_and_read_back_whatever_the_clock_does() -> None:
    numbers, seen = Sequence(), []
    for now in (NOW, NOW, NOW - 1000, NOW + 0.001, 0.0, NOW + 1):
        seen.append(numbers.next(now))
    assert seen == sorted(set(seen))
    assert all(number_of(text_of(number)) == number for number in seen)
    assert [text_of(number) for number in seen] == sorted(text_of(number) for number in seen)
    assert abs(at_of(Sequence().next(NOW)) - NOW) < 0.002


# --- a file


def test_what_another_process_did_is_seen_and_counted(tmp_path: Path) -> None:
    ours, theirs = SqliteQueues(tmp_path / "q.db"), SqliteQueues(tmp_path / "q.db")
    put(ours, b"a")
    assert not ours.changed()
    put(theirs, b"b")
    assert ours.changed() and not ours.changed()
    assert ours.tally()[PLACE].waiting == 2
    assert len(take(ours)) == 2 and take(theirs) == []


def test_a_full_disk_refuses_the_whole_round_and_loses_nothing(tmp_path: Path) -> None:
    queues = SqliteQueues(tmp_path / "q.db")
    accepted = put(queues, b"x" * 100)
    size = queues._db.execute("PRAGMA page_count").fetchone()[0]
    queues._db.execute(f"PRAGMA max_page_count = {size + 10}")  # SQLite's own way to have no room
    refused = 0
    for number in itertools.count():
        try:
            accepted += put(queues, *(b"%d" % number * 500 for _ in range(8)))
        except Exhausted as problem:
            assert problem.own_code == "DISK_FULL" and "df -h" in problem.hint
            refused += 1
            if refused == 3:
                break
    queues._db.execute("PRAGMA max_page_count = 1000000")
    assert {each.id for each in take(queues, 1000)} == set(accepted)


class Filling(SqliteQueues):
    """On a disk that has room for so many commits more."""

    room = 1000

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._translated(), super()._writing() as db:
            yield db
            if not self.room:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            self.room -= 1


@pytest.mark.parametrize("verb", ["purge", "replay", "clear", "forget"])
def test_a_disk_that_fills_up_on_the_way_says_for_how_many_items_it_is_done(tmp_path: Path, verb: str) -> None:
    """They are changed a thousand at a time, so that senders need not wait."""
    queues = Filling(tmp_path / "q.db")
    ids = put(queues, *([b"a"] * (TENDED + 5)))
    if verb == "replay":
        ended = [Outcome(taken=each, state=DEAD, at=NOW, until=NOW + 9) for each in take(queues, len(ids))]
        queues.round(Round(outcomes=ended, now=NOW))
    act: dict[str, Callable[[], object]] = {
        "purge": lambda: queues.purge(PLACE, "waiting"), "replay": lambda: queues.replay(PLACE, [], NOW),
        "clear": lambda: queues.clear(PLACE, NOW + 1), "forget": lambda: queues.forget(PLACE, ids),
    }  # fmt: skip
    for room, said in ((0, "nothing was changed"), (1, f"{TENDED} of {TENDED + 5} items")):
        queues.room = room
        with pytest.raises(Exhausted, match=said) as raised:
            act[verb]()
        assert raised.value.own_code == "DISK_FULL" and "df -h" in raised.value.hint
    assert "nothing was changed" not in raised.value.message
    queues.room = 1000
    assert len(queues.peek(PLACE, DEAD if verb == "replay" else "waiting", 10)) == 5


def test_a_second_version_of_the_file_is_not_made_twice(tmp_path: Path) -> None:
    for _ in range(2):
        SqliteQueues(tmp_path / "q.db").close()
    assert sqlite3.connect(tmp_path / "q.db").execute("PRAGMA user_version").fetchone() == (1,)
    assert (tmp_path / "q.db").stat().st_mode & 0o777 == 0o600
