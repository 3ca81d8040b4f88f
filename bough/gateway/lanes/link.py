"""The link to one replica: makes a connection (`wire`) whenever there is none, as long as the table lists its target,
and asks for the replica when nobody listens."""

from __future__ import annotations

import asyncio
import contextlib
from time import monotonic

import msgspec

from bough.gateway import rules
from bough.gateway.lanes.wire import Owner, Wire
from bough.gateway.models import Target


class Link:
    """Keeps one connection to `target` until closed. While its lane is asleep it connects only when wanted, and only
    after the node was asked: so the unit is there, and is not on its way to sleep."""

    def __init__(self, owner: Owner, target: Target) -> None:
        self.target = target
        self.wire: Wire | None = None
        self.closing = False
        self._owner = owner
        self._awake_until = 0.0  # as far as the node has said
        self._kick = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._keep())

    def kick(self) -> None:
        """Tries to connect now instead of after the pause."""
        self._kick.set()

    def aim(self, target: Target) -> None:
        """Takes the target's newest attempt; a connection to an older one gets no more work and is made anew. An
        address that the table does not know stays as the node told it."""
        self.target = target if target.address else msgspec.structs.replace(target, address=self.target.address)
        wire = self.wire
        if wire is not None and wire.hello is not None and wire.hello.attempt < target.attempt:
            self._owner.leaving(wire)
            wire.retire()
        elif wire is not None:
            wire.target = self.target

    def woken(self, address: str) -> None:
        """The node has been asked, and the unit runs or is about to."""
        self._awake_until = monotonic() + rules.AWAKE_S
        if address and not self.target.address:
            self.target = msgspec.structs.replace(self.target, address=address)
        self._kick.set()

    def rest(self) -> None:
        """Lets go of a connection that nobody needs now."""
        self._awake_until = 0.0
        if self.wire is not None:
            self._owner.leaving(self.wire)
            self.wire.retire()

    def close(self) -> None:
        """No new work; the connection ends when it owes nothing more."""
        self.closing = True
        self._kick.set()
        if self.wire is not None:
            self.wire.retire()

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        failures, mute_since = 0, 0.0
        while not self.closing:
            asleep = self._owner.asleep()
            if asleep and not self._owner.wanted():
                failures = 0
                self._kick.clear()
                await self._kick.wait()
                continue
            if (asleep and monotonic() >= self._awake_until) or not self.target.address:
                self._owner.absent(self.target)
                await self._pause(failures)
                continue
            wire = Wire(self._owner, self.target)
            wire.silent_since = mute_since = mute_since or monotonic()
            try:
                await loop.create_unix_connection(lambda wire=wire: wire, self.target.address.removeprefix("unix:"))  # type: ignore[misc]
            except OSError:
                failures, mute_since = failures + 1, 0.0
                self._owner.absent(self.target)
            else:
                self.wire = wire
                if self.closing:
                    wire.retire()
                await wire.gone.wait()
                self.wire = None
                failures, mute_since = (0, 0.0) if wire.hello is not None else (failures + 1, mute_since)
                if not self.closing and wire.hello is not None and not self._owner.resting(self.target):
                    self._owner.absent(self.target)  # it died: the node should know before the next connect fails
                    continue
            await self._pause(failures)

    async def _pause(self, failures: int) -> None:
        self._kick.clear()
        if not self.closing:
            pause_s = rules.reconnect_after_s(failures, self._owner.wanted())
            if monotonic() < self._awake_until and self._owner.wanted():
                pause_s = rules.WAKING_S
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._kick.wait(), pause_s)
