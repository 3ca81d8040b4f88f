"""A project's code, as its author would write it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import bough


@dataclass
class Customer:
    age: int
    name: str = "nobody"


class Echo:
    def predict(self, value):  # type: ignore[no-untyped-def]
        return value


class EchoBatch:
    @bough.batch(max_size=64)
    def predict(self, values: list[int]) -> list[int]:
        return list(values)


class Rehearsed:
    """Notes who called it, one after the other."""

    def load(self) -> None:
        self.calls: list[str] = []

    def warm_up(self) -> None:
        self.predict("a rehearsal")
        Path("rehearsed").touch()

    def predict(self, who: str) -> list[str]:
        self.calls.append(who)
        return self.calls


class Unrehearsed(Rehearsed):
    def warm_up(self) -> None:
        Path("rehearsed").touch()
        raise RuntimeError("no stage")


class RehearsedInALoop(Rehearsed):
    async def predict(self, who: str) -> list[str]:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().predict(who)

    async def warm_up(self) -> None:  # type: ignore[override]
        await self.predict("a rehearsal")
        Path("rehearsed").touch()  # noqa: ASYNC240 - an empty file is made faster than a thread


class RehearsedByACoroutine(Rehearsed):
    async def warm_up(self) -> None:  # type: ignore[override]
        super().warm_up()


class StaysInRehearsal(Rehearsed):
    def warm_up(self) -> None:
        super().warm_up()
        time.sleep(600)


class Churn:
    def load(self) -> None:
        self.factor = 10

    @bough.batch(max_size=16)
    def predict(self, rows: list[Customer]) -> list[dict[str, float]]:
        return [{"risk": self.factor / row.age} for row in rows]


class Slow:
    """Each batch takes a while, and says when it has begun."""

    @bough.batch(max_size=8)
    def predict(self, rows: list[float]) -> list[float]:
        Path("begun").touch()
        time.sleep(rows[0])
        return rows


class SlowOne:
    def predict(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds


class Letters:
    """Waits for nothing; notes when it is closed early."""

    def predict(self, text: str) -> Iterator[str]:
        try:
            yield from text
            if text.endswith("!"):
                raise RuntimeError("shouted")
        except GeneratorExit:
            Path("closed").touch()
            raise


class Endless:
    def predict(self, start: int) -> Iterator[int]:
        try:
            while True:
                yield start
                start += 1
                time.sleep(0.001)
        finally:
            Path(f"ended-{os.getpid()}").touch()


class Async:
    async def predict(self, seconds: float, label: str = "x") -> str:
        await asyncio.sleep(seconds)
        return label


class AsyncLetters:
    async def load(self) -> None:
        await asyncio.sleep(0)
        self.ready = True

    async def predict(self, text: str) -> AsyncIterator[str]:
        try:
            for letter in text:
                yield letter
                await asyncio.sleep(0)
            while text.endswith("..."):
                yield "."
                await asyncio.sleep(0.001)
        finally:
            Path("closed").touch()  # noqa: ASYNC240 - an empty file is made faster than a thread


class Hogs:
    """Coroutines in name only."""

    async def predict(self, seconds: float) -> float:
        time.sleep(seconds)  # noqa: ASYNC251 - that is the point
        return seconds


class HogsLetters:
    def predict(self, text: str) -> Iterator[str]:
        time.sleep(0.05)
        yield from text


class AsyncBatch:
    @bough.batch(max_size=8)
    async def predict(self, rows: list[int]) -> list[float]:
        await asyncio.sleep(0)
        return [1 / row for row in rows]


class Chat:
    def predict(self, messages: list[dict[str, str]], max_tokens: int = 16, temperature: float = 1.0) -> Iterator[str]:
        words = ["You", " said", ": ", messages[-1]["content"], f" ({temperature:g})"]
        yield from words[:max_tokens]


class Embed:
    @bough.batch(max_size=4)
    def predict(self, texts: list[str]) -> list[list[float]]:
        return [[float(len(text)), 0.5, -1.0] for text in texts]


class Broken:
    def load(self) -> None:
        raise RuntimeError("no weights")

    def predict(self, value: int) -> int:
        return value


class Hungry:
    """Takes much memory for each prediction, in pieces that the heap keeps, and holds on to the last of them."""

    def load(self) -> None:
        self.kept: list[bytes] = []

    def predict(self, pieces: int) -> int:
        taken = [b"x" * 60_000 for _ in range(pieces)]
        self.kept.append(taken[-1])
        return len(taken)
