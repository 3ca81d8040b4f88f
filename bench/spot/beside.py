"""How long decisions take in the server, which makes plans beside them, and how late other threads are meanwhile.

    python -m bench.spot.beside [--jobs 4] [--decisions 400]

Jobs of 48 h of work with 92 h of time in six zones are asked about every three minutes of a market that is replayed.
Meanwhile another thread asks to be woken every millisecond, as an event loop would, and notes how late it is.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

from bench.spot.run import percentile
from bough.adapters.capacity import Provider, availability
from bough.adapters.capacity.local import LocalProvider
from bough.adapters.capacity.replay import ReplayProvider
from bough.capacity.market import offers_of
from bough.capacity.models import AUTO, Situation
from bough.capacity.planning import Plan, plan
from bough.capacity.pools import Pools
from bough.capacity.rules import Market, Planning
from bough.kernel.clock import VirtualClock
from bough.kernel.platform import PoolSettings

HOUR = 3600.0
TURN_S = 0.02  # between two decisions; a job is asked about at most twice a second


class Late(threading.Thread):
    """Wakes every millisecond, and notes how much later than that."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.by_s: list[float] = []
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            began = time.perf_counter()
            time.sleep(1e-3)
            self.by_s.append(time.perf_counter() - began - 1e-3)

    def stop(self) -> list[float]:
        self.ended.set()
        self.join()
        return self.by_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--decisions", type=int, default=400)
    asked = parser.parse_args()
    late = Late()
    late.start()
    time.sleep(TURN_S * asked.decisions)
    print(line("another thread is late, nothing else running", late.stop()))
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), asked.jobs, asked.decisions)


def measure(folder: Path, jobs: int, decisions: int) -> None:
    clock, plans_s = VirtualClock(), []

    def timed(market: Market, time_h: float, slack_h: float) -> Plan:
        began = time.perf_counter()
        made = plan(market, time_h, slack_h)
        plans_s.append(time.perf_counter() - began)
        return made

    every = pools(folder, clock, timed)
    deadline = clock.now() + 92 * HOUR
    first_s, later_s = [], []
    late = Late()
    late.start()
    for number in range(decisions):
        began = time.perf_counter()
        holder = f"jr_{number % jobs}"
        every.decide(Situation(holder=holder, capacity=AUTO, work_left_s=48 * HOUR, deadline=deadline))
        (first_s if number < jobs else later_s).append(time.perf_counter() - began)
        clock.advance(180.0)
        time.sleep(TURN_S)
    every.close()
    print(line("another thread is late, beside decisions and plans", late.stop()))
    print(line("a plan, in its thread", plans_s))
    print(line("a job's first decision", first_s))
    print(line("each later one", later_s))


def pools(folder: Path, clock: VirtualClock, planning: Planning) -> Pools:
    settings = {
        "spot": PoolSettings(kind="spot", provider="replay", zones={f"z{number}": 0.97 for number in range(6)}),
        "sure": PoolSettings(kind="on-demand", zones={"z0": 3.06}),
    }
    offers = {name: offers_of(name, pool, settings) for name, pool in settings.items()}
    zones = {zone: availability.made_up(zone, seed=7) for zone in settings["spot"].zones}
    providers: dict[str, Provider] = {
        "spot": ReplayProvider(folder / "spot", clock, offers["spot"], zones),
        "sure": LocalProvider(folder / "sure", clock, offers["sure"]),
    }
    return Pools(providers, folder / "seen.json", clock, planning)


def line(name: str, seconds: list[float]) -> str:
    median, high = (percentile(seconds, percent) * 1e3 for percent in (50, 99))
    return f"{name:52} {len(seconds):6} times   median {median:.2f}, p99 {high:.2f}, most {max(seconds) * 1e3:.2f} ms"


if __name__ == "__main__":
    main()
