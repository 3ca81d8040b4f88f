"""Repositories through the `git` program: `receive-pack` and `upload-pack` in their stateless form, which is all that
`git http-backend` would run as well. Rejected: the CGI program itself (a second parser of requests, switches in its
environment), and libraries that write packs themselves (dulwich, pygit2): git's own checks are the ones to trust."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from bough.adapters.repositories import PUSH, Item
from bough.kernel.errors import Problem, Unavailable
from bough.kernel.files import as_exhausted

LIMIT_BYTES = 2 << 30  # of one push; a bundle may have as much
PIECE_BYTES = 64 << 10
COMMAND_S = 600.0  # a commit of the largest allowed size on a slow disk
EXPORTS = ".exports"
_KINDS = {"100": "file", "120": "link", "160": "submodule"}
_ABSENT = "0" * 40

log = logging.getLogger("bough.git")


class GitRepositories:
    """One folder `NAME.git` per repository. Names are checked by the caller: they become part of a path."""

    def __init__(self, folder: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder, self._limit_bytes = folder, limit_bytes

    def sweep(self) -> None:
        """Removes what a process that was killed left half-done."""
        shutil.rmtree(self._folder / EXPORTS, ignore_errors=True)

    def ensure(self, name: str) -> None:
        if self.exists(name):
            return
        with as_exhausted(self._folder), self._temporary() as folder:
            made = folder / "made.git"
            self._run(folder, "init", "--bare", "--quiet", "--template=", "--initial-branch=main", str(made))
            try:
                made.rename(self._place(name))
            except OSError:
                if not self.exists(name):  # else another push was a moment faster
                    raise

    def exists(self, name: str) -> bool:
        return (self._place(name) / "HEAD").exists()

    async def advertise(self, name: str, service: str, protocol: str) -> bytes:
        process = await self._start(name, service, protocol, "--http-backend-info-refs")
        said, complaint = await process.communicate()
        if process.returncode != 0:
            raise _failed(service, complaint)
        return said

    async def exchange(
        self, name: str, service: str, protocol: str, sent: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        process = await self._start(name, service, protocol)
        assert process.stdout and process.stderr  # noqa: S101 - both are pipes
        feeding = asyncio.ensure_future(_feed(process, sent))
        complaining = asyncio.ensure_future(process.stderr.read())
        try:
            while piece := await process.stdout.read(PIECE_BYTES):
                yield piece
                if feeding.done():
                    feeding.result()  # the sender is gone, or sent too much
            await feeding
            if await process.wait() != 0:
                log.info("%s of %s ended with %s: %s", service, name, process.returncode, (await complaining)[-500:])
        finally:
            for task in (feeding, complaining):
                task.cancel()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            await asyncio.gather(feeding, complaining, return_exceptions=True)

    def refs(self, name: str, prefix: str = "") -> dict[str, str]:
        found = self._git(name, "for-each-ref", "--format=%(objectname) %(refname)", *filter(None, [prefix]))
        pairs = (line.partition(" ") for line in found.decode("utf-8", "surrogateescape").splitlines())
        return {ref: commit for commit, _, ref in pairs}

    def move(self, name: str, ref: str, *, to: str, was: str) -> bool:
        words = ["update-ref", ref, to, was or _ABSENT] if to else ["update-ref", "-d", ref, was]
        try:
            self._git(name, *words)
        except Problem:
            return False
        return True

    def fetch(self, name: str, url: str, ref: str, into: str, credentials: str = "") -> str:
        split = urlsplit(url)
        given = {"http.followRedirects": "false"}
        if credentials:  # for this host alone, and not on a command line that others can list
            given[f"http.{split.scheme}://{split.netloc}/.extraHeader"] = f"Authorization: {credentials}"
        variables = {"GIT_ALLOW_PROTOCOL": "https:http", "GIT_CONFIG_COUNT": str(len(given))}
        for at, (key, value) in enumerate(given.items()):
            variables |= {f"GIT_CONFIG_KEY_{at}": key, f"GIT_CONFIG_VALUE_{at}": value}
        words = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", url]
        try:
            self._git(name, *words, f"+{ref}:{into}", environment=variables)
        except Problem as problem:
            raise Unavailable(
                f"{split.netloc} does not give {ref}; {problem.message}", code="REPOSITORY_AWAY",
                hint="a private repository needs --token-secret: bough forges add",
            ) from problem  # fmt: skip
        return self.refs(name, into)[into]

    def tree(self, name: str, commit: str) -> list[Item]:
        listed = self._git(name, "ls-tree", "-r", "-l", "-z", "--full-tree", commit)
        found = []
        for line in listed.decode("utf-8", "surrogateescape").split("\0")[:-1]:
            about, _, path = line.partition("\t")
            mode, _, id, size = about.split()
            found.append(Item(path=path, kind=_KINDS[mode[:3]], id=id, size=0 if size == "-" else int(size)))
        return found

    def read(self, name: str, id: str) -> bytes:
        return self._git(name, "cat-file", "blob", id)

    def subject(self, name: str, commit: str) -> str:
        return self._git(name, "log", "-1", "--format=%s", commit).decode("utf-8", "replace").strip()

    @contextlib.contextmanager
    def exported(self, name: str, commit: str) -> Iterator[Path]:
        with as_exhausted(self._folder), self._temporary() as folder:
            index, tree = {"GIT_INDEX_FILE": str(folder / "index")}, folder / "tree"
            tree.mkdir()
            self._git(name, "read-tree", commit, environment=index)
            self._git(name, f"--work-tree={tree}", "checkout-index", "--all", environment=index)
            yield tree

    def tidy(self, name: str) -> None:
        self._git(name, "gc", "--auto", "--quiet")

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[Path]:
        place = self._folder / EXPORTS
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=place) as made:
            yield Path(made)

    async def _start(self, name: str, service: str, protocol: str, *options: str) -> asyncio.subprocess.Process:
        quick = ["--strict", "--timeout=300"] if service != PUSH else []
        words = [service.removeprefix("git-"), *quick, "--stateless-rpc", *options, str(self._place(name))]
        pipe = asyncio.subprocess.PIPE
        environment = _environment() | ({"GIT_PROTOCOL": protocol} if protocol else {})
        try:
            return await asyncio.create_subprocess_exec(
                "git", *self._settings(name), *words, stdin=pipe, stdout=pipe, stderr=pipe, env=environment,
                cwd=self._folder, start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise _no_git() from error

    def _git(self, name: str, *words: str, environment: dict[str, str] | None = None) -> bytes:
        return self._run(self._place(name), *self._settings(name), f"--git-dir={self._place(name)}", *words,
                         environment=environment)  # fmt: skip

    def _run(self, cwd: Path, *words: str, environment: dict[str, str] | None = None) -> bytes:
        try:
            done = subprocess.run(  # noqa: S603 - words of our own, names that were checked
                ["git", *words], cwd=cwd, env=_environment() | (environment or {}), capture_output=True,  # noqa: S607
                timeout=COMMAND_S, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise _no_git() from error
        if done.returncode != 0:
            raise _failed(words[-1], done.stderr)
        return done.stdout

    def _settings(self, name: str) -> list[str]:
        """Everything that git may be told, on its command line: the repository's own file stays as `init` wrote it."""
        chosen = {
            "safe.directory": str(self._place(name)),  # also when the home belongs to another user than the server
            "core.hooksPath": os.devnull,
            "core.attributesFile": os.devnull,
            "core.protectHFS": "true",
            "core.protectNTFS": "true",
            "transfer.fsckObjects": "true",
            "transfer.hideRefs": "refs/bough",
            "receive.maxInputSize": str(self._limit_bytes),
            "receive.autogc": "false",  # `tidy` does it, when nobody waits
            "receive.keepAlive": "5",
            "gc.autoDetach": "false",
            "uploadpack.allowFilter": "true",
        }
        # Mistakes of old versions of git, harmless, and part of the history of well-known projects for ever.
        chosen |= dict.fromkeys(
            ("receive.fsck.zeroPaddedFilemode", "receive.fsck.badTimezone", "receive.fsck.missingSpaceBeforeDate"),
            "warn",
        )
        return [word for key, value in chosen.items() for word in ("-c", f"{key}={value}")]

    def _place(self, name: str) -> Path:
        return self._folder / f"{name}.git"


async def _feed(process: asyncio.subprocess.Process, sent: AsyncIterator[bytes]) -> None:
    """Hands on what the client sends. When git has heard enough, the rest is read all the same: a client that is still
    sending does not listen, and would never learn why it was refused."""
    assert process.stdin  # noqa: S101 - a pipe
    listening = True
    async for piece in sent:
        if listening:
            try:
                process.stdin.write(piece)
                await process.stdin.drain()
            except (BrokenPipeError, ConnectionResetError):
                listening = False
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.close()


def _environment() -> dict[str, str]:
    """No configuration but ours, no questions, no translation."""
    nowhere = os.devnull
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": nowhere,
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": nowhere,
        "GIT_CONFIG_GLOBAL": nowhere,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_COMMITTER_NAME": "bough",
        "GIT_COMMITTER_EMAIL": "bough@localhost",
    }


def _no_git() -> Unavailable:
    return Unavailable("there is no git on the server's machine", code="GIT_MISSING", hint="install git there")


def _failed(what: str, complaint: bytes) -> Problem:
    said = complaint.decode("utf-8", "replace").strip().splitlines()
    return Problem(f"git failed at {what}; {said[-1] if said else 'it said nothing'}", code="GIT_FAILED")
