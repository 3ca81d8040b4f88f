"""One thread that hears of changed folders (inotify) and ended processes (pidfds) at once, without polling.

Handlers run in that thread, one at a time. A slow tick stands in for anything that the kernel did not tell; where
there is no inotify (limit reached) the tick is short.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import struct
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path

_MOVED_TO, _ONLYDIR = 0x80, 0x01000000
_EVENT = struct.Struct("iIII")
_TICK_S, _TICK_WITHOUT_INOTIFY_S = 2.0, 0.05

FolderHandler = Callable[[str], None]  # the name of the file that appeared


class Events:
    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._inotify: int = self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        if self._inotify >= 0:
            self._epoll.register(self._inotify, select.EPOLLIN)
        self._folders: dict[int, FolderHandler] = {}
        self._processes: dict[int, Callable[[], None]] = {}
        self._soon: deque[Callable[[], None]] = deque()
        self._blind = self._inotify < 0
        self._ending = self._closed = False
        self._thread = threading.Thread(target=self._run, name="engine-events", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        if self._closed:
            return
        self._ending = True
        os.eventfd_write(self._wake, 1)
        if self._thread.is_alive():
            self._thread.join()
        self._closed = True
        for fd in (self._inotify, self._wake):
            if fd >= 0:
                os.close(fd)
        self._epoll.close()

    def on_file(self, folder: Path, handler: FolderHandler) -> int:
        """Calls `handler` with the name of every file that is renamed into `folder`. Look at the folder once after
        this call: what was there before is not told. Returns what `forget_folder` takes."""
        if self._inotify < 0:
            return -1
        watch: int = self._libc.inotify_add_watch(self._inotify, os.fsencode(folder), _MOVED_TO | _ONLYDIR)
        if watch < 0:
            self._blind = True  # fs.inotify.max_user_watches is reached
        else:
            self._folders[watch] = handler
        return watch

    def forget_folder(self, watch: int) -> None:
        if self._folders.pop(watch, None) and not self._closed:
            self._libc.inotify_rm_watch(self._inotify, watch)

    def on_exit(self, pidfd: int, handler: Callable[[], None]) -> None:
        self._processes[pidfd] = handler
        with contextlib.suppress(FileExistsError):
            self._epoll.register(pidfd, select.EPOLLIN | select.EPOLLONESHOT)

    def forget_process(self, pidfd: int) -> None:
        """Before `pidfd` is closed."""
        self._processes.pop(pidfd, None)
        if not self._closed:
            with contextlib.suppress(OSError):
                self._epoll.unregister(pidfd)

    def soon(self, handler: Callable[[], None]) -> None:
        self._soon.append(handler)
        if not self._closed:
            os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        next_tick = time.monotonic()
        while not self._ending:
            for fd, _ in self._epoll.poll(max(0.0, next_tick - time.monotonic())):
                if fd == self._wake:
                    with contextlib.suppress(BlockingIOError):
                        os.eventfd_read(self._wake)
                elif fd == self._inotify:
                    self._read_inotify()
                elif (ended := self._processes.get(fd)) and _has_ended(fd):
                    if self._processes.get(fd) is ended:
                        del self._processes[fd]
                    self._guarded(ended)
            while self._soon:
                self._guarded(self._soon.popleft())
            if time.monotonic() >= next_tick and not self._ending:
                self._guarded(self._tick)
                next_tick = time.monotonic() + (_TICK_WITHOUT_INOTIFY_S if self._blind else _TICK_S)

    def _read_inotify(self) -> None:
        try:
            data = os.read(self._inotify, 65536)
        except BlockingIOError:
            return
        position = 0
        while position < len(data):
            watch, _, _, length = _EVENT.unpack_from(data, position)
            start = position + _EVENT.size
            name = data[start : start + length].rstrip(b"\0").decode("utf-8", "replace")
            position = start + length
            if handler := self._folders.get(watch):
                self._guarded(lambda handler=handler, name=name: handler(name))  # type: ignore[misc]  # bound now

    def _guarded(self, handler: Callable[[], None]) -> None:
        """A handler that fails must not end the thread that all others depend on; the tick tries again."""
        try:
            handler()
        except Exception:
            print(traceback.format_exc(), file=sys.stderr)


def _has_ended(pidfd: int) -> bool:
    """Events come many at a time: since this one was told of, its process may have been forgotten, and the number of
    its descriptor be that of a process which lives."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return any(event & select.POLLIN for _, event in poller.poll(0))
