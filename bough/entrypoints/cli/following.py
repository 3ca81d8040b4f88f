"""What a hook sets off: the environment of a branch is made, updated or discarded, once for however many commits came
meanwhile, with everything that is said in a log of the repository."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bough.entrypoints.cli import rollout, sending
from bough.entrypoints.cli.checkout import Checkout
from bough.entrypoints.cli.session import FILE_NAME, Session
from bough.kernel.errors import Problem
from bough.kernel.project import PRODUCTION
from bough.kernel.settings import Document

STATE, LOG = "bough", "hook.log"  # in the repository's .git
LARGEST_LOG_BYTES = 1_000_000
RENAMED_WITHIN_S = 10.0


def log_of(checkout: Checkout) -> Path:
    return checkout.common / STATE / LOG


@contextlib.contextmanager
def logged(checkout: Checkout) -> Iterator[None]:
    """Everything that is printed goes to the log."""
    place = log_of(checkout)
    place.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        if place.stat().st_size > LARGEST_LOG_BYTES:
            place.replace(place.with_suffix(".old.log"))
    with place.open("ab", buffering=0) as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
        yield


def moved(session: Session, checkout: Checkout, branch: str, folder: str) -> None:
    """Brings the branch's last commit to life in its environment."""
    with _alone(checkout, f"{branch}:{folder}") as mine:
        if not mine:
            return  # one that waits already will see this commit as well
        commit = checkout.commit_of(branch)
        if not commit:
            return
        project = _project(checkout, folder)
        client = session.client()
        _have_production(session, project)
        made = client.environments.create(project=project, branch=branch)
        environment, known = made.environment.name, checkout.common / STATE / _key(f"{branch}:{folder}:live")
        if environment == PRODUCTION and not checkout.settings("bough.production"):
            session.out(f"{_now()} {branch} is production and left alone; bough git install --production changes that")
            return
        if not made.created and _text(known) == commit:
            return
        session.out(f"{_now()} {branch} -> {project}/{environment}, commit {commit[:9]}")
        _deploy(session, checkout, commit, environment, folder)
        known.write_text(commit, "ascii")


def gone(session: Session, checkout: Checkout, branch: str, folder: str) -> None:
    """Discards the environment of a branch that was deleted; not of one that got another name."""
    if checkout.commit_of(branch):
        return  # packed, or made again
    if new := _renamed_to(checkout, branch):
        session.out(f"{_now()} {branch} is called {new} now; its environment stays: bough branch discard {branch}")
        return
    client, project = session.client(), _project(checkout, folder)
    there = client.environments.list(project=project)
    if any(each.get("branch") == branch and each.name != PRODUCTION for each in there):
        found = client.environments.discard(project=project, branch=branch)
        session.out(f"{_now()} {branch} is deleted; {project}/{found.name} is discarded")


def _deploy(session: Session, checkout: Checkout, commit: str, environment: str, folder: str) -> None:
    began = time.monotonic()
    with checkout.exported(commit) as tree:
        prepared = sending.prepare(tree / folder, environment)
        sent = sending.upload(session, session.client(), prepared)
        session.out(f"  {prepared.count} files, {sent.files} sent")
        subject = checkout.ask("log", "-1", "--format=%s", commit)
        release = session.client().releases.create(**prepared.request(), message=subject, commit=commit)
    if release.state == "live":
        session.out(f"  release {release.number} is live already")
        return
    done = rollout.follow(session, release)
    session.out(rollout.summary(session, rollout.result_of(done, began)))


def _have_production(session: Session, project: str) -> None:
    """The first branch of a project needs something to branch from."""
    client = session.client()
    if not any(each.name == PRODUCTION for each in client.environments.list(project=project)):
        client.environments.create(project=project, branch=PRODUCTION)


def _project(checkout: Checkout, folder: str) -> str:
    document = Document.read(checkout.top / folder / FILE_NAME)
    return str(document.data.get("name", ""))


def _renamed_to(checkout: Checkout, branch: str) -> str:
    """`git branch -m` deletes a ref and makes another; only the reflog of that one says so."""
    since = time.time() - RENAMED_WITHIN_S
    for other in checkout.ask("for-each-ref", "--format=%(refname:short)", "refs/heads").splitlines():
        newest = checkout.ask("log", "-g", "-1", "--date=unix", "--format=%gd %gs", f"refs/heads/{other}", "--")
        if f"renamed refs/heads/{branch} to refs/heads/{other}" in newest:
            at = newest.partition("@{")[2].partition("}")[0]
            if at.isdigit() and int(at) >= since:
                return other
    return ""


@contextlib.contextmanager
def _alone(checkout: Checkout, what: str) -> Iterator[bool]:
    """Waits for the one that works at `what`; false when another waits already."""
    state = checkout.common / STATE
    state.mkdir(exist_ok=True)
    with (
        (state / _key(f"{what}:waiting")).open("ab") as waiting,
        (state / _key(f"{what}:working")).open("ab") as working,
    ):
        try:
            fcntl.flock(waiting, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        fcntl.flock(working, fcntl.LOCK_EX)
        fcntl.flock(waiting, fcntl.LOCK_UN)
        yield True


def _key(what: str) -> str:
    return hashlib.sha256(what.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _text(place: Path) -> str:
    try:
        return place.read_text("ascii")
    except OSError:
        return ""


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def say(problem: Problem) -> str:
    detail = problem.detail()
    return f"{_now()} {detail.message} ({detail.code})" + (f"; try: {detail.hint}" if detail.hint else "")
