"""One connection to a replica: who owes whom a word, without sockets and clocks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from time import monotonic
from typing import Any, cast

import pytest

from bough.gateway.call import Call
from bough.gateway.lanes.wire import Wire
from bough.gateway.models import Target
from bough.runtime.frames import CANCEL, PING, PONG, PREDICT, PROTOCOL, Hello, Reply, Request, decode_requests, pack


class Silent:
    """An owner, a client and a transport that note what they are told."""

    def __init__(self) -> None:
        self.told: list[Request] = []
        self.heard: list[Any] = []

    def write(self, frame: bytearray) -> None:
        self.told += decode_requests(frame[4:])

    def is_closing(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return lambda *said: self.heard.append((name, *said))


def connected(mode: str) -> tuple[Silent, Wire]:
    peer = Silent()
    wire = Wire(cast(Any, peer), Target(unit="u"))
    wire.connection_made(cast(Any, peer))
    wire.data_received(bytes(pack(Hello(protocol=PROTOCOL, unit="u", attempt=1, pid=1, mode=mode, concurrency=8,
                                        max_batch=8))))  # fmt: skip
    return peer, wire


def sent(peer: Silent, wire: Wire, number: int = 7) -> Call:
    call = Call(number, cast(Any, peer), cast(Any, None), 0.0)
    call.request = Request(number, PREDICT, b"1")
    wire.send([call], 100.0)
    peer.told.clear()
    return call


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


@pytest.mark.parametrize("word", [PONG, Reply(0, 404, b"{}"), Reply(3, 200, b"2")])
def test_a_replica_that_works_at_much_at_once_is_asked_for_a_word_and_any_will_do(word: Reply) -> None:
    async def test() -> None:
        peer, wire = connected("concurrent")
        wire.cancel(sent(peer, wire))
        assert [request.verb for request in peer.told] == [CANCEL, PING]
        assert not wire.inflight, "it has room for other work"
        assert wire.silent_s(109.0) == 9.0
        wire.data_received(bytes(pack([word])))
        assert wire.silent_s(109.0) == 0.0

    run(test())


def test_it_is_asked_once_however_many_requests_are_given_up() -> None:
    async def test() -> None:
        peer, wire = connected("concurrent")
        for call in [sent(peer, wire, 7), sent(peer, wire, 8)]:
            wire.cancel(call)
        assert [request.verb for request in peer.told] == [CANCEL, PING, CANCEL]

    run(test())


def test_one_that_works_in_order_is_not_asked_and_owes_nothing_within_the_grace() -> None:
    async def test() -> None:
        peer, wire = connected("batch")
        wire.cancel(sent(peer, wire))
        assert [request.verb for request in peer.told] == [CANCEL]
        assert wire.silent_since == 0.0
        assert wire.inflight, "it is probably busy with it"

    run(test())


def test_a_replica_that_nobody_listens_to_is_not_silent() -> None:
    """A slow reader of a stream holds the wire: the word that is owed may have come."""

    async def test() -> None:
        peer, wire = connected("concurrent")
        wire.cancel(sent(peer, wire))
        wire.hold()
        assert wire.silent_s(109.0) == 0.0
        before = monotonic()
        wire.release()
        assert wire.silent_since >= before, "counted from when it is listened to again"

    run(test())
