"""What every command knows: the common options, where Bough is, and how to speak."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bough.kernel.errors import Invalid, ProjectFileInvalid, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from bough.client import Client
    from bough.kernel.platform import Home
    from bough.kernel.project import Project

FILE_NAME = "bough.toml"


class Session:
    """One run of the command line."""

    def __init__(self) -> None:
        self.json = False
        self.home_option = self.url_option = self.token_option = ""
        self._client: Client | None = None

    @property
    def home(self) -> Home:
        from bough.kernel import platform  # slow to import, and `--help` does not need it

        chosen = Path(self.home_option) if self.home_option else platform.default_home()
        return platform.Home(chosen.expanduser().absolute())

    @property
    def remote(self) -> str:
        return self.url_option or os.environ.get("BOUGH_URL", "")

    def client(self) -> Client:
        from bough.client import Client, connect  # slow to import, and `--help` does not need it

        if self._client is None:
            token = self.token_option or os.environ.get("BOUGH_TOKEN", "")
            if not self.remote:
                self._client = connect(self.home.path, token=token)
                self._check_running()  # else a lost connection would be taken for a server that restarts
            elif token:
                self._client = Client(self.remote, token)
            else:
                raise Unauthenticated(
                    f"{self.remote} needs a token",
                    code="TOKEN_MISSING",
                    hint="set BOUGH_TOKEN; on the machine of that Bough: bough tokens create",
                )
        return self._client

    def token(self) -> str:
        """The token in use; empty when there is none."""
        if given := self.token_option or os.environ.get("BOUGH_TOKEN", ""):
            return given
        try:
            return "" if self.remote else self.home.token.read_text("ascii").strip()
        except OSError:
            return ""

    def _check_running(self) -> None:
        from bough.entrypoints import processes  # slow to import, and `--help` does not need it

        home = self.home
        if not any(processes.presence(home, name) for name in (processes.KEEPER, processes.SERVER)):
            raise Unavailable(f"Bough is not running in {home.path}", code="NOT_RUNNING", hint="bough up")

    def use(self, client: Client) -> Client:
        """From now on, `client()` is this one."""
        self._client = client
        return client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def out(self, text: str = "") -> None:
        """A line of the answer; nothing with --json, whose answer is `answer`."""
        if not self.json:
            print(text, flush=True)

    def note(self, text: str) -> None:
        """A line beside the answer."""
        if not self.json:
            print(text, file=sys.stderr, flush=True)

    def answer(self, value: Any, text: str | None = None) -> None:
        """The answer: one line of JSON with --json, else `text` (or the value drawn)."""
        from bough.entrypoints.cli import drawing

        if self.json:
            print(drawing.as_json(value), flush=True)
        elif text is not None:
            print(text, flush=True)
        elif drawn := drawing.draw(value):
            print(drawn, flush=True)

    @property
    def colour(self) -> bool:
        return not self.json and colour_on(sys.stdout)

    @property
    def interactive(self) -> bool:
        return not self.json and sys.stdin.isatty() and sys.stdout.isatty()


def colour_on(stream: Any) -> bool:
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def find_project(start: Path) -> Path:
    """The nearest folder, from `start` upwards, with a project file."""
    start = start.absolute()
    if not start.is_dir():
        raise Invalid(f"{start} is not a folder", code="FOLDER_MISSING", hint="bough init DIR")
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder
    raise ProjectFileInvalid(
        f"there is no {FILE_NAME} in {start} or above it",
        code="PROJECT_FILE_MISSING",
        hint="bough init",
        file=FILE_NAME,
    )


def project_name() -> str:
    """The name in the nearest project file; reads no more of it than that."""
    from bough.kernel.settings import Document

    document = Document.read(find_project(Path.cwd()) / FILE_NAME)
    name = document.data.get("name", "")
    if not isinstance(name, str) or not name:
        raise document.error(("name",), "missing: every project has a name", hint='add name = "my-project"')
    return name


def git_branch(folder: Path = Path()) -> str:
    """The branch that git has checked out in `folder`; `Invalid` (BRANCH_MISSING) where there is none."""
    done = None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(  # noqa: S603 - fixed words
            ["git", "-C", str(folder), "symbolic-ref", "--short", "-q", "HEAD"],  # noqa: S607 - the user's own git
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    if done is None or done.returncode != 0:
        raise Invalid(
            "git has no branch checked out here; say which is meant",
            code="BRANCH_MISSING",
            hint="bough branch create NAME, or git switch -c NAME",
        )
    return done.stdout.strip()


def load_project(folder: Path, environment: str) -> Project:
    from bough.kernel.project import resolve
    from bough.kernel.settings import Document

    return resolve(Document.read(folder / FILE_NAME), environment)
