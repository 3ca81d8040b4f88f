"""Traffic as text: one number a line is requests in each second; lines `SECONDS,SERVICE` are single requests; and below
a heading that names them, a column of times and one of counts are requests in each second that has a line."""

from __future__ import annotations

import math
import random
from typing import NamedTuple

from bough.kernel.errors import Invalid, TooLarge
from bough.scaling.simulating import Arrival, Trace

MOST_REQUESTS, MOST_SECONDS = 2_000_000, 1_000_000
MOST_BYTES = 64 << 20  # of text: 32 for each request
EPOCH_S = 1e9  # a time that is later counts from 1970: no trace is thirty years long
_TIMES = {"ms": 1000.0, "at": 1.0, "s": 1.0, "second": 1.0, "seconds": 1.0, "time": 1.0, "timestamp": 1.0}
_COUNTS = ("count", "requests")
_FORMS = "one count of requests a line; or a heading: seconds,service_s for requests, second,count for counts"
_CUT = "simulate a part of it: zcat -f FILE | head -n 100000 | bough scale simulate /dev/stdin"

Line = tuple[int, list[str]]  # its number, and what stands between its commas


class _Columns(NamedTuple):
    """Where a line says what; -1: nowhere. `unit`: of its times, how many are a second."""

    at: int = -1
    requests: int = -1
    service: int = -1
    unit: float = 1.0


def read(name: str, text: str, *, service_s: float, slots: int, seed: int = 0) -> Trace:
    """A first line that is no number is a heading. With a heading `ms` times are in milliseconds; those since 1970
    count from the first. A service time that is not given is `service_s`; requests of one second come at random moments
    of it, the same for the same seed; fractions of requests add up. Raises `Invalid` (TRACE_EMPTY, or TRACE_INVALID
    with the line) and `TooLarge` (TRACE_TOO_LARGE)."""
    if len(text) > MOST_BYTES or text.count("\n") > MOST_REQUESTS:
        raise TooLarge(f"{name} has more than {MOST_REQUESTS} lines", code="TRACE_TOO_LARGE", hint=_CUT)
    lines: list[Line] = [
        (number, [part.strip() for part in line.split(",")])
        for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1)
        if line.strip() and not line.startswith("#")
    ]
    heading = [part.lower() for part in lines.pop(0)[1]] if lines and not _is_number(lines[0][1][0]) else []
    if not lines:
        raise Invalid(f"{name} holds no traffic", code="TRACE_EMPTY", hint=_FORMS)
    columns = _columns(name, heading, lines[0][1])
    times = [_value(name, line, columns.at) / columns.unit for line in lines] if columns.at >= 0 else []
    if times and min(times) > EPOCH_S:
        times = [each - math.floor(min(times)) for each in times]
    if columns.requests < 0:
        services = [_value(name, line, columns.service, service_s) for line in lines]
        arrivals = [Arrival(*each) for each in sorted(zip(times, services, strict=True))]
        return _checked(name, arrivals, int(arrivals[-1].at) + 1, slots)
    counts = [_value(name, line, columns.requests) for line in lines]
    whole = _whole(name, _placed(name, times, counts) if times else counts)
    return of_counts(name, whole, service_s=service_s, slots=slots, seed=seed)


def of_counts(name: str, counts: list[int], *, service_s: float, slots: int = 1, seed: int = 0) -> Trace:
    draw = random.Random(seed)  # noqa: S311 - moments within a second, not secrets
    arrivals = [
        Arrival(second + at, service_s)
        for second, count in enumerate(counts)
        for at in sorted(draw.random() for _ in range(count))
    ]
    return _checked(name, arrivals, len(counts), slots)


def _columns(name: str, heading: list[str], first: list[str]) -> _Columns:
    """Without a heading a line has a count, or a time and a service time; below one of a single word, counts."""
    if not heading:
        return _Columns(requests=0) if len([each for each in first if each]) == 1 else _Columns(at=0, service=1)
    at = next((number for number, each in enumerate(heading) if each in _TIMES), -1)
    count = next((number for number, each in enumerate(heading) if each in _COUNTS), -1)
    if at < 0 and count < 0:
        if len(heading) == 1:
            return _Columns(requests=0)
        said = f"{name} does not say when requests came, or how many: its heading is {','.join(heading)[:80]!r}"
        raise Invalid(said, code="TRACE_INVALID", hint=_FORMS)
    service = heading.index("service_s") if "service_s" in heading else -1
    return _Columns(at=at, requests=count, service=service, unit=_TIMES[heading[at]] if at >= 0 else 1.0)


def _value(name: str, line: Line, column: int, otherwise: float = -1.0) -> float:
    """A number that is not negative; `otherwise` where the line has none, if that is one."""
    number, parts = line
    text = parts[column] if 0 <= column < len(parts) else ""
    if not text and otherwise >= 0:
        return otherwise
    if not _is_number(text):
        said = f"{text[:40]!r} is no number" if text else f"there is no number {column + 1}"
        raise _invalid(name, number, said)
    value = float(text)
    if not 0 <= value < math.inf:
        raise _invalid(name, number, f"{text[:40]} is no time and no number of requests")
    return value


def _placed(name: str, times: list[float], counts: list[float]) -> list[float]:
    """Each count in its second; a second that has no line has no requests."""
    if max(times) >= MOST_SECONDS:
        raise _too_long(name, max(times))
    found = [0.0] * (int(max(times)) + 1)
    for at, count in zip(times, counts, strict=True):
        found[int(at)] += count
    return found


def _whole(name: str, counts: list[float]) -> list[int]:
    """Fractions go on to the seconds that follow, so that their sum stays."""
    if sum(counts) > MOST_REQUESTS:
        raise TooLarge(f"{name} has more than {MOST_REQUESTS} requests", code="TRACE_TOO_LARGE", hint=_CUT)
    found, wanted, given = list[int](), 0.0, 0
    for count in counts:
        wanted += count
        found.append(int(wanted + 0.5) - given)
        given += found[-1]
    return found


def _checked(name: str, arrivals: list[Arrival], seconds: int, slots: int) -> Trace:
    if seconds > MOST_SECONDS:
        raise _too_long(name, seconds)
    if len(arrivals) > MOST_REQUESTS:
        raise TooLarge(f"{name} has more than {MOST_REQUESTS} requests", code="TRACE_TOO_LARGE", hint=_CUT)
    if any(not 0 < each.service_s <= MOST_SECONDS for each in arrivals):
        said = f"{name} has a service time that is 0, or longer than {MOST_SECONDS} s"
        raise Invalid(said, code="TRACE_INVALID", hint=_FORMS)
    return Trace(name=name, seconds=max(1, seconds), arrivals=arrivals, slots=max(1, slots))


def _too_long(name: str, seconds: float) -> TooLarge:
    said = f"{name} lasts {seconds:.0f} s, and no more than {MOST_SECONDS} s are simulated"
    return TooLarge(said, code="TRACE_TOO_LARGE", hint=_CUT)


def _invalid(name: str, number: int, said: str) -> Invalid:
    return Invalid(f"{name} is no trace: in line {number}, {said}", code="TRACE_INVALID", hint=_FORMS)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
