"""Calling a batching `predict` so that one bad item fails alone.

The whole batch is one call. When it raises, it is called again by halves until the items that fail stand alone: with
one bad item in n that is about 2·log2(n) calls more, and the others get their answers. (A model that must not see an
item twice takes single items.) A list of the wrong length says nothing about which answer belongs to whom, so it fails
every item of the call.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from bough.runtime.items import Contract
from bough.runtime.protocols.work import Failed
from bough.runtime.service import Reject

Steps = Generator[list[Any], Any, list[Any]]


def run(items: list[Any], contract: Contract, max_batch: int) -> list[Any]:
    """A result or `Failed` for each item, in order."""
    machine = steps(items, max_batch)
    part = next(machine)
    while True:
        try:
            results = contract.call_batch(part)
        except (Exception, SystemExit) as error:  # the user's: `steps` finds the item that raised it
            results = Failed(error)
        try:
            part = machine.send(results)
        except StopIteration as done:
            return list(done.value)


async def run_async(items: list[Any], contract: Contract, max_batch: int) -> list[Any]:
    """The same for an `async def predict`."""
    machine = steps(items, max_batch)
    part = next(machine)
    while True:
        try:
            results = await contract.call_batch(part)
        except (Exception, SystemExit) as error:  # the user's: `steps` finds the item that raised it
            results = Failed(error)
        try:
            part = machine.send(results)
        except StopIteration as done:
            return list(done.value)


def steps(items: list[Any], max_batch: int) -> Steps:
    """Yields what to call with, is sent the result or a `Failed`, returns the outcomes. `items` must not be empty."""
    if len(items) <= max_batch:
        return (yield from _call(items))
    outcomes: list[Any] = []
    for start in range(0, len(items), max_batch):
        outcomes += yield from _call(items[start : start + max_batch])
    return outcomes


def _call(items: list[Any]) -> Steps:
    results = yield items
    if type(results) is not Failed:
        return _checked(results, len(items))
    if len(items) == 1:
        return [results]
    middle = len(items) // 2
    left = yield from _call(items[:middle])
    right = yield from _call(items[middle:])
    return left + right


def _checked(results: Any, expected: int) -> list[Any]:
    if hasattr(results, "dtype") and getattr(results, "ndim", False):
        results = results.tolist() if results.ndim == 1 else list(results)
    if not isinstance(results, (list, tuple)):
        return _wrong(f"predict must return a list of {expected} answers, not {type(results).__name__}", expected)
    if len(results) != expected:
        return _wrong(f"predict got {expected} items and returned {len(results)} answers", expected)
    return list(results)


def _wrong(message: str, count: int) -> list[Any]:
    return [Reject(message, status=500, code="PREDICT_FAILED")] * count
