"""One connection to a replica, with the calls that it owes answers to: frames out, frames in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
from collections.abc import Iterable
from time import monotonic
from typing import Protocol, cast

import msgspec

from bough.gateway.call import Call
from bough.gateway.models import Target
from bough.runtime.frames import (
    CANCEL,
    END,
    GOODBYE,
    LENGTH,
    MAX_FRAME_BYTES,
    PING,
    PROTOCOL,
    STATS,
    WHOLE,
    Hello,
    Reply,
    Request,
    decode_hello,
    decode_replies,
    pack,
)

CANCEL_GRACE_S = 1.0  # a replica may skip what was cancelled; after this long its frame no longer counts as under way
HELLO_TIMEOUT_S = 10.0
WRITE_BUFFER_BYTES = 1 << 20
_ANY_WORD = Request(0, PING, b"")
_PEER = struct.Struct("3i")  # of SO_PEERCRED: pid, uid, gid


class Frame:
    """Requests that were sent together."""

    __slots__ = ("left", "sent_at", "size")

    def __init__(self, size: int, sent_at: float) -> None:
        self.size = size
        self.left = size
        self.sent_at = sent_at


class Owner(Protocol):
    """What a wire, and the link that makes it, need of their lane."""

    def joined(self, wire: Wire) -> None:
        """The replica said hello: it may get work."""

    def leaving(self, wire: Wire) -> None:
        """The replica is about to stop: it gets no more work and answers what it has."""

    def left(self, wire: Wire, calls: list[Call]) -> None:
        """The connection is gone and owes `calls`."""

    def freed(self, wire: Wire, frame: Frame, now: float) -> None:
        """A frame has been answered whole."""

    def roomy(self, wire: Wire) -> None:
        """The socket takes bytes again."""

    def absent(self, target: Target) -> None:
        """Nobody listens at the target's address."""

    def observed(self, body: bytes) -> None:
        """The replica tells what it has sampled."""

    def wanted(self) -> bool:
        """Requests wait for a link."""

    def asleep(self) -> bool:
        """Nothing should run unless it is wanted."""

    def resting(self, target: Target) -> bool:
        """Nobody needs this one now: it may run, and gets no work."""

    def is_stuck(self, silent_s: float) -> bool:
        """A replica that was silent for so long, and should not have been, will not say anything any more."""


