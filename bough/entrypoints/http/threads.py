"""Work that blocks, in threads of the API's own beside its event loop.

The event loop's own executor: a change of threads takes 66 µs, 90 through anyio (medians of 2,000 on two idle cores).
Large bodies keep Starlette's threads (`bodies.py`), so that slow transfers take none from operations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

THREADS = 40  # most operations wait for the disk or for the one who writes

T = TypeVar("T")
_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="api")


async def in_thread(work: Callable[[], T]) -> T:
    """What `work` returns or raises. Whoever stops waiting for it does not stop it."""
    return await asyncio.get_running_loop().run_in_executor(_threads, work)
