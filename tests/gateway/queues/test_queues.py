"""Queues through the gateway: over HTTP in, through a service's lane to its replicas, and what came of it."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bough.adapters.connectors.outside import Outside
from bough.adapters.queue.sqlite import SqliteQueues
from bough.gateway.models import Key
from bough.gateway.queues import intake
from bough.kernel.errors import Unavailable
from bough.kernel.queue import Forward, Queue, QueueBatch
from bough.kernel.traffic import Quota
from bough.queues.models import QueueRoute
from bough.runtime.frames import Reply, Request
from tests.queues.test_outside import PLACE, World

from ..conftest import Replica, Running, read_all, route

Make = Callable[..., Replica]


def queue(name: str = "documents", service: str = "churn", access: str = "public", **settings: Any) -> QueueRoute:
    made = Queue(**({"handler": service} | settings))
    return QueueRoute(project="shop", environment="main", queue=name, service=service, settings=made, access=access)


def begin(gateway: Running, *replicas: Replica, queues: list[QueueRoute] | None = None, **fields: Any) -> Running:
    gateway.queues = [queue()] if queues is None else queues
    gateway.start(routes=[route("churn", *replicas, **fields)])
    return gateway


def put(gateway: Running, body: Any, name: str = "documents", **headers: str) -> str:
    status, _, answer = gateway.request("POST", f"/queues/{name}", json.dumps(body).encode(), **headers)
    assert status == 202, answer
    return str(json.loads(answer)["id"])


def item(gateway: Running, id: str, name: str = "documents", wait: float = 10.0) -> dict[str, Any]:
    status, _, answer = gateway.request("GET", f"/queues/{name}/{id}?wait={wait}")
    assert status == 200, answer
    return dict(json.loads(answer))


def test_an_item_is_accepted_handled_and_its_result_waits_to_be_fetched(gateway: Running, replicas: Make) -> None:
    begin(gateway, replicas())
    id = put(gateway, {"text": "hello"})
    found = item(gateway, id)
    assert (found["state"], found["result"], found["attempts"]) == ("done", {"text": "hello"}, 1)
    status, headers, body = gateway.request("GET", f"/queues/documents/{id}/result")
    assert (status, json.loads(body), headers["content-type"]) == (200, {"text": "hello"}, "application/json")
    counted = json.loads(gateway.request("GET", "/queues/documents")[2])
    assert (counted["accepted"], counted["done"], counted["service"]) == (1, 1, "churn")
    assert "deployment" not in counted, "a name that only Bough knows, and another one after a deploy"


def test_items_are_accepted_while_nobody_can_handle_them_and_handled_when_somebody_can(
    gateway: Running, replicas: Make
) -> None:
    replica = replicas()
    replica.kill()
    begin(gateway, replica, timeout_s=2.0)
    ids = [put(gateway, number) for number in range(20)]
    assert item(gateway, ids[0], wait=0)["state"] in ("waiting", "running", "delayed")
    replica.start()
    assert [item(gateway, id)["result"] for id in ids] == list(range(20))
    assert {item(gateway, id)["attempts"] for id in ids} == {1}, "waiting in vain for a replica is no attempt"


def test_a_name_alone_means_the_oldest_project_that_has_the_queue_and_the_whole_name_any(
    gateway: Running, replicas: Make
) -> None:
    """Else an address in use would be ambiguous from the moment when another project comes that has such a queue."""
    later = msgspec.structs.replace(queue(), project="press", bare=False)
    branch = msgspec.structs.replace(queue(), environment="try")
    begin(gateway, replicas("u1"), queues=[queue(), later, branch])
    for name, project, environment in (
        ("documents", "shop", "main"), ("documents.press", "press", "main"), ("documents--try.shop", "shop", "try"),
    ):  # fmt: skip
        put(gateway, 1, name=name)
        found = json.loads(gateway.request("GET", f"/queues/{name}")[2])
        assert (found["project"], found["environment"]) == (project, environment)
    both = [later, msgspec.structs.replace(later, project="print")]
    gateway.queues = both
    gateway.apply([])
    status, _, answer = gateway.request("GET", "/queues/documents")
    assert status == 409 and b"documents.press" in answer


def test_one_request_brings_many_items_and_they_share_calls(gateway: Running, replicas: Make) -> None:
    replica = replicas()
    begin(gateway, replica)
    lines = "\n".join(str(number) for number in range(500))
    status, _, answer = gateway.request(
        "POST", "/queues/documents", lines.encode(), Content_Type="application/x-ndjson"
    )
    said = json.loads(answer)
    assert (status, len(set(said["ids"])), said["new"]) == (202, 500, 500)
    assert [item(gateway, id)["result"] for id in said["ids"]] == list(range(500))
    assert len(replica.frames) < 60


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_keys_and_dedup_ids_are_what_their_sender_wrote(gateway: Running, replicas: Make, encoding: str) -> None:
    begin(gateway, replicas())
    heads = "POST /queues/documents HTTP/1.1\r\nHost: x\r\nX-Bough-Key: Größe\r\nIdempotency-Key: é\r\n"
    answer = gateway.exchange(heads.encode(encoding) + b"Content-Length: 1\r\nConnection: close\r\n\r\n1")
    found = item(gateway, json.loads(answer.rpartition(b"\r\n")[2])["id"])
    assert (found["key"], found["dedup"]) == ("Größe", "é")


def test_a_dedup_id_puts_once(gateway: Running, replicas: Make) -> None:
    replica = replicas()
    begin(gateway, replica)
    first = put(gateway, 1, Idempotency_Key="order-7")
    assert item(gateway, first)["state"] == "done"
    _, _, answer = gateway.request("POST", "/queues/documents", b"2", Webhook_Id="order-7")
    assert json.loads(answer) == {"id": first, "new": False}
    assert sum(len(frame) for frame in replica.frames) == 1


def test_what_kills_replicas_becomes_a_dead_letter_and_what_was_beside_it_is_handled(
    gateway: Running, replicas: Make
) -> None:
    held: list[Replica] = []

    def handle(request: Request) -> list[Reply]:
        if request.body == b'"poison"':
            threading.Thread(target=restart).start()
            raise OSError("killed")
        return [Reply(request.id, 200, request.body)]

    def restart() -> None:
        held[0].kill()
        held[0].start()

    held.append(replicas(handle=handle))
    held[0].gate.clear()
    begin(gateway, held[0], queues=[queue(retries=1, retry_s=0.01)])
    ids = [put(gateway, "poison" if number == 7 else number) for number in range(16)]
    gateway.wait(held[0].arrived.is_set)
    held[0].gate.set()
    ends = [item(gateway, id, wait=20) for id in ids]
    assert [each["state"] for each in ends] == ["dead" if number == 7 else "done" for number in range(16)]
    assert ends[7]["error"] == "the replica of churn died while it had the item"
    assert gateway.request("GET", f"/queues/documents/{ids[7]}/result")[0] == 410


def test_an_answer_says_what_becomes_of_an_item(gateway: Running, replicas: Make) -> None:
    """5xx: again, in the end a dead letter; 4xx: a dead letter at once; 503: again and not counted."""
    seen: dict[bytes, int] = {}

    def handle(request: Request) -> list[Reply]:
        seen[request.body] = seen.get(request.body, 0) + 1
        status = {b"1": 500, b"2": 422, b"3": 503 if seen[request.body] < 3 else 200, b"4": 200}[request.body]
        body = json.dumps({"error": {"code": "NO", "message": "why"}}).encode()
        return [Reply(request.id, status, b"7" if status == 200 else body)]

    begin(gateway, replicas(handle=handle), queues=[queue(retries=2, retry_s=0.01)])
    ends = [item(gateway, put(gateway, number), wait=20) for number in (1, 2, 3, 4)]
    assert [each["state"] for each in ends] == ["dead", "dead", "done", "done"]
    assert [each["attempts"] for each in ends] == [3, 1, 1, 1]
    assert ends[0]["error"] == "NO: why"
    assert seen == {b"1": 3, b"2": 1, b"3": 3, b"4": 1}


def test_a_handler_that_hangs_is_given_up_and_the_item_goes_to_another(gateway: Running, replicas: Make) -> None:
    first = [True]

    def handle(request: Request) -> list[Reply]:
        if first.pop() if first else False:
            return []  # says nothing, for ever
        return [Reply(request.id, 200, request.body)]

    begin(
        gateway,
        replicas("u1", handle=handle),
        replicas("u2", handle=handle),
        queues=[queue(retry_s=0.01)],
        timeout_s=2.0,
    )
    found = item(gateway, put(gateway, 5), wait=20)
    assert (found["state"], found["attempts"]) == ("done", 2)


def test_items_of_one_key_reach_the_handler_one_after_another(gateway: Running, replicas: Make) -> None:
    replica = replicas(mode="concurrent")
    begin(gateway, replica)
    ids = [put(gateway, number, X_Bough_Key="abc"[number % 3]) for number in range(12)]
    for id in ids:
        item(gateway, id)
    order = [json.loads(request.body) for frame in replica.frames for request in frame]
    assert [[n for n in order if n % 3 == rest] for rest in range(3)] == [list(range(rest, 12, 3)) for rest in range(3)]
    assert all(len({json.loads(request.body) % 3 for request in frame}) == len(frame) for frame in replica.frames)


def test_urgent_items_go_first_and_late_ones_wait(gateway: Running, replicas: Make) -> None:
    replica = replicas()
    replica.gate.clear()
    begin(gateway, replica, queues=[queue(concurrency=1)])
    put(gateway, "first")
    gateway.wait(replica.arrived.is_set)
    ids = [
        put(gateway, "plain"),
        put(gateway, "urgent", X_Bough_Priority="9"),
        put(gateway, "late", X_Bough_Delay="0.3"),
    ]
    replica.gate.set()
    for id in ids:
        assert item(gateway, id)["state"] == "done"
    order = [json.loads(request.body) for frame in replica.frames for request in frame]
    assert order == ["first", "urgent", "plain", "late"]


def test_a_batch_is_held_open_for_its_window(gateway: Running, replicas: Make) -> None:
    replica = replicas()
    begin(gateway, replica, queues=[queue(batch=QueueBatch(max_size=8, max_wait_ms=400.0))])
    gateway.until_up("dep-churn")
    ids = [put(gateway, number) for number in range(5)]
    for id in ids:
        item(gateway, id)
    assert [len(frame) for frame in replica.frames] == [5]


def test_a_full_queue_refuses_and_says_when_to_come_back(gateway: Running, replicas: Make) -> None:
    replica = replicas()
    replica.gate.clear()
    begin(gateway, replica, queues=[queue(max_waiting=3, concurrency=1)])
    statuses = [gateway.request("POST", "/queues/documents", b"1")[0] for _ in range(8)]
    assert statuses[:3] == [202] * 3 and statuses[-1] == 429
    _, headers, body = gateway.request("POST", "/queues/documents", b"1")
    assert json.loads(body)["error"]["code"] == "QUEUE_FULL" and int(headers["retry-after"]) >= 1


def test_no_more_wait_than_may_however_many_come_at_once(gateway: Running, replicas: Make) -> None:
    """Those that are on their way to the disk wait, too; and the items of one request are all taken or none."""
    replica = replicas()
    replica.gate.clear()
    begin(gateway, replica, queues=[queue(max_waiting=10)])
    later = {"X-Bough-Delay": "600"}
    lines = {"Content-Type": "application/x-ndjson", **later}
    status, _, body = gateway.request("POST", "/queues/documents", b"1\n" * 11, **lines)
    assert (status, json.loads(body)["error"]["code"]) == (422, "ITEM_INVALID"), "there will never be room for these"
    assert gateway.request("POST", "/queues/documents", b"1\n" * 5, **lines)[0] == 202
    assert gateway.request("POST", "/queues/documents", b"1\n" * 6, **lines)[0] == 429
    with ThreadPoolExecutor(32) as pool:
        asked = [pool.submit(gateway.request, "POST", "/queues/documents", b"1", **later) for _ in range(32)]
    assert sorted(each.result()[0] for each in asked) == [202] * 5 + [429] * 27


def test_what_a_full_queue_refuses_takes_nothing_from_its_callers_quota(gateway: Running, replicas: Make) -> None:
    replica = replicas()
    replica.gate.clear()
    key = Key(id="k", hash=hashlib.sha256(b"one").hexdigest(), project="shop", quota=Quota(6, 86_400, 6))
    gateway.queues = [queue(max_waiting=2, concurrency=1, access="key")]
    gateway.start(routes=[route("churn", replica)], keys=[key])

    def asked() -> tuple[int, str]:
        status, headers, _ = gateway.request("POST", "/queues/documents", b"1", Authorization="Bearer one")
        return status, headers["ratelimit"].partition("r=")[2].partition(";")[0]

    found = [asked() for _ in range(12)]
    accepted = [status for status, _ in found].count(202)
    assert 2 <= accepted <= 3 and {status for status, _ in found} == {202, 429}
    assert found[-1] == (429, str(6 - accepted)), "and what is left is said as it is"


def test_who_asks_for_a_queue_that_leaves_meanwhile_is_told_so(gateway: Running, replicas: Make) -> None:
    """Its request waits behind another one of its connection; it had waited for ever."""
    replica = replicas()
    begin(gateway, replica)
    id = put(gateway, 3, X_Bough_Delay="600")
    asked = f"GET /queues/documents/{id}?wait=1 HTTP/1.1\r\nHost: x\r\n\r\n"
    with gateway.raw(f"{asked}GET /queues/documents HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()) as two:
        gateway.queues = []
        gateway.apply([route("churn", replica)])
        answers = read_all(two)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"404"] and b"QUEUE_NOT_FOUND" in answers


def test_news_of_an_item_come_as_they_happen(gateway: Running, replicas: Make) -> None:
    replica = replicas()
    replica.gate.clear()
    begin(gateway, replica)
    id = put(gateway, 3)
    with gateway.raw(
        f"GET /queues/documents/{id} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode()
    ) as stream:
        first = stream.recv(65536)
        assert b"text/event-stream" in first
        replica.gate.set()
        data = first
        while b"0\r\n\r\n" not in data:
            data += stream.recv(65536)
    assert b'"state":"done"' in data and b'"result":3' in data


def test_a_stream_says_every_state_on_the_way(gateway: Running, replicas: Make) -> None:
    """Not the last one alone: whoever watches sees that an item is worked on, has failed, and is tried again."""
    tries = [500, 500, 200]

    def handle(request: Request) -> list[Reply]:
        return [Reply(request.id, tries.pop(0), b"3")]

    replica = replicas(handle=handle)
    replica.gate.clear()
    begin(gateway, replica, queues=[queue(retry_s=0.3)])
    id = put(gateway, 3)
    gateway.wait(replica.arrived.is_set)
    head = f"GET /queues/documents/{id} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
    with gateway.raw(head.encode()) as stream:
        data = stream.recv(65536)
        replica.gate.set()
        while b"0\r\n\r\n" not in data:
            data += stream.recv(65536)
    said = [json.loads(line[6:]) for line in data.splitlines() if line.startswith(b"data: ")]
    states = [(each["state"], each["attempts"]) for each in said if each["state"] != "waiting"]  # seen if time allows
    assert states == [("running", 1), ("delayed", 1), ("running", 2), ("delayed", 2), ("running", 3), ("done", 3)]


def test_who_waits_for_an_item_that_is_removed_hears_it_at_once(gateway: Running, replicas: Make) -> None:
    """Another process removes it: `bough queues purge`, or a branch that is discarded."""
    begin(gateway, replicas())
    ids = [put(gateway, 3, **{"X-Bough-Delay": "600"}) for _ in range(2)]
    path = f"/queues/documents/{ids[0]}"
    with (
        gateway.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode()) as stream,
        gateway.raw(f"GET {path}?wait=60 HTTP/1.1\r\nHost: x\r\n\r\n".encode()) as poll,
    ):
        assert b"delayed" in stream.recv(65536)
        stream.settimeout(5.0)  # less than the pause between two signs of life of a stream
        poll.settimeout(5.0)
        others = SqliteQueues(gateway.home / "queues.db")
        assert others.purge(queue().place, "delayed") == 2
        others.close()
        assert b"ITEM_NOT_FOUND" in poll.recv(65536)
        assert stream.recv(65536).endswith(b"0\r\n\r\n")


def test_a_burst_of_10000_items_drains_and_nothing_is_left_running(gateway: Running, replicas: Make) -> None:
    """Each is handled once, nobody holds anything any more, and who decides on replicas is told that nothing waits."""
    seen: list[bytes] = []

    def handle(request: Request) -> list[Reply]:
        seen.append(request.body)
        return [Reply(request.id, 200, request.body)]

    begin(gateway, replicas(handle=handle), queues=[queue(keep_s=60)])
    for part in range(10):
        lines = "\n".join(str(number) for number in range(part * 1000, part * 1000 + 1000))
        status, _, _ = gateway.request("POST", "/queues/documents", lines.encode(), Content_Type="application/x-ndjson")
        assert status == 202

    def counted() -> dict[str, Any]:
        return dict(json.loads(gateway.request("GET", "/queues/documents")[2]))

    gateway.wait(lambda: counted()["done"] == 10_000)
    left = counted()
    assert (left["accepted"], left["depth"], left["in_flight"], left["dead"], left["age_s"]) == (10_000, 0, 0, 0, 0.0)
    assert sorted(map(int, seen)) == list(range(10_000))
    gateway.stop()
    there = SqliteQueues(gateway.home / "queues.db")
    tally = there.tally()["shop", "main", "documents"]
    there.close()
    assert (tally.waiting, tally.behind, tally.delayed, tally.running, tally.dead) == (0, 0, 0, 0, 0)


def test_wrong_requests_say_what_is_wrong(gateway: Running, replicas: Make) -> None:
    begin(gateway, replicas())
    for path, headers, code, status in (
        ("/queues/nothing", {}, "QUEUE_NOT_FOUND", 404),
        ("/queues/documents", {"X_Bough_Priority": "12"}, "ITEM_INVALID", 422),
        ("/queues/documents", {"X_Bough_Delay": "soon"}, "ITEM_INVALID", 422),
        ("/queues/documents", {"Idempotency_Key": "x" * 300}, "ITEM_INVALID", 422),
    ):
        answered, _, body = gateway.request("POST", path, b"1", **headers)
        assert (answered, json.loads(body)["error"]["code"]) == (status, code)
    for path in ("/queues/documents/itm_0000000000000", "/queues/documents/nonsense"):
        assert json.loads(gateway.request("GET", path)[2])["error"]["code"] == "ITEM_NOT_FOUND"


def test_a_queue_asks_for_a_key_as_services_do(gateway: Running, replicas: Make) -> None:
    import hashlib

    key = Key(id="key_1", hash=hashlib.sha256(b"secret").hexdigest(), project="shop")
    gateway.queues = [queue(access="key")]
    gateway.start(routes=[route("churn", replicas())], keys=[key])
    assert gateway.request("POST", "/queues/documents", b"1")[0] == 401
    assert gateway.request("POST", "/queues/documents", b"1", Authorization="Bearer secret")[0] == 202
    assert gateway.request("GET", "/queues/documents")[0] == 401


def test_what_was_accepted_is_there_after_a_restart(gateway: Running, replicas: Make) -> None:
    replica = replicas()
    replica.gate.clear()
    begin(gateway, replica)
    ids = [put(gateway, number) for number in range(50)]
    gateway.wait(replica.arrived.is_set)
    replica.kill()
    gateway.stop()
    replica.start()
    gateway.port = 0
    gateway._started.clear()
    gateway.start()
    assert [item(gateway, id)["result"] for id in ids] == list(range(50))


def test_a_client_that_hangs_up_has_put_its_item_all_the_same(gateway: Running, replicas: Make) -> None:
    begin(gateway, replicas())
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(b"POST /queues/documents HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n7")
    gateway.wait(lambda: json.loads(gateway.request("GET", "/queues/documents")[2]).get("done") == 1)


def test_depth_and_age_are_told_to_who_decides_on_replicas(
    gateway: Running, replicas: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "RECOUNT_S", 0.1)
    replica = replicas()
    replica.gate.clear()
    begin(gateway, replica, queues=[queue(concurrency=1)])
    for number in range(5):
        put(gateway, number)

    def told() -> dict[str, Any]:
        [state] = gateway.control("GET", "/state")["queues"]
        return {"age_s": 0.0, "ready": 0} | state

    gateway.wait(lambda: told()["age_s"] > 0 and (told()["depth"], told()["in_flight"]) == (4, 1))
    state = told()
    assert (state["queue"], state["service"], state["depth"], state["in_flight"]) == ("documents", "churn", 4, 1)
    assert state["deployment"] == "dep-churn" and not state.get("ready"), "more replicas would be given no more"
    assert b"bough_queue_depth" in gateway.request("GET", "/metrics")[2]
    gateway.queues = [queue(batch=QueueBatch(max_size=2))]
    gateway.apply([route("churn", replica)])
    put(gateway, 5, X_Bough_Delay="600")
    for number in range(200):
        put(gateway, number)

    gateway.wait(lambda: told()["depth"] - told()["ready"] == 1, 20)
    assert told()["ready"] > 60, "what has to wait for its time, or is at the handler, needs no replica"


def test_what_another_bough_forwards_arrives_once_over_restarts_and_lost_answers(
    gateway: Running, tmp_path: Path
) -> None:
    """Of sixty results each becomes one item here, although this gateway ends twice and every third answer is lost."""

    class Loses(Outside):
        asked = 0

        def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
            status = super().post(url, headers, body)
            self.asked += 1
            if self.asked % 3 == 0:
                raise Unavailable("the answer was lost")
            return status

    begin(gateway)
    there, lossy = World(tmp_path), Loses()
    there.work._connectors = lossy
    there.declared[PLACE] = Queue(handler="c", forward=Forward(url=f"http://127.0.0.1:{gateway.port}/queues/documents"))
    for number in range(60):
        there.end("queue", result=str(number).encode())
    for turn in range(20):
        if turn in (2, 6):
            gateway.stop()
        there.work.once()
        there.clock.advance(60.0)
        if turn in (2, 6):
            gateway.start(routes=[route("churn")])
    there.database.close()
    assert lossy.asked > 80 and there.queues.deliveries(there.clock.now() + 9e9, 100) == []
    gateway.stop()
    here = SqliteQueues(gateway.home / "queues.db")
    items = [
        each
        for state in ("waiting", "running", "delayed")
        for each in here.peek(("shop", "main", "documents"), state, 99)
    ]
    here.close()
    assert sorted(int(each.body) for each in items) == list(range(60))
