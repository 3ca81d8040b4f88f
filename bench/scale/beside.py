"""What the two rules cost that are simulated beside the one that decides: `python -m bench.scale.beside`

Of services in one process, each with its own past: microseconds of processor time for a decision under steady traffic,
and for a second of silence as the loop spends it (`Scaled.rest_s`: looked at each half minute), in its first minutes
and once all is settled (`bough/scaling/stillness.py`), with the simulated rules and without (`late_cost` set); and what
one service takes of memory after five minutes. Percentages are of a core, for all of the services.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
import tracemalloc
from collections.abc import Callable

from bench.scale.workloads import poisson
from bough.gateway.models import LaneState
from bough.kernel.scale import USUAL, Scale
from bough.kernel.workloads import Service
from bough.scaling.models import Learnt, Observation
from bough.scaling.policy import Autoscaler
from bough.scaling.scaled import Scaled
from bough.serving.models import Deployment

SERVICE_S, LEARNT_S, MEASURED_S = 0.02, 300, 20
RATES = 0, 1, 100, 1000  # requests a second; 0: silence
FIRST, SETTLED = (60, 240), (600, 1800)  # seconds of silence: since so many, and for so many


def traffic(rate: int, seconds: int, seed: int) -> list[Observation]:
    """What is seen of a service with so many replicas that nobody waits."""
    draw, active = random.Random(seed), 2 + int(rate * SERVICE_S * 1.5)
    counts = [poisson(draw, rate) for _ in range(seconds)]
    return [
        Observation(at=60.0 + second, arrived=count, begun=count, service_s=SERVICE_S if count else 0.0,
                    in_flight=count * SERVICE_S, active=active)
        for second, count in enumerate(counts)
    ]  # fmt: skip


def spent_s(run: Callable[[], object]) -> float:
    gc.collect()
    began = time.process_time()
    run()
    return time.process_time() - began


def decision_us(scale: Scale, rate: int, services: int) -> float:
    """For one service, as one of so many that take turns."""
    scalers = [Autoscaler(scale) for _ in range(services)]
    seen = [traffic(rate, LEARNT_S + MEASURED_S, seed) for seed in range(services)]
    for scaler, observations in zip(scalers, seen, strict=True):
        for each in observations[:LEARNT_S]:
            scaler.wish(each)

    def decide() -> None:
        for second in range(LEARNT_S, LEARNT_S + MEASURED_S):
            for scaler, observations in zip(scalers, seen, strict=True):
                scaler.wish(observations[second])

    return spent_s(decide) / MEASURED_S / services * 1e6


def silent_us(scale: Scale, services: int, since_s: int, seconds: int) -> float:
    """For a second of one service that nobody asks, which is looked at as seldom as the loop does."""
    deployments = [deployment(number, scale) for number in range(services)]
    scaled = [Scaled(each, 60.0, 0.0, Learnt()) for each in deployments]
    lane = LaneState(deployment="", queued=0, in_flight=0, links=1)

    def pass_by(of: Scaled, since: float, until: float) -> None:
        now = since
        while now < until:
            of.decide(of.look(now, of.deployment, [lane], [], {}), 0)
            now += of.rest_s()

    for each in scaled:
        pass_by(each, 61.0, 61.0 + since_s)

    def pass_all_by() -> None:
        for each in scaled:
            pass_by(each, 61.0 + since_s, 61.0 + since_s + seconds)

    return spent_s(pass_all_by) / seconds / services * 1e6


def deployment(number: int, scale: Scale) -> Deployment:
    settings = Service(model="m:M", scale=scale)
    return Deployment(
        id=f"dep_{number}", project="p", environment="main", service=f"s{number}", digest="", settings=settings,
        bundle="", release=1, state="ready", created_at=0.0, changed_at=0.0, active=1,
    )  # fmt: skip


def memory_kb(scale: Scale, rate: int) -> float:
    seen = traffic(rate, LEARNT_S, 1)
    tracemalloc.start()
    scaler = Autoscaler(scale)
    for each in seen:
        scaler.wish(each)
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return taken / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, nargs="*", default=[1, 50])
    options = parser.parse_args()
    rules = {
        "beside": Scale(max=100, warm=0), "alone": Scale(max=100, warm=0, late_cost=USUAL),
        "pool, beside": Scale(max=100), "pool, alone": Scale(max=100, late_cost=USUAL),
    }  # fmt: skip
    for services in options.services:
        print(f"\n{services} services: µs a decision at so many requests a second (0: no look is left out); of a core")
        for name, scale in rules.items():
            found = [decision_us(scale, rate, services) for rate in RATES]
            first, settled = (silent_us(scale, services, *span) for span in (FIRST, SETTLED))
            cells = "  ".join(
                f"{rate}: {us:6.0f} ({us * services / 1e4:.2f} %)" for rate, us in zip(RATES, found, strict=True)
            )
            print(
                f"  {name:13} {cells}  a second of silence: {first:5.1f}, "
                f"settled {settled:5.1f} ({settled * services / 1e4:.3f} %)"
            )
    print("\nkB of one service after five minutes, at so many requests a second")
    for name, scale in rules.items():
        print(f"  {name:13} " + "  ".join(f"{rate}: {memory_kb(scale, rate):.0f}" for rate in RATES))


if __name__ == "__main__":
    main()
