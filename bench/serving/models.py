"""The models that every peer serves, the same code in each: a function from a list of requests to a list of answers.

Runs inside the peers' environments. `BENCH_DATA` names the folder that `prepare.py` filled; without it,
the folder `data` beside this file (so it is in a project that is deployed).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Item = dict[str, Any]
Model = Callable[[list[Item]], list[Item]]

TOKENS = 100  # in one streamed answer
MAX_BATCH = {"noop": 64, "logistic": 64, "minilm": 32}


def load(name: str) -> Model:
    return {"noop": lambda: _noop, "logistic": _logistic, "minilm": _minilm}[name]()


def tokens(item: Item) -> Iterator[str]:
    """What a text generator would yield: one token at a time, dependent on the request so that a swap shows."""
    for number in range(TOKENS):
        yield f"tok{(item['seed'] + number) % 1000}"


def _noop(items: list[Item]) -> list[Item]:
    return [{"value": item["value"]} for item in items]


def _logistic() -> Model:
    import joblib
    import numpy as np

    classifier = joblib.load(_data() / "logistic.joblib")

    def predict(items: list[Item]) -> list[Item]:
        rows = np.array([item["features"] for item in items], dtype=np.float64)
        probabilities = classifier.predict_proba(rows)[:, 1].tolist()
        return [{"probability": value, "label": int(value > 0.5)} for value in probabilities]

    return predict


def _minilm() -> Model:
    from minilm import Embedder

    embedder = Embedder(_data() / "minilm")

    def predict(items: list[Item]) -> list[Item]:
        return [{"embedding": row} for row in embedder.embed([item["text"] for item in items]).tolist()]

    return predict


def _data() -> Path:
    return Path(os.environ.get("BENCH_DATA") or Path(__file__).with_name("data"))
