"""An engine that misbehaves as far as its interface allows: what is built on engines must cope with all of it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from bough.adapters.engine import Attempt, Engine, Hint, LogChunk
from bough.kernel.errors import Unavailable
from bough.runtime.spec import UnitSpec, Usage

T = TypeVar("T")


class FaultyEngine:
    """Each share is between 0 and 1; the sequence of faults follows from `seed`. `pause` is called with up to
    `delay_s` before a call (give a clock's wait; by default nothing waits)."""

    def __init__(
        self,
        engine: Engine,
        seed: int,
        *,
        fails_before: float = 0.15,
        fails_after: float = 0.15,
        doubles: float = 0.15,
        drops_hints: float = 0.3,
        delay_s: float = 0.0,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._engine = engine
        self._random = random.Random(seed)  # noqa: S311 - repeatable faults, no secret
        self._lock = threading.Lock()
        self._shares = (fails_before, fails_after, doubles)
        self._drops_hints = drops_hints
        self._delay_s = delay_s
        self._pause = pause
        self.injected = 0

    def apply(self, spec: UnitSpec) -> Attempt:
        return self._try(lambda: self._engine.apply(spec))

    def stop(self, unit: str, attempt: int, grace_s: float | None = None) -> None:
        self._try(lambda: self._engine.stop(unit, attempt, grace_s))

    def register(self, spec: UnitSpec) -> Attempt:
        return self._try(lambda: self._engine.register(spec))

    def sleep(self, unit: str, attempt: int, grace_s: float | None = None) -> None:
        self._try(lambda: self._engine.sleep(unit, attempt, grace_s))

    def forget(self, unit: str) -> None:
        self._try(lambda: self._engine.forget(unit))

    def snapshot(self) -> list[Attempt]:
        return self._try(self._engine.snapshot)

    def watch(self, cursor: int, timeout_s: float) -> list[Hint]:
        hints: list[Hint] = []
        for hint in self._try(lambda: self._engine.watch(cursor, timeout_s)):
            if self._happens(self._drops_hints):
                continue
            hints += [hint] * (2 if self._happens(self._shares[2]) else 1)
        return hints

    def logs(self, unit: str, attempt: int, offset: int, *, follow: bool) -> Iterator[LogChunk]:
        chunks = self._try(lambda: self._engine.logs(unit, attempt, offset, follow=follow))
        return self._breaking(chunks)

    def usage(self) -> dict[str, Usage]:
        return self._try(self._engine.usage)

    def wake(self, unit: str) -> Attempt:
        return self._try(lambda: self._engine.wake(unit))

    def drain(self, node: str, deadline_s: float, reason: str) -> None:
        self._try(lambda: self._engine.drain(node, deadline_s, reason))

    def stage(self, digests: list[str]) -> None:
        self._try(lambda: self._engine.stage(digests))

    def _try(self, call: Callable[[], T]) -> T:
        fails_before, fails_after, doubles = self._shares
        if self._pause and self._delay_s:
            self._pause(self._draw() * self._delay_s)
        if self._happens(fails_before):
            raise Unavailable("injected: the engine was not reached", code="INJECTED")
        result = call()
        if self._happens(doubles):
            result = call()
        if self._happens(fails_after):
            raise Unavailable("injected: the answer was lost", code="INJECTED")
        return result

    def _breaking(self, chunks: Iterator[LogChunk]) -> Iterator[LogChunk]:
        for chunk in chunks:
            if self._happens(self._shares[0]):
                raise Unavailable("injected: the stream broke", code="INJECTED")
            yield chunk

    def _happens(self, share: float) -> bool:
        happened = self._draw() < share
        self.injected += happened
        return happened

    def _draw(self) -> float:
        with self._lock:
            return self._random.random()
