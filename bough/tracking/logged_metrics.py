"""Metrics that runs measure of logged models."""

from __future__ import annotations

import math
from collections.abc import Sequence

import sqlalchemy as sa

from bough.tracking.models import Metric, number


def add(tx: sa.Connection, run: str, metrics: Sequence[Metric]) -> None:
    """Those of `metrics` that name a logged model; one that is not known (any more) is passed over."""
    rows = dict[str, int | None]()
    for each in metrics:
        if not each.model:
            continue
        if each.model not in rows:
            found = tx.exec_driver_sql("SELECT id FROM logged_model WHERE model_id = ?", (each.model,))
            rows[each.model] = found.scalar()
        if (owner := rows[each.model]) is not None:
            value = number(each.value)
            nan = math.isnan(value)
            tx.exec_driver_sql(
                "INSERT OR REPLACE INTO logged_model_metric VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (owner, each.key, each.timestamp_ms, each.step, run, 0.0 if nan else value, nan, each.dataset,
                 each.dataset_digest),
            )  # fmt: skip
