"""Traffic to be scaled for: recorded traces, where they lie, and synthetic ones from seeds."""

from __future__ import annotations

import csv
import gzip
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from bough.scaling.simulating import Arrival, Trace

TRACES = Path(__file__).resolve().parents[3] / "shared" / "traces"
HOUR_S, DAY_S = 3600, 86_400
Lengths = tuple[int, int]  # seconds of steady traffic, and of a day
BRIEF: Lengths = (HOUR_S, 2 * HOUR_S)
REAL: Lengths = (6 * HOUR_S, DAY_S)


def recorded(seed: int = 0) -> Iterator[Trace]:
    """What lies in shared/traces beside the checkout; nothing where nothing lies."""
    if (TRACES / "nasa_http_1995_per_second.csv.gz").exists():
        with gzip.open(TRACES / "nasa_http_1995_per_second.csv.gz", "rt") as file:
            counts = [int(line) for line in file.read().split()[1:]]
        for day in (5, 40):
            part = counts[day * DAY_S + 8 * HOUR_S : day * DAY_S + 14 * HOUR_S]
            yield per_second(f"nasa-day{day}", part, 0.8, seed + day, times=6)
    if (TRACES / "azure_llm_2023_code_requests.csv.gz").exists():
        with gzip.open(TRACES / "azure_llm_2023_code_requests.csv.gz", "rt") as file:
            rows = list(csv.DictReader(file))
        found = [
            Arrival(
                int(row["ms"]) / 1000, 0.1 + int(row["context_tokens"]) / 8000 + int(row["generated_tokens"]) * 0.02
            )
            for row in rows
        ]
        yield Trace(name="azure-llm", seconds=int(found[-1].at) + 60, arrivals=sorted(found, key=lambda each: each.at))
    if (TRACES / "azure_functions_2019_sample500_per_minute.csv.gz").exists():
        yield from functions(seed)


