"""The client over HTTP: what it sends, and what it does when the server goes away."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from bough.client import Client, Record
from bough.client.http import RESUMED_BYTES, Http
from bough.kernel.errors import Busy, Forbidden, Invalid, NotFound, Problem, Unavailable
from tests.client.scripted import Scripted, answer, hang_up, stream
from tests.entrypoints.http.toys import Served, Toy

WHO = '{"id": "p", "name": "ada", "role": "admin", "created_at": 0}'


class Bench:
    def __init__(self) -> None:
        self.servers: list[Scripted] = []
        self.clients: list[Client] = []
        self.pauses: list[float] = []

    def client(self, *script: Any, patience_s: float = 10.0) -> Client:
        self.servers.append(Scripted(*script))
        url = self.servers[-1].url
        self.clients.append(Client(url, transport=Http(url, "secret", patience_s=patience_s, sleep=self.pauses.append)))
        return self.clients[-1]

    @property
    def requests(self) -> list[bytes]:
        return self.servers[-1].requests


@pytest.fixture
def bench() -> Any:
    made = Bench()
    yield made
    for each in (*made.clients, *made.servers):
        each.close()


def key_of(request: bytes) -> str:
    found = re.search(rb"(?i)^idempotency-key: (.*?)\r$", request, re.M)
    return found[1].decode() if found else ""


def test_a_read_is_a_get_with_the_token_and_an_answer_a_record(bench: Bench) -> None:
    client = bench.client(answer(WHO))
    who = client.whoami()
    assert isinstance(who, Record)
    assert (who.name, who["role"]) == ("ada", "admin")
    assert bench.requests[0].startswith(b"GET /api/v1/whoami HTTP/1.1\r\n")
    assert b"Authorization: Bearer secret\r\n" in bench.requests[0]
    with pytest.raises(AttributeError, match="there is no field 'nose'"):
        _ = who.nose


def test_fields_travel_in_the_query_or_in_the_body(bench: Bench) -> None:
    client = bench.client(answer("[]"), answer("{}"))
    client.releases.list(project="a b", limit=3)
    client.keys.create(project="shop", services=["x"])
    assert bench.requests[0].startswith(b"GET /api/v1/releases/list?project=a+b&limit=3 ")
    assert json.loads(bench.requests[1].partition(b"\r\n\r\n")[2]) == {"project": "shop", "services": ["x"]}


def test_a_name_or_a_field_that_does_not_exist_is_said_at_once(bench: Bench) -> None:
    client: Any = bench.client()
    with pytest.raises(AttributeError, match=r"there is no operation 'releases\.lst'"):
        client.releases.lst()
    with pytest.raises(Invalid, match="no field 'projekt'"):
        client.releases.list(projekt="x")
    with pytest.raises(NotFound):
        client.call("no.such")
    assert bench.requests == []


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [(404, NotFound, "X"), (403, Forbidden, "Y"), (429, Busy, "BUSY"), (500, Problem, "INTERNAL")],
)
def test_errors_come_back_as_what_the_server_raised(bench: Bench, status: int, kind: type, code: str) -> None:
    fields = {"retry_after_s": 3} if kind is Busy else {"a": 1}
    sent = json.dumps({"error": {"code": code, "message": "m", "hint": "h", "fields": fields}})
    client = bench.client(answer(sent, status))
    with pytest.raises(kind) as caught:
        client.whoami()
    assert (caught.value.own_code, caught.value.message, caught.value.hint) == (code, "m", "h")
    assert caught.value.fields == fields


def test_something_else_at_that_port_is_called_so(bench: Bench) -> None:
    for script in (answer("<html>", 200), answer("<html>", 502), answer("{}", 500)):
        with pytest.raises(Problem) as caught:
            bench.client(script).whoami()
        assert caught.value.own_code == "SERVER_FOREIGN"


def test_a_kept_connection_that_has_gone_costs_no_error_and_no_pause(bench: Bench) -> None:
    client = bench.client(answer(WHO), hang_up, answer(WHO))
    client.whoami()
    assert client.whoami().name == "ada"
    assert (len(bench.requests), bench.pauses) == (3, [])


def test_a_write_that_got_no_answer_is_sent_again_under_the_same_key(bench: Bench) -> None:
    client = bench.client(hang_up, hang_up, answer("{}"))
    client.keys.create(project="shop")
    keys = {key_of(request) for request in bench.requests}
    assert len(bench.requests) == 3
    assert len(keys) == 1
    assert keys.pop().startswith("key_")
    assert bench.pauses == [0.05, 0.1]


def test_two_writes_have_two_keys_and_a_callers_own_is_used(bench: Bench) -> None:
    client = bench.client(*[answer("{}")] * 3)
    for _ in range(2):
        client.keys.create(project="shop")
    client.keys.create(project="shop", idempotency_key="mine")
    first, second, third = (key_of(request) for request in bench.requests)
    assert first != second
    assert third == "mine"


def test_a_server_that_stays_away_is_given_up(bench: Bench) -> None:
    client = bench.client(patience_s=0.0)
    bench.servers[-1].close()
    with pytest.raises(Unavailable) as caught:
        client.whoami()
    assert (caught.value.own_code, caught.value.hint) == ("SERVER_UNREACHABLE", "bough up")


def test_a_stream_gives_items_as_they_come_and_skips_signs_of_life(bench: Bench) -> None:
    client = bench.client(stream('{"a": 1}', "", '{"a": 2}'))
    assert [item.a for item in client.releases.follow(id="r")] == [1, 2]


def test_a_stream_that_is_cut_is_never_taken_for_a_whole_one(bench: Bench) -> None:
    client = bench.client(stream('{"a": 1}', complete=False))
    items = client.releases.follow(id="r")
    assert next(items).a == 1
    with pytest.raises(Unavailable) as caught:
        next(items)
    assert caught.value.own_code == "STREAM_BROKEN"


def test_a_stream_ends_with_the_error_of_its_last_line(bench: Bench) -> None:
    stopping = '{"error": {"code": "SERVER_STOPPING", "message": "m"}, "status": 503}'
    with pytest.raises(Unavailable):
        list(bench.client(stream('{"a": 1}', stopping)).releases.follow(id="r"))
    with pytest.raises(Problem, match="broke"):
        list(
            bench.client(stream('{"error": {"code": "X", "message": "broke"}, "status": 500}')).releases.follow(id="r")
        )


def test_an_upload_is_sent_again_from_its_beginning(bench: Bench) -> None:
    content = b"abc" * 1000
    digest = hashlib.sha256(content).hexdigest()
    client = bench.client(hang_up, answer("{}"))
    client.upload(digest, io.BytesIO(content), len(content))
    assert [request.partition(b"\r\n\r\n")[2] for request in bench.requests] == [content, content]
    assert bench.requests[0].startswith(f"PUT /api/v1/blobs/{digest} ".encode())


@pytest.mark.parametrize("url", ["", "localhost:7401", "ftp://x", "http://"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Invalid) as caught:
        Client(url, "t")
    assert caught.value.own_code == "URL_INVALID"


def test_what_was_sent_and_fetched_over_a_real_server_is_the_same_and_goes_on_in_the_middle(tmp_path: Path) -> None:
    served = Served(Toy(tmp_path))
    try:
        client = Client(served.url, "admin-token")
        content = os.urandom(RESUMED_BYTES + 1000)
        digest = hashlib.sha256(content).hexdigest()
        served.toy.blobs._partial[digest] = content[:5_000_000]  # of an upload that was cut
        client.upload(digest, io.BytesIO(content), len(content))
        assert served.toy.blobs.read(digest) == content
        client.upload_many([(hashlib.sha256(text).hexdigest(), text) for text in (b"one", b"two")])
        assert served.toy.blobs.read(hashlib.sha256(b"two").hexdigest()) == b"two"
        assert b"".join(client.download(digest)) == content
        assert b"".join(client.download(digest, 6_000_000)) == content[6_000_000:]
        with pytest.raises(NotFound):
            list(client.download("0" * 64))
        client.close()
    finally:
        served.stop()
