"""The API over a real socket: routes, checks, errors, streams, uploads."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.entrypoints.http.toys import Served, Toy


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


@pytest.fixture(scope="module")
def one_for_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(Toy(tmp_path_factory.mktemp("toy")))
    yield made
    made.stop()


@pytest.fixture
def served(one_for_all: Served) -> Served:
    """Nothing has been written and no stream has ended."""
    one_for_all.toy.written.notes.clear()
    one_for_all.toy.written.streams_ended.clear()
    return one_for_all


def ask(
    served: Served, method: str, path: str, body: Any = None, *, token: str = "admin-token", **headers: str
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        sent["Authorization"] = f"Bearer {token}"
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    try:
        connection.request(method, path, data, sent)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def test_a_read_takes_its_fields_from_the_query(served: Served) -> None:
    answer = ask(served, "GET", "/api/v1/sums/add?left=3&right=4&loud=true")
    assert (answer.status, answer.json) == (200, {"total": 7, "text": "7!"})


def test_a_write_takes_them_from_the_body(served: Served) -> None:
    answer = ask(served, "POST", "/api/v1/notes/save", {"text": "a", "tags": ["x"], "labels": {"k": "v"}})
    assert answer.json == {"number": 1, "text": "a"}


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("GET", "/api/v1/sums/add", None, "left"),
        ("GET", "/api/v1/sums/add?left=x", None, "left"),
        ("GET", "/api/v1/sums/add?left=1001", None, "1000"),
        ("GET", "/api/v1/sums/add?left=1&left=2", None, "twice"),
        ("GET", "/api/v1/sums/add?left=1&wrong=2", None, "wrong"),
        ("POST", "/api/v1/notes/save", {"text": 1}, "text"),
        ("POST", "/api/v1/notes/save", {"text": "a", "wrong": 1}, "wrong"),
        ("POST", "/api/v1/notes/save", b"{not json", "malformed"),
        ("POST", "/api/v1/notes/save", b'{"text": "\xff"}', "utf-8"),
        ("POST", "/api/v1/notes/save", b'{"tags": ' + b"[" * 100_000, "array"),
        ("POST", "/api/v1/notes/save?text=a", {"text": "a"}, "query"),
        ("POST", "/api/v1/notes/save", None, "text"),
    ],
)
def test_what_does_not_fit_is_refused_and_named(served: Served, method: str, path: str, body: Any, said: str) -> None:
    answer = ask(served, method, path, body)
    assert answer.status == 422
    assert answer.error["code"] == "REQUEST_INVALID"
    assert said in answer.error["message"].lower()
    assert answer.error["hint"].endswith("--help")
    assert served.toy.written.notes == []


def test_without_a_token_that_is_known_nothing_is_done(served: Served) -> None:
    for sent in ("", "wrong"):
        answer = ask(served, "POST", "/api/v1/notes/save", {"text": "a"}, token=sent)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    other = ask(served, "GET", "/api/v1/sums/add?left=1", token="", Authorization="Basic YWRtaW4=")
    assert other.error["code"] == "TOKEN_MISSING"
    assert served.toy.written.notes == []


def test_health_and_the_document_need_no_token(served: Served) -> None:
    assert ask(served, "GET", "/healthz", token="").json == {"status": "ok"}
    document = ask(served, "GET", "/api/v1/openapi.json", token="").json
    assert "/api/v1/notes/save" in document["paths"]


def test_a_role_that_does_not_reach_is_refused(served: Served) -> None:
    answer = ask(served, "POST", "/api/v1/notes/save", {"text": "a"}, token="viewer-token")
    assert (answer.status, answer.error["code"]) == (403, "ROLE_MISSING")


def test_the_same_key_is_done_once(served: Served) -> None:
    first = ask(served, "POST", "/api/v1/notes/save", {"text": "a"}, Idempotency_Key="k1")
    again = ask(served, "POST", "/api/v1/notes/save", {"text": "a"}, Idempotency_Key="k1")
    assert first.json == again.json == {"number": 1, "text": "a"}
    other = ask(served, "POST", "/api/v1/notes/save", {"text": "b"}, Idempotency_Key="k1")
    assert (other.status, other.error["code"]) == (409, "KEY_REUSED")
    long = ask(served, "POST", "/api/v1/notes/save", {"text": "b"}, Idempotency_Key="k" * 201)
    assert (long.status, long.error["code"]) == (422, "IDEMPOTENCY_KEY_INVALID")
    assert served.toy.written.notes == ["a"]


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("not-found", 404, "NOT_FOUND"),
        ("failed", 424, "WORKLOAD_FAILED"),
        ("full", 507, "EXHAUSTED"),
        ("away", 503, "UNAVAILABLE"),
        ("busy", 429, "BUSY"),
    ],
)
def test_errors_keep_their_class_code_hint_and_fields(served: Served, kind: str, status: int, code: str) -> None:
    answer = ask(served, "POST", "/api/v1/failures/raise", {"kind": kind})
    assert (answer.status, answer.error["code"]) == (status, code)
    if kind == "busy":
        assert answer.headers["Retry-After"] == "7"
    else:
        assert (answer.error["hint"], answer.error["fields"]) == ("try less", {"place": "here"})


def test_a_fault_of_our_own_says_no_more_than_the_request_id(served: Served) -> None:
    answer = ask(served, "POST", "/api/v1/failures/raise", {}, X_Request_Id="abc-1")
    assert (answer.status, answer.error["code"]) == (500, "INTERNAL")
    assert "abc-1" in answer.error["message"]
    assert b"ZeroDivision" not in answer.body


def test_every_answer_carries_a_request_id(served: Served) -> None:
    assert ask(served, "GET", "/healthz", X_Request_Id="mine").headers["X-Request-Id"] == "mine"
    for sent in ("", "bad id", "x" * 65):
        assert ask(served, "GET", "/nowhere", X_Request_Id=sent).headers["X-Request-Id"].startswith("req_")


def test_what_http_refuses_has_the_same_shape(served: Served) -> None:
    missing = ask(served, "GET", "/api/v1/nothing/here")
    assert (missing.status, missing.error["code"]) == (404, "ROUTE_NOT_FOUND")
    wrong = ask(served, "DELETE", "/api/v1/sums/add")
    assert (wrong.status, wrong.error["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert "GET" in wrong.headers["Allow"]
    head = ask(served, "HEAD", "/api/v1/sums/add?left=1")
    assert (head.status, head.body) == (200, b"")
    assert ask(served, "HEAD", "/api/v1/sums/add?left=x").status == 422


def test_a_body_that_is_too_large_is_refused(served: Served) -> None:
    answer = ask(served, "POST", "/api/v1/notes/save", b"x" * (9 << 20))
    assert (answer.status, answer.error["code"]) == (413, "BODY_TOO_LARGE")


# Streams


def lines(served: Served, path: str) -> list[Any]:
    answer = ask(served, "GET", path)
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.body.splitlines() if line]


@pytest.mark.parametrize("many", [0, 1, 5000])
def test_a_stream_is_a_line_for_every_item(served: Served, many: int) -> None:
    assert lines(served, f"/api/v1/counts/up?to={many}") == list(range(many))


def test_a_stream_that_fails_before_its_first_item_has_the_errors_status(served: Served) -> None:
    answer = ask(served, "GET", "/api/v1/counts/up?to=0&then=fail")
    assert (answer.status, answer.error["code"]) == (404, "NUMBERS_OUT")


def test_a_stream_that_fails_later_says_so_in_its_last_line(served: Served) -> None:
    *items, last = lines(served, "/api/v1/counts/up?to=2000&then=fail")
    assert items == list(range(2000))
    assert (last["status"], last["error"]["code"]) == (404, "NUMBERS_OUT")


def test_items_leave_at_once_and_the_stream_ends_when_its_reader_goes(served: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    connection.request("GET", "/api/v1/counts/up?to=3&then=wait", headers={"Authorization": "Bearer admin-token"})
    response = connection.getresponse()
    read = b""
    while read.count(b"\n") < 3:
        read += response.read1(100)
    assert not served.toy.written.streams_ended.is_set()
    response.close()
    connection.close()
    assert served.toy.written.streams_ended.wait(60)


def test_a_server_that_stops_ends_streams_and_tells_their_readers(served: Served) -> None:
    answers: list[Answer] = []
    reader = threading.Thread(target=lambda: answers.append(ask(served, "GET", "/api/v1/counts/up?to=1&then=wait")))
    reader.start()
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    connection.request("GET", "/api/v1/counts/up?to=1&then=wait", headers={"Authorization": "Bearer admin-token"})
    connection.getresponse().read1(10)
    served.stop()
    reader.join(60)
    connection.close()
    assert json.loads(answers[0].body.splitlines()[-1])["error"]["code"] == "SERVER_STOPPING"
    served.start()


# Uploads


def put(served: Served, content: bytes, digest: str = "", token: str = "developer-token") -> Answer:
    return ask(served, "PUT", f"/api/v1/blobs/{digest or hashlib.sha256(content).hexdigest()}", content, token=token)


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_an_upload_arrives_whole(served: Served, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    answer = put(served, content)
    assert (answer.status, answer.json["size"]) == (200, size)
    assert served.toy.blobs.read(answer.json["digest"]) == content


def test_an_upload_of_other_bytes_or_to_no_digest_is_refused(served: Served) -> None:
    wrong = put(served, b"these", hashlib.sha256(b"those").hexdigest())
    assert (wrong.status, wrong.error["code"]) == (422, "DIGEST_MISMATCH")
    assert put(served, b"x", "not-a-digest").error["code"] == "DIGEST_INVALID"
    assert put(served, b"x", "..%2f..%2fetc").status in (404, 422)


def test_an_upload_needs_a_developer(served: Served) -> None:
    assert put(served, b"x", token="viewer-token").error["code"] == "ROLE_MISSING"
    assert put(served, b"x", token="wrong").status == 401


def test_an_upload_that_is_cut_leaves_nothing(served: Served) -> None:
    digest = hashlib.sha256(b"x" * 1000).hexdigest()
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    connection.putrequest("PUT", f"/api/v1/blobs/{digest}")
    connection.putheader("Authorization", "Bearer admin-token")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"x" * 999)
    connection.close()
    assert ask(served, "GET", "/healthz").status == 200
    assert not served.toy.blobs.has(digest)


def test_a_blob_comes_back_whole_or_from_a_byte_on(served: Served) -> None:
    content = b"0123456789" * 200_000
    digest = served.toy.blobs.put(content)
    whole = ask(served, "GET", f"/api/v1/blobs/{digest}", token="viewer-token")
    assert (whole.status, whole.body, whole.headers["Content-Length"]) == (200, content, str(len(content)))
    part = ask(served, "GET", f"/api/v1/blobs/{digest}", Range="bytes=1500007-")
    assert (part.status, part.body) == (206, content[1_500_007:])
    assert part.headers["Content-Range"] == f"bytes 1500007-{len(content) - 1}/{len(content)}"
    for wrong in ("bytes=5-9", "bytes=-5", "lines=1-", f"bytes={len(content)}-"):
        assert ask(served, "GET", f"/api/v1/blobs/{digest}", Range=wrong).error["code"] == "RANGE_INVALID"
    assert ask(served, "GET", f"/api/v1/blobs/{'0' * 64}").error["code"] == "BLOB_NOT_FOUND"
    assert ask(served, "GET", f"/api/v1/blobs/{digest}", token="wrong").status == 401


def test_a_damaged_blob_never_arrives_looking_well(served: Served) -> None:
    digest = served.toy.blobs.put(b"a" * 3_000_000)
    served.toy.blobs.damage(digest)
    with pytest.raises(http.client.IncompleteRead):
        ask(served, "GET", f"/api/v1/blobs/{digest}")


def test_an_upload_that_was_cut_goes_on_where_it_stopped(served: Served) -> None:
    content = b"x" * 5_000_000
    digest = hashlib.sha256(content).hexdigest()
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    connection.putrequest("PUT", f"/api/v1/blobs/{digest}")
    for name, value in (("Authorization", "Bearer admin-token"), ("Upload-Offset", "0"), ("Content-Length", "5000000")):
        connection.putheader(name, value)
    connection.endheaders(content[:3_500_000])
    connection.close()
    there = 0
    for _ in range(500):
        there = ask(served, "GET", f"/api/v1/blobs/{digest}/partial").json["size"]
        if there:
            break
        threading.Event().wait(0.01)
    assert 0 < there <= 3_500_000  # in whole pieces
    wrong = ask(served, "PUT", f"/api/v1/blobs/{digest}", content, Upload_Offset="0")
    assert (wrong.status, wrong.error["fields"]["offset"]) == (409, there)
    rest = ask(served, "PUT", f"/api/v1/blobs/{digest}", content[there:], Upload_Offset=str(there))
    assert rest.json == {"digest": digest, "size": len(content)}
    assert served.toy.blobs.read(digest) == content


def test_a_pack_of_blobs_is_stored_as_a_whole_or_not_at_all(served: Served) -> None:
    def packed(content: bytes, of: bytes) -> bytes:
        return hashlib.sha256(of).digest() + len(content).to_bytes(8, "big") + content

    good = packed(b"pack one", b"pack one") + packed(b"", b"")
    assert ask(served, "PUT", "/api/v1/blobs", good).json == {"files": 2, "bytes": 8}
    assert served.toy.blobs.read(hashlib.sha256(b"pack one").hexdigest()) == b"pack one"
    new = hashlib.sha256(b"pack two").hexdigest()
    for bad, code in ((packed(b"x", b"y"), "DIGEST_MISMATCH"), (b"short", "PACK_INVALID"), (good[:60], "PACK_INVALID")):
        answer = ask(served, "PUT", "/api/v1/blobs", packed(b"pack two", b"pack two") + bad)
        assert (answer.status, answer.error["code"]) == (422, code)
        assert not served.toy.blobs.has(new)
    assert ask(served, "PUT", "/api/v1/blobs", good, token="viewer-token").status == 403