class Wire(asyncio.Protocol):
    __slots__ = (
        "_owner", "_partial", "_partial_bytes", "_timer", "batch", "blocked", "frames", "gone", "hello",
        "inflight", "last_reply", "last_size", "paused_by", "retired", "silent_since", "suspect", "target", "transport",
    )  # fmt: skip

    def __init__(self, owner: Owner, target: Target) -> None:
        self.target = target
        self.hello: Hello | None = None
        self.inflight: dict[int, Call] = {}
        self.frames = 0  # under way
        self.batch: list[Call] = []  # used by the lane while it deals out
        self.blocked = False  # the socket's buffer is full
        self.retired = False
        self.suspect = False  # has a call that a replica died with: nothing else is put at risk meanwhile
        self.gone = asyncio.Event()
        self.last_reply = 0.0
        # since when it has said nothing while it owes a word: its hello, or anything after what it was given was given
        # up (by PING where it works at much at once); 0: it owes none
        self.silent_since = 0.0
        self.last_size = 0  # requests in the frame sent last
        self.paused_by = 0  # slow readers of streams that hold this wire
        self.transport: asyncio.Transport
        self._owner = owner
        self._partial: list[bytes] = []
        self._partial_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def send(self, calls: list[Call], now: float) -> None:
        """One frame for all of them."""
        frame = Frame(len(calls), now)
        self.last_size = len(calls)
        self.suspect = calls[0].attempts > 0
        inflight = self.inflight
        for call in calls:
            call.wire = self
            call.frame = frame
            call.attempts += 1
            inflight[call.id] = call
        self.frames += 1
        self.transport.write(pack([call.request for call in calls]))

    def cancel(self, call: Call) -> None:
        """The answer is no longer wanted. A replica that takes requests at once is free of it now, and asked for a
        word, because it may await something or hang. One that works in order is probably busy with it, and stays so
        until it answers or the grace is over."""
        call.dropped = True
        if call.id not in self.inflight:
            return
        at_once = self.hello is not None and self.hello.mode == "concurrent"
        told = [Request(call.id, CANCEL, b"")]
        if at_once and not self.silent_since:
            told.append(_ANY_WORD)
            self.silent_since = max(call.frame.sent_at, self.last_reply)
        if not self.transport.is_closing():
            self.transport.write(pack(told))
        if at_once:
            self._give_up(call)
        else:
            asyncio.get_running_loop().call_later(CANCEL_GRACE_S, self._give_up, call)

    def silent_s(self, now: float) -> float:
        """For how long it has owed a word; 0: it owes none, or nobody listens."""
        return now - self.silent_since if self.silent_since and not self.paused_by else 0.0

    def end_process(self) -> None:
        """Ends the replica at the other end, which shows no sign of life: its last word is where in its code it is. The
        node finds it crashed. Nothing happens where it is somebody else's."""
        peer = self.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        pid, _, _ = _PEER.unpack(peer)
        if pid not in (0, 1, os.getpid()):  # of another container, or played by us
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGABRT)

    def retire(self) -> None:
        """Closes once nothing is owed."""
        self.retired = True
        if not self.inflight and not self.gone.is_set():
            self.transport.close()

    def hold(self) -> None:
        """A reader of a stream does not keep up: the replica must wait."""
        self.paused_by += 1
        if self.paused_by == 1 and not self.transport.is_closing():
            self.transport.pause_reading()

    def release(self) -> None:
        self.paused_by -= 1
        if self.paused_by == 0 and not self.transport.is_closing():
            self.transport.resume_reading()
            if self.silent_since:
                self.silent_since = monotonic()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        self._timer = asyncio.get_running_loop().call_later(HELLO_TIMEOUT_S, self._unheard)

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.gone.set()
        owed = list(self.inflight.values())
        self.inflight.clear()
        self._owner.left(self, owed)

    def pause_writing(self) -> None:
        self.blocked = True

    def resume_writing(self) -> None:
        self.blocked = False
        self._owner.roomy(self)

    def data_received(self, data: bytes) -> None:
        if self._partial:
            self._partial.append(data)
            self._partial_bytes += len(data)
            first = self._partial[0]
            if len(first) >= 4 and LENGTH.unpack_from(first)[0] + 4 > self._partial_bytes:
                return
            data = b"".join(self._partial)
            self._partial = []
        now = monotonic()
        position, end = 0, len(data)
        view = memoryview(data)
        while end - position >= 4:
            start = position + 4
            stop = start + LENGTH.unpack_from(data, position)[0]
            if stop - start > MAX_FRAME_BYTES:
                self.transport.abort()
                return
            if stop > end:
                break
            try:
                if self.hello is not None:
                    self._replies(decode_replies(view[start:stop]), now)
                elif not self._greet(decode_hello(view[start:stop])):
                    return
            except msgspec.DecodeError:
                self.transport.abort()  # not our replica, or a broken one: its calls are retried elsewhere
                return
            position = stop
        if position < end:
            self._partial = [data[position:] if position else data]
            self._partial_bytes = end - position

    # --- private

    def _unheard(self) -> None:
        """It answers requests of a gateway that is gone, and will greet us then; or never."""
        if self._owner.is_stuck(monotonic() - self.silent_since):
            self.end_process()
        self.transport.abort()

    def _greet(self, hello: Hello) -> bool:
        """Takes the replica into service unless it is somebody else: an older attempt, another unit or protocol."""
        if hello.protocol != PROTOCOL or hello.unit != self.target.unit or hello.attempt < self.target.attempt:
            self.transport.abort()
            return False
        if self._timer is not None:
            self._timer.cancel()
        self.hello = hello
        self.silent_since = 0.0
        if not self.retired:
            self._owner.joined(self)
        return True

    def _replies(self, replies: Iterable[Reply], now: float) -> None:
        inflight = self.inflight
        streams: dict[Call, list[Reply]] | None = None
        for reply in replies:
            if reply.flag == WHOLE:
                call = inflight.pop(reply.id, None)
                if call is None:
                    continue
                frame = call.frame
                frame.left -= 1
                if frame.left == 0:
                    self.frames -= 1
                    self._owner.freed(self, frame, now)
                if not call.dropped:
                    call.client.answer(call, reply, now)
            elif reply.flag == GOODBYE:
                self._owner.leaving(self)
                self.retired = True
            elif reply.flag == STATS:
                self._owner.observed(reply.body)
            elif (call := inflight.get(reply.id)) is not None:
                if streams is None:
                    streams = {}
                if call.dropped:
                    pass
                elif call in streams:
                    streams[call].append(reply)
                else:
                    streams[call] = [reply]
                if reply.flag == END:
                    self._settle(call, now)
        if streams is not None:
            for call, parts in streams.items():
                call.client.stream(call, parts, now)
        self.last_reply = now
        if self.silent_since:
            self.silent_since = 0.0
            self._owner.roomy(self)
        if self.retired and not inflight:
            self.transport.close()

    def _settle(self, call: Call, now: float) -> None:
        del self.inflight[call.id]
        frame = call.frame
        frame.left -= 1
        if frame.left == 0:
            self.frames -= 1
            self._owner.freed(self, frame, now)

    def _give_up(self, call: Call) -> None:
        if self.inflight.get(call.id) is call:
            if self.hello is not None and self.hello.mode != "concurrent" and self.last_reply <= call.frame.sent_at:
                self.silent_since = self.silent_since or call.frame.sent_at
            self._settle(call, monotonic())
            if self.retired and not self.inflight and not self.transport.is_closing():
                self.transport.close()
