"""How quick the platform itself feels, measured as a person would meet it.

    python bench/platform/run.py [--rounds 5] [--install] [--idle] [--json FILE]

Each round uses a fresh home; package caches are warm. One JSON line per figure with all samples, then a table with
medians beside the targets. `--install` also times `pip install` of this checkout into a new environment, `--idle` looks
for four minutes at what a home costs that nobody asks: a model and a web service, both of which scale, a branch, a
Postgres and a Redis.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import idle

ROOT = Path(__file__).resolve().parents[2]
TARGETS = {  # figure: (limit, unit)
    "bough --help, CPU": (0.2, "s"),
    "bough up, until all of it answers": (3.0, "s"),
    "init to first answered prediction": (10.0, "s"),
    "deploy with no change": (2.0, "s"),
    "deploy with a changed line": (0.0, "s"),
    "killed gateway to next answer": (1.0, "s"),
    "killed everything, up, first answer": (0.0, "s"),
    "idle, of a core": (1.0, "%"),
    "idle, wakeups a second": (0.0, ""),
    "idle, disk syncs a minute": (6.0, ""),
    "pip install": (60.0, "s"),
    "installed": (250.0, "MB"),
}
PAGE = """
import http.server, os

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever(3600)
"""
SCALED = """
scale = { max = 4, warm = 0 }

[services.page]
command = "python page.py"
scale = { max = 3 }
"""


class Stand:
    """One fresh home."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.gateway, self.api = _port(), _port()
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("BOUGH_")}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.environment["BOUGH_HOME"] = str(self.home)

    def bough(self, *words: str, cwd: Path | None = None) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "bough.entrypoints.cli.main", *words, "--json"],
            cwd=cwd or self.folder, env=self.environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return answer

    def up(self) -> None:
        self.bough("up", "--gateway-port", str(self.gateway), "--api-port", str(self.api))

    def answer(self, timeout_s: float = 30.0) -> None:
        """Returns once the template's service has answered."""
        url = f"http://127.0.0.1:{self.gateway}/v1/greeter/predict"
        ends = time.monotonic() + timeout_s
        while True:
            try:
                with urllib.request.urlopen(urllib.request.Request(url, b'{"name":"Ada"}'), timeout=timeout_s) as reply:
                    assert reply.read() == b'"Welcome, Ada"'
                    return
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > ends:
                    raise
                time.sleep(0.005)

    def kill(self, *parts: str) -> None:
        for part in parts:
            os.kill(json.loads((self.home / "run" / f"{part}.json").read_text())["pid"], signal.SIGKILL)

    def kill_everything(self) -> None:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                    if str(self.home).encode() in words:
                        os.kill(int(entry.name), signal.SIGKILL)
                except OSError:
                    continue


@contextmanager
def stand() -> Iterator[Stand]:
    made = Stand(Path(tempfile.mkdtemp(prefix="bb-", dir="/tmp")))
    try:
        yield made
    finally:
        made.kill_everything()
        shutil.rmtree(made.folder, ignore_errors=True)


def one_round() -> dict[str, float]:
    found: dict[str, float] = {}
    with stand() as here:
        found["bough --help, CPU"] = _help_cpu(here)
        found["bough up, until all of it answers"] = _timed(here.up)
        began = time.perf_counter()
        here.bough("init", "hello")
        project = here.folder / "hello"
        here.bough("deploy", cwd=project)
        here.answer()
        found["init to first answered prediction"] = time.perf_counter() - began
        found["deploy with no change"] = _timed(lambda: here.bough("deploy", cwd=project))
        with (project / "service.py").open("a") as file:
            file.write("\n# changed\n")
        found["deploy with a changed line"] = _timed(lambda: here.bough("deploy", cwd=project))
        here.kill("gateway")
        found["killed gateway to next answer"] = _timed(here.answer)
        here.kill_everything()
        time.sleep(0.3)
        found["killed everything, up, first answer"] = _timed(lambda: (here.up(), here.answer()))
    return found


def idling() -> dict[str, float]:
    with stand() as here:
        here.up()
        here.bough("init", "hello")
        project = here.folder / "hello"
        (project / "page.py").write_text(PAGE)
        with (project / "bough.toml").open("a") as file:
            file.write(SCALED)
        here.bough("deploy", cwd=project)
        here.bough("branch", "create", "one", cwd=project)
        for engine in ("postgres", "redis"):
            here.bough("db", "add", engine, "--engine", engine, cwd=project)
        return idle.measured(here.home)


def install() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [f"{folder}/bin/python", "-m", "pip", "install", "--quiet", str(ROOT)]
        seconds = _timed(lambda: subprocess.run(pip, check=True))
        size = sum(path.lstat().st_size for path in Path(folder).rglob("*")) / 1e6
    return {"pip install": seconds, "installed": size}


def _help_cpu(here: Stand) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "bough.entrypoints.cli.main", "--help"],
        env=here.environment,
        capture_output=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--idle", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    samples: dict[str, list[float]] = {}
    for _ in range(given.rounds):
        for name, value in one_round().items():
            samples.setdefault(name, []).append(value)
    if given.install:
        samples |= {name: [value] for name, value in install().items()}
    if given.idle:
        samples |= {name: [value] for name, value in idling().items()}
    load = os.getloadavg()[0]
    lines = []
    print(f"{'':40}{'median':>9}{'min':>9}{'max':>9}{'target':>9}   (load average {load:.1f})")
    for name, values in samples.items():
        limit, unit = TARGETS[name]
        median = statistics.median(values)
        target = f"{limit:g}" if limit else "-"
        verdict = "" if not limit else "  met" if median <= limit else "  NOT MET"
        print(f"{name:40}{median:8.3f}{unit:>2}{min(values):8.3f}{max(values):10.3f}{target:>8}{verdict}")
        lines.append(
            json.dumps({"figure": name, "unit": unit, "samples": values, "median": median, "target": limit or None})
        )
    if given.json:
        given.json.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
