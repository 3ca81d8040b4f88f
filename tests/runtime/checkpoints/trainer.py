"""A program that trains, as small as one can be: momentum and noise, so that every number depends on everything before.

trainer.py STEPS EVERY [SLEEP_S]
trainer.py --starts: reads a start a line, forks for each and says how it ended; numpy is imported once for all
"""

import json
import os
import random
import sys
import time

import numpy as np

from bough import checkpoint


def main() -> None:
    steps, every = int(sys.argv[1]), sys.argv[2]
    pause_s = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    rng = np.random.default_rng(7)
    inputs = np.random.RandomState(1).randn(500, 20)
    answers = inputs @ np.arange(20)
    random.seed(4)
    np.random.seed(5)
    state = {
        "weights": np.zeros(20),
        "momentum": np.zeros(20),
        "frozen": np.arange(100_000, dtype="f4"),
        "data": checkpoint.Samples(len(inputs), batch_size=16, seed=3),
        "rng": rng,
        "loss": 0.0,
    }
    with checkpoint.open(every=every, keep=2) as ckpt:
        data = None
        for _ in ckpt.steps(steps, state):
            data = data or iter(state["data"])
            rows = next(data)
            noise = rng.normal(size=20) * 0.01 + np.random.normal(size=20) * 0.01
            error = inputs[rows] @ state["weights"] - answers[rows]
            gradient = inputs[rows].T @ error / len(rows)
            state["momentum"][...] = 0.9 * state["momentum"] + gradient
            state["weights"][...] -= 0.01 * state["momentum"] + noise
            state["loss"] = float((error**2).mean())
            time.sleep(pause_s)


def starts() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        if pid := os.fork():
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            continue
        os.environ.update(asked["environment"])
        os.dup2(os.open(asked["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        sys.argv[1:] = asked["arguments"]
        main()
        return  # it ends as any program does


if sys.argv[1] == "--starts":
    starts()
else:
    main()
