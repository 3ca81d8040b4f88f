"""What others are told, and what becomes items: with time that is set and receivers that do what a test says."""

from __future__ import annotations

import base64
import hmac
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bough.adapters.connectors.outside import Outside
from bough.adapters.connectors.s3 import S3
from bough.adapters.database.sqlite import SqliteDatabase
from bough.adapters.queue import DONE, Draft, Outcome, Place, Round, Take
from bough.adapters.queue.memory import MemoryQueues
from bough.kernel.clock import VirtualClock
from bough.kernel.errors import Invalid, TooLarge, Unavailable
from bough.kernel.events import Events
from bough.kernel.queue import Forward, HttpSource, Queue, SqlSink, SqlSource
from bough.queues.outside import OutsideWork
from bough.queues.rules import refusal_mark
from tests.plane import laid

PLACE: Place = ("shop", "main", "documents")
HOUR_S = 3600.0


class Receiver(Outside):
    """Keeps what it is told; `away` while it is down."""

    def __init__(self) -> None:
        self.away, self.status = False, 200
        self.told: list[tuple[str, Mapping[str, str], bytes]] = []
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self.tickets = 0

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        if self.away:
            raise Unavailable("it is down")
        self.told.append((url, headers, body))
        return self.status

    def get(self, url: str, headers: Mapping[str, str], most: int) -> tuple[int, bytes]:
        """A list of tickets, the fifty after the one that is named."""
        if self.away:
            raise Unavailable("it is down")
        self.asked.append((url, headers))
        after = int(url.partition("after=")[2])
        found = [{"id": number, "text": f"t{number}"} for number in range(after + 1, self.tickets + 1)][:50]
        return self.status, json.dumps({"tickets": found}).encode()


