"""What happens when somebody's git talks to Bough's: rights, the exchange itself, and afterwards the deploys, whose
lines go to the pusher in the same answer.

git's own answer ends with a flush packet; that one is held back until the branches are live, so that the lines come
before it. No hook is involved: the server knows from the request's beginning which refs were meant, and asks the
repository which of them moved.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

from bough.adapters.repositories import BRANCHES, FETCH, PUSH, Repositories
from bough.environments.rules import environment_name
from bough.kernel.context import Principal, Role, StreamClosed
from bough.kernel.errors import Busy, Forbidden, NotFound, Problem
from bough.kernel.events import Events
from bough.kernel.names import check_name
from bough.kernel.operations import Operations, Store
from bough.pushes import rules, store
from bough.pushes.deploying import Deploying, Task
from bough.pushes.models import Update
from bough.pushes.packets import FLUSH, SIGN_OF_LIFE, Head, told

MOST_AT_ONCE = 32  # programs of git
LIFE_S = 5.0  # between two signs of life, below what proxies allow

log = logging.getLogger("bough.git")


class Receiving:
    """One per server: it knows which refs are being pushed at this moment."""

    def __init__(
        self, repositories: Repositories, operations: Operations, deploying: Deploying, database: Store, events: Events
    ) -> None:
        self._repositories, self._operations, self._deploying = repositories, operations, deploying
        self._database, self._events = database, events
        self._guard = threading.Lock()
        self._busy: Counter[tuple[str, str]] = Counter()  # (project, ref) that a push is moving at this moment
        self._closed = threading.Event()
        self._running = 0

    def stop(self) -> None:
        """Ends what is being told; releases go on."""
        self._closed.set()

    async def advertise(self, project: str, service: str, protocol: str, principal: Principal) -> bytes:
        await asyncio.to_thread(self._prepare, project, service, principal)
        return await self._repositories.advertise(project, service, protocol)

    async def exchange(
        self, project: str, service: str, protocol: str, principal: Principal, sent: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """Raises before the first bytes what is wrong with the request."""
        self._check(project, service, principal)
        if self._running >= MOST_AT_ONCE:
            raise Busy(f"{MOST_AT_ONCE} pushes and fetches are under way", code="TOO_MANY_PUSHES",
                       hint="try again in a moment", retry_after_s=5)  # fmt: skip
        self._running += 1
        try:
            if service == FETCH:
                async for piece in self._repositories.exchange(project, service, protocol, sent):
                    yield piece
            else:
                async for piece in self._push(project, protocol, principal, sent):
                    yield piece
        finally:
            self._running -= 1

    async def _push(
        self, project: str, protocol: str, principal: Principal, sent: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        began, head, held = time.monotonic(), Head(), b""
        answers = self._repositories.exchange(project, PUSH, protocol, self._reading(project, head, sent))
        handed_over = False
        try:
            async for piece in answers:
                held += piece
                held, ready = held[-len(FLUSH) :], held[: -len(FLUSH)]
                if ready:
                    yield ready
            begin = self._tasks(project, head.updates, principal, began)
            lines, handed_over = _Telling(begin), True
            if not head.listens or held != FLUSH:
                yield held
                return
            async for line in lines:
                yield line
            yield held
        finally:
            if head.complete and not handed_over:
                self._release(project, head.updates)
            with contextlib.suppress(RuntimeError):
                await answers.aclose()  # type: ignore[attr-defined]  # a generator

    async def _reading(self, project: str, head: Head, sent: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Refs are marked before git hears of the wish: nobody may put them back under it."""
        async for piece in sent:
            if not head.complete:
                head.feed(piece)
                if head.complete:
                    with self._guard:
                        self._busy.update((project, each.ref) for each in head.updates)
            yield piece

    def _tasks(
        self, project: str, updates: list[Update], principal: Principal, began: float
    ) -> Callable[[], Iterator[str]]:
        def lines() -> Iterator[str]:
            try:
                now = self._repositories.refs(project)
                for each in updates:
                    if now.get(each.ref, "") == each.new:  # else git refused it, and has said so
                        yield from self._branch(project, each, principal, began)
                self._repositories.tidy(project)
            finally:
                self._release(project, updates)

        return lines

    def _branch(self, project: str, update: Update, principal: Principal, began: float) -> Iterator[str]:
        branch = rules.branch_of(update.ref)
        if not branch:
            return
        if not rules.is_text(branch):
            yield "a branch whose name is not UTF-8 becomes no environment; git branch -m gives it another name"
            return
        task = Task(project=project, branch=branch, commit=update.new, principal=principal, began=began)
        yield ""
        try:
            ended = yield from self._deploying.run(task, self._closed)
        except StreamClosed:
            yield "the server is stopping; the release goes on without this push: bough status"
            return
        if ended is not None:
            with self._database.write() as tx:
                store.record(tx, self._events, ended)

    def _prepare(self, project: str, service: str, principal: Principal) -> None:
        self._check(project, service, principal)
        if service == PUSH:
            self._repositories.ensure(project)
            self._put_back(project, principal)

    def _check(self, project: str, service: str, principal: Principal) -> None:
        check_name(project, "project")
        needed = Role.DEVELOPER if service == PUSH else Role.VIEWER
        if principal.role < needed:
            raise Forbidden(
                f"pushing needs the role developer, and {principal.name} is a {principal.role.name.lower()}",
                code="ROLE_MISSING", hint=f"ask an admin: bough principals set-role {principal.name} developer",
            )  # fmt: skip
        if service == FETCH and not self._repositories.exists(project):
            raise NotFound(
                f"nothing was pushed to {project} yet", code="REPOSITORY_NOT_FOUND", hint="git push bough HEAD"
            )

    def _put_back(self, project: str, principal: Principal) -> None:
        found = self._operations.call("environments.list", {"project": project}, principal)
        taken = {each.name: each.branch for each in found}
        with self._guard:
            busy = {ref for where, ref in self._busy if where == project}
            refs = self._repositories.refs(project, BRANCHES)
            live = self._repositories.refs(project, rules.LIVE_REFS)
            kept = {branch for ref in refs if environment_name(branch := rules.branch_of(ref), taken) in taken}
            for ref, commit, wanted in rules.put_back(refs, live, busy, kept):
                self._repositories.move(project, ref, to=wanted, was=commit)

    def _release(self, project: str, updates: list[Update]) -> None:
        with self._guard:
            self._busy -= Counter((project, each.ref) for each in updates)


class _Telling:
    """Lines of a generator that runs in a thread of its own, to its end, whether or not somebody still listens: a
    pusher who goes away has pushed all the same."""

    def __init__(self, begin: Callable[[], Iterator[str]]) -> None:
        self._loop, self._queue = asyncio.get_running_loop(), asyncio.Queue[bytes | None]()
        threading.Thread(target=self._work, args=(begin,), name="push", daemon=True).start()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            try:
                line = await asyncio.wait_for(self._queue.get(), LIFE_S)
            except TimeoutError:
                yield SIGN_OF_LIFE
                continue
            if line is None:
                return
            yield line

    def _work(self, begin: Callable[[], Iterator[str]]) -> None:
        try:
            for line in begin():
                self._put(told(line))
        except Exception as error:  # of ours: the pusher learns that there was one, the log the rest
            log.exception("a push failed")
            said = error.message if isinstance(error, Problem) else "the server failed at this push; see its log"
            self._put(told(said))
        self._put(None)

    def _put(self, line: bytes | None) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop is closed: nobody to tell
            self._loop.call_soon_threadsafe(self._queue.put_nowait, line)
