"""From a project's folder to what `releases.create` needs: bundles scanned, and the missing files uploaded."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from bough.builds.bundle import scan
from bough.builds.ignore import FILE_NAME as IGNORE_NAME
from bough.builds.models import Scan
from bough.client import Client
from bough.entrypoints.cli.drawing import size
from bough.entrypoints.cli.session import FILE_NAME, Session, git_branch, load_project
from bough.kernel.errors import Conflict, Invalid
from bough.kernel.project import PRODUCTION, Project, of_job

STATE_FOLDER = ".bough"  # beside the project file; never part of a bundle
DIGESTS_AT_ONCE = 20_000  # in one question, which stays far below the largest body that is taken
PROGRESS_S = 1.0


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A project as it stands in its folder now."""

    project: Project
    file: str
    scans: dict[str, Scan]

    def request(self) -> dict[str, Any]:
        bundles = {path: each.digest for path, each in self.scans.items()}
        return {"file": self.file, "bundles": bundles, "environment": self.project.environment}

    @property
    def size(self) -> int:
        return sum(each.size for each in self.scans.values())

    @property
    def count(self) -> int:
        return sum(each.count for each in self.scans.values())


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    files: int
    bytes: int


def environment_of(session: Session, folder: Path, chosen: str) -> str:
    """The environment that `folder` is sent to: the chosen one, else that of its git branch, else production. A branch
    without an environment of its own means production, as it did before there were branches."""
    if chosen:
        return chosen
    try:
        branch = git_branch(folder) if in_git(folder) else PRODUCTION
    except Invalid:  # no branch is checked out
        return PRODUCTION
    if branch == PRODUCTION:
        return PRODUCTION
    name = load_project(folder, PRODUCTION).name
    there = session.client().environments.list(project=name)
    return next((each.name for each in there if each.get("branch") == branch), PRODUCTION)


def prepare(folder: Path, environment: str, *, job: str = "") -> Prepared:
    """Raises what is wrong with the project file or the bundle, before anything is sent. `job`: for a run of this one
    alone, and of those that it comes after."""
    project = load_project(folder, environment)
    services, jobs = ({}, of_job(project, job).jobs) if job else (project.services, project.jobs)
    paths = sorted({each.path for each in (*services.values(), *jobs.values())})
    state = state_folder(folder)
    scans = {path: scan(folder / path, cache=state / f"scan-{path.replace('/', '-')}.cache") for path in paths}
    return Prepared(project=project, file=(folder / FILE_NAME).read_text("utf-8"), scans=scans)


def upload(session: Session, client: Client, prepared: Prepared) -> Sent:
    """Sends what the server does not have; a bundle's manifest after its files."""
    files, sent = 0, 0
    said = time.monotonic()
    for scanned in prepared.scans.values():
        entries = {entry.digest: entry for entry in scanned.bundle.entries}
        wanted = [scanned.digest, *entries]
        missing = {
            digest
            for at in range(0, len(wanted), DIGESTS_AT_ONCE)
            for digest in client.blobs.missing(digests=wanted[at : at + DIGESTS_AT_ONCE])
        }
        total = sum(entry.size for digest, entry in entries.items() if digest in missing)
        for digest, entry in entries.items():
            if digest not in missing:
                continue
            with _opened(scanned.folder, entry.path, entry.size) as content:
                client.upload(digest, content, entry.size)
            files, sent = files + 1, sent + entry.size
            if time.monotonic() - said > PROGRESS_S:
                said = time.monotonic()
                session.note(f"  uploading: {size(sent)} of {size(total)}")
        if scanned.digest in missing:
            client.put(scanned.bundle.manifest, scanned.digest)
    return Sent(files=files, bytes=sent)


def _opened(folder: Path, path: str, size: int) -> BinaryIO:
    """A file as it was when the folder was read; raises `Conflict` where it is another one by now."""
    try:
        content = (folder / path).open("rb")
    except FileNotFoundError as error:
        raise _changed(path) from error
    if os.fstat(content.fileno()).st_size != size:
        content.close()
        raise _changed(path)
    return content


def _changed(path: str) -> Conflict:
    return Conflict(
        f"{path} changed while it was sent", code="FILE_CHANGED",
        hint=f"run it again; what is written all the time belongs in {IGNORE_NAME}",
    )  # fmt: skip


def state_folder(folder: Path) -> Path:
    """`.bough` beside the project file, ignored by git by itself."""
    state = folder / STATE_FOLDER
    if not state.is_dir():
        try:
            state.mkdir()
            (state / ".gitignore").write_text("*\n", "utf-8")
        except OSError:  # a read-only folder can be deployed: only the cache is lost
            return state
    return state


def commit_of(folder: Path) -> str:
    """The commit that git has checked out here; empty without git."""
    if not in_git(folder):
        return ""
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            ["git", "-C", str(folder), "rev-parse", "HEAD"],  # noqa: S607 - the user's own git
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def in_git(folder: Path) -> bool:
    return any((each / ".git").exists() for each in (folder.absolute(), *folder.absolute().parents))
