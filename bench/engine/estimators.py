"""What a call of a scikit-learn model costs, as scikit-learn makes it and worked out directly.

    python bench/engine/estimators.py

Microseconds of CPU for a classifier's labels and probabilities, the least of several repetitions, so that other work on
the machine counts little.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bough.runtime.loaders.direct import find

REPEAT, CALLS, ROWS = 7, 50, (1, 16, 64)
MODELS = {
    "logistic regression": LogisticRegression(max_iter=5000),
    "the same after a scaler": make_pipeline(StandardScaler(), LogisticRegression()),
    "forest of 100 trees": RandomForestClassifier(random_state=0),
}


def main() -> None:
    rows, labels = load_breast_cancer(return_X_y=True)
    print("| model, rows in the call | scikit-learn, us | directly, us | |\n|---|---|---|---|")
    for name, model in MODELS.items():
        model.fit(rows, labels)
        direct = find(np, model, rows.shape[1])
        assert direct is not None
        for count in ROWS:
            few = rows[:count]
            theirs, ours = least(partial(both, model, few)), least(partial(direct, few))
            print(f"| {name}, {count} | {theirs:,.0f} | {ours:,.0f} | {theirs / ours:.0f} |", flush=True)


def both(model: Any, rows: Any) -> None:
    model.predict(rows)
    model.predict_proba(rows)


def least(call: Callable[[], object]) -> float:
    found = []
    for _ in range(REPEAT):
        began = time.process_time()
        for _ in range(CALLS):
            call()
        found.append((time.process_time() - began) / CALLS * 1e6)
    return min(found)


main()
