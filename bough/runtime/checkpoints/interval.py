"""How often to save: what saving costs against what a loss costs.

A save holds the program up for `cost_s`; an unannounced end loses what was done since the last save. With ends that
come at random, once in `between_s` on average, the sum is least when saves are the distance apart that Young found and
Daly made exact for ends that come often. Both numbers are measured: the cost with every save, the losses with every
start (`Losses`, a file beside the checkpoints), on top of a prior that one observed loss outweighs.
"""

from __future__ import annotations

import math
import re
from typing import Union

import msgspec

from bough.runtime.checkpoints.failures import CheckpointError

PRIOR_S = 4 * 3600.0  # between two losses, before any was seen: what spot capacity does on an ordinary day
MOST_STALL = 0.035  # of the time may go into saving, whatever the losses
LEAST_S = 1.0  # a program that saves more often would do little else, and lose less than a second by it
_UNITS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


class Losses(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the starts so far. A start that was told to stop and saved lost nothing and counts as time
    only."""

    lived_s: float = 0.0
    losses: int = 0
    began_at: float = 0.0  # of the start that is under way
    ended: bool = True  # it said so itself


class Every(msgspec.Struct, frozen=True, kw_only=True):
    """One of: a number of steps, seconds, or neither, which means that it is worked out."""

    steps: int = 0
    seconds: float = 0.0


def parse(text: Union[str, int]) -> Every:
    """`"auto"`, `100` or `"100 steps"`, `"30s"`, `"5m"`, `"1h"`."""
    if text == "auto":
        return Every()
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(text).strip().lower())
    number, unit = (float(found[1]), found[2]) if found else (0.0, "")
    if number > 0 and unit in ("", "step", "steps") and number == int(number) and not isinstance(text, float):
        return Every(steps=int(number))
    if number > 0 and unit in _UNITS:
        return Every(seconds=number * _UNITS[unit])
    raise CheckpointError(
        "CHECKPOINT_INTERVAL_INVALID", f"{text!r} is no interval", 'ckpt.every("auto"), every(100) or every("5m")'
    )


def between_losses(losses: Losses, alive_s: float, prior_s: float) -> float:
    """Seconds from one loss to the next, as far as is known; this start has lived for `alive_s`."""
    return (prior_s + losses.lived_s + alive_s) / (1 + losses.losses)


def best_s(cost_s: float, between_s: float, persist_s: float = 0.0) -> float:
    """Seconds from one save to the next. Never less than a save needs to reach the disk."""
    least = max(LEAST_S, persist_s, cost_s / MOST_STALL)
    return max(least, daly(cost_s, between_s))


def daly(cost_s: float, between_s: float) -> float:
    """J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps" (2006), equation
    37."""
    if cost_s >= 2 * between_s:
        return between_s
    ratio = cost_s / (2 * between_s)
    return math.sqrt(2 * cost_s * between_s) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - cost_s


def begun(losses: Losses, last_word_at: float, now: float) -> Losses:
    """At a start: what the one before came to."""
    lived = losses.lived_s + max(0.0, last_word_at - losses.began_at if losses.began_at else 0.0)
    lost = not losses.ended and bool(losses.began_at)
    return Losses(lived_s=lived, losses=losses.losses + lost, began_at=now, ended=False)
