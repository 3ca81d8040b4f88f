"""The user's own git repository, through the user's own git."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bough.kernel.errors import Invalid, Problem, Unavailable

COMMAND_S = 600.0


class Checkout:
    """A work tree. `common` is what all work trees of the repository share (`.git` of the first one)."""

    def __init__(self, top: Path, common: Path) -> None:
        self.top, self.common = top, common

    @classmethod
    def of(cls, folder: Path) -> Checkout:
        try:
            said = _run(folder, "rev-parse", "--show-toplevel", "--path-format=absolute", "--git-common-dir")
        except Problem as problem:
            raise Invalid(f"{folder} is in no git work tree", code="REPOSITORY_MISSING", hint="git init") from problem
        top, common = said.splitlines()
        return cls(Path(top), Path(common))

    @property
    def hooks(self) -> Path:
        """Where git looks for hooks: `core.hooksPath`, or the usual folder."""
        return self.top / self.git("rev-parse", "--git-path", "hooks")

    def git(self, *words: str) -> str:
        """What git answers. Raises `Problem` (GIT_FAILED)."""
        return _run(self.top, *words)

    def ask(self, *words: str) -> str:
        """The same, empty where git has nothing to say."""
        try:
            return self.git(*words)
        except Problem:
            return ""

    def settings(self, key: str) -> list[str]:
        """The values of one key in the repository's own configuration."""
        return self.ask("config", "--local", "--get-all", key).splitlines()

    def commit_of(self, branch: str) -> str:
        return self.ask("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}")

    @contextlib.contextmanager
    def exported(self, commit: str) -> Iterator[Path]:
        """The files of a commit as a checkout has them, filters (Git LFS) included."""
        with tempfile.TemporaryDirectory(prefix="bough-") as made:
            folder = Path(made).resolve() / "tree"
            folder.mkdir()
            index = {"GIT_INDEX_FILE": str(Path(made) / "index")}
            _run(self.top, "read-tree", commit, environment=index)
            _run(self.top, f"--work-tree={folder}", "checkout-index", "--all", environment=index)
            yield folder


def _run(folder: Path, *words: str, environment: dict[str, str] | None = None) -> str:
    # What a hook is told about its own repository (GIT_DIR, GIT_INDEX_FILE) would mislead every other command.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603 - words of our own
            ["git", *words], cwd=folder, env=kept | (environment or {}), capture_output=True,  # noqa: S607
            timeout=COMMAND_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise Unavailable("there is no git on this machine", code="GIT_MISSING", hint="install git") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise Problem(f"git {words[0]} failed; {said[-1] if said else 'it said nothing'}", code="GIT_FAILED")
    return done.stdout.decode(errors="surrogateescape").removesuffix("\n")
