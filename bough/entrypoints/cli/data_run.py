"""`bough data run`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from bough.data import trees
from bough.data.models import File
from bough.data.transfer import put
from bough.data.trees import COPY, FOR_WRITING, Tree, Trees
from bough.entrypoints.cli import data_store
from bough.entrypoints.cli.drawing import size
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session
from bough.kernel.errors import Conflict, Invalid, NotFound, Problem, WorkloadFailed
from bough.kernel.names import check_name

PLACEHOLDER, VARIABLE = "{}", "BOUGH_DATA"
SHOWN = 100  # paths in an error


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for."""

    project: str
    environment: str
    dataset: str
    at: str
    words: tuple[str, ...]
    writable: bool
    commit: bool
    keep: bool
    how: str
    message: str


def run(session: Session, dataset: str, words: tuple[str, ...], at: str, writable: bool, **rest: Any) -> None:
    if session.remote:
        raise Invalid("the blobs are on another machine", code="MOUNT_REMOTE", hint=f"bough data get {dataset}")
    name, _, point = dataset.partition("@")
    if point and at:
        raise Invalid(f"two points: {point} and {at}", code="USAGE", hint=f"bough data run {name} --at {at} -- …")
    if shutil.which(words[0]) is None:
        raise Invalid(f"there is no program {words[0]}", code="COMMAND_NOT_FOUND", hint=f"which {words[0]}")
    rest["project"] = data_store.project_of(rest["project"])
    asked = Run(dataset=check_name(name, "dataset"), at=point or at, words=words,
                writable=writable or rest["commit"] or rest["keep"], **rest)  # fmt: skip
    files, change = data_store.tree(session, asked.project, asked.dataset, asked.environment, asked.at)
    place = Trees(session.home.trees, data_store.blobs_here(session))
    place.sweep()
    with place.held() as (held, descriptor):
        how, began = _way(session, asked, files), time.monotonic()
        tree = place.make(held, files, asked.dataset, writable=asked.writable, how=how)
        status = _run(asked.words, tree, descriptor, _databases(session, asked))
        if asked.keep:
            place.keep(held)
        if status:
            raise _failed(asked, tree, status)
        done = {"how": tree.how, "files": tree.files, "bytes": tree.bytes, "copied_bytes": tree.copied_bytes}
        done |= {"kept": tree.changed_folder} if asked.keep else {}
        if asked.commit:
            try:
                done |= _commit(session, asked, tree, files, change)
            except Problem:  # what the program did must not be lost for it
                place.keep(held)
                session.note(f"nothing was committed; the changed files are in {tree.changed_folder}")
                raise
    if session.json:
        session.answer(done | {"seconds": round(time.monotonic() - began, 3)})
    else:  # what the program printed is the output
        for line in _lines(done):
            session.note(line)


def _way(session: Session, asked: Run, files: list[File]) -> str:
    session.home.run.mkdir(parents=True, exist_ok=True)
    ways = trees.ways(session.home.run)
    chosen = trees.choose(ways, writable=asked.writable, how=asked.how)
    if chosen == COPY:
        why = "" if asked.how else "; " + ", ".join(each.why_not for each in ways if each.why_not)
        session.note(f"copying {size(sum(each.size for each in files))} first{why}")
    return chosen


def _databases(session: Session, asked: Run) -> dict[str, str]:
    """How the program finds the databases of the environment; of another time there are none."""
    if asked.at:
        return {}
    found: dict[str, str] = session.client().databases.variables(project=asked.project, environment=asked.environment)
    return found


def _run(words: tuple[str, ...], tree: Tree, descriptor: int, databases: dict[str, str]) -> int:
    """Its exit status. Ctrl-C reaches the program by itself; we wait for what it makes of that."""
    command = [*tree.launcher, *(tree.path if word == PLACEHOLDER else word for word in words)]
    given, interrupted = os.environ | databases | {VARIABLE: tree.path}, False
    process = subprocess.Popen(command, env=given, pass_fds=(descriptor,))  # noqa: S603 - the user's own
    with process, _passing_on(process):
        while process.returncode is None:
            try:
                process.wait()
            except KeyboardInterrupt:
                interrupted = True
    if interrupted and process.returncode:
        raise KeyboardInterrupt
    return process.returncode


