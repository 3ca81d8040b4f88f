"""A control plane in one process, for tests: real SQLite, the fakes that ship for everything outside."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from bough.adapters.blobs import Blobs
from bough.app import Bough
from bough.builds.models import BuildResult, Bundle, Entry
from bough.kernel.context import Principal, Role
from bough.kernel.platform import Platform

ADMIN = Principal(id="pri_admin", name="admin", role=Role.ADMIN)
DEVELOPER = Principal(id="pri_dev", name="dev", role=Role.DEVELOPER)
VIEWER = Principal(id="pri_view", name="view", role=Role.VIEWER)


def bundle(blobs: Blobs, **files: str) -> str:
    """The digest of a bundle with these files, uploaded."""
    entries = tuple(
        Entry(path=name.replace("__", "."), digest=blobs.put(text.encode()), size=len(text.encode()))
        for name, text in sorted(files.items())
    )
    return blobs.put(Bundle(entries=entries).manifest)


def propose(bough: Bough, file: str, *, environment: str = "main", **files: str) -> dict[str, Any]:
    """A request for releases.create."""
    return {"file": file, "bundles": {".": bundle(bough.blobs, **files)}, "environment": environment}


def finish_build(bough: Bough, unit: str, **changes: Any) -> None:
    """Leaves what a build worker leaves."""
    folder = bough.home.builds / unit
    made = {
        "request": hashlib.sha256(unit.encode()).hexdigest(),
        "folder": str(folder),
        "workdir": str(folder),
        "python": "/usr/bin/python3",
    }
    (folder / "result.json").write_bytes(msgspec.json.encode(BuildResult(**(made | changes))))


def platform() -> Platform:
    return Platform()


def home_of(tmp_path: Path) -> Path:
    return tmp_path / "home"
