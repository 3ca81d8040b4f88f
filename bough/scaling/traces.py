"""Traffic as text: one number a line is requests in each second; lines `SECONDS,SERVICE` are single requests."""

from __future__ import annotations

import random

from bough.kernel.errors import Invalid, TooLarge
from bough.scaling.simulating import Arrival, Trace

MOST_REQUESTS, MOST_SECONDS = 2_000_000, 1_000_000


def read(name: str, text: str, *, service_s: float, slots: int, seed: int = 0) -> Trace:
    """A first line that is no number is a heading. With a heading `ms` times are in milliseconds. A service time that
    is not given is `service_s`; requests of one second come at random moments of it, the same for the same seed."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    heading = lines.pop(0).lower().split(",") if lines and not _is_number(lines[0].split(",")[0]) else []
    try:
        rows = [[float(part) for part in line.split(",") if part.strip()] for line in lines]
        if not rows or not all(rows):
            raise Invalid(f"{name} holds no traffic", code="TRACE_EMPTY", hint="one count of requests a line")
        if heading[:1] in (["ms"], ["at"], ["seconds"]) or len(rows[0]) > 1:
            unit = 1000.0 if heading[:1] == ["ms"] else 1.0
            timed = "service_s" in heading or (not heading and len(rows[0]) > 1)
            arrivals = sorted((row[0] / unit, row[1] if timed and len(row) > 1 else service_s) for row in rows)
            return _checked(name, [Arrival(*each) for each in arrivals], int(arrivals[-1][0]) + 1, slots)
        if sum(row[0] for row in rows) > MOST_REQUESTS:
            raise TooLarge(f"{name} has more than {MOST_REQUESTS} requests", code="TRACE_TOO_LARGE", hint="cut it")
    except ValueError as error:
        raise Invalid(
            f"{name} is not a trace: {error}", code="TRACE_INVALID", hint="one count of requests a line"
        ) from error
    return of_counts(name, [int(row[0]) for row in rows], service_s=service_s, slots=slots, seed=seed)


def of_counts(name: str, counts: list[int], *, service_s: float, slots: int = 1, seed: int = 0) -> Trace:
    draw = random.Random(seed)  # noqa: S311 - moments within a second, not secrets
    arrivals = [
        Arrival(second + at, service_s)
        for second, count in enumerate(counts)
        for at in sorted(draw.random() for _ in range(count))
    ]
    return _checked(name, arrivals, len(counts), slots)


def _checked(name: str, arrivals: list[Arrival], seconds: int, slots: int) -> Trace:
    if len(arrivals) > MOST_REQUESTS or seconds > MOST_SECONDS:
        raise TooLarge(f"{name} is too long to be simulated", code="TRACE_TOO_LARGE", hint="cut it")
    if arrivals and (arrivals[0].at < 0 or min(each.service_s for each in arrivals) <= 0):
        raise Invalid(f"{name} has times below zero", code="TRACE_INVALID", hint="seconds since its beginning")
    return Trace(name=name, seconds=max(1, seconds), arrivals=arrivals, slots=max(1, slots))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
