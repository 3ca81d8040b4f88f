"""What Bough does, in a minute: two real models from real project folders, deployed, put under load, disturbed, and
branched together with a table.

    python demo/run.py [--seconds 6] [--connections 16] [--keep]

Everything lives in a temporary home and is stopped at the end (`--keep` leaves it running and prints how to stop it).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib import error, request

ROOT = Path(__file__).resolve().parent.parent
BOUGH = [sys.executable, "-m", "bough.entrypoints.cli.main"]


class Demo:
    def __init__(self, seconds: float, connections: int) -> None:
        self.seconds, self.connections = seconds, connections
        self.folder = Path(tempfile.mkdtemp(prefix="bough-demo-"))
        self.home = self.folder / "home"
        self.environment = os.environ | {"BOUGH_HOME": str(self.home)}
        self.rows: list[tuple[str, str]] = []
        self.broken: list[str] = []

    def run(self) -> None:
        began = time.perf_counter()
        up = self.bough("up", "--gateway-port", str(free_port()), "--api-port", str(free_port()))
        self.row("platform up", f"{time.perf_counter() - began:.2f} s")
        say(f"Bough is up: gateway {up.get('gateway_url', '')}")
        credit = self.project("credit-risk")
        filetype = self.project("file-type")
        urls = [self.deploy(credit, "deploy credit-risk"), self.deploy(filetype, "deploy file-type")]
        self.deploy(credit, "deploy credit-risk again, nothing changed")
        bodies = [credit_body(credit), file_body()]
        for url, body, name in zip(urls, bodies, ("credit-risk", "file-type"), strict=True):
            self.load(f"{name} under load", url, *body)
        self.load("… while a replica is killed (-9)", urls[0], *bodies[0], meanwhile=self.kill_replica)
        self.load("… while the server is killed (-9)", urls[0], *bodies[0], meanwhile=self.kill_server)
        self.load("… while a broken release is deployed", urls[0], *bodies[0], meanwhile=lambda: self.break_it(credit))
        self.load("… while a good release is deployed", urls[0], *bodies[0], meanwhile=lambda: self.improve(credit))
        self.load("… while it is rolled back", urls[0], *bodies[0], meanwhile=lambda: self.roll_back(credit))
        self.branch(credit, urls[0], *bodies[0])
        self.kill_everything(urls[0], bodies[0][0])
        self.table(urls)

    def bough(self, *words: str, cwd: Path | None = None, fails: bool = False) -> dict[str, Any]:
        done = subprocess.run(
            [*BOUGH, *words, "--json"],
            cwd=cwd or self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if (done.returncode != 0) != fails:
            raise SystemExit(f"bough {' '.join(words)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        answer = json.loads(done.stdout.strip().splitlines()[-1]) if done.stdout.strip() else {}
        return answer if isinstance(answer, dict) else {"items": answer}

    def project(self, name: str) -> Path:
        target = self.folder / name
        shutil.copytree(ROOT / "examples" / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        return target

    def deploy(self, project: Path, what: str) -> str:
        began = time.perf_counter()
        done = self.bough("deploy", cwd=project)
        self.row(what, f"{time.perf_counter() - began:.2f} s")
        url = str(done["services"][0]["url"])
        say(f"{what}: {url}")
        return url

    def load(self, what: str, url: str, body: bytes, kind: str, meanwhile: Any = None) -> None:
        say(what)
        file = self.folder / "body"
        file.write_bytes(body)
        arguments = ["--seconds", "600" if meanwhile else str(self.seconds), "--connections", str(self.connections)]
        command = [sys.executable, str(ROOT / "demo/load.py"), url, str(file), *arguments, "--content-type", kind]
        running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if meanwhile:
            time.sleep(self.seconds / 3)
            meanwhile()
            time.sleep(self.seconds / 3)
            running.send_signal(signal.SIGTERM)
        found = json.loads(running.communicate(timeout=120)[0])
        if found["failed"]:
            self.broken.append(f"{what}: {found['failures']}")
        self.row(
            what,
            f"{found['requests']:>7,} requests, {found['failed']} failed, {found['per_second']:>8,.0f}/s, "
            f"p50 {found['p50_ms']:.2f} ms, p99 {found['p99_ms']:.2f} ms, longest {found['longest_ms']:.0f} ms",
        )

    def kill_replica(self) -> None:
        pids = units_of(self.home)
        os.kill(pids[0], signal.SIGKILL)

    def kill_server(self) -> None:
        os.kill(pid_of(self.home, "server"), signal.SIGKILL)

    def break_it(self, project: Path) -> None:
        service = project / "service.py"
        kept = service.read_text()
        service.write_text(kept + "\nraise RuntimeError('a release that cannot load')\n")
        failed = self.bough("deploy", cwd=project, fails=True)
        service.write_text(kept)
        say(f"  refused as it should be: {failed.get('error', {}).get('message', '')}")

    def improve(self, project: Path) -> None:
        with (project / "service.py").open("a") as file:
            file.write("\n# a better release\n")
        self.bough("deploy", cwd=project)

    def roll_back(self, project: Path) -> None:
        self.bough("rollback", cwd=project)

    def branch(self, project: Path, url: str, body: bytes, kind: str) -> None:
        """Production with its table in a branch: asked, changed, compared, merged; production never notices."""
        table = project / "german_credit.csv"
        self.bough("tables", "create", "applications", str(table), cwd=project)
        began = time.perf_counter()
        made = self.bough("branch", "create", "cautious", cwd=project)
        self.row("bough branch create: service, table, URL", f"{time.perf_counter() - began:.2f} s, nothing copied")
        preview = str(made["services"][0]["url"])
        say(f"branch: {preview}")
        began = time.perf_counter()
        ask(preview, body, kind)
        self.row("first request to the branch, which sleeps", f"{(time.perf_counter() - began) * 1000:.0f} ms")
        self.bough("tables", "delete", "applications", "duration_months > 48", "-e", "cautious", cwd=project)
        (project / "service.py").open("a").write("\n# as the branch has it\n")
        self.bough("deploy", "-e", "cautious", cwd=project)
        changes = self.bough("branch", "diff", "cautious", cwd=project)["counts"]
        began = time.perf_counter()
        self.bough("branch", "merge", "cautious", cwd=project)
        took = time.perf_counter() - began
        said = ", ".join(f"{sum(each.values())} {what}" for what, each in sorted(changes.items()))
        self.row("branch merged into production", f"{said} in {took:.2f} s, nothing built again")
        ask(url, body, kind)

    def kill_everything(self, url: str, body: bytes) -> None:
        say("kill -9 of every process, then bough up")
        for pid in everything(self.home):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        began = time.perf_counter()
        self.bough("up")
        wait_for_answer(url, body)
        self.row("kill -9 of everything, `up`, first answer", f"{time.perf_counter() - began:.2f} s")

    def row(self, what: str, value: str) -> None:
        self.rows.append((what, value))

    def table(self, urls: list[str]) -> None:
        width = max(len(what) for what, _ in self.rows)
        print("\n" + "\n".join(f"  {what:<{width}}  {value}" for what, value in self.rows))
        print("\n  " + "\n  ".join(urls) + "\n")

    def end(self, keep: bool) -> None:
        if keep:
            print(f"still running; stop it with: BOUGH_HOME={self.home} bough down --all")
            return
        subprocess.run([*BOUGH, "down", "--all"], env=self.environment, capture_output=True, timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)


def say(text: str) -> None:
    print(text, flush=True)


def ask(url: str, body: bytes, kind: str) -> None:
    with request.urlopen(request.Request(url, body, {"Content-Type": kind}), timeout=30) as answer:
        answer.read()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def credit_body(project: Path) -> tuple[bytes, str]:
    return (project / "example.json").read_bytes(), "application/json"


def file_body() -> tuple[bytes, str]:
    return Path(__file__).read_bytes(), "application/octet-stream"


def pid_of(home: Path, part: str) -> int:
    return int(json.loads((home / "run" / f"{part}.json").read_text())["pid"])


def units_of(home: Path) -> list[int]:
    """The processes of running replicas."""
    found = []
    for path in sorted((home / "units").glob("dep_*/*/pid.json")):
        pid = int(json.loads(path.read_text())["pid"])
        if not (path.parent / "exit.json").exists() and Path(f"/proc/{pid}").exists():
            found.append(pid)
    return found


def everything(home: Path) -> list[int]:
    """Every process that has this home in its command line or environment, but this one's own."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in (os.getpid(), os.getppid()):
            continue
        try:
            words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(home).encode() in words:
            found.append(int(entry.name))
    return found


def wait_for_answer(url: str, body: bytes, timeout_s: float = 60.0) -> None:

    ends = time.monotonic() + timeout_s
    while True:
        try:
            asked = request.Request(url, body, {"Content-Type": "application/json"})
            with request.urlopen(asked, timeout=timeout_s) as answer:
                answer.read()
                return
        except (error.URLError, OSError):
            if time.monotonic() > ends:
                raise
            time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    demo = Demo(given.seconds, given.connections)
    try:
        demo.run()
    finally:
        demo.end(given.keep)
    if demo.broken:
        raise SystemExit("requests failed:\n" + "\n".join(demo.broken))


if __name__ == "__main__":
    main()
