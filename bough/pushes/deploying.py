"""From a branch that has arrived to its URL, in lines for the pusher. The steps are those of `bough deploy`, and so are
the operations that take them: what a pusher may not do there fails here."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bough.adapters.blobs import Blobs
from bough.adapters.repositories import BRANCHES, Item, Repositories
from bough.builds import bundle
from bough.builds.models import Scan
from bough.environments.models import LIVE as RELEASE_LIVE
from bough.environments.models import OVERTAKEN, Release
from bough.kernel.context import Principal
from bough.kernel.errors import Problem
from bough.kernel.operations import Operations
from bough.kernel.project import FILE_NAME, PRODUCTION, resolve
from bough.kernel.settings import Document
from bough.pushes import rules
from bough.pushes.models import DISCARDED, FAILED, LIVE, Push

SHOWN_COMMIT = 9  # digits
Lines = Generator[str, None, Push | None]


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One branch that a push moved. `began` is when, by `time.monotonic`; `commit` is empty when it was removed."""

    project: str
    branch: str
    commit: str
    principal: Principal
    began: float
    environment: str = ""  # known once it has been asked for

    @property
    def ref(self) -> str:
        return BRANCHES + self.branch

    @property
    def place(self) -> str:
        return f"{self.project}/{self.environment}"

    def ended(self, state: str, *, release: int = 0, why: str = "") -> Push:
        return Push(
            project=self.project, environment=self.environment, branch=self.branch, state=state,
            seconds=round(time.monotonic() - self.began, 3), by=self.principal.name, commit=self.commit,
            release=release, why=why,
        )  # fmt: skip


class Deploying:
    def __init__(self, repositories: Repositories, operations: Operations, blobs: Blobs) -> None:
        self._repositories, self._operations, self._blobs = repositories, operations, blobs
        self._making: defaultdict[tuple[str, str], threading.Lock] = defaultdict(threading.Lock)

    def run(self, task: Task, closed: threading.Event) -> Lines:
        """Yields lines; returns what became of the branch, None when another push has it in hand by now. Problems are
        told and returned, not raised: the code has arrived whatever became of it."""
        try:
            return (yield from (self._deploy(task, closed) if task.commit else self._discard(task)))
        except Problem as problem:
            yield from _refusal(task, problem)
            return task.ended(FAILED, why=problem.message)

    def _discard(self, task: Task) -> Lines:
        if self._repositories.refs(task.project, task.ref):
            return None  # pushed again meanwhile
        self._repositories.move(task.project, rules.LIVE_REFS + task.branch, to="", was=self._live(task))
        gone = self._call(task, "environments.discard", project=task.project, branch=task.branch)
        task = msgspec.structs.replace(task, environment=gone.name)
        yield f"{task.branch}: environment {task.place} is discarded"
        return task.ended(DISCARDED)

    def _deploy(self, task: Task, closed: threading.Event) -> Lines:
        with self._making[task.project, task.branch]:  # the release of a later push has the higher number
            if self._repositories.refs(task.project, task.ref).get(task.ref) != task.commit:
                yield f"{task.branch}: a later push has moved it on"
                return None
            task = self._with_environment(task)
            yield f"{task.branch} -> {task.place}, commit {task.commit[:SHOWN_COMMIT]}"
            release = yield from self._release(task)
        if release.state == RELEASE_LIVE:
            services = self._call(task, "services.list", project=task.project, environment=task.environment)
            yield f"{task.place} release {release.number} was already live after {_since(task)}"
            yield from _urls([msgspec.to_builtins(each) for each in services])
            return self._done(task, release.number)
        return (yield from self._follow(task, release, closed))

    def _with_environment(self, task: Task) -> Task:
        """Also for the first branch of a project that has no production yet: there is one afterwards, and it is empty,
        so that the branch has something to be merged into."""
        there = self._call(task, "environments.list", project=task.project)
        if not any(each.name == PRODUCTION for each in there):
            self._call(task, "environments.create", project=task.project, branch=PRODUCTION)
        made = self._call(task, "environments.create", project=task.project, branch=task.branch)
        return msgspec.structs.replace(task, environment=made.environment.name)

    def _release(self, task: Task) -> Generator[str, None, Release]:
        tree = self._repositories.tree(task.project, task.commit)
        texts = {each.path: self._read(task, each) for each in rules.project_files(tree)}
        below = rules.project_folder(task.project, texts)
        file = texts[f"{below}/{FILE_NAME}".lstrip("/")].decode("utf-8", "replace")
        project = resolve(Document(file, FILE_NAME), task.environment)
        paths = sorted({each.path for each in (*project.services.values(), *project.jobs.values())})
        with self._repositories.exported(task.project, task.commit) as folder:
            absent = rules.absent_content(tree, _pointers(folder, tree))
            yield from (f"  {line}" for line in (*absent, *_cut_links(folder, tree)))
            scans = {path: self._scan(folder, below, path) for path in paths}
            for scanned in scans.values():
                yield from (f"  left out {each.path}: {each.reason}" for each in scanned.notices)
                bundle.store(scanned, self._blobs)
        yield f"  {sum(each.count for each in scans.values())} files"
        bundles = {path: each.digest for path, each in scans.items()}
        made: Release = self._call(
            task, "releases.create", file=file, bundles=bundles, environment=task.environment, commit=task.commit,
            message=self._repositories.subject(task.project, task.commit),
        )  # fmt: skip
        return made

    def _follow(self, task: Task, release: Release, closed: threading.Event) -> Lines:
        yield f"  release {release.number} is on its way"
        for item in self._operations.call("releases.follow", {"id": release.id}, task.principal, closed=closed):
            if item.kind == "log":
                yield f"  {item.service} | {item.text}"
            elif item.kind == "service":
                yield f"  {item.service}: {item.state}"
            elif item.kind == "done" and item.state == RELEASE_LIVE:
                yield f"{task.place} release {release.number} is live after {_since(task)}"
                yield from _urls(item.data["services"])
                return self._done(task, release.number)
            elif item.kind == "done":
                yield from _failure(task, item.state, item.data)
                state = OVERTAKEN if item.state == OVERTAKEN else FAILED
                why = str(item.data["release"].get("failure", {}).get("message", ""))
                return task.ended(state, release=release.number, why=why)
        return None

    def _done(self, task: Task, number: int) -> Push:
        self._repositories.move(task.project, rules.LIVE_REFS + task.branch, to=task.commit, was=self._live(task))
        return task.ended(LIVE, release=number)

    def _live(self, task: Task) -> str:
        ref = rules.LIVE_REFS + task.branch
        return self._repositories.refs(task.project, ref).get(ref, "")

    def _call(self, task: Task, operation: str, /, **fields: Any) -> Any:
        return self._operations.call(operation, fields, task.principal)

    def _read(self, task: Task, item: Item) -> bytes:
        return self._repositories.read(task.project, item.id)

    def _scan(self, folder: Path, below: str, path: str) -> Scan:
        place = folder / below / path
        rules.check_inside(path, place.resolve().is_relative_to(folder.resolve()))
        return bundle.scan(place)


