"""How many of those who wait should be looked at for a batch of similar size: a model that pads, callers in a loop.

    python bench/serving/padding.py [--callers 8,64,256]

Two replicas, the workload's sentences, and what a call of MiniLM costs as the limits by batch size say it (2026-11-28):
0.3 ms a call, 3.5 ms for each run of eight sentences, 0.37 ms for each token of it, padding included. The gateway's own
rules choose; `SIMILAR_SHARE` is what is varied. Virtual time: it needs seconds, and no model.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from bough.gateway import rules

CALL_MS, RUN_MS, TOKEN_MS, RUN = 0.3, 3.5, 0.37, 8
ANSWERED_MS = 0.5  # until a caller that has its answer is in the queue again
LARGEST, REPLICAS = 32, 2
END_MS, SETTLED_MS = 60_000.0, 2_000.0
CASES = Path(__file__).parent / ".envs/data/cases.json"
Choose = Callable[[Sequence[int], int], list[int]]


def call_ms(sizes: Sequence[int]) -> float:
    """A call with texts of so many characters; a token is four or five of them."""
    tokens = sorted(max(4, round(0.22 * size + 2)) for size in sizes)
    runs = [tokens[start : start + RUN] for start in range(0, len(tokens), RUN)]
    return CALL_MS + sum(RUN_MS + TOKEN_MS * len(run) * run[-1] for run in runs)


def simulate(texts: Sequence[int], callers: int, choose: Choose) -> tuple[float, float, float]:
    """Sentences per second, median and 99th percentile of the milliseconds that a caller waits."""
    dice = random.Random(1)
    queue = [(0.0, dice.choice(texts)) for _ in range(callers)]
    events: list[tuple[float, int, list[tuple[float, int]]]] = []
    free, now, number, waits = REPLICAS, 0.0, 0, list[float]()
    while now < END_MS:
        while free and queue:
            chosen = choose([size for _, size in queue], rules.take(len(queue), REPLICAS, LARGEST))
            batch = [queue[index] for index in chosen]
            for index in reversed(chosen):
                queue.pop(index)
            free, number = free - 1, number + 1
            heapq.heappush(events, (now + call_ms([size for _, size in batch]), number, batch))
        now, _, batch = heapq.heappop(events)
        if not batch:  # a caller asks again
            queue.append((now, dice.choice(texts)))
            continue
        free += 1
        for since, _ in batch:
            number += 1
            heapq.heappush(events, (now + ANSWERED_MS * dice.random() * 2, number, []))
            waits += [now - since] if now > SETTLED_MS else []
    waits.sort()
    return len(waits) / (END_MS - SETTLED_MS) * 1e3, statistics.median(waits), waits[int(len(waits) * 0.99)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", default="8,64,256")
    callers = [int(part) for part in parser.parse_args().callers.split(",")]
    texts = [len(case["request"]["text"]) for case in json.loads(CASES.read_text())["minilm"]]
    print(f"{'callers':>8}{'looked at':>12}{'a second':>10}{'p50 ms':>8}{'p99 ms':>8}{'p99/p50':>9}")
    for count in callers:
        for share in (1.0, 0.7, 0.5, 1 / 3, 0.25, 0.0):
            rules.SIMILAR_SHARE = share
            choose = rules.similar if share else lambda sizes, size: list(range(size))
            rate, p50, p99 = simulate(texts, count, choose)
            looked = f"{share:.2f}" if share else "in turn"
            print(f"{count:>8}{looked:>12}{rate:>10.0f}{p50:>8.0f}{p99:>8.0f}{p99 / p50:>9.2f}")


if __name__ == "__main__":
    main()
