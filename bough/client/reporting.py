"""A run, as a program that trains sees it."""

from __future__ import annotations

import hashlib
import math
import os
import platform
import subprocess
import sys
import time
import tomllib
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from bough.client.client import Client, connect
from bough.client.http import PATIENCE_S, Http
from bough.kernel.errors import Exhausted, Invalid
from bough.kernel.names import new_id

PROJECT_FILE = "bough.toml"
OF_JOB = "BOUGH_RUN"  # the run that Bough has begun for a job, and ends when that has ended
MOST_AT_ONCE = 1000  # metrics in one call
AWAY_S = 600.0  # that Bough may be away while a job reports: it is started anew, and days of training go on
MOST_UNSENT = 100_000  # calls that wait in memory until Bough's disk has room
TOLD_AGAIN_S = 60.0  # that it has none
_UNKNOWN_S = 5.0  # that git may take to answer


def begin(
    name: str = "", *, experiment: str = "", project: str = "", environment: str = "main",
    tags: Mapping[str, str] | None = None, client: Client | None = None,
) -> Run:  # fmt: skip
    """`client` is by default that of BOUGH_URL and BOUGH_TOKEN, or of this machine's Bough. In a job it is the run that
    Bough has begun for it; its experiment is the job's name."""
    url, token = os.environ.get("BOUGH_URL", ""), os.environ.get("BOUGH_TOKEN", "")
    id = os.environ.get(OF_JOB, "") if not project else ""
    found = client or (_reporter(url, token, of_job=bool(id)) if url else connect(token=token))
    if id:
        joined = found.runs.update(project=_project(), id=id, name=name, source=source())
        run = Run(found, joined, owned=client is None, joined=True)
        if tags:
            run.set_tags(tags)
        return run
    made = found.runs.create(
        project=project or _project(), name=name, experiment=experiment, environment=environment,
        id=new_id("run"), started_at=round(time.time(), 3), source=source(), tags=dict(tags or {}),
    )  # fmt: skip
    return Run(found, made, owned=client is None)


