"""What only a first call costs is paid in a quiet moment, before anybody asks.

A replica shares its pages with the zygote that it was forked from until it touches them, and libraries put off work
until they are called: the first call of a model that takes half a millisecond takes four more. So a replica that is
connected and has nothing to do calls its model once. The file of a model is asked with zeros. A class is asked only if
it has a method `warm_up`, which says with what: its `predict` may write somewhere, and nobody has asked yet.

Requests that come meanwhile wait, unless what is called awaits something. A replica in which they wait for too long is
ended like any other that hangs, and the next attempt of its unit would hang in the same place: so whoever calls leaves
a mark until it has come back, and an attempt whose predecessor has left one does without.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from bough.runtime.answers import explain
from bough.runtime.kernelcalls import give_back_memory
from bough.runtime.models import Model
from bough.runtime.protocols import tensors
from bough.runtime.spec import REHEARSING_NAME

QUIET_S = 0.02  # without a request: time enough to tidy up


class Rehearsal:
    """Of one replica, whose files are in `folder`; `due` until it has begun. Never raises: what goes wrong is logged,
    and the replica answers as ever."""

    def __init__(self, model: Model, folder: Path, attempt: int) -> None:
        self.due = True
        self._model = model
        self._attempt = attempt
        self._mark = folder / REHEARSING_NAME
        self._last_mark = folder.parent / str(attempt - 1) / REHEARSING_NAME

    def run(self) -> None:
        with self._once() as call:
            if inspect.isawaitable(returned := call()):
                asyncio.run(_end_of(returned))

    async def run_in_loop(self) -> None:
        with self._once() as call:
            if inspect.isawaitable(returned := call()):
                await returned

    @contextlib.contextmanager
    def _once(self) -> Iterator[Callable[[], Any]]:
        """Gives what is to be called."""
        self.due = False
        hung = self._last_mark.exists()
        if hung:
            sys.stderr.write(
                f"warm_up is not called: attempt {self._attempt - 1} of this replica was ended while it ran. Requests "
                "that come meanwhile wait for it, so it must take less time than they have (timeout_s)\n"
            )
        with contextlib.suppress(OSError):  # a full disk
            self._mark.touch()
        try:
            yield _nothing if hung else self._call()
        except (Exception, SystemExit) as error:  # the user's, or a file that takes no zeros
            explain(0, error)
        finally:
            if not hung:
                self._mark.unlink(missing_ok=True)
        give_back_memory()  # what loading took and freed is memory too

    def _call(self) -> Callable[[], Any]:
        model = self._model.tensors
        if model is not None:
            return _nothing if model.runs_code else lambda: model.infer(tensors.zeros(model.inputs))
        warm_up = getattr(self._model.instance, "warm_up", None)
        return warm_up if callable(warm_up) else _nothing


def _nothing() -> None:
    pass


async def _end_of(returned: Awaitable[Any]) -> None:
    await returned
