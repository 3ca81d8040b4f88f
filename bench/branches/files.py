"""Files in and out beside plain copies: `python bench/branches/files.py [--rounds 3] [--dvc]`.

For one file of 1 GB and for 10,000 of 100 KB, on the file system of --folder: `cp -r`; a copy that hashes in the same
pass (what a program without Bough would write); `put` and `get` straight on the blobs, as `bough data` does on the
machine of the server; and making a read-only mount. `put` is durable when it returns, so the copies are also shown with
the `sync` that would make them so. Page caches are warm. Medians; JSON lines, then a table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bough.adapters.blobs.directory import DirectoryBlobs
from bough.data.local import scan
from bough.data.models import File
from bough.data.mounts import mount
from bough.data.transfer import Direct, Progress, get, put
from bough.kernel.trees import remove_tree

SHAPES = {"1 x 1 GB": (1, 1_000_000_000), "10,000 x 100 KB": (10_000, 100_000)}
DVC = Path(__file__).parent / ".envs/dvc"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--dvc", action="store_true", help="DVC as well, in a venv of its own, where it installs")
    given = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="bough-files-", dir=given.folder))
    dvc = _install_dvc() if given.dvc else None
    try:
        for name, shape in SHAPES.items():
            source = _source(base / "source", *shape)
            rows = [_round(base, source, dvc) for _ in range(given.rounds)]
            medians = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
            for row in rows:
                print(json.dumps({"shape": name, **row}))
            _table(name, medians)
            shutil.rmtree(source)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _round(base: Path, source: Path, dvc: Path | None) -> dict[str, float]:
    found: dict[str, float] = {}
    blobs = DirectoryBlobs(base / "blobs")
    made: list[File] = []
    out = base / "out"

    def timed(name: str, work: Callable[[], object], *, sync: bool = False) -> None:
        subprocess.run(["sync"], check=True)
        began = time.perf_counter()
        work()
        found[name] = round(time.perf_counter() - began, 3)
        if sync:
            subprocess.run(["sync"], check=True)
            found[name + " + sync"] = round(time.perf_counter() - began, 3)

    timed("cp", lambda: subprocess.run(["cp", "-r", source, out], check=True), sync=True)
    shutil.rmtree(out)
    timed("copy and hash", lambda: _copy_and_hash(source, out), sync=True)
    shutil.rmtree(out)
    timed("put", lambda: made.extend(put(scan(source), {}, Direct(blobs), _progress())))
    timed("get", lambda: get([(each, out / each.path) for each in made], out, Direct(blobs), _progress()))
    shutil.rmtree(out)
    timed("put again", lambda: put(scan(source), {each.path: each for each in made}, Direct(blobs), _progress()))
    keyed = [File(path=f"d/{each.path}", digest=each.digest, size=each.size) for each in made]
    timed("mount", lambda: mount(keyed, "d", blobs, out, writable=False))
    remove_tree(out)
    shutil.rmtree(blobs.root)
    if dvc is not None:
        _dvc(base, source, dvc, timed)
    return found


def _dvc(base: Path, source: Path, dvc: Path, timed: Callable[..., None]) -> None:
    work = base / "dvc"
    shutil.copytree(source, work / "data")
    quiet = {"cwd": work, "check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    quiet["env"] = os.environ | {"DVC_NO_ANALYTICS": "1"}
    subprocess.run([dvc, "init", "--no-scm", "-q"], **quiet)
    timed("dvc add", lambda: subprocess.run([dvc, "add", "-q", "data"], **quiet))
    shutil.rmtree(work / "data")
    timed("dvc checkout", lambda: subprocess.run([dvc, "checkout", "-q"], **quiet))
    shutil.rmtree(work)


def _install_dvc() -> Path | None:
    program = DVC / "bin/dvc"
    if not program.exists():
        done = subprocess.run([sys.executable, "-m", "venv", DVC], check=False)
        done = subprocess.run([DVC / "bin/pip", "install", "-q", "dvc"], check=False)
        if done.returncode:
            print("DVC does not install here", file=sys.stderr)
            return None
    return program


def _source(folder: Path, count: int, size: int) -> Path:
    for number in range(count):
        place = folder / f"{number // 100:03}" / f"{number:05}"
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            for start in range(0, size, 1 << 24):
                file.write(os.urandom(min(1 << 24, size - start)))
    return folder


def _copy_and_hash(source: Path, target: Path) -> None:
    for place, _, names in os.walk(source):
        folder = target / os.path.relpath(place, source)
        folder.mkdir(parents=True)
        for name in names:
            digest = hashlib.sha256()
            with open(f"{place}/{name}", "rb") as read, open(f"{folder}/{name}", "wb") as written:  # noqa: PTH123
                while chunk := read.read(1 << 20):
                    digest.update(chunk)
                    written.write(chunk)


def _progress() -> Progress:
    return Progress(0, 0, lambda *_: None)


def _table(name: str, medians: dict[str, float]) -> None:
    reference = medians["copy and hash"]
    print(f"\n{name:<22}{'seconds':>9}  speed beside copy and hash", flush=True)
    for key, seconds in medians.items():
        print(f"  {key:<20}{seconds:>9.3f}  {reference / seconds:>6.2f}", flush=True)
    print()


if __name__ == "__main__":
    main()
