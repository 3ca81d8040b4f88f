"""Very many runs at once, written past HTTP into the databases of both servers: the same ones in both."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bough.adapters.database.sqlite import SqliteDatabase
from bough.tracking import runs
from bough.tracking.models import Metric

PER_TRANSACTION = 5000


def metric(at: int, total: int) -> float:
    """Every value once, in no order."""
    return (at * 7919 % total) / total


def ours(database: Path, experiment: str, numbers: range, total: int) -> None:
    opened = SqliteDatabase(database, durable=False)
    for part in _parts(numbers):
        with opened.write() as tx:
            for at in part:
                tags = {"odd": str(at % 2), "mlflow.user": "x"}
                fresh = runs.Fresh(
                    experiment=experiment, environment="main", by="x", started_ms=at, name=f"run {at}", tags=tags
                )
                run = runs.create(tx, "default", fresh)
                runs.log(tx, "default", run.id, [Metric(key="loss", value=metric(at, total), timestamp_ms=at)],
                         {"depth": str(at % 9)}, {})  # fmt: skip
    opened.close()


def theirs(database: Path, experiment: str, numbers: range, total: int) -> None:
    """Each like one that their own server has written."""
    opened = sqlite3.connect(database, timeout=60)
    opened.row_factory = sqlite3.Row
    like = opened.execute("SELECT * FROM runs WHERE experiment_id = ? LIMIT 1", (int(experiment),)).fetchone()
    rows = {
        table: dict(opened.execute(f"SELECT * FROM {table} WHERE run_uuid = ? LIMIT 1", (like["run_uuid"],)).fetchone())
        for table in ("tags", "params", "metrics", "latest_metrics")
    }
    for part in _parts(numbers):
        with opened:
            for at in part:
                id = uuid.uuid4().hex
                place = like["artifact_uri"].replace(like["run_uuid"], id)
                _insert(opened, "runs", dict(like) | {
                    "run_uuid": id, "name": f"run {at}", "start_time": at, "artifact_uri": place
                })  # fmt: skip
                own = {"run_uuid": id}
                for key, value in (("odd", str(at % 2)), ("mlflow.user", "x"), ("mlflow.runName", f"run {at}")):
                    _insert(opened, "tags", rows["tags"] | own | {"key": key, "value": value})
                _insert(opened, "params", rows["params"] | own | {"key": "depth", "value": str(at % 9)})
                point = own | {"key": "loss", "value": metric(at, total), "timestamp": at}
                for table in ("metrics", "latest_metrics"):
                    _insert(opened, table, rows[table] | point)
    opened.close()


def _insert(opened: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    marks = ", ".join("?" * len(row))
    opened.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))


def _parts(numbers: range) -> Iterator[range]:
    for start in range(numbers.start, numbers.stop, PER_TRANSACTION):
        yield range(start, min(start + PER_TRANSACTION, numbers.stop))
