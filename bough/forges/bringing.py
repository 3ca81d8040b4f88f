"""What takes long: asking the forge, fetching a commit, deploying it as a push would be, and saying so in the pull
request. Runs in threads of its own, outside of any transaction; the answer is what has changed of the preview."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import msgspec

from bough.adapters.forges import Forge, Pull
from bough.adapters.repositories import BRANCHES, Repositories
from bough.environments.models import OVERTAKEN
from bough.environments.rules import environment_name
from bough.forges import rules, store
from bough.forges.linking import Keys, OpenForge
from bough.forges.models import CLOSED, FAILED, LIVE, WAITING, ForgeLink, Preview
from bough.kernel.context import Principal, Role
from bough.kernel.errors import NotFound
from bough.kernel.operations import Operations, Store
from bough.kernel.project import PRODUCTION
from bough.pushes import models as pushes
from bough.pushes.deploying import Deploying, Task
from bough.pushes.models import Push

AT_ONCE = 4
Changes = dict[str, Any]


class Bringing:
    def __init__(
        self, repositories: Repositories, operations: Operations, deploying: Deploying, database: Store, keys: Keys,
        forge_of: OpenForge,
    ) -> None:  # fmt: skip
        self._repositories, self._operations, self._deploying = repositories, operations, deploying
        self._database, self._keys, self._forge_of = database, keys, forge_of
        self._closed = threading.Event()
        self._pool = ThreadPoolExecutor(AT_ONCE, "preview")
        self._running: dict[str, tuple[Preview, Future[Changes]]] = {}

    def stop(self) -> None:
        """What is under way is begun again by the next start."""
        self._closed.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def ensure(self, step: str, preview: Preview, link: ForgeLink) -> tuple[Preview, Changes] | None:
        """The preview with which a step began, and what it has changed; None while it is under way. Raises what it has
        raised."""
        running = self._running.get(preview.id)
        if running is None:
            work = {rules.BRING: self._bring, rules.REMOVE: self._remove, rules.SAY: self._say}[step]
            self._running[preview.id] = preview, self._pool.submit(work, preview, link)
            return None
        before, coming = running
        if not coming.done():
            return None
        del self._running[preview.id]
        return before, coming.result()

    def _bring(self, preview: Preview, link: ForgeLink) -> Changes:
        forge, token = self._reach(link)
        if token and preview.number:
            now = self._asked(forge, preview, link, token)
            if now is not None and not (now.open and rules.may_build(now, link)):
                return _differences(preview, now)
        ref = forge.ref_of(preview.number) if preview.number else BRANCHES + preview.branch
        self._repositories.ensure(preview.project)
        commit = self._repositories.fetch(
            preview.project, forge.clone_url, ref, BRANCHES + preview.branch, forge.credentials(token) if token else ""
        )
        fetched = msgspec.structs.replace(preview, commit=commit)
        if not rules.may_build(fetched, link):  # the fork has moved on since its commit was allowed
            return {"commit": commit}
        self._environment(fetched, link)
        ended = self._run(fetched, link, commit)
        if ended is None or ended.state == OVERTAKEN:  # somebody else has deployed there meanwhile: look again
            return {"commit": commit}
        state = LIVE if ended.state == pushes.LIVE else FAILED
        return {"commit": commit, "deployed": commit, "state": state, "environment": ended.environment,
                "release": ended.release, "why": ended.why or ("" if state == LIVE else ended.state)}  # fmt: skip

    def _remove(self, preview: Preview, link: ForgeLink) -> Changes:
        with self._database.read() as tx:
            shared = store.same_branch(tx, preview)
        if not shared:
            ref = BRANCHES + preview.branch
            if self._repositories.exists(preview.project):
                was = self._repositories.refs(preview.project, ref).get(ref, "")
                if was:
                    self._repositories.move(preview.project, ref, to="", was=was)
            taken = {each.name: each.branch for each in self._call(link, "environments.list", project=link.project)}
            if environment_name(preview.branch, taken) in taken:
                ended = self._run(preview, link, "")
                if ended is not None and ended.state == pushes.FAILED:
                    return {"state": CLOSED, "why": ended.why}
        return {"state": CLOSED, "why": "", "deployed": ""}

    def _say(self, preview: Preview, link: ForgeLink) -> Changes:
        changes: Changes = {}
        if preview.open and not rules.may_build(preview, link):
            changes = {"state": WAITING, "why": rules.why_waiting(preview, link)}
        now = msgspec.structs.replace(preview, **changes)
        if not link.token:
            return changes | {"shown": rules.mark(now)}
        forge, token = self._reach(link)
        services = []
        if now.state == LIVE:
            found = self._call(link, "services.list", project=now.project, environment=now.environment)
            services = [msgspec.to_builtins(each) for each in found]
        if now.number:
            text = rules.comment(now, services)
            changes["comment"] = forge.comment(now.number, text, token, now.comment)
        if now.state != CLOSED and now.commit:
            url = str(services[0]["url"]) if services else ""
            forge.status(now.commit, rules.status_of(now), rules.about(now), url, token)
        return changes | {"shown": rules.mark(now)}

    def _asked(self, forge: Forge, preview: Preview, link: ForgeLink, token: str) -> Preview | None:
        """The preview as the forge has it now, if that is newer."""
        try:
            pull: Pull = forge.pull(preview.number, token)
        except NotFound:
            return msgspec.structs.replace(preview, open=False)
        return rules.seen(preview, pull, link, preview.id, preview.changed_at)

    def _environment(self, preview: Preview, link: ForgeLink) -> None:
        """Of a pull request: it begins as its base is, if that has an environment, and a fork's sees no secret."""
        if not preview.number:
            return
        taken = {each.name: each.branch for each in self._call(link, "environments.list", project=preview.project)}
        if PRODUCTION not in taken:
            self._call(link, "environments.create", project=preview.project, branch=PRODUCTION)
        base = environment_name(preview.base, taken)
        self._call(
            link, "environments.create", project=preview.project, branch=preview.branch, sealed=preview.fork,
            source=base if base in taken else PRODUCTION,
        )  # fmt: skip

    def _run(self, preview: Preview, link: ForgeLink, commit: str) -> Push | None:
        task = Task(
            project=preview.project, branch=preview.branch, commit=commit, principal=_principal(link),
            began=time.monotonic(),
        )  # fmt: skip
        lines = self._deploying.run(task, self._closed)
        while True:
            try:
                next(lines)
            except StopIteration as stop:
                ended: Push | None = stop.value
                return ended

    def _reach(self, link: ForgeLink) -> tuple[Forge, str]:
        if not link.token:
            return self._forge_of(link), ""
        with self._database.read() as tx:
            return self._forge_of(link), self._keys.open_(tx, link.project, link.token)

    def _call(self, link: ForgeLink, operation: str, /, **fields: Any) -> Any:
        return self._operations.call(operation, fields, _principal(link))


def _principal(link: ForgeLink) -> Principal:
    """Whoever may write to the repository may deploy, and no more."""
    return Principal(id="system", name=f"{link.kind}:{link.repository}", role=Role.DEVELOPER)


def _differences(before: Preview, after: Preview) -> Changes:
    was, now = msgspec.structs.asdict(before), msgspec.structs.asdict(after)
    return {key: value for key, value in now.items() if value != was[key]}
