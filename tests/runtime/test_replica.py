"""A replica process: frames, streams, cancellation and stopping, over its real socket."""

from __future__ import annotations

import platform
import random
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from bough.runtime.frames import CANCEL, CHAT, EMBED, INFER, PING, PONG, PREDICT, Request, Signature, pack
from bough.runtime.models import Model
from bough.runtime.rehearsal import Rehearsal
from bough.runtime.spec import REHEARSING_NAME, ModelSpec
from tests.runtime.wire import Connection, Replica, content

Start = Callable[..., tuple[Replica, Connection]]


def plain(number: int, body: object) -> Request:
    return Request(number, PREDICT, msgspec.json.encode(body))


def test_hello_and_ready_say_what_the_model_is(replica: Start) -> None:
    process, connection = replica("services:Churn", "--name", "churn")
    hello = connection.hello
    assert (hello.mode, hello.max_batch, hello.unit, hello.pid) == ("batch", 16, "churn", process.process.pid)
    signature = msgspec.json.decode((process.folder / "ready.json").read_bytes(), type=Signature)
    assert signature.mode == "batch"
    assert signature.input["$defs"]["Customer"]["required"] == ["age"]
    assert [(t.name, t.datatype) for t in signature.inputs] == [("age", "INT64"), ("name", "BYTES")]


@pytest.mark.parametrize("reference", ["services:Echo", "services:EchoBatch"])
def test_answers_are_never_swapped(replica: Start, reference: str) -> None:
    """Frames of random sizes, several under way, cut at random places on the wire."""
    _, connection = replica(reference)
    chosen = random.Random(7)
    number = 0
    for _ in range(60):
        data, first = b"", number
        for _ in range(chosen.randint(1, 4)):
            size = chosen.randint(1, 90)
            data += pack([plain(number + n, (number + n) * 31) for n in range(size)])
            number += size
        cut = chosen.randint(1, len(data) - 1)
        connection.socket.sendall(data[:cut])
        connection.socket.sendall(data[cut:])
        replies = connection.collect(range(first, number))
        assert {n: content(reply) for n, reply in replies.items()} == {n: n * 31 for n in range(first, number)}


def test_quick_answers_do_not_wait_for_slow_ones_of_their_frame(replica: Start) -> None:
    _, connection = replica("services:SlowOne")
    connection.send(plain(1, 0.01), plain(2, 0.3), plain(3, 0.0))
    assert [reply.id for reply in connection.replies()] == [1]
    assert [reply.id for reply in connection.replies()] == [2]
    assert [reply.id for reply in connection.replies()] == [3]


def test_large_bodies_pass(replica: Start) -> None:
    _, connection = replica("services:Echo")
    text = "x" * (5 << 20)
    assert content(connection.ask(text)) == text


def test_a_new_gateway_takes_over_from_one_that_vanished(replica: Start) -> None:
    process, first = replica("services:Slow")
    first.send(plain(1, 0.05))
    process.until("begun")
    first.close()
    second = process.connect()
    assert content(second.ask(0.0)) == 0.0


def test_unknown_verbs_are_refused(replica: Start) -> None:
    _, connection = replica("services:Echo")
    assert connection.ask({}, verb=CHAT).status == 404
    assert connection.ask({}, verb=EMBED).status == 404
    assert connection.ask({}, verb=77).status == 404
    assert connection.ask(b"{", verb=INFER).status == 400
    assert connection.ask(1).status == 200


def test_what_was_cancelled_before_it_began_is_not_done(replica: Start) -> None:
    _, connection = replica("services:Echo")
    connection.send(plain(1, "a"), plain(2, "b"), Request(1, CANCEL, b""))
    assert set(connection.collect([2])) == {2}
    assert content(connection.ask("next")) == "next"


@pytest.mark.parametrize("how", ["Rehearsed", "RehearsedInALoop", "RehearsedByACoroutine"])
def test_a_connected_replica_that_nobody_asks_rehearses_once(replica: Start, how: str) -> None:
    process, connection = replica(f"services:{how}")
    process.until("rehearsed")
    assert content(connection.ask("first")) == ["a rehearsal", "first"]
    connection.close()
    again = process.connect()
    time.sleep(0.1)
    assert content(again.ask("second")) == ["a rehearsal", "first", "second"]
    assert not (process.folder / REHEARSING_NAME).exists()


def test_a_rehearsal_that_fails_is_logged_and_the_replica_answers(replica: Start) -> None:
    process, connection = replica("services:Unrehearsed")
    process.until("rehearsed")
    assert content(connection.ask("first")) == ["first"]
    assert "no stage" in process.output()


