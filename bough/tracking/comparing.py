"""Runs side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from bough.tracking import runs
from bough.tracking.models import Run, RunMetric, number, shown

MOST_CURVES = 24  # metrics in a picture
POINTS = 400  # of a curve: more than a picture is wide


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """`what` is param, metric, input or source; `values` are in the order of the runs, empty where a run has none."""

    what: str
    key: str
    values: list[str]


def differences(found: Sequence[Run]) -> list[Comparison]:
    """What is not the same in all runs, metrics first."""
    columns: list[tuple[str, list[Mapping[str, str]]]] = [
        ("metric", [{each.key: f"{number(each.value):.6g}" for each in run.metrics} for run in found]),
        ("param", [run.params for run in found]),
        ("input", [{each.name: each.version for each in run.inputs} for run in found]),
        ("source", [_source(run) for run in found]),
    ]
    rows = []
    for what, sides in columns:
        for key in sorted({key for side in sides for key in side}):
            values = [side.get(key, "") for side in sides]
            if len(set(values)) > 1 or len(found) == 1:
                rows.append(Comparison(what=what, key=key, values=values))
    return rows


def thinned(
    tx: sa.Connection, project: str, id: str, key: str, steps: tuple[int | None, int | None], limit: int
) -> list[RunMetric]:
    """Points of one metric between two steps (both inclusive), in order of step: every n-th, the last always."""
    row = runs.row_of(tx, project, id)
    low, high = steps
    sql = (
        "SELECT value, nan, timestamp_ms, step FROM metric WHERE owner = ? AND key = ? AND (? IS NULL OR step >= ?)"
        " AND (? IS NULL OR step <= ?) ORDER BY step, timestamp_ms, value"
    )
    points = tx.exec_driver_sql(sql, (row.id, key, low, low, high, high)).all()
    every = max(math.ceil(len(points) / limit), 1)
    kept = points[::every]
    if points and kept[-1] is not points[-1]:
        kept = [*kept[: limit - 1], points[-1]]
    return [
        RunMetric(run=id, key=key, value="NaN" if nan else shown(value), timestamp_ms=at, step=step)
        for value, nan, at, step in kept
    ]


def curves(tx: sa.Connection, project: str, found: Sequence[Run]) -> dict[str, list[list[RunMetric]]]:
    """By metric: its points in each run."""
    keys = sorted({each.key for run in found for each in run.metrics})[:MOST_CURVES]
    return {key: [thinned(tx, project, run.id, key, (None, None), POINTS) for run in found] for key in keys}


def _source(run: Run) -> dict[str, str]:
    source = run.source
    fields = {"commit": source.commit, "bundle": source.bundle, "python_environment": source.python_environment,
              "program": source.program, "environment": run.environment}  # fmt: skip
    return {key: value for key, value in fields.items() if value}
