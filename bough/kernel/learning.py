"""msgspec learns a type with the first value of it, and two threads that make it learn the same type at once end the
process (seen with 0.22). So a process with threads learns all its types before it starts them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec

_known: set[type] = set()
_learning = threading.Lock()


def learn_all() -> None:
    """Every struct of Bough that is loaded and not learned yet; costs a fraction of a millisecond for each."""
    with _learning:
        there: set[type] = {*_below(msgspec.Struct)}
        for each in there - _known:
            if each.__module__.startswith("bough."):
                msgspec.json.Decoder(each)
                _known.add(each)


def _below(kind: type) -> Iterator[type]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)
