"""Asks a replica over its socket, as the gateway does: frames with several requests, answers in any order."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from bough.kernel.errors import Unavailable
from bough.runtime.frames import CHUNK, GOODBYE, LENGTH, PREDICT, STATS, Hello, Reply, Request, pack

TIMEOUT_S = 60.0  # for one answer
_decode_hello = msgspec.msgpack.Decoder(Hello).decode
_decode_replies = msgspec.msgpack.Decoder(list[Reply]).decode


class Answer(msgspec.Struct, frozen=True):
    """`number` counts the requests from 0."""

    number: int
    status: int
    body: bytes
    seconds: float


class Talk:
    """One connection to a replica; a replica has one at a time."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(TIMEOUT_S)
        self._rest = b""
        try:
            self._socket.connect(address.removeprefix("unix:"))
            self.hello = _decode_hello(self._frame())
        except OSError as error:
            self._socket.close()
            raise Unavailable(f"the replica does not answer: {error}", code="NO_REPLICA") from error

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, bodies: Sequence[bytes], at_once: int) -> Iterator[Answer]:
        """The answers, as they come; `at_once` requests are under way."""
        batch = min(at_once, self.hello.max_batch or at_once)
        if self.hello.mode == "concurrent":
            batch = 1
        sent: dict[int, float] = {}
        parts: dict[int, Reply] = {}
        following = 0
        while following < len(bodies) or sent:
            while following < len(bodies) and len(sent) + min(batch, len(bodies) - following) <= at_once:
                now = time.perf_counter()
                frame = range(following, min(following + batch, len(bodies)))
                self._socket.sendall(pack([Request(number, PREDICT, bodies[number]) for number in frame]))
                sent |= dict.fromkeys(frame, now)
                following = frame.stop
            for reply in self._replies():
                first = parts.setdefault(reply.id, reply)
                if reply.flag != CHUNK and (began := sent.pop(reply.id, None)) is not None:
                    del parts[reply.id]
                    yield Answer(reply.id, first.status, first.body, time.perf_counter() - began)

    def _replies(self) -> list[Reply]:
        found = _decode_replies(self._frame())
        if any(each.flag == GOODBYE for each in found):
            raise Unavailable("the replica was told to stop", code="NO_REPLICA")
        return [each for each in found if each.flag != STATS]

    def _frame(self) -> bytes:
        while len(self._rest) < LENGTH.size or len(self._rest) < LENGTH.size + LENGTH.unpack_from(self._rest)[0]:
            data = self._socket.recv(1 << 18)
            if not data:
                raise Unavailable("the replica closed the connection", code="NO_REPLICA")
            self._rest += data
        end = LENGTH.size + LENGTH.unpack_from(self._rest)[0]
        frame, self._rest = self._rest[LENGTH.size : end], self._rest[end:]
        return frame


def value_of(answer: Answer, key: str) -> Any:
    """What is compared of an answer: the whole, what stands under `key`, or the only value of an object."""
    found = msgspec.json.decode(answer.body)
    for part in filter(None, key.split(".")):
        found = found[int(part)] if isinstance(found, list) else found[part]
    if not key and isinstance(found, dict) and len(found) == 1:
        (found,) = found.values()
    return found[0] if isinstance(found, list) and len(found) == 1 else found
