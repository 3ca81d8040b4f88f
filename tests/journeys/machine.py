"""One Bough on this machine, driven through the command line as a person would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bough.client import Client, connect
from tests.ports import free_port
from tests.programs import ROOT, Programs

COMMANDS = Programs("""
import importlib
from bough.client.contract import contract
from bough.entrypoints.cli import main
contract()
in_groups = [f"{group}_{word}" for group, words in main.IN_GROUPS.items() for word in words]
for name in [*main.HAND_WRITTEN, *main.IN_PLACE, *in_groups]:
    importlib.import_module(f"bough.entrypoints.cli.{name}")
""")
COMMAND = "import sys; from bough.entrypoints.cli import main; sys.exit(main.run(sys.argv[1:]))"


class Machine:
    def __init__(self, home: Path, shared: Mapping[str, Path] | None = None) -> None:
        """`shared`: folders of this home that it has in common with others, by their names in it."""
        self.home = home
        for name, folder in (shared or {}).items():
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            (home / name).symlink_to(folder)
        self._client: Client | None = None
        self.gateway_port, self.api_port = free_port(), free_port()
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("BOUGH_", "COV_"))}
        self.environment |= {"BOUGH_HOME": str(home), "NO_COLOR": "1"}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)

    @property
    def gateway(self) -> str:
        return f"http://127.0.0.1:{self.gateway_port}"

    def up(self) -> Any:
        return self.bough("up", "--gateway-port", str(self.gateway_port), "--api-port", str(self.api_port))

    def down(self) -> None:
        if self._client is not None:
            self._client.close()
        self.run("down", "--all")
        for pid in self.processes():
            kill(pid)

    def run(
        self, *words: str, cwd: Path | None = None, timeout_s: float = 300.0, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        folder, variables = cwd or self.home.parent, self.environment
        return COMMANDS.run(COMMAND, *words, environment=variables, folder=folder, timeout_s=timeout_s, stdin=stdin)

    def bough(self, *words: str, cwd: Path | None = None, code: int = 0) -> Any:
        """The JSON answer of a command, which must end with `code`."""
        done = self.run(*words, "--json", cwd=cwd)
        assert done.returncode == code, f"bough {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout.strip().splitlines()[-1])

    def asked(self, operation: str, **fields: Any) -> Any:
        """What an operation answers: for what is waited for, as a command takes ten times as long."""
        if self._client is None:
            self._client = connect(self.home)
        return self._client.call(operation, **fields)

    def deploy(self, project: Path, *words: str, code: int = 0) -> Any:
        return self.bough("deploy", *words, cwd=project, code=code)

    def project(self, name: str, toml: str, **files: str) -> Path:
        """A project folder; `service_py` becomes service.py."""
        folder = self.home.parent / name
        folder.mkdir(exist_ok=True)
        (folder / "bough.toml").write_text(f'name = "{name}"\n{toml}')
        for key, text in files.items():
            (folder / ".".join(key.rsplit("_", 1))).write_text(text)
        return folder

    def ask(self, path: str, body: Any = None, *, timeout_s: float = 30.0, **headers: str) -> tuple[int, bytes]:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        asked = urllib.request.Request(self.gateway + path, data, {"Content-Type": "application/json", **headers})
        try:
            with urllib.request.urlopen(asked, timeout=timeout_s) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def predict(self, service: str, body: Any, **headers: str) -> Any:
        status, answer = self.ask(f"/v1/{service}/predict", body, **headers)
        assert status == 200, answer
        return json.loads(answer)

    def load(self, path: str, body: Any, *, connections: int = 8, expect: str = "") -> Load:
        return Load(self.gateway + path, body, self.home.parent, connections, expect)

    def part(self, name: str) -> int:
        """The pid of the server, gateway, node or keeper."""
        return int(json.loads((self.home / "run" / f"{name}.json").read_text())["pid"])

    def replicas(self) -> list[int]:
        """The pids of running replicas and web services."""
        found = []
        for path in sorted((self.home / "units").glob("dep_*/*/pid.json")):
            try:
                pid = int(json.loads(path.read_text())["pid"])
            except FileNotFoundError:
                continue  # its unit was forgotten since the folder was listed
            if not (path.parent / "exit.json").exists() and Path(f"/proc/{pid}").exists():
                found.append(pid)
        return found

    def pid_of(self, unit: str) -> int:
        """The process of a replica's latest attempt."""
        latest = max((self.home / "units" / unit).glob("*/pid.json"), key=lambda path: int(path.parent.name))
        return int(json.loads(latest.read_text())["pid"])

    def processes(self) -> list[int]:
        """Every process that belongs to this home."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                except OSError:
                    continue
                if str(self.home).encode() in words:
                    found.append(int(entry.name))
        return found


class Load:
    """Requests in a process of its own until `stop`."""

    def __init__(self, url: str, body: Any, folder: Path, connections: int, expect: str) -> None:
        file = folder / f"body-{time.monotonic_ns()}"
        file.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
        words = [url, str(file), "--seconds", "100", "--connections", str(connections), "--expect", expect]
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "demo/load.py"), *words], stdout=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 60
        while not self._can_be_stopped() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _can_be_stopped(self) -> bool:
        """It has begun, and says what it has seen when it is told to end."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    def stop(self) -> dict[str, Any]:
        self._process.send_signal(signal.SIGTERM)
        answer: dict[str, Any] = json.loads(self._process.communicate(timeout=100)[0])
        return answer


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def wait_until(condition: Any, what: str, timeout_s: float = 60.0) -> None:
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends, f"still not after {timeout_s} s: {what}"
        time.sleep(0.1)
