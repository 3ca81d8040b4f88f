"""Many objects of a bucket, a few at a time, while the lease of whoever works on them is renewed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

from bough.adapters.connectors import Bucket, Found, Objects
from bough.kernel.reconcile import Turn

AT_ONCE = 8  # objects on their way
LISTED = 1000  # in one request
AGAIN_S = 15.0  # before a bucket that was away is asked once more
RENEW_S = 5.0  # of the lease of a run that is worked on

_T = TypeVar("_T")


def listed(objects: Objects, bucket: Bucket, prefix: str, after: str = "") -> Iterator[Found]:
    while page := objects.listed(bucket, prefix, after, LISTED):
        yield from page
        after = page[-1].key


def groups(things: Iterable[_T], size: int) -> Iterator[list[_T]]:
    left = iter(things)
    while some := list(islice(left, size)):
        yield some


def together(turn: Turn, calls: Sequence[Callable[[], _T]]) -> list[_T]:
    """Their results. However long one takes, the lease stays ours."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        coming = [threads.submit(each) for each in calls]
        while wait(coming, RENEW_S).not_done:
            renew(turn)
    return [each.result() for each in coming]


def renew(turn: Turn) -> None:
    if turn.clock.now() - turn.renewed_at >= RENEW_S:
        with turn.apply():
            pass
