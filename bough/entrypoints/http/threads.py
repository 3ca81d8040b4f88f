"""Work that blocks, in threads of the API's own beside its event loop.

The event loop's own executor, since anyio's `to_thread` takes as long for one change of threads (0.3 ms on a busy
machine) as most operations take for all of theirs. Uploads keep anyio's, for they call back into the loop.
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
