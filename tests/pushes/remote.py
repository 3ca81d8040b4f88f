"""A control plane with a fake engine behind a real socket, and a real git that pushes to it."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import uvicorn

from bough.adapters.repositories.git import LIMIT_BYTES, GitRepositories
from bough.entrypoints.http.app import build
from bough.entrypoints.http.streams import Streams
from bough.pushes.deploying import Deploying
from bough.pushes.receiving import Receiving
from tests.plane import Plane

TOML = 'name = "shop"\n\n[services.till]\nmodel = "service:Till"\n'


class Remote:
    """`plane` lives on by itself while git waits for it."""

    def __init__(self, folder: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = folder
        self.plane = Plane(folder)
        bough = self.plane.bough
        repositories = GitRepositories(bough.home.repositories, limit_bytes=limit_bytes)
        deploying = Deploying(repositories, bough.operations, bough.blobs)
        self.pushes = Receiving(repositories, bough.operations, deploying, bough.database, bough.events)
        self.tokens = {role: self._token(role) for role in ("viewer", "developer", "approver")}
        self._ends = threading.Event()
        self._life = threading.Thread(target=self._live, daemon=True)
        self._life.start()
        config = uvicorn.Config(
            build(bough, Streams(), self.pushes), port=0, ws="none", lifespan="off",
            log_config=None, timeout_graceful_shutdown=2, loop="asyncio",
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.005)
            assert self._thread.is_alive()
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    def stop(self) -> None:
        self.pushes.stop()
        self._server.should_exit = True
        self._thread.join(60)
        self._ends.set()
        self._life.join(60)
        self.plane.bough.database.close()

    def url(self, project: str = "shop", role: str = "developer", token: str = "") -> str:
        return f"http://me:{token or self.tokens[role]}@127.0.0.1:{self.port}/git/{project}"

    def names(self) -> dict[str, str]:
        """Environments and their branches."""
        return {each.name: each.branch for each in self.plane.call("environments.list", project="shop")}

    def live(self, environment: str = "main") -> str:
        """The commit that is live."""
        found = self.plane.call("releases.list", project="shop", environment=environment)
        return next((each.commit for each in found if each.state == "live"), "")

    def _token(self, role: str) -> str:
        self.plane.call("principals.create", name=role, role=role)
        token: str = self.plane.call("tokens.create", principal=role).secret
        return token

    def _live(self) -> None:
        while not self._ends.wait(0.03):  # git is at work meanwhile, in real time
            self.plane.let_pass(0.2)


class Working:
    """A work tree."""

    def __init__(self, folder: Path, remote: str = "") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "BOUGH_"))}
        self.environment = kept | {
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8",
            "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.org", "GIT_COMMITTER_NAME": "Ada",
            "GIT_COMMITTER_EMAIL": "ada@example.org",
        }  # fmt: skip
        if not (folder / ".git").exists():
            self.git("init", "-q", "-b", "main")
        if remote:
            self.git("remote", "add", "bough", remote)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *words], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=100
        )

    def git(self, *words: str, fails: bool = False) -> str:
        """What git said; it must succeed, or fail."""
        done = self.run(*words)
        assert (done.returncode != 0) == fails, f"git {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def commit(self, message: str = "change", **files: str | bytes) -> str:
        """Writes `service_py` as service.py and so on, commits, and returns the commit."""
        for key, content in files.items():
            place = self.folder / ".".join(key.rsplit("_", 1))
            place.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD").strip()

    def run_with(self, typed: str, *words: str) -> str:
        """What git prints when it is given `typed`."""
        return subprocess.run(
            ["git", *words], cwd=self.folder, env=self.environment, input=typed, capture_output=True, text=True,
            timeout=100, check=True,
        ).stdout  # fmt: skip
