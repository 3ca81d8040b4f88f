"""A project's own gates: what they return, and what happens when they do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bough.runtime.gatechecks import CheckResult, ChecksRequest, Gate

CHECKS = """
import sys
from pathlib import Path
import neighbour

def yes(gate): return True
def no(gate): return False, "too odd", {"odd": 3}
def reads(gate):
    return Path(gate.folder, "w.txt").read_text() == "w" and gate.metrics["auc"] > gate.champion_metrics["auc"]
def raises(gate): raise ValueError("what")
def leaves(gate): sys.exit(0)
def wrong(gate): return True, "fine", {"set": object()}
"""


@pytest.mark.parametrize(
    ("check", "passed", "said"),
    [
        ("gates.py:yes", True, "passed"),
        ("gates.py:no", False, "too odd"),
        ("gates.py:reads", True, "passed"),
        ("gates.py:raises", False, "ValueError: what"),
        ("gates.py:leaves", False, "SystemExit: 0"),
        ("gates.py:wrong", False, "TypeError"),
        ("gates.py:missing", False, "AttributeError"),
        ("none.py:yes", False, "FileNotFoundError"),
    ],
)
def test_what_a_check_says(tmp_path: Path, check: str, passed: bool, said: str) -> None:
    found = run(tmp_path, [check])[0]
    assert found.passed == passed and said in found.said
    if check == "gates.py:no":
        assert found.figures == {"odd": 3}


def test_all_of_them_run(tmp_path: Path) -> None:
    found = run(tmp_path, ["gates.py:raises", "gates.py:yes"])
    assert [each.passed for each in found] == [False, True]


def run(folder: Path, checks: list[str]) -> list[CheckResult]:
    (folder / "gates.py").write_text(CHECKS)
    (folder / "neighbour.py").write_text("")
    (folder / "w.txt").write_text("w")
    facts: dict[str, Any] = {"metrics": {"auc": 0.9}, "champion_metrics": {"auc": 0.8}}
    gate = Gate(name="churn", number=2, folder=str(folder), **facts)
    (folder / "request.json").write_bytes(msgspec.json.encode(ChecksRequest(gate=gate, checks=checks)))
    subprocess.run(
        [sys.executable, "-m", "bough.runtime.gatechecks", folder / "request.json", folder / "result.json"],
        cwd=folder, check=True, timeout=60,
    )  # fmt: skip
    return msgspec.json.decode((folder / "result.json").read_bytes(), type=list[CheckResult])