@contextlib.contextmanager
def _passing_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """SIGTERM is meant for the program; what is left of it is cleared away afterwards."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _failed(asked: Run, tree: Tree, status: int) -> WorkloadFailed:
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    nothing = "nothing was committed and " if asked.commit else ""
    where = f"its files are kept in {tree.changed_folder}" if asked.keep else "its files are gone"
    hint = f"rm -r {tree.folder}, when you have seen it" if asked.keep else "--keep leaves the changed files there"
    what = f"{asked.words[0]} {how}; {nothing}{where}"
    return WorkloadFailed(
        what, code="COMMAND_FAILED", hint=hint, status=status, folder=tree.folder if asked.keep else ""
    )


def _commit(session: Session, asked: Run, tree: Tree, files: list[File], change: int) -> dict[str, Any]:
    """Writes back what the program changed, as one change, if nobody else has changed the same files meanwhile."""
    start = len(asked.dataset) + 1
    base = {each.path[start:]: msgspec.structs.replace(each, path=each.path[start:]) for each in files}
    found = trees.changes(tree)
    progress = data_store.progress(session, "storing", len(found.files), sum(each.size for each in found.files))
    fresh = put(found.files, base, data_store.store(session), progress)
    fresh = [each for each in fresh if base.get(each.path) != each]
    if asked.at:
        change = _compared(session, asked, base, {*found.removed, *(each.path for each in fresh)})
    message = asked.message or f"bough data run {asked.dataset} -- {' '.join(asked.words)}"[:200]
    done = session.client().files.commit(
        project=asked.project, dataset=asked.dataset, environment=asked.environment, message=message,
        remove=found.removed, since=change, **data_store.content(session, fresh),
    )  # fmt: skip
    return {"dataset": asked.dataset, "change": done.change, "written": done.written, "removed": done.removed}


def _compared(session: Session, asked: Run, base: dict[str, File], touched: set[str]) -> int:
    """The change up to which the dataset has these files as the tree had them, though that was of another point."""
    now, start = dict[str, File](), len(asked.dataset) + 1
    try:
        files, change = data_store.tree(session, asked.project, asked.dataset, asked.environment, "")
        now = {each.path[start:]: msgspec.structs.replace(each, path=each.path[start:]) for each in files}
    except NotFound as error:
        if error.own_code != "DATA_FILE_NOT_FOUND":
            raise
        _, change = data_store.tree(session, asked.project, "", asked.environment, "")
    if moved := sorted(path for path in touched if now.get(path) != base.get(path)):
        raise Conflict(
            f"{asked.dataset}/{moved[0]} is not now what it was at {asked.at}; nothing was written",
            code="DATASET_MOVED", hint=f"bough data diff {asked.dataset} --against {asked.at}", paths=moved[:SHOWN],
        )  # fmt: skip
    return change


def _lines(done: dict[str, Any]) -> list[str]:
    lines = []
    if "change" in done:
        what = f"change {done['change']}" if done["change"] else "no change"
        lines.append(f"{done['dataset']} ({what}): {done['written']:,} files written, {done['removed']:,} removed")
    if "kept" in done:
        lines.append(f"the changed files are in {done['kept']}")
    return lines


command = make(
    "run",
    "Runs a program with a dataset as a folder.\n\nThe folder is $BOUGH_DATA; a word {} becomes its path. Read-only "
    "unless --writable, and then the dataset stays as it is unless --commit: files are cloned where the file system "
    "can do that, else copied when they are first changed (an overlay that only the program sees), else copied before "
    "it begins, which is said. The folder is gone when the program has ended.",
    [
        click.Argument(["dataset"], metavar="DATASET[@POINT]", help="What to show."),
        click.Argument(["words"], nargs=-1, required=True, metavar="-- COMMAND…", type=click.UNPROCESSED,
                       help="The program and its words."),
        *data_store.common(at=True),
        click.Option(["--writable"], is_flag=True, help="Let the program change files."),
        click.Option(["--commit"], is_flag=True,
                     help="Then write back, as one change, what it changed, added and removed, if it ended well."),
        click.Option(["--message", "-m"], default="", metavar="TEXT", help="Why; kept with that change."),
        click.Option(["--keep"], is_flag=True, help="Leave the changed files there, and say where."),
        click.Option(["--how"], default="", metavar="WAY", type=click.Choice(["", *FOR_WRITING]),
                     help="clone, overlay or copy; the best there is without it."),
    ],
    run,
    examples="Examples:\n  bough data run images -- python train.py\n"
    "  bough data run images@v1 --writable -- ./resize {}\n"
    "  bough data run images --commit -m 'without thumbnails' -- sh -c 'rm $BOUGH_DATA/*-small.png'",
)  # fmt: skip
