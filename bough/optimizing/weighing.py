"""How good, how fast and how large a model is: measured in this process, on one core."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bough.gates.measuring import quantile
from bough.kernel.errors import Invalid
from bough.kernel.policy import Metric
from bough.runtime.loaders import TensorModel

BATCH = 64  # as the gateway batches for a model of this kind
TURNS = 5  # of each contender, one after the other: what disturbs the machine disturbs all of them
SINGLES = 40  # requests of one row in a turn
WARM_UP = 10
BATCHED_S = 0.2  # of a turn, at least, in batches


def answers(model: TensorModel, rows: Sequence[Any], metric: Metric, key: str) -> list[Any]:
    found: list[Any] = []
    for start in range(0, len(rows), BATCH):
        found += [answer(each, metric, key) for each in model.predict(list(rows[start : start + BATCH]))]
    return found


def answer(value: Any, metric: Metric, key: str) -> Any:
    """What is compared: the class of scores for each class, the score of the positive one, the only number. Raises
    `Invalid` (ANSWER_UNCLEAR)."""
    for part in filter(None, key.split(".")):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError, ValueError):
            raise _unclear(f"the answer has no {key!r}") from None
    if isinstance(value, dict):
        if len(value) != 1:
            raise _unclear(f"the model answers with {', '.join(value)}: one of them is compared")
        (value,) = value.values()
    if not isinstance(value, list):
        return value
    if len(value) == 1:
        return answer(value[0], metric, "")
    if any(isinstance(each, list | dict) for each in value):
        raise _unclear("the answer has more than one dimension")
    if metric in ("accuracy", "f1"):
        return max(range(len(value)), key=value.__getitem__)
    if metric == "auc" and len(value) == 2:
        return value[1]
    raise _unclear(f"{metric} compares one number, and the answer has {len(value)}")


def timed(models: Mapping[str, TensorModel], rows: Sequence[Any]) -> dict[str, tuple[float, float, float]]:
    """By name: p50 and p95 of one row in ms, and seconds of a core for 1,000 rows in batches; medians over turns."""
    for model in models.values():
        for row in _cycled(rows, 0, WARM_UP):
            model.predict([row])
    singles: dict[str, list[list[float]]] = {name: [] for name in models}
    cores: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(TURNS):
        for name, model in models.items():
            singles[name].append(_singles(model, _cycled(rows, turn * SINGLES, SINGLES)))
            cores[name].append(_core_s(model, rows))
    return {name: _summed(singles[name], cores[name]) for name in models}


def _singles(model: TensorModel, rows: Sequence[Any]) -> list[float]:
    """In ms, sorted."""
    found = []
    for row in rows:
        began = time.perf_counter()
        model.predict([row])
        found.append((time.perf_counter() - began) * 1000)
    return sorted(found)


def _core_s(model: TensorModel, rows: Sequence[Any]) -> float:
    """For 1,000 rows; time of the process, so that others on the machine do not count."""
    done, at, began, until = 0, 0, time.process_time(), time.perf_counter() + BATCHED_S
    while done == 0 or time.perf_counter() < until:
        part = _cycled(rows, at, BATCH)
        model.predict(part)
        done, at = done + len(part), at + len(part)
    return (time.process_time() - began) / done * 1000


def _summed(singles: list[list[float]], cores: list[float]) -> tuple[float, float, float]:
    p50, p95 = (statistics.median(quantile(turn, share) for turn in singles) for share in (0.5, 0.95))
    return p50, p95, statistics.median(cores)


def _cycled(rows: Sequence[Any], start: int, count: int) -> list[Any]:
    return [rows[(start + at) % len(rows)] for at in range(count)]


def _unclear(why: str) -> Invalid:
    return Invalid(why, code="ANSWER_UNCLEAR", hint="say which part is meant: --answer OUTPUT, or OUTPUT.0")
