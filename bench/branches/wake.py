"""What sleeping branches cost, and how long their first request takes.

    python -m bench.branches.wake [--branches 20] [--example credit-risk] [--service credit] [--rounds 3] [--json FILE]

One fresh home: the example is deployed to `main`, which keeps its zygote; then branches are made, which start nothing.
Memory is PSS of each part of Bough, before and after the branches. Each branch is then asked once (the request wakes
its service) and once more (nothing to wake). A wake is timed from before the connection to the last byte of the answer.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from bench.branches.stand import PARTS, ROOT, Stand

TARGETS = {"first request to a sleeping branch": (100.0, "ms"), "memory of 20 sleeping branches": (20.0, "MB")}


def measure(options: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    stand, source = Stand(folder), folder / options.example
    shutil.copytree(ROOT / "examples" / options.example, source)
    body = (source / "example.json").read_bytes()
    stand.up()
    try:
        stand.bough("deploy", cwd=source)
        stand.ask(f"/v1/{options.service}/predict", body)
        time.sleep(3.0)
        before, made = stand.memory_mb(), []
        for number in range(options.branches):
            began = time.perf_counter()
            stand.bough("branch", "create", "--project", options.example, f"b{number}")
            made.append((time.perf_counter() - began) * 1000)
        time.sleep(3.0)
        after = stand.memory_mb()
        first, again = [], []
        for number in range(options.branches):
            path = f"/v1/{options.service}--b{number}.{options.example}/predict"
            first.append(stand.ask(path, body))
            time.sleep(options.pause)
            again.append(stand.ask(path, body))
        grown = {
            f"{part}: memory of {options.branches} sleeping branches": after[part] - before[part] for part in PARTS
        }
    finally:
        stand.down()
    return {
        "first request to a sleeping branch": first,
        "second request": again,
        "bough branch create, whole command": made,
        f"memory of {options.branches} sleeping branches": [sum(grown.values())],
        **{name: [value] for name, value in grown.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--branches", type=int, default=20)
    parser.add_argument("--example", default="credit-risk")
    parser.add_argument("--service", default="credit")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between the two requests to a branch")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        folder = Path(tempfile.mkdtemp(prefix="bw-", dir="/tmp"))  # short: Unix socket paths hold 107 bytes
        try:
            for name, samples in measure(options, folder).items():
                found.setdefault(name, []).extend(samples)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    for name, samples in found.items():
        unit = "MB" if "memory" in name else "ms"
        target = f"  (at most {TARGETS[name][0]:g})" if name in TARGETS else ""
        print(f"{name:<55} median {statistics.median(samples):7.1f} worst {max(samples):7.1f} {unit}{target}")
    if options.json:
        options.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
