"""A request as something to be done: items for `predict`, and what makes its results an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional, Protocol

from bough.runtime.frames import Reply
from bough.runtime.service import Reject


class Failed:
    """Stands in a list of results for an item that has none."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Stream(Protocol):
    """Turns the pieces of one streamed answer into bytes."""

    headers: bytes  # of the first reply

    def piece(self, value: Any) -> bytes:
        """What to send for one piece; empty when it is only kept."""

    def finish(self, returned: Any) -> bytes:
        """What follows the last piece; `returned` is the value of a generator's `return`."""

    def fail(self, reject: Reject) -> bytes:
        """How a stream that has begun tells that it broke."""


class Work:
    """`finish` takes one result for each item (never a `Failed`) and makes the replies; it may raise `OutputInvalid` or
    `Reject`. `refuse` words an error for this protocol's clients. `stream` is None where the answer is sent whole."""

    __slots__ = ("finish", "items", "number", "refuse", "stream")

    def __init__(
        self, number: int, items: list[Any], finish: Callable[[list[Any]], list[Reply]],
        refuse: Callable[[int, Reject], Reply], stream: Optional[Stream] = None,
    ) -> None:  # fmt: skip
        self.number, self.items, self.finish, self.refuse, self.stream = number, items, finish, refuse, stream
