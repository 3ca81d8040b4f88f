"""One connection between a gateway and this replica, and how a replica stops.

Stopping without losing an answer: SIGTERM may come while we wait for a frame or while the model works. While waiting,
the signal handler itself says GOODBYE (nothing is half sent then); while working, it leaves a note and GOODBYE follows
the answers in hand. Then we go on until the gateway, which sends nothing more, closes. A gateway that does not know
GOODBYE is cut off after `LINGER_S`: reading ends, what was read is answered, and the process exits with 0. Raising an
exception out of the handler was rejected: it could come between a frame's arrival and its first use.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
from collections.abc import Iterable
from typing import Any, Optional

from bough.runtime.frames import GOODBYE, LENGTH, MAX_FRAME_BYTES, Hello, Reply, Request, decode_requests, pack

LINGER_S = 0.5
# A signal that arrives just before `recv` goes to sleep is only noticed when it wakes: so it never sleeps for longer.
# An option of the socket, which costs nothing; a timeout of Python's would be one more system call for each frame.
_LONGEST_SLEEP = struct.pack("ll", 1, 0)  # struct timeval: seconds, microseconds
_READ_BYTES = 1 << 18
_GOODBYE = [Reply(0, 0, b"", GOODBYE)]


class Link:
    """Frames over a connected socket; blocking."""

    def __init__(self, connection: socket.socket, stop: Stop) -> None:
        self._socket = connection
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _LONGEST_SLEEP)
        self._stop = stop
        self._rest = bytearray()  # the beginning of a frame that is not all here

    def receive(self, *, wait: bool = True, patience_s: Optional[float] = None) -> Optional[list[Request]]:
        """All requests that have arrived, at least one when it waits (for `patience_s` or a second, whichever is less);
        None once the gateway has closed."""
        requests: list[Request] = []
        while not requests:
            data = self._read(wait, patience_s)
            if data is None:
                return requests
            if not data:
                return None
            if not self._rest and len(data) > 4 and len(data) - 4 == LENGTH.unpack_from(data)[0]:
                return decode_requests(memoryview(data)[4:])
            self._rest += data
            self._take(requests)
        return requests

    def comes(self, within_s: Optional[float] = None) -> bool:
        """Waits for a first frame, or for the end: for as long as it takes in one sleep, so that a replica which nobody
        needs costs nothing. A signal in the moment before it is answered when the gateway closes."""
        self._stop.wait_on(self._socket)
        try:
            return self._comes(within_s)
        finally:
            self._stop.working()

    def send(self, replies: Any) -> None:
        self._socket.sendall(pack(replies))

    def _read(self, wait: bool, patience_s: Optional[float]) -> Optional[bytes]:
        """None when nothing is there and it must not wait, or not longer."""
        try:
            if not wait:
                if self._stop.asked:
                    self._stop.farewell(self._socket)
                return self._socket.recv(_READ_BYTES, socket.MSG_DONTWAIT)
            self._stop.wait_on(self._socket)
            try:
                if patience_s is not None and not self._comes(patience_s):
                    return None
                return self._socket.recv(_READ_BYTES)
            finally:
                self._stop.working()
        except BlockingIOError:
            return None

    def _comes(self, within_s: Optional[float]) -> bool:
        """Not by a timeout of the socket, which would hold for sending too."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(None if within_s is None else within_s * 1000.0))

    def _take(self, requests: list[Request]) -> None:
        rest, at = self._rest, 0
        while len(rest) - at >= 4:
            size = LENGTH.unpack_from(rest, at)[0]
            if size > MAX_FRAME_BYTES:
                raise ConnectionError(f"a frame of {size} bytes is longer than the wire allows")
            if len(rest) - at - 4 < size:
                break
            requests += decode_requests(bytes(rest[at + 4 : at + 4 + size]))
            at += 4 + size
        del rest[:at]


class Stop:
    """Whether this replica was told to stop. One per process; `install` must run in the main thread."""

    def __init__(self) -> None:
        self.asked = False
        self._said = False
        self._idle: Optional[socket.socket] = None
        self._open: list[socket.socket] = []
        self._lingered = False

    def install(self) -> None:
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGALRM, self._on_alarm)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGALRM})

    def uninstall(self) -> None:
        """Before the interpreter ends: it restores the default handlers, and a late alarm would then kill it."""
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def watch(self, opened: socket.socket) -> None:
        """`opened` is shut for reading when the time to linger is over."""
        self._open.append(opened)
        if self._lingered:
            self._shut(opened)

    def forget(self, closed: socket.socket) -> None:
        self._open.remove(closed)

    def wait_on(self, connection: socket.socket) -> None:
        self._idle = connection
        if self.asked:
            self.farewell(connection)

    def working(self) -> None:
        self._idle = None

    def farewell(self, connection: socket.socket) -> None:
        if not self._said:
            self._said = True
            with contextlib.suppress(OSError):  # the gateway is gone: then reading ends by itself
                connection.sendall(pack(_GOODBYE))

    def _on_term(self, *_: object) -> None:
        if self.asked:
            return
        self.asked = True
        signal.setitimer(signal.ITIMER_REAL, LINGER_S if len(self._open) > 1 else 0.001)
        if self._idle is not None:
            self.farewell(self._idle)

    def _on_alarm(self, *_: object) -> None:
        self._lingered = True
        for opened in self._open:
            self._shut(opened)

    def _shut(self, opened: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed by the other side meanwhile
            opened.shutdown(socket.SHUT_RD)


def listen(path: str) -> socket.socket:
    """A listening socket at `path`, in place of one that a dead process left there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - pathlib adds 3 ms to the start of a forked replica that has not imported it
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(16)
    return listener


def dropped(requests: Iterable[Request], cancel: int) -> list[Request]:
    """Requests without those that were cancelled before they were begun, and without the cancellations."""
    requests = list(requests)
    cancelled = {request.id for request in requests if request.verb == cancel}
    return [request for request in requests if request.verb != cancel and request.id not in cancelled]


def greet(connection: socket.socket, hello: Hello) -> None:
    for size in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        connection.setsockopt(socket.SOL_SOCKET, size, 1 << 20)
    connection.sendall(pack(hello))