def test_a_rehearsal_that_a_replica_did_not_outlive_is_not_repeated(
    replica: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process, _ = replica("services:StaysInRehearsal")
    process.until("rehearsed")
    process.process.kill()
    process.wait()
    for attempt in ("3", "4", "5"):
        (tmp_path / attempt).mkdir()
    (process.folder / REHEARSING_NAME).rename(tmp_path / "3" / REHEARSING_NAME)

    called: list[str] = []
    instance = SimpleNamespace(predict=lambda item: item, warm_up=lambda: called.append("again"))
    model = Model(ModelSpec(reference="test:Test", folder="."), instance)
    for attempt in (4, 5):
        Rehearsal(model, tmp_path / str(attempt), attempt).run()
        assert f"attempt {attempt - 1} of this replica was ended while it ran" in capsys.readouterr().err
    assert not called
    Rehearsal(model, tmp_path / "3", 3).run()
    assert called == ["again"]


@pytest.mark.parametrize("reference", ["services:Echo", "services:Letters"])
def test_a_replica_that_was_never_asked_sleeps_without_a_break(replica: Start, reference: str) -> None:
    """That is what the warm pool costs: it would be woken once a second by the timeout of what has been asked."""
    process, _ = replica(reference)
    _until_rested(process)
    before = _switches(process)
    time.sleep(1.5)
    assert _switches(process) == before


def _until_rested(process: Replica) -> None:
    """It says nothing of it, so: when it has slept for a tenth of a second."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        before = _switches(process)
        time.sleep(0.1)
        if _switches(process) == before:
            return


def _switches(process: Replica) -> int:
    lines = Path(f"/proc/{process.process.pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no malloc_trim")
@pytest.mark.parametrize("before", [0, 300])
def test_a_quiet_replica_gives_back_what_a_batch_took(replica: Start, before: int) -> None:
    """Also when more came in that second than is counted, and no report is due."""
    process, connection = replica("services:Hungry")
    for _ in range(before):
        connection.ask(3)
    assert content(connection.ask(1000)) == 1000  # 60 MB, held below by what was kept of it
    deadline = time.monotonic() + 60
    while _resident_mb(process) > 60 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _resident_mb(process) < 60
    assert content(connection.ask(3)) == 3


def _resident_mb(process: Replica) -> float:
    lines = Path(f"/proc/{process.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


@pytest.mark.parametrize("idle", [True, False])
def test_sigterm_answers_the_batch_in_hand_and_exits_with_zero(replica: Start, idle: bool) -> None:
    process, connection = replica("services:Slow")
    if not idle:
        connection.send(*[plain(n, 0.2) for n in range(8)])
        process.until("begun")
    process.terminate()
    if not idle:
        assert {reply.status for reply in connection.collect(range(8)).values()} == {200}
    if not connection.said_goodbye:
        connection.replies()
    assert connection.said_goodbye
    connection.close()
    assert process.wait() == 0


@pytest.mark.parametrize("reference", ["services:Slow", "services:Letters", "services:Async"])
def test_a_gateway_that_does_not_know_goodbye_is_cut_off(replica: Start, reference: str) -> None:
    process, connection = replica(reference)
    process.terminate()
    connection.replies()
    assert process.wait() == 0
    with pytest.raises(EOFError):
        connection.replies()


@pytest.mark.parametrize("reference", ["services:Slow", "services:Letters", "services:Async"])
def test_sigterm_without_a_gateway_ends_at_once(replica: Start, reference: str) -> None:
    process, connection = replica(reference)
    connection.close()
    process.terminate()
    assert process.wait() == 0


def test_what_was_sent_before_goodbye_arrived_is_answered(replica: Start) -> None:
    process, connection = replica("services:Slow")
    connection.send(*[plain(n, 0.2) for n in range(8)])
    process.until("begun")
    connection.send(*[plain(n, 0.0) for n in range(8, 12)])
    process.terminate()
    assert set(connection.collect(range(12))) == set(range(12))


def test_a_generator_is_sent_as_events_or_as_lines(replica: Start) -> None:
    _, connection = replica("services:Letters")
    events = connection.ask("abc")
    assert events.body == b'data: "a"\n\ndata: "b"\n\ndata: "c"\n\n'
    assert b"Content-Type: text/event-stream\r\n" in events.headers
    lines = connection.ask("abc", meta="ndjson")
    assert lines.body == b'"a"\n"b"\n"c"\n'
    assert b"application/x-ndjson" in lines.headers


@pytest.mark.parametrize("meta", ["", "ndjson"])
def test_a_stream_that_breaks_says_so_at_its_end(replica: Start, meta: str) -> None:
    process, connection = replica("services:Letters")
    reply = connection.ask("ab!", meta=meta)
    assert reply.status == 200 and b"PREDICT_FAILED" in reply.body.splitlines()[-1 if meta else -2]
    assert connection.ask(7).status == 422
    assert "RuntimeError: shouted" in process.output()


@pytest.mark.parametrize("reference", ["services:Letters", "services:AsyncLetters"])
def test_streams_are_interleaved_and_never_mixed(replica: Start, reference: str) -> None:
    _, connection = replica(reference)
    texts = {n: chr(97 + n % 26) * (50 + n * 7) for n in range(64)}
    connection.send(*[plain(n, text) for n, text in texts.items()])
    ends: list[int] = []
    bodies = dict.fromkeys(texts, b"")
    while len(ends) < len(texts):
        for reply in connection.replies():
            bodies[reply.id] += reply.body
            if reply.flag:
                ends += [reply.id] * (reply.flag == 2)
    for n, text in texts.items():
        assert bodies[n] == b"".join(b'data: "%c"\n\n' % letter for letter in text.encode())


def test_a_stream_without_end_does_not_hold_up_the_others(replica: Start) -> None:
    process, connection = replica("services:Endless")
    connection.send(plain(1, 0), plain(2, 1000))
    seen: set[int] = set()
    while seen != {1, 2}:
        seen |= {reply.id for reply in connection.replies()}
    connection.send(Request(1, CANCEL, b""))
    process.until("ended-*")
    while any(reply.id == 1 for reply in connection.replies()):
        pass  # what was already on its way
    assert {reply.id for reply in connection.replies()} == {2}


@pytest.mark.parametrize(("reference", "body"), [("services:Endless", 1), ("services:AsyncLetters", "a...")])
def test_a_gateway_that_vanishes_closes_its_streams(replica: Start, reference: str, body: object) -> None:
    process, connection = replica(reference)
    connection.send(plain(1, body))
    connection.replies()
    connection.close()
    process.until("closed" if "Async" in reference else "ended-*")
    again = process.connect()
    assert again.hello.mode == "concurrent"


def test_coroutines_run_at_once(replica: Start) -> None:
    _, connection = replica("services:Async")
    connection.send(plain(1, {"seconds": 30, "label": "slow"}), plain(2, {"seconds": 0, "label": "quick"}))
    assert content(connection.collect([2])[2]) == "quick"
    connection.send(Request(1, CANCEL, b""))
    assert connection.ask({"seconds": "x"}).status == 422
    assert not connection.readable(0.05), "a cancelled coroutine answers nothing"


@pytest.mark.parametrize(
    ("reference", "body"),
    [("services:Async", {"seconds": 600}), ("services:AsyncLetters", "endless..."), ("services:Endless", 0)],
)
def test_whoever_works_at_much_at_once_gives_a_word_when_asked(replica: Start, reference: str, body: object) -> None:
    _, connection = replica(reference)
    connection.send(plain(1, body))
    connection.send(Request(0, PING, b""))
    assert connection.collect([0])[0] == PONG


def test_coroutines_that_never_await_are_heard_of_before_all_have_run(replica: Start) -> None:
    _, connection = replica("services:Hogs")
    connection.send(*(plain(number, 0.1) for number in range(1, 5)))
    assert 4 not in {reply.id for reply in connection.replies()}


def test_what_is_not_streamed_is_answered_one_by_one(replica: Start) -> None:
    _, connection = replica("services:HogsLetters")
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["ab"]}]}
    connection.send(*(Request(number, INFER, msgspec.json.encode(body)) for number in range(1, 5)))
    assert [reply.id for reply in connection.replies()] == [1]
    assert {reply.status for reply in connection.collect([2, 3, 4]).values()} == {200}


def test_sigterm_finishes_coroutines_in_hand(replica: Start) -> None:
    process, connection = replica("services:Async")
    connection.send(*[plain(n, {"seconds": 0.7, "label": str(n)}) for n in (2, 3, 4)])
    assert content(connection.ask({"seconds": 0})) == "x"
    process.terminate()
    assert {n: content(reply) for n, reply in connection.collect([2, 3, 4]).items()} == {2: "2", 3: "3", 4: "4"}
    connection.close()
    assert process.wait() == 0


def test_an_asynchronous_batch_isolates_failures_too(replica: Start) -> None:
    _, connection = replica("services:AsyncBatch")
    assert connection.hello.mode == "concurrent"
    connection.send(*[plain(n, n) for n in range(20)], plain(20, "x"))
    replies = connection.collect(range(21))
    assert [replies[n].status for n in range(21)] == [500] + [200] * 19 + [422]
    assert all(content(replies[n]) == 1 / n for n in range(1, 20))


def test_a_model_that_throws_in_load_explains_itself() -> None:
    with pytest.raises(AssertionError) as caught:
        Replica("services:Broken")
    log = str(caught.value)
    assert "LOAD_FAILED: services:Broken raised RuntimeError: no weights" in log
    assert 'raise RuntimeError("no weights")' in log and "bough/runtime" not in log
