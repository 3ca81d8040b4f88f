"""Many synchronous generators in one thread, taking turns.

Each turn gives a stream `_SLICE_S` of time: a model whose next piece takes milliseconds yields one piece a turn, a
quick one many, and all pieces of one turn travel as one reply. So no stream waits for another's end, and the cost of
crossing to the gateway is shared. Between rounds the socket is asked for new requests without waiting; a stream that
was cancelled is closed, so that its `finally` runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import Any

from bough.runtime.answering import Answering
from bough.runtime.answers import explain
from bough.runtime.frames import CANCEL, PING, PONG, Reply, Request
from bough.runtime.link import Link, Stop
from bough.runtime.outgoing import Outgoing
from bough.runtime.protocols.work import Failed
from bough.runtime.telemetry import Telemetry

_SLICE_S = 0.00005
_FLUSH_S = 0.0005  # a round over many quick streams is sent in parts, so that first pieces are not held up

Running = tuple[Outgoing, Iterator[Any]]


def serve(link: Link, stop: Stop, answering: Answering, telemetry: Telemetry) -> None:
    """Until the gateway closes; raises ConnectionError when it vanishes."""
    active: dict[int, Running] = {}
    closed = False
    try:
        while not closed or (stop.asked and active):
            requests = [] if closed else link.receive(wait=not active, patience_s=telemetry.patience_s)
            if requests is None:
                closed = True
                continue
            replies, answered, flushed = list[Reply](), list[Reply](), perf_counter()
            for request in requests:
                found = _begin(request, active, answering)
                replies += found
                answered += found
                if replies and perf_counter() - flushed > _FLUSH_S:  # what is not streamed was made whole in `_begin`
                    link.send(replies)
                    replies, flushed = [], perf_counter()
            _round(active, replies, link)
            if replies:
                link.send(replies)
            if requests and telemetry.wants():  # of what is streamed only the inputs are counted
                telemetry.note([request for request in requests if request.verb not in (CANCEL, PING)], answered)
            if not closed and (report := telemetry.report()):
                link.send([report])
    finally:
        for _, iterator in active.values():
            _close(iterator)


def _begin(request: Request, active: dict[int, Running], answering: Answering) -> list[Reply]:
    """Answers what needs no stream; else there is one more in `active`."""
    if request.verb == CANCEL:
        if gone := active.pop(request.id, None):
            _close(gone[1])
        return []
    if request.verb == PING:
        return [PONG]
    work = answering.expand(request)
    if isinstance(work, Reply):
        return [work]
    if work.stream is None:
        return answering.finish(work, [_collect(item, answering) for item in work.items])
    try:
        active[request.id] = Outgoing(work, work.stream), iter(answering.contract.call(work.items[0]))
    except (Exception, SystemExit) as error:  # the user's
        return [work.refuse(request.id, explain(request.id, error))]
    return []


def _round(active: dict[int, Running], replies: list[Reply], link: Link) -> None:
    """One turn for each stream."""
    flushed = perf_counter()
    for number, (outgoing, iterator) in list(active.items()):
        if _turn(outgoing, iterator, replies):
            del active[number]
        if replies and perf_counter() - flushed > _FLUSH_S:
            link.send(replies)
            replies.clear()
            flushed = perf_counter()


def _turn(outgoing: Outgoing, iterator: Iterator[Any], replies: list[Reply]) -> bool:
    """Takes pieces until the time is up; says whether the stream has ended."""
    until = perf_counter() + _SLICE_S
    parts: list[bytes] = []
    advance, encode = iterator.__next__, outgoing.stream.piece
    try:
        while True:
            parts.append(encode(advance()))
            if perf_counter() >= until:
                outgoing.chunk(b"".join(parts), replies)
                return False
    except StopIteration as done:
        parts.append(outgoing.stream.finish(done.value))
        outgoing.end(b"".join(parts), replies)
    except (Exception, SystemExit) as error:  # the user's, or a piece that cannot be sent
        outgoing.broken(error, b"".join(parts), replies)
        _close(iterator)
    return True


def _collect(item: Any, answering: Answering) -> Any:
    """All pieces at once, for a protocol that has no streams; pieces of text become one text."""
    try:
        pieces = list(answering.contract.call(item))
    except (Exception, SystemExit) as error:  # the user's
        return Failed(error)
    return "".join(pieces) if pieces and all(isinstance(piece, str) for piece in pieces) else pieces


def _close(iterator: Any) -> None:
    close = getattr(iterator, "close", None)
    if close is not None:
        try:
            close()
        except (Exception, SystemExit) as error:  # the user's `finally`; nobody waits for this answer any more
            explain(0, error)
