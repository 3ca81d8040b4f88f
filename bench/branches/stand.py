"""A fresh Bough of a benchmark's own, driven as a person would."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("server", "gateway", "node", "keeper")


class Stand:
    """One fresh home and the command line."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.gateway, self.api = _port(), _port()
        self._environment = {key: value for key, value in os.environ.items() if not key.startswith("BOUGH_")}
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._environment["BOUGH_HOME"] = str(self.home)

    def up(self) -> None:
        self.bough("up", "--gateway-port", str(self.gateway), "--api-port", str(self.api))

    def down(self) -> None:
        self.bough("down", "--all")

    def bough(self, *words: str, cwd: Path | None = None) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "bough.entrypoints.cli.main", *words, "--json"],
            cwd=cwd or self.home.parent, env=self._environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"bough {' '.join(words)}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout.strip().splitlines()[-1])

    def ask(self, path: str, body: bytes) -> float:
        """Milliseconds to a whole answer; anything but 200 ends the run."""
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway, timeout=30)
        connection.request("POST", path, body)
        answer = connection.getresponse()
        said = answer.read()
        took_ms = (time.perf_counter() - began) * 1000
        connection.close()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {said.decode(errors='replace')}")
        return took_ms

    def memory_mb(self) -> dict[str, float]:
        found = {}
        for part in PARTS:
            pid = json.loads((self.home / "run" / f"{part}.json").read_text())["pid"]
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            found[part] = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))
        return found


def _port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