def functions(seed: int) -> Iterator[Trace]:
    """Those functions of a day that keep more than one replica busy and are not too long for 500,000 requests."""
    with gzip.open(TRACES / "azure_functions_2019_sample500_per_minute.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        minutes = dict(tuple(map(int, each.split(":"))) for each in row["minutes"].split())
        total, mean_s = sum(minutes.values()), int(row["avg_ms"]) / 1000
        load = total * mean_s / DAY_S
        if not (2.0 < load < 200.0 and 2_000 < total < 150_000 and 0.05 < mean_s < 10.0):
            continue
        draw = random.Random(seed)
        found = []
        for minute, count in minutes.items():
            if minute < 480:
                found += [minute * 60 + draw.random() * 60 for _ in range(count)]
        if len(found) < 5_000:
            continue
        yield Trace(
            name=f"function-{row['fn']}", seconds=480 * 60,
            arrivals=[Arrival(at, lognormal(draw, mean_s)) for at in sorted(found)],
        )  # fmt: skip


def lognormal(draw: random.Random, mean_s: float, sigma: float = 0.6) -> float:
    return draw.lognormvariate(math.log(mean_s) - sigma * sigma / 2, sigma)


def per_second(name: str, counts: list[int], mean_s: float, seed: int, *, times: float = 1.0) -> Trace:
    """Counts as they were recorded, `times` as many, each somewhere in its second."""
    draw = random.Random(seed)
    arrivals = []
    for second, count in enumerate(counts):
        many = int(count * times + draw.random())
        arrivals += [Arrival(second + at, lognormal(draw, mean_s)) for at in sorted(draw.random() for _ in range(many))]
    return Trace(name=name, seconds=len(counts), arrivals=arrivals)


def shaped(name: str, seconds: int, rate: Callable[[float], float], mean_s: float, seed: int) -> Trace:
    """Poisson, of a rate that changes."""
    draw = random.Random(seed)
    arrivals = []
    for second in range(seconds):
        many = poisson(draw, rate(float(second)))
        arrivals += [Arrival(second + at, lognormal(draw, mean_s)) for at in sorted(draw.random() for _ in range(many))]
    return Trace(name=name, seconds=seconds, arrivals=arrivals)


def poisson(draw: random.Random, mean: float) -> int:
    if mean > 50:
        return max(0, round(draw.gauss(mean, math.sqrt(mean))))
    limit, count, product = math.exp(-mean), 0, draw.random()
    while product > limit:
        count += 1
        product *= draw.random()
    return count


def shapes(lengths: Lengths = BRIEF) -> dict[str, tuple[int, Callable[[float], float], float]]:
    """Smooth traffic by name: seconds, requests a second at each of them, seconds that one takes in the mean."""
    steady_s, day_s = lengths
    day = lambda t: 0.5 - 0.5 * math.cos(2 * math.pi * t / day_s)  # noqa: E731 - a shape, twice
    return {
        "steady-50": (steady_s, lambda _: 100.0, 0.5),
        "steady-20": (steady_s, lambda _: 100.0, 0.2),
        "day-60": (day_s, lambda t: 20 + 100 * day(t), 0.5),
        "day-25": (day_s, lambda t: 15 + 100 * day(t), 0.25),
    }


def smooth(seed: int = 0, lengths: Lengths = BRIEF) -> Iterator[Trace]:
    for place, (name, (seconds, rate, mean_s)) in enumerate(shapes(lengths).items()):
        yield shaped(name, seconds, rate, mean_s, seed + place)


def bursty(seed: int = 0) -> Iterator[Trace]:
    draw = random.Random(seed)
    crowds = [(draw.uniform(300, 2 * HOUR_S - 600), draw.uniform(3, 10), draw.uniform(60, 240)) for _ in range(6)]

    def flash(t: float) -> float:
        return 8.0 * max([1.0, *(size for at, size, length in crowds if at <= t < at + length)])

    yield shaped("flash-crowds", 2 * HOUR_S, flash, 0.5, seed + 1)
    phases, on = [], False
    while len(phases) < 2 * HOUR_S:
        phases += [24.0 if on else 4.0] * int(draw.expovariate(1 / (40 if on else 90)) + 1)
        on = not on
    yield shaped("on-off", 2 * HOUR_S, lambda t: phases[int(t)], 0.5, seed + 2)
    yield shaped("every-ten-minutes", 2 * HOUR_S, lambda t: 40.0 if t % 600 < 45 else 6.0, 0.5, seed + 3)
    yield shaped("ramps", 2 * HOUR_S, lambda t: 6 + 44 * min(1.0, max(0.0, (t % 1200 - 300) / 120)), 0.4, seed + 4)
    drift, rates = 10.0, []
    for _ in range(2 * HOUR_S):
        drift = min(60.0, max(2.0, drift * math.exp(draw.gauss(0.0, 0.04))))
        rates.append(drift)
    yield shaped("random-walk", 2 * HOUR_S, lambda t: rates[int(t)], 0.5, seed + 5)


def drawn(seed: int = 0) -> Iterator[Trace]:
    """Bursty traffic that no rule was made on: three traces of each of five kinds, all of whose sizes are drawn."""
    draw, number = random.Random(seed * 1000 + 17), 100 * seed
    for kind in (_crowds, _walk, _ramps, _phases, _jumping):
        for each in range(3):
            rate, mean_s = kind(draw)
            number += 1
            yield shaped(f"{kind.__name__[1:]}-{each}", 2 * HOUR_S, rate, mean_s, number)


Kind = tuple[Callable[[float], float], float]  # requests a second at each second, and seconds that one takes


def _crowds(draw: random.Random) -> Kind:
    load, many, mean_s = draw.uniform(4, 20), draw.randint(3, 9), draw.choice([0.1, 0.3, 0.5, 1.0])
    found = [(draw.uniform(200, 2 * HOUR_S - 600), draw.uniform(2, 8), draw.uniform(40, 400)) for _ in range(many)]
    usual = load / mean_s * 0.4
    return lambda t: usual * max([1.0, *(size for at, size, length in found if at <= t < at + length)]), mean_s


def _walk(draw: random.Random) -> Kind:
    low, high = draw.uniform(1, 4), draw.uniform(30, 80)
    step, mean_s = draw.uniform(0.01, 0.06), draw.choice([0.2, 0.5, 0.8])
    rate, rates = 10.0, []
    for _ in range(2 * HOUR_S):
        rate = min(high, max(low, rate * math.exp(draw.gauss(0, step))))
        rates.append(rate)
    return lambda t: rates[int(t)], mean_s


def _ramps(draw: random.Random) -> Kind:
    period, up_s = draw.uniform(400, 1800), draw.uniform(30, 300)
    high, low = draw.uniform(15, 60), draw.uniform(3, 8)
    wait, mean_s = draw.uniform(0.1, 0.4) * period, draw.choice([0.2, 0.4, 0.8])
    down_s = max(5.0, up_s / 3)
    share = lambda t: max(0.0, min(1.0, (t % period - wait) / up_s, (period - t % period) / down_s))  # noqa: E731
    return lambda t: low + (high - low) * share(t), mean_s


def _phases(draw: random.Random) -> Kind:
    on_s, off_s = draw.uniform(15, 200), draw.uniform(30, 400)
    busy, calm, mean_s = draw.uniform(12, 60), draw.uniform(2, 8), draw.choice([0.2, 0.5, 1.0])
    rates, on = list[float](), False
    while len(rates) < 2 * HOUR_S:
        rates += [busy if on else calm] * int(draw.expovariate(1 / (on_s if on else off_s)) + 1)
        on = not on
    return lambda t: rates[int(t)], mean_s


def _jumping(draw: random.Random) -> Kind:
    mean, spread = draw.uniform(10, 40), draw.uniform(0.15, 0.5)
    length, mean_s = draw.choice([10, 30, 60, 120]), draw.choice([0.2, 0.5])
    sizes = list[float]()
    while len(sizes) < 2 * HOUR_S:
        sizes += [math.exp(draw.gauss(-spread * spread / 2, spread))] * length
    return lambda t: mean * (1 + 0.5 * math.sin(math.pi * t / HOUR_S)) * sizes[int(t)], mean_s
