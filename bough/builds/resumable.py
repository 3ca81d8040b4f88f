"""Which jobs have shown that they go on after an interruption: files in the home, under what was tried."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from bough.builds.contract import Promise
from bough.kernel.files import write_whole
from bough.kernel.workloads import Workload


class ResumeCheck(msgspec.Struct, frozen=True, kw_only=True):
    passed: bool
    promises: list[Promise]


def key(bundle: str, settings: Workload) -> str:
    """Changes with whatever could change how the job takes an interruption."""
    parts = (bundle, settings.command, settings.dockerfile, settings.requirements, settings.python)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def record(home: Path, name: str, promises: list[Promise], *, passed: bool) -> None:
    write_whole(_place(home, name), msgspec.json.encode(ResumeCheck(passed=passed, promises=promises)))


def found(home: Path, name: str) -> ResumeCheck | None:
    """None when it was never tried."""
    try:
        return msgspec.json.decode(_place(home, name).read_bytes(), type=ResumeCheck)
    except (OSError, msgspec.DecodeError):
        return None


def _place(home: Path, name: str) -> Path:
    return home / "resume-checks" / f"{name}.json"