class World:
    def __init__(self, folder: Path) -> None:
        self.queues, self.clock, self.receiver = MemoryQueues(), VirtualClock(), Receiver()
        self.database = SqliteDatabase(laid(folder) / "bough.db", durable=False)
        self.events = Events(self.clock)
        self.declared: dict[Place, Queue] = {}
        self.work = OutsideWork(
            self.queues, self.database.read, self.receiver, self.secret, self.clock, lambda tx: self.declared,
            objects=S3(),
        )  # fmt: skip

    def secret(self, tx: sa.Connection, place: tuple[str, str], name: str) -> str:
        return {"hook": "s3cret", "path": "inside"}[name]

    def end(
        self, *tell: str, result: bytes = b'{"label": "letter"}', place: Place = PLACE, key: str = "", kind: str = ""
    ) -> str:  # fmt: skip
        now = self.clock.now()
        asked = [Take(place=place, owner="me", count=1, until=now + 9)]
        taken = self.queues.round(Round(drafts=[Draft(place=place, body=b"1", key=key)], takes=asked, now=now)).taken[
            0
        ][0]
        outcome = Outcome(
            taken=taken, state=DONE, at=now, until=now + 60, result=result, status=200, tell=tell, kind=kind
        )  # fmt: skip
        self.queues.round(Round(outcomes=[outcome], now=now))
        return taken.id

    def waiting(self) -> list[Any]:
        return [json.loads(each.body) for each in self.queues.peek(PLACE, "waiting", 100)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.database.close()


def test_a_webhook_is_told_of_an_end_and_can_tell_that_it_is_us(world: World) -> None:
    url, secret = "https://example.com/${secrets.path}", "${secrets.hook}"
    world.declared[PLACE] = Queue(handler="c", webhook=url, webhook_secret=secret)
    id = world.end("webhook")
    assert world.work.once() == 1 and world.work.once() == 0
    [(told, headers, body)] = world.receiver.told
    said = json.loads(body)
    assert told == "https://example.com/inside"
    assert (said["type"], said["data"]["result"]) == ("item.done", {"label": "letter"})
    signed = f"{id}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(b"s3cret", signed, "sha256")).decode()
    assert (headers["webhook-id"], headers["webhook-signature"]) == (id, f"v1,{expected}")


def test_a_webhook_gets_results_that_are_no_text_whole(world: World) -> None:
    world.declared[PLACE] = Queue(handler="c", webhook="https://example.com/hook")
    sent = {"image/png": b"\x89PNG\xff", "text/plain": "größe".encode(), "": b'{"a": 1}'}
    for kind, result in sent.items():
        world.end("webhook", result=result, kind=kind)
    world.work.once()
    image, text, value = (json.loads(body)["data"]["result"] for _, _, body in world.receiver.told)
    assert (image["content_type"], base64.b64decode(image["base64"])) == ("image/png", sent["image/png"])
    assert (text, value) == ("größe", {"a": 1})


def test_a_webhook_that_is_down_for_an_hour_is_told_everything_once_it_is_back(world: World) -> None:
    world.declared[PLACE] = Queue(handler="c", webhook="https://example.com/hook")
    world.receiver.away = True
    ids = [world.end("webhook") for _ in range(20)]
    began = world.clock.now()
    while world.clock.now() < began + HOUR_S:
        assert world.work.once() == 0
        world.queues.tend(world.clock.now(), lambda owner: False)  # results are over by now: those that are owed stay
        world.clock.advance(5.0)
    world.receiver.away = False
    for _ in range(100):
        world.work.once()
        world.clock.advance(60.0)
    assert sorted(headers["webhook-id"] for _, headers, _ in world.receiver.told) == sorted(ids)


def test_a_webhook_that_refuses_is_asked_again_and_in_the_end_given_up(world: World) -> None:
    world.declared[PLACE] = Queue(handler="c", webhook="https://example.com/hook")
    world.receiver.status = 500
    world.end("webhook")
    for _ in range(100):
        world.work.once()
        world.clock.advance(HOUR_S)
    assert len(world.receiver.told) == 48
    assert world.queues.deliveries(world.clock.now(), 10) == []


def test_a_receiver_that_never_answers_holds_up_nobody_but_itself(world: World) -> None:
    other, third = ("shop", "main", "other"), ("shop", "main", "third")
    world.declared = {
        PLACE: Queue(handler="c", webhook="https://hangs.example.com"),
        other: Queue(handler="c", webhook="https://example.com"), third: Queue(handler="c", schedule="0 * * * *"),
    }  # fmt: skip
    world.work.once()  # notes that the schedule begins
    answers, asked = threading.Event(), list[str]()

    def post(url: str, headers: Mapping[str, str], body: bytes) -> int:
        asked.append(url)
        return 200 if url == "https://example.com" or answers.wait(30) else 500

    world.receiver.post = post  # type: ignore[method-assign]
    for _ in range(60):  # more than one look takes
        world.end("webhook")
    world.clock.advance(HOUR_S)
    world.work.once(0.0)
    world.end("webhook", place=other)
    world.clock.advance(1.0)
    while asked.count("https://example.com") == 0:
        world.work.once(0.01)
    assert world.queues.tally()[third].waiting == 1
    assert asked.count("https://hangs.example.com") == 1
    answers.set()
    while len(asked) < 61:
        world.work.once(1.0)
    world.work.once()
    assert world.queues.owed(PLACE) == {}


def test_a_receiver_that_is_away_is_not_asked_for_all_that_is_due_and_it_stands_there_why(world: World) -> None:
    world.declared[PLACE] = Queue(handler="c", webhook="https://example.com/hook")
    asked = list[str]()

    def post(url: str, headers: Mapping[str, str], body: bytes) -> int:
        asked.append(url)
        raise Unavailable("example.com does not answer")

    world.receiver.post = post  # type: ignore[method-assign]
    for _ in range(20):
        world.end("webhook")
    assert world.work.once() == 0 and len(asked) == 2
    assert world.work.once() == 0 and len(asked) == 2, "all of them wait"
    assert world.queues.mark(refusal_mark(PLACE, "webhook")).endswith("Z example.com does not answer")
    del world.receiver.post  # type: ignore[method-assign]
    world.clock.advance(2.0)
    assert world.work.once() == 20
    assert world.queues.mark(refusal_mark(PLACE, "webhook")) == ""


def test_a_result_that_a_database_driver_cannot_take_holds_up_no_other(world: World, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "out.db") as db:
        db.execute("CREATE TABLE letter (number)")
    sink = SqlSink(url=f"sqlite:///{tmp_path / 'out.db'}", statement="INSERT INTO letter VALUES (:number)")
    world.declared[PLACE] = Queue(handler="c", sink=sink)
    world.end("sql", result=json.dumps({"number": 2**70}).encode())  # OverflowError, of no class that SQLAlchemy knows
    world.end("sql", result=b'{"number": 7}')
    assert world.work.once() == 1
    with sqlite3.connect(tmp_path / "out.db") as db:
        assert db.execute("SELECT number FROM letter").fetchall() == [(7,)]


def test_results_become_rows_of_a_database(world: World, tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE letter (id PRIMARY KEY, label, whole)")
    statement = "INSERT INTO letter VALUES (:id, :label, :result) ON CONFLICT DO NOTHING"
    world.declared[PLACE] = Queue(handler="c", sink=SqlSink(url=f"sqlite:///{path}", statement=statement))
    id = world.end("sql")
    world.end("sql", result=b"7")
    assert world.work.once() == 2
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT * FROM letter ORDER BY label").fetchall()
    assert rows[1] == (id, "letter", '{"label": "letter"}')
    assert rows[0][1:] == (None, "7")


def test_whoever_else_is_told_of_a_result_gets_it_beside_the_database(world: World, tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE letter (id)")
    sink = SqlSink(url=f"sqlite:///{path}", statement="INSERT INTO letter VALUES (:id)")
    world.declared[PLACE] = Queue(handler="c", sink=sink, forward=Forward(queue="cleaned"))
    id = world.end(*world.declared[PLACE].tells)
    assert world.work.once() == 2
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT id FROM letter").fetchall() == [(id,)]
    assert world.queues.tally()["shop", "main", "cleaned"].waiting == 1


def test_rows_of_a_database_become_items_once(world: World, tmp_path: Path) -> None:
    path = tmp_path / "in.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE letter (id INTEGER PRIMARY KEY, text)")
        db.executemany("INSERT INTO letter VALUES (?, ?)", [(number, f"t{number}") for number in range(1, 121)])
    query = "SELECT id, text FROM letter WHERE id > :after ORDER BY id"
    world.declared[PLACE] = Queue(handler="c", source=SqlSource(url=f"sqlite:///{path}", query=query))
    assert [world.work.once() for _ in range(4)] == [50, 50, 20, 0]
    assert world.waiting()[0] == {"id": 1, "text": "t1"}
    world.queues.note("source/shop/main/documents", "100")  # killed before it noted how far it was
    world.clock.advance(5.0)
    world.work.once()
    assert world.queues.tally()[PLACE].waiting == 120


def test_entries_of_a_list_that_an_address_gives_become_items_once(world: World) -> None:
    url, sign = "https://desk.example.com/${secrets.path}?after={after}", "Bearer ${secrets.hook}"
    world.declared[PLACE] = Queue(handler="c", poll=HttpSource(url=url, authorization=sign, list="tickets"))
    world.receiver.tickets = 70
    assert [world.work.once() for _ in range(3)] == [50, 20, 0]
    assert world.waiting()[69] == {"id": 70, "text": "t70"}
    asked, headers = world.receiver.asked[1]
    assert (asked, headers["Authorization"]) == ("https://desk.example.com/inside?after=50", "Bearer s3cret")
    world.receiver.away = True
    world.clock.advance(5.0)
    assert world.work.once() == 0, "the other queues go on"
    world.receiver.away, world.receiver.tickets = False, 71
    world.queues.note("poll/shop/main/documents", "60")  # killed before it noted how far it was
    world.work.once()
    assert world.queues.tally()[PLACE].waiting == 71


@pytest.mark.parametrize("body", [b"no", b"[]", b'{"tickets": 1}', b'{"tickets": [{"number": 1}]}'])
def test_an_answer_that_is_no_such_list_makes_nothing(world: World, body: bytes, caplog: Any) -> None:
    world.declared[PLACE] = Queue(handler="c", poll=HttpSource(url="https://example.com/{after}", list="tickets"))
    world.receiver.get = lambda url, headers, most: (200, body)  # type: ignore[method-assign]
    assert world.work.once() == 0 and PLACE not in world.queues.tally()
    assert "is not fed" in caplog.text


def test_a_schedule_makes_an_item_for_its_last_slot(world: World) -> None:
    world.declared[PLACE] = Queue(handler="c", schedule="0 * * * *", payload='{"what": "hourly"}')
    assert world.work.once() == 0
    world.clock.advance(HOUR_S)
    assert (world.work.once(), world.work.once()) == (1, 0)
    world.clock.advance(5 * HOUR_S)
    assert (world.work.once(), world.work.once()) == (1, 0)
    assert world.waiting() == [{"what": "hourly"}] * 2


def test_a_clock_that_was_ahead_for_a_year_stops_neither_schedules_nor_sources(world: World) -> None:
    world.declared[PLACE] = Queue(
        handler="c", schedule="0 * * * *", poll=HttpSource(url="https://example.com?after={after}", list="tickets")
    )
    world.work.once()
    world.clock.advance(365 * 24 * HOUR_S)
    assert world.work.once() == 1
    world.clock.advance(-365 * 24 * HOUR_S)
    world.receiver.tickets = 1
    assert world.work.once() == 1, "the ticket"
    world.clock.advance(HOUR_S)
    assert world.work.once() == 1, "the next slot"
    world.clock.advance(-HOUR_S)
    world.work.once()
    world.clock.advance(HOUR_S)
    assert world.work.once() == 1 and world.queues.tally()[PLACE].waiting == 3, "the same slot, which is no new item"


def test_changes_of_tables_and_data_become_items(world: World) -> None:
    world.declared[PLACE] = Queue(handler="c", on=["table:orders", "data:*"])
    world.work.once()
    with world.database.write() as tx:
        world.events.emit(tx, "table.changed", "shop/main/orders", rows=3)
        world.events.emit(tx, "table.changed", "shop/main/others")
        world.events.emit(tx, "table.changed", "shop/feature/orders")
        world.events.emit(tx, "files.changed", "shop/main", dataset="letters", change=8)
    assert world.work.once() == 2
    assert [each["change"] for each in world.waiting()] == ["table:orders", "data:letters"]
    assert world.waiting()[0]["rows"] == 3
    assert world.waiting()[1]["number"] == 8, "of the change to the dataset, which its event calls so"
    assert world.work.once() == 0


def test_a_missed_slot_of_a_job_becomes_an_item_for_whoever_is_to_be_told(world: World) -> None:
    world.declared[PLACE] = Queue(handler="c", on=["missed:nightly"])
    world.work.once()
    with world.database.write() as tx:
        for job in ("nightly", "hourly"):
            world.events.emit(tx, "job.slot_missed", f"shop/main/{job}", job=job, slot=7.0, said="it began late")
        world.events.emit(tx, "job.slot_skipped", "shop/main/nightly", slot=8.0)
    assert world.work.once() == 1
    (item,) = world.waiting()
    assert (item["change"], item["slot"], item["said"]) == ("missed:nightly", 7.0, "it began late")


def test_a_real_server_is_asked_and_an_answer_is_bounded() -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.encode() * 10)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/a?after=1"
        assert Outside().get(url, {}, 1000) == (200, b"/a?after=1" * 10)
        with pytest.raises(TooLarge):
            Outside().get(url, {}, 99)
        server.shutdown()
    with pytest.raises(Unavailable):
        Outside().get(url, {}, 99)


@pytest.mark.parametrize(
    ("url", "code"), [("nonsense", "DATABASE_URL"), ("sqlite:////nowhere/at/all/x.db", "DATABASE_AWAY")]
)
def test_what_a_database_refuses_is_said_without_its_address(url: str, code: str) -> None:
    with pytest.raises((Invalid, Unavailable)) as refused:
        Outside().rows(url, "SELECT 1", {}, 10)
    assert refused.value.own_code == code
    assert url not in refused.value.message


def test_where_there_are_no_queues_nobody_looks_until_something_is_written(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert not world.work.is_idle, "nobody knows before the first look"
    world.work.once()
    assert world.work.is_idle
    world.declared = {PLACE: Queue(handler="work")}
    world.work.once()
    assert not world.work.is_idle
