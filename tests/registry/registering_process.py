"""Registers signed versions until it is killed: python registering_process.py HOME NAME

Each version has files of its own and becomes the champion. What it prints has been committed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bough.adapters.engine.fake import FakeEngine
from bough.app import Bough
from bough.kernel.clock import SystemClock
from bough.kernel.context import SYSTEM
from bough.kernel.platform import Platform


def main(home: Path, name: str) -> None:
    clock = SystemClock()
    bough = Bough(home, Platform(), engine=FakeEngine(clock), clock=clock)
    while True:
        text = f"{name} {clock.now()}"
        files = [
            {"path": path, "digest": bough.blobs.put(f"{path} {text}".encode()), "size": len(f"{path} {text}")}
            for path in ("a", "b/c")
        ]
        fields = {"project": "shop", "name": "churn", "files": files, "aliases": ["champion"]}
        print(bough.operations.call("models.register", fields, SYSTEM).number, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