class Run:
    """Whatever is logged is there when the call returns; but in a job, what the full disk of Bough does not take goes
    with a later call, for training goes on. Safe to use from one thread at a time."""

    def __init__(self, client: Client, made: Any, *, owned: bool = False, joined: bool = False) -> None:
        self._joined, self._unsent, self._told_at = joined, deque[dict[str, Any]](), -math.inf
        self.id, self.name, self.project = made.id, made.name, made.project
        self._client, self._owned, self._environment = client, owned, made.environment

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Each once: a parameter never changes."""
        self._log(params={key: str(value) for key, value in params.items()})

    def log_param(self, key: str, value: Any) -> None:
        self.log_params({key: value})

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        now_ms = round(time.time() * 1000)
        points = [
            {"key": key, "value": _number(value), "step": step, "timestamp_ms": now_ms}
            for key, value in metrics.items()
        ]
        for start in range(0, len(points), MOST_AT_ONCE):
            self._log(metrics=points[start : start + MOST_AT_ONCE])

    def log_metric(self, key: str, value: float, *, step: int = 0) -> None:
        self.log_metrics({key: value}, step=step)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        self._log(tags={key: str(value) for key, value in tags.items()})

    def set_tag(self, key: str, value: Any) -> None:
        self.set_tags({key: value})

    def log_artifact(self, path: str | Path, folder: str = "") -> None:
        """Sends a file; it stands under its own name in `folder`."""
        file = Path(path)
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
            content.seek(0)
            self._client.upload(digest, content, file.stat().st_size)
        place = f"{folder.strip('/')}/{file.name}".lstrip("/")
        self._client.artifacts.put(project=self.project, owner=self.id, path=place, digest=digest)

    def log_artifacts(self, folder: str | Path, into: str = "") -> None:
        """Sends every file below a folder."""
        root = Path(folder)
        for file in sorted(each for each in root.rglob("*") if each.is_file()):
            self.log_artifact(file, "/".join(filter(None, (into.strip("/"), *file.parent.relative_to(root).parts))))

    def log_input(
        self, name: str, *, kind: str = "dataset", version: str = "", environment: str = "", context: str = "",
        source: str = "",
    ) -> None:  # fmt: skip
        """Says what the run has read: a `dataset` or a `table` of Bough (without a version: as it is now), a
        `feature_view`, or anything else that has a version."""
        where = environment or self._environment
        if not version and kind in ("dataset", "table"):
            version = self._newest(kind, name, where)
            source = source or f"bough:/{self.project}/{where}"
        found = {"kind": kind, "name": name, "version": version, "context": context, "source": source}
        found |= {"source_type": "bough"} if source.startswith("bough:/") else {}
        self._client.runs.inputs(project=self.project, id=self.id, inputs=[found])

    def end(self, status: str = "finished") -> None:
        """Says that it has ended; a `with` block does so by itself. A job's run ends with
        the job, which may be interrupted and go on. Raises what could not be sent for a full disk."""
        self._send(patient=status != "finished")
        if not self._joined:
            self._say_ended(status)
        if self._owned:
            self._client.close()

    def _say_ended(self, status: str) -> None:
        self._client.runs.update(project=self.project, id=self.id, status=status, ended_at=round(time.time(), 3))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.end()
        else:
            self.end("killed" if issubclass(kind, KeyboardInterrupt | SystemExit) else "failed")

    def _log(self, **fields: Any) -> None:
        self._unsent.append(fields)
        self._send(patient=self._joined and len(self._unsent) < MOST_UNSENT)

    def _send(self, *, patient: bool) -> None:
        """In the order in which it was logged. `patient`: what finds no room stays for later."""
        while self._unsent:
            fields = self._unsent.popleft()
            try:
                self._client.runs.log(project=self.project, id=self.id, **fields)
            except Exhausted as problem:
                if self._joined:
                    self._unsent.appendleft(fields)
                if not patient:
                    raise
                self._tell(problem)
                return

    def _tell(self, problem: Exhausted) -> None:
        if time.monotonic() - self._told_at >= TOLD_AGAIN_S:
            self._told_at = time.monotonic()
            print(f"bough: {problem.message}; what is logged is sent later", file=sys.stderr, flush=True)

    def _newest(self, kind: str, name: str, environment: str) -> str:
        """The last change of a dataset or a table: asking for the same one later gives the same data."""
        place = {"project": self.project, "environment": environment, "limit": 1}
        what = ("tables.history", "name") if kind == "table" else ("files.history", "path")
        changes = self._client.call(what[0], **place, **{what[1]: name})
        if not changes:
            raise Invalid(f"{environment} has no {kind} {name!r}", code="INPUT_UNKNOWN", hint="give its version")
        return f"#{changes[0].change}"


def _reporter(url: str, token: str, *, of_job: bool) -> Client:
    return Client(url, transport=Http(url, token, patience_s=AWAY_S if of_job else PATIENCE_S))


def source() -> dict[str, Any]:
    """Where this program comes from, and what it runs on."""
    found: dict[str, Any] = {
        "program": Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "",
        "hardware": hardware(),
    }
    if commit := _git("rev-parse", "HEAD"):
        found |= {"commit": commit, "dirty": bool(_git("status", "--porcelain", "--untracked-files=no"))}
        if remote := _git("remote", "get-url", "origin"):
            found["repository"] = _without_password(remote)
    for field, variable in (("bundle", "BOUGH_BUNDLE"), ("python_environment", "BOUGH_PYTHON_ENVIRONMENT")):
        if value := os.environ.get(variable, ""):
            found[field] = value
    return found


def hardware() -> dict[str, Any]:
    found: dict[str, Any] = {
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory_bytes"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if gpus := sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        found["gpus"] = [_gpu(each) for each in gpus]
    return found


def _gpu(information: Path) -> str:
    try:
        lines = information.read_text("utf-8", "replace").splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("Model:")), "unknown")


def _git(*words: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            ["git", *words],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            timeout=_UNKNOWN_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _without_password(remote: str) -> str:
    split = urlsplit(remote)
    return split._replace(netloc=split.netloc.rpartition("@")[2]).geturl() if "://" in remote else remote


def _project() -> str:
    if found := os.environ.get("BOUGH_PROJECT", ""):
        return found
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / PROJECT_FILE).is_file():
            name = tomllib.loads((folder / PROJECT_FILE).read_text("utf-8")).get("name", "")
            if isinstance(name, str) and name:
                return name
    raise Invalid(
        "a run needs a project, and there is no bough.toml here",
        code="PROJECT_MISSING", hint='bough.run(project="shop"), or set BOUGH_PROJECT',
    )  # fmt: skip


def _number(value: float) -> Any:
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
