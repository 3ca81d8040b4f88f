"""Asks the node, over its Unix socket, to start a unit again. Works without the control plane."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from bough.gateway import rules

TIMEOUT_S = 30.0
FORGET_S = 30.0  # a unit that was not asked for in this time is new again

log = logging.getLogger("bough.gateway")
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class NodeSocket:
    """`woken` hears the attempt that the node answers with: a unit may have a new address."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._asked: dict[str, tuple[int, float]] = {}  # unit -> how often, last when
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.woken: Callable[[str, dict[str, Any]], None] = lambda unit, attempt: None

    def wake(self, unit: str) -> None:
        """Returns at once. Questions about one unit are spaced out, at growing intervals."""
        count, last = self._asked.get(unit, (0, 0.0))
        now = monotonic()
        if now - last > FORGET_S:
            count = 0
        elif count and now - last < rules.wake_after_s(count - 1):
            return
        if unit in self._tasks:
            return
        self._asked[unit] = (count + 1, now)
        task = asyncio.get_running_loop().create_task(self._ask(unit))
        self._tasks[unit] = task
        task.add_done_callback(lambda _: self._tasks.pop(unit, None))

    def known_up(self, unit: str) -> None:
        """The unit is there: the next time it is gone counts as the first."""
        self._asked.pop(unit, None)

    async def _ask(self, unit: str) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status, answer = await self._post("/wake", msgspec.json.encode({"unit": unit}))
        except (OSError, TimeoutError, ValueError) as error:
            log.debug("the node did not answer: %r", error)  # not there yet or restarting: links keep trying
            self._ask_soon(unit)
            return
        if status == 200:
            self.woken(unit, answer)
        elif status == 404:  # it will be registered in a moment
            self._ask_soon(unit)

    def _ask_soon(self, unit: str) -> None:
        """What was not heard costs nobody anything: the pause does not grow."""
        self._asked[unit] = (1, monotonic())

    async def _post(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        try:
            writer.write(
                b"POST %b HTTP/1.1\r\nHost: node\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                b"Connection: close\r\n\r\n%b" % (path.encode(), len(body), body)
            )
            head, _, content = (await reader.read(-1)).partition(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            with contextlib.suppress(msgspec.DecodeError):
                return status, _decode(content[content.find(b"{") : content.rfind(b"}") + 1])
            return status, {}
        except IndexError:
            raise ValueError("not an HTTP answer") from None
        finally:
            writer.close()
