"""One of several processes that train together, as far as checkpoints know: a barrier in each step stands for
gradients.

fleet.py STEPS EVERY     with RANK and WORLD_SIZE
"""

import os
import sys
import time
from pathlib import Path

import numpy as np

from bough import checkpoint

RANK, WORLD = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
MEETING = Path(os.environ["MEETING"])


def meet(step: int) -> None:
    """Nobody goes on before all are here."""
    (MEETING / f"{step}.{RANK}").touch()
    while not all((MEETING / f"{step}.{rank}").exists() for rank in range(WORLD)):
        time.sleep(0.001)


def main() -> None:
    steps, every = int(sys.argv[1]), sys.argv[2]
    np.random.seed(RANK)
    state = {
        "weights": np.zeros(10),
        "own": np.full(3, float(RANK)),
        "data": checkpoint.Samples(40, batch_size=2, seed=1),
    }
    with checkpoint.open(every=every, per_rank=["own"]) as ckpt:
        batches = None
        for step in ckpt.steps(steps, state):
            batches = batches or iter(state["data"])
            next(batches)
            meet(step)
            state["weights"] += state["data"].samples
            state["own"] += np.random.random()
    print("end", ckpt.step, float(state["weights"][0]), state["own"].tolist(), flush=True)


main()
