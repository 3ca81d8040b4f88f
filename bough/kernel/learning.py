"""msgspec learns a type with the first value of it, and two threads that make it learn the same type at once end the
process (seen with 0.22). So a process with threads learns all its types before it starts them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import msgspec

_known: set[type[Any]] = set()
_learning = threading.Lock()


def learn_all() -> None:
    """Every struct of Bough that is loaded and not learned yet; costs a fraction of a millisecond for each."""
    with _learning:
        for kind in _below(msgspec.Struct):
            if kind not in _known and kind.__module__.startswith("bough."):
                msgspec.json.Decoder[Any](kind)
                _known.add(kind)


def _below(kind: type[Any]) -> Iterator[type[Any]]:
    below: list[type[Any]] = type.__subclasses__(kind)
    for each in below:
        yield each
        yield from _below(each)
