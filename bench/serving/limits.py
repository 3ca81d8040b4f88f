"""What the models can do inside a process, with no server at all: the limits that the targets are measured against.
Prints one line of JSON.

    python limits.py SECONDS PROCESSES WORKLOAD,WORKLOAD [throughput]

Throughput: so many processes, one native thread each, at the best of several batch sizes. Latency: one call at a time.
Fresh start: a new Python that imports, loads and answers once.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import models

BATCHES = {"noop": (64,), "logistic": (1, 64), "minilm": (1, 4, 8, 16, 32)}


def main() -> None:
    seconds, workers, names, whole = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(","), len(sys.argv) == 4
    items = {
        name: [case["request"] for case in found]
        for name, found in json.loads((Path(os.environ["BENCH_DATA"]) / "cases.json").read_text()).items()
    }
    result: dict[str, Any] = {"throughput": {}, "direct_p50_ms": {}, "fresh_ms": {}}
    for name in names:
        found = {str(size): _throughput(name, items[name], size, seconds, workers) for size in BATCHES[name]}
        result["throughput"][name] = {"best": max(found.values()), "by_batch": found}
        if not whole:
            continue
        result["direct_p50_ms"][name] = _direct(name, items[name], seconds)
        result["fresh_ms"][name] = statistics.median(_fresh(name, items[name][0]) for _ in range(5))
    print(json.dumps(result))


def _throughput(name: str, items: list[Any], size: int, seconds: float, workers: int) -> float:
    """Answers per second of all processes together."""
    context = multiprocessing.get_context("spawn")
    barrier, counts = context.Barrier(workers), context.Queue()
    processes = [
        context.Process(target=_worker, args=(name, items, size, seconds, barrier, counts)) for _ in range(workers)
    ]
    for process in processes:
        process.start()
    total = sum(counts.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    return float(total)


def _worker(name: str, items: list[Any], size: int, seconds: float, barrier: Barrier, counts: Any) -> None:
    model = models.load(name)
    endless = itertools.cycle(items)
    model(list(itertools.islice(endless, size)))
    barrier.wait(60)
    done, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        model(list(itertools.islice(endless, size)))
        done += size
    counts.put(done / elapsed)


def _direct(name: str, items: list[Any], seconds: float) -> float:
    model = models.load(name)
    model(items[:1])
    taken: list[float] = []
    deadline = time.perf_counter() + seconds
    for item in itertools.cycle(items):
        started = time.perf_counter()
        if started > deadline:
            break
        model([item])
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1e3


def _fresh(name: str, item: Any) -> float:
    code = f"import models; models.load({name!r})([{item!r}])"
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return (time.perf_counter() - started) * 1e3


if __name__ == "__main__":
    main()