def explained(problem: Problem) -> Iterator[str]:
    """The same three lines as the command line's."""
    what, _, why = problem.message.partition("; ")
    yield what
    yield f"  why: {why} ({problem.own_code})" if why else f"  why: {problem.own_code}"
    if problem.hint:
        yield f"  try: {problem.hint}"


def _refusal(task: Task, problem: Problem) -> Iterator[str]:
    if task.commit:
        yield f"{task.branch} has arrived, but was NOT released: what was live still serves"
    else:
        yield f"{task.branch} is gone, but its environment was NOT discarded"
    yield from (f"  {line}" for line in explained(problem))


def _failure(task: Task, state: str, data: dict[str, Any]) -> Iterator[str]:
    release, live = data["release"], data.get("live", 0)
    still = f"release {live} still serves" if live else "nothing was live before"
    if state == OVERTAKEN:
        yield f"{task.branch} has arrived; a newer release of {task.place} overtook release {release['number']}"
        return
    failure = release.get("failure", {})
    service = failure.get("service", "")
    of = f" in service {service}" if service else ""
    yield f"{task.branch} has arrived, but release {release['number']} of {task.place} FAILED{of}; {still}"
    yield f"  why: {failure.get('message', 'it did not become ready')} ({failure.get('code', 'RELEASE_FAILED')})"
    hint = failure.get("hint") or f"bough logs {service} -e {task.environment} --lines 100".replace("  ", " ")
    yield f"  try: {hint}"
    yield "  then push again; the same commit may be pushed again too"


def _urls(services: list[dict[str, Any]]) -> Iterator[str]:
    longest = max((len(each["service"]) for each in services), default=0)
    for each in services:
        yield f"  {each['service']:<{longest}}  {each['url']}"
        if each.get("address") and each["address"] != each["url"]:
            yield f"  {'':<{longest}}  {each['address']}"


def _pointers(folder: Path, tree: Sequence[Item]) -> list[str]:
    """Files of which Git LFS has put only a pointer into the commit."""
    small = (each.path for each in tree if each.kind == "file" and each.size <= rules.LARGEST_POINTER_BYTES)
    return [path for path in small if rules.is_pointer((folder / path).read_bytes())]


def _cut_links(folder: Path, tree: Sequence[Item]) -> Iterator[str]:
    """Takes links away that lead out of the tree: they would be followed on the server's own disk."""
    root = folder.resolve()
    for each in tree:
        place = folder / each.path
        if each.kind == "link" and not _resolved(place).is_relative_to(root):
            place.unlink()
            yield f"left out {each.path}: a link that leads out of the repository"


def _resolved(place: Path) -> Path:
    try:
        return place.resolve()
    except (OSError, RuntimeError):  # a link that leads to itself
        return Path("/")


def _since(task: Task) -> str:
    return f"{time.monotonic() - task.began:.1f} s"
