"""A plane with the model `digits` and its data, whose units of this capability are real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bough.adapters.engine import EXITED
from tests.optimizing import digits
from tests.plane import Plane


class Bench:
    def __init__(self, folder: Path, *, fresh: bool = True) -> None:
        self.plane = Plane(folder)
        self.home = self.plane.bough.home.path
        if fresh:
            self.plane.call("projects.create", name="shop")

    def call(self, operation: str, **fields: Any) -> Any:
        return self.plane.call(operation, project="shop", **fields)

    def register(self, content: bytes, *, name: str = "digits", path: str = "model.onnx", **more: bytes) -> Any:
        files = [self._file(path, content)] + [self._file(key, each) for key, each in more.items()]
        return self.call("models.register", name=name, files=files, aliases=["champion"])

    def put(self, path: str, content: bytes) -> None:
        dataset, _, inside = path.partition("/")
        file = self._file(inside, content)
        self.call("files.commit", dataset=dataset, files=[file])

    def run(self, started: Any) -> Any:
        """Carries it out; the process that the engine would start is started here."""
        for _ in range(10):
            self.plane.let_pass(0.2)
            run_units(self.plane)
        return self.plane.call("optimize.show", id=started.id)

    def units(self) -> list[str]:
        return [each.unit for each in self.plane.engine.snapshot() if each.unit.startswith("opt_")]

    def _file(self, path: str, content: bytes) -> dict[str, Any]:
        return {"path": path, "digest": self.plane.bough.blobs.put(content), "size": len(content)}


def run_units(plane: Plane) -> None:
    """Does what the engine was asked for, in real processes."""
    for each in plane.engine.snapshot():
        if each.unit.startswith("opt_") and each.state != EXITED:
            folder = plane.bough.home.path / "optimizing" / each.unit.removesuffix("-optimizing")
            done = worker(plane.bough.home.path, folder / "request.json", folder / "result.json")
            plane.engine.crash(each.unit, code=done.returncode)


def worker(*paths: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "bough.optimizing.worker", *map(str, paths)]
    return subprocess.run(words, capture_output=True, text=True, timeout=100)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return prepared(tmp_path)


def prepared(folder: Path) -> Bench:
    made = Bench(folder)
    made.register(digits.as_onnx())
    made.put("images/test.npz", digits.npz())
    made.put("images/train.npz", digits.calibration())
    return made
