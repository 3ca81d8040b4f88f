"""A training loop that saves, at Bough's automatic interval: what saving costs it, beside PyTorch's own ways.

    python -m bench.checkpoints.loop [--seconds 60] [--width 1600] [--between-s 900] [--rounds 1] [--seeds 100]

Four loops and a quarter of `--seconds` each round, then the simulation: about five minutes; `--seconds 25 --seeds 40`
takes two.

The same loop five ways, one after the other and `--rounds` times in turns: without saves, with Bough at the interval
that it chooses, and with `torch.save` and `torch.distributed.checkpoint.async_save` at that same interval. Two figures
each: the share of the time in which the loop stood still inside a save, and by how much the median step is slower than
without saves. Then, by arithmetic on what was measured, what the automatic interval costs beside the best fixed one,
over a range of times between losses; it has to learn that time, starting from its prior."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.checkpoints import peers
from bough import checkpoint
from bough.runtime.checkpoints import interval
from bough.runtime.checkpoints.interval import Losses

WORK_S = 48 * 3600.0  # of the simulation
Save = Callable[[int, dict[str, Any]], None]


class Loop:
    """A multilayer perceptron under Adam, in one thread, on data that is made up."""

    def __init__(self, width: int) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, width), torch.nn.ReLU(),
            torch.nn.Linear(width, 10),
        )  # fmt: skip
        self.optimizer = torch.optim.Adam(self.model.parameters(), foreach=True)
        self.x, self.y = torch.randn(64, width), torch.randint(0, 10, (64,))
        self.step()  # makes the optimizer's state

    def step(self) -> None:
        self.optimizer.zero_grad()
        torch.nn.functional.cross_entropy(self.model(self.x), self.y).backward()
        self.optimizer.step()

    @property
    def state(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self.optimizer}

    def run(self, seconds: float, save: Save) -> tuple[float, float, int]:
        """Seconds inside saves, the whole time per step, and how many steps."""
        began, stalled, number = time.perf_counter(), 0.0, 0
        while time.perf_counter() - began < seconds:
            self.step()
            number += 1
            before = time.perf_counter()
            save(number, self.state)
            stalled += time.perf_counter() - before
        whole = time.perf_counter() - began
        return stalled / whole, whole / number, number


class Timed:
    """A peer that saves when so much time has passed, as a program would that was told Bough's interval."""

    def __init__(self, peer: Any, every_s: float) -> None:
        self._peer, self._every_s, self._at = peer, every_s, 0.0

    def __call__(self, step: int, state: dict[str, Any]) -> None:
        now = time.monotonic()
        if now - self._at >= self._every_s:
            self._peer.save({name: value.state_dict() for name, value in state.items()})
            self._at = time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--width", type=int, default=1600)
    parser.add_argument("--between-s", type=float, default=900.0, help="between losses, as Bough is told")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=100, help="of the simulation")
    parser.add_argument("--folder", default="", help="on the disk that is measured")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["BOUGH_BETWEEN_LOSSES_S"] = str(asked.between_s)
    place = Path(tempfile.mkdtemp(prefix="bench-checkpoints-", dir=asked.folder or None)).absolute()
    try:
        cost_s, persist_s = measure(place, asked.width, asked.seconds, asked.rounds)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    compare(cost_s, persist_s, asked.seeds)


def saver(ckpt: checkpoint.Checkpoints, offset: int) -> Save:
    def save(step: int, state: dict[str, Any]) -> None:
        ckpt.save(offset + step, state)

    return save


def measure(place: Path, width: int, seconds: float, rounds: int) -> tuple[float, float]:
    found: dict[str, list[tuple[float, float, int]]] = {}
    cost_s = persist_s = 0.0
    for number in range(rounds):
        loop = Loop(width)
        found.setdefault("no saves", []).append(loop.run(seconds, lambda step, state: None))
        ckpt = checkpoint.open(str(place / f"bough{number}"), version="1", keep=2)
        ckpt.restore(loop.state)
        loop.run(seconds / 4, saver(ckpt, 0))  # until it knows what a save costs
        found.setdefault("Bough, auto", []).append(loop.run(seconds, saver(ckpt, 1_000_000)))
        every_s, cost_s, persist_s = ckpt.interval_s, ckpt.cost_s, ckpt.persist_s
        ckpt.close()
        size = sum(path.stat().st_size for path in (place / f"bough{number}").rglob("*") if path.is_file())
        print(
            f"interval {every_s:.1f} s, cost {cost_s:.3f} s, to the disk {persist_s:.2f} s, folder {size / 1e6:.0f} MB"
        )
        for peer in (peers.TorchSave(place / f"torch{number}"), peers.TorchAsync(place / f"async{number}")):
            timed = Timed(peer, every_s)
            timed(0, loop.state)  # its first one, too, is not counted
            found.setdefault(peer.name, []).append(loop.run(seconds, timed))
            peer.wait()
    plain = statistics.median(each[1] for each in found["no saves"])
    for name, runs in found.items():
        stall, per_step = (statistics.median(each[index] for each in runs) for index in (0, 1))
        print(f"{name:14} stalls {stall:6.2%}   {per_step * 1000:7.2f} ms a step, {per_step / plain - 1:+6.1%}   "
              f"{[each[2] for each in runs]} steps")  # fmt: skip
    return cost_s, persist_s


def compare(cost_s: float, persist_s: float, seeds: int) -> None:
    """Two days of work under losses that come at random, again and again, with many seeds."""
    print("\nautomatic beside the best fixed interval, by simulation (2 % wanted)")
    for between_s in (1800.0, 3600.0, 4 * 3600.0, 24 * 3600.0):
        grid = [interval.daly(cost_s, between_s) * 1.25**power for power in range(-8, 9)]
        fixed = {every: statistics.mean(fixed_s(every, cost_s, persist_s, between_s, seed) for seed in range(seeds))
                 for every in grid}  # fmt: skip
        best = min(fixed, key=lambda every: fixed[every])
        auto = statistics.mean(automatic_s(cost_s, persist_s, between_s, seed) for seed in range(seeds))
        more = auto / fixed[best] - 1
        print(f"a loss every {between_s / 3600:4.1f} h: best fixed {best:6.1f} s, automatic costs {more:+.2%}")


def fixed_s(every_s: float, cost_s: float, persist_s: float, between_s: float, seed: int) -> float:
    """How long the work takes with a save every `every_s`. A save counts once it is on the disk."""
    chance, work, now = random.Random(seed), WORK_S, 0.0
    while True:
        ends = chance.expovariate(1 / between_s)
        saves = max(0, int((ends - persist_s) / (every_s + cost_s)))
        if saves * every_s >= work:
            return now + work + work / every_s * cost_s
        now, work = now + ends, work - saves * every_s


def automatic_s(cost_s: float, persist_s: float, between_s: float, seed: int) -> float:
    """The same, at the interval that is worked out on the way, from the prior on."""
    chance, work, now, losses = random.Random(seed), WORK_S, 0.0, Losses()
    while True:
        alive, ends = 0.0, chance.expovariate(1 / between_s)
        while work > 0:
            between = interval.between_losses(losses, alive, interval.PRIOR_S)
            every = min(interval.best_s(cost_s, between, persist_s), work)
            if alive + every + cost_s + persist_s > ends:  # the save that would have kept it is not on the disk yet
                break
            alive, work = alive + every + cost_s, work - every
        if work <= 0:
            return now + alive
        now, losses = now + ends, Losses(lived_s=losses.lived_s + ends, losses=losses.losses + 1)


if __name__ == "__main__":
    main()
