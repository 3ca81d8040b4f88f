"""Lineage of a version that was made from many tables, each of them by a job of others from a dataset of others.

    python -m bench.registry.lineage [TABLES]    default: 500, so 1,502 things

Prints one JSON line: what `lineage.show` takes, in milliseconds (median of five), and how many statements it asks.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bough.adapters.engine.fake import FakeEngine
from bough.app import Bough
from bough.kernel.clock import SystemClock
from bough.kernel.context import SYSTEM
from bough.kernel.platform import Platform

ROUNDS = 5


def main(tables: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        clock = SystemClock()
        bough = Bough(Path(place) / "home", Platform(), engine=FakeEngine(clock), clock=clock)
        print(json.dumps(measured(bough, tables)))
        bough.stop()


def measured(bough: Bough, tables: int) -> dict[str, float]:
    def call(operation: str, /, **fields: Any) -> Any:
        return bough.operations.call(operation, {"project": "shop", **fields}, SYSTEM)

    bough.operations.call("projects.create", {"name": "shop"}, SYSTEM)
    run = call("runs.create", name="fit", started_at=1.0)
    for at in range(tables):
        bough.operations.call("lineage.accept", {"event": event(at)}, SYSTEM)
    inputs = [{"kind": "table", "name": f"t{at}"} for at in range(tables)]
    files = [{"path": "m", "digest": bough.blobs.put(b"x"), "size": 1}]
    call("models.register", name="churn", files=files, facts={"run": run.id, "inputs": inputs}, sign=False)
    asked: list[str] = []
    sa.event.listen(sa.Engine, "before_cursor_execute", lambda *said: asked.append(said[2]))
    milliseconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        found = call("lineage.show", of="churn", up=True)
        milliseconds.append((time.perf_counter() - began) * 1e3)
    median = round(statistics.median(milliseconds), 1)
    return {"things": len(found.things), "milliseconds": median, "statements": len(asked) // ROUNDS}


def event(at: int) -> dict[str, Any]:
    return {
        "eventType": "COMPLETE", "eventTime": "2026-05-03T12:00:00Z", "producer": "https://example.com/airflow",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": f"01941908-6ea3-7e3c-9ab5-{at:012x}"}, "job": {"namespace": "airflow", "name": f"load {at}"},
        "inputs": [{"namespace": "s3://raw", "name": f"{at}.csv"}],
        "outputs": [{"namespace": "bough://shop", "name": f"table/t{at}"}],
    }  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
