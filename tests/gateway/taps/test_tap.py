"""Requests that are copied to another environment, and requests that are kept: nobody who calls notices."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bough.gateway.models import Mirrored, Route
from bough.gateway.taps import kept, pairs
from bough.gateway.taps.kept import Keep
from bough.gateway.taps.pairs import Pair, Passed
from bough.runtime.frames import CHUNK, END, Reply, Request

from ..conftest import Replica, Running, route

Make = Callable[..., Replica]


def adds(number: int) -> Callable[[Request], list[Reply]]:
    return lambda request: [Reply(request.id, 200, json.dumps({"n": json.loads(request.body) + number}).encode())]


def fails(request: Request) -> list[Reply]:
    return [Reply(request.id, 500, b'{"error": "broken"}')]


def mirrored(main: Replica, percent: float = 100.0, **fields: Any) -> Route:
    wanted = Mirrored(id="mir_1", environment="feature", percent=percent, tolerance=1e-6)
    return route("churn", main, mirrors=[wanted], **fields)


def branch(*replicas: Replica, **fields: Any) -> Route:
    return route("churn", *replicas, environment="feature", deployment="dep-branch", **fields)


def found(gateway: Running, count: int = 1, id: str = "mir_1") -> list[Pair]:
    path = gateway.home / "traffic" / "mirrors" / f"{id}.jsonl"
    gateway.wait(lambda: sum(isinstance(each, Pair) for each in pairs.read(path)) >= count)
    return [each for each in pairs.read(path) if isinstance(each, Pair)]


def passed(gateway: Running) -> Passed:
    path = gateway.home / "traffic" / "mirrors" / "mir_1.jsonl"
    gateway.wait(lambda: any(isinstance(each, Passed) for each in pairs.read(path)))
    return [each for each in pairs.read(path) if isinstance(each, Passed)][-1]


def kept_lines(gateway: Running, count: int) -> list[kept.Kept]:
    path = kept.file_of(gateway.home / "traffic" / "kept", "shop", "main", "churn")
    gateway.wait(lambda: len(kept.read(path, 10_000, time.time(), 1)) >= count)
    return kept.read(path, 10_000, time.time(), 1)


def test_both_answers_to_a_request_are_compared_and_the_caller_gets_the_first(gateway: Running, replicas: Make) -> None:
    main, other = (
        replicas("u1", adds(0)),
        replicas("u2", lambda request: adds(1 if request.body == b"3" else 0)(request)),
    )
    gateway.start(routes=[mirrored(main), branch(other)])
    gateway.until_up("dep-churn")
    gateway.until_up("dep-branch")
    assert [json.loads(gateway.post("churn", n)[2])["n"] for n in range(5)] == list(range(5))
    lines = found(gateway, 5)
    assert [each.same for each in sorted(lines, key=lambda each: each.at)].count(False) == 1
    (different,) = [each for each in lines if not each.same]
    assert [(each.path, each.source, each.target) for each in different.differences] == [(".n", 3, 4)]
    assert all(each.source.status == each.target.status == 200 for each in lines)


@pytest.mark.parametrize("percent", [5.0, 50.0])
def test_a_share_is_exact(gateway: Running, replicas: Make, percent: float) -> None:
    main, other = replicas("u1", adds(0)), replicas("u2", adds(0))
    gateway.start(routes=[mirrored(main, percent), branch(other)])
    gateway.until_up("dep-churn")
    gateway.until_up("dep-branch")
    for n in range(100):
        gateway.post("churn", n)
    assert len(found(gateway, int(percent))) == percent
    gateway.wait(lambda: passed(gateway).seen == 100)
    assert passed(gateway).copied == percent


def test_a_target_that_fails_is_slow_dead_or_absent_is_never_noticed(gateway: Running, replicas: Make) -> None:
    main, broken = replicas("u1", adds(0)), replicas("u2", fails)
    slow = replicas("u3", adds(0))
    slow.gate.clear()
    gateway.start(routes=[mirrored(main), branch(broken)])
    gateway.until_up("dep-churn")
    gateway.until_up("dep-branch")
    assert [gateway.post("churn", n)[0] for n in range(3)] == [200] * 3
    assert {each.target.status for each in found(gateway, 3)} == {500}

    gateway.apply([mirrored(main), branch(slow)])
    gateway.until_up("dep-branch")
    assert [gateway.post("churn", n)[0] for n in range(200)] == [200] * 200  # while the copies are held
    gateway.wait(lambda: passed(gateway).left_out >= 100)
    slow.gate.set()

    broken.kill()
    slow.kill()
    assert [gateway.post("churn", n)[0] for n in range(20)] == [200] * 20
    gateway.apply([mirrored(main)])
    assert [gateway.post("churn", n)[0] for n in range(20)] == [200] * 20
    assert len([frame for frame in main.frames]) >= 243


def test_answers_stay_with_their_requests_under_load(gateway: Running, replicas: Make) -> None:
    main, other = replicas("u1", adds(0)), replicas("u2", adds(0))
    gateway.start(routes=[mirrored(main), branch(other)])
    gateway.until_up("dep-churn")
    gateway.until_up("dep-branch")
    wrong: list[int] = []

    def ask(first: int) -> None:
        for n in range(first, first + 40):
            if json.loads(gateway.post("churn", n)[2])["n"] != n:
                wrong.append(n)

    threads = [threading.Thread(target=ask, args=(1000 * at,)) for at in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong
    counted = passed(gateway)
    gateway.wait(lambda: passed(gateway).seen == 320)
    counted = passed(gateway)
    assert counted.copied + counted.left_out == 320
    assert all(each.same for each in found(gateway, counted.copied))


def test_streams_are_compared_whole(gateway: Running, replicas: Make) -> None:
    def stream(last: bytes) -> Callable[[Request], list[Reply]]:
        return lambda request: [Reply(request.id, 200, b'["a",', CHUNK), Reply(request.id, 200, last, END)]

    main, other = replicas("u1", stream(b'"b"]')), replicas("u2", stream(b'"c"]'))
    gateway.start(routes=[mirrored(main), branch(other)])
    gateway.until_up("dep-churn")
    gateway.until_up("dep-branch")
    assert gateway.post("churn", 1)[2] == b'["a","b"]'
    (line,) = found(gateway)
    assert [(each.path, each.source, each.target) for each in line.differences] == [("[1]", "b", "c")]


def test_requests_are_kept_without_what_their_service_names(gateway: Running, replicas: Make) -> None:
    main = replicas("u1", lambda request: [Reply(request.id, 200, b'{"ok": true, "email": "x@y"}')])
    keep = Keep(requests=100, days=1, drop=["email"], hash=["name"])
    gateway.start(routes=[route("churn", main, keep=keep)])
    gateway.until_up("dep-churn")
    for n in range(3):
        gateway.post("churn", {"n": n, "who": [{"name": "Ada", "email": "ada@example.org", "age": 36}]})
    lines = kept_lines(gateway, 3)
    asked = [json.loads(each.sent()) for each in lines]
    assert [each["n"] for each in asked] == [0, 1, 2]
    assert {tuple(each["who"][0]) for each in asked} == {("name", "age")}
    assert len({each["who"][0]["name"] for each in asked}) == 1, "equal texts stay equal"
    assert json.loads(lines[0].answered()) == {"ok": True} and lines[0].status == 200
    content = b"".join(each.read_bytes() for each in (gateway.home / "traffic").rglob("*.jsonl"))
    assert b"Ada" not in content and b"@" not in content
    assert all(each.stat().st_mode & 0o077 == 0 for each in (gateway.home / "traffic").rglob("*") if each.is_file())


def test_a_request_through_the_control_socket_needs_no_key(gateway: Running, replicas: Make) -> None:
    main = replicas("u1", adds(1))
    gateway.start(routes=[route("churn", main, access="key")])
    gateway.until_up("dep-churn")
    assert gateway.post("churn", 1)[0] == 401
    asked = {"project": "shop", "environment": "main", "service": "churn", "body": "NDE="}
    said = gateway.control("POST", "/ask", json.dumps(asked).encode())
    assert (said["status"], said["body"]) == (200, "eyJuIjogNDJ9")
    wrong = gateway.control("POST", "/ask", json.dumps(asked | {"service": "none"}).encode())
    assert wrong["error"]["code"] == "ROUTE_NOT_FOUND"
    assert gateway.control("POST", "/ask", b"[1]")["error"]["code"] == "QUESTION_INVALID"


@pytest.mark.parametrize(
    ("one", "other", "paths"),
    [
        ('{"a": 1}', '{"a": 1.0000000001}', []),
        ('{"a": 1, "b": [1, 2]}', '{"b": [1, 3], "a": 1}', [".b[1]"]),
        ('{"a": 1}', '{"b": 1}', [".a", ".b"]),
        ("[1, 2]", "[1]", [""]),
        ("true", "1", [""]),
        ("1", "true", [""]),
        ("null", "0", [""]),
        ("not json", "1", [""]),
        ('"x"', '"x"', []),
    ],
)
def test_answers_differ_where_a_reader_would_say_so(one: str, other: str, paths: list[str]) -> None:
    assert [each.path for each in pairs.compare(one.encode(), other.encode(), 1e-6)] == paths


def test_the_older_half_of_what_is_kept_goes_when_the_newer_is_full(tmp_path: Path) -> None:
    path, keep = kept.file_of(tmp_path, "shop", "main", "churn"), Keep(requests=10, days=1)
    file, now = kept.KeptFile(path), time.time()

    def line(n: int) -> bytes:
        return kept.made(
            keep, b"k", at=now, id=str(n), api="v1", meta="", release=1, status=200, seconds=0.1, body=b"%d" % n,
            answer=b"1",
        )  # fmt: skip

    for n in range(57):
        file.write([line(n)], keep, now)
    held = kept.read(path, 1000, now, 1)
    assert (
        10 <= len(held) <= 20
        and held[-1].id == "56"
        and [int(each.id) for each in held] == sorted(int(each.id) for each in held)
    )
    assert len(kept.read(path, 5, now, 1)) == 5 and kept.read(path, 5, now + 2 * 86_400, 1) == []
    kept.KeptFile(path).write([line(57)], keep, now)  # another process goes on
    assert kept.read(path, 1, now, 1)[0].id == "57"
    with path.open("ab") as torn:
        torn.write(b'{"at": 1')
    assert kept.read(path, 1, now, 1)[0].id == "57"
    assert kept.prune(tmp_path, {("shop", "main", "churn"): 1}, now) == []
    assert len(kept.prune(tmp_path, {}, now)) == 2 and kept.read(path, 1, now, 1) == []


def test_bodies_that_are_no_json_are_kept_whole_or_not_at_all() -> None:
    fields: dict[str, Any] = dict(at=1.0, id="1", api="v1", meta="image/png", release=1, status=200, seconds=0.1)
    line = kept.made(Keep(requests=1, days=1), b"k", body=b"\x89PNG", answer=b"{}", **fields)
    held = kept._decoder.decode(line)
    assert held.sent() == b"\x89PNG" and held.answered() == b"{}"
    assert kept.made(Keep(requests=1, days=1, drop=["name"]), b"k", body=b"\x89PNG", answer=b"{}", **fields) == b""
