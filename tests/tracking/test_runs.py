"""Runs: what is logged is there, nothing is logged twice, and it is found again."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bough.adapters.database.sqlite import SqliteDatabase
from bough.kernel.context import Principal, Role
from bough.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from bough.tracking import schema
from tests.plane import Plane


def begin(plane: Plane, **fields: Any) -> str:
    return str(plane.call("runs.create", project="shop", **fields).id)


def log(plane: Plane, id: str, **fields: Any) -> None:
    plane.call("runs.log", project="shop", id=id, **fields)


def show(plane: Plane, id: str) -> Any:
    return plane.call("runs.show", project="shop", id=id)


def test_a_run_shows_what_was_logged(plane: Plane) -> None:
    source = {"commit": "abc", "dirty": True, "bundle": "b", "python_environment": "p", "hardware": {"cpus": 2}}
    id = begin(plane, experiment="Übung/1", name="first", source=source, environment="staging", tags={"team": "blue"})
    points = [{"key": "loss", "value": 1 / (at + 1), "step": at, "timestamp_ms": at} for at in range(3)]
    log(plane, id, metrics=points, params={"depth": "3"}, tags={"a/b": "ü"})
    plane.call("runs.inputs", project="shop", id=id, inputs=[{"kind": "table", "name": "orders", "version": "17"}])
    plane.clock.advance(90)
    plane.call("runs.update", project="shop", id=id, status="finished", ended_at=plane.clock.now())
    run = show(plane, id)
    assert (run.name, run.experiment, run.environment, run.status, run.seconds) == (
        "first", "Übung/1", "staging", "finished", 90.0
    )  # fmt: skip
    assert (run.source.commit, run.source.hardware, run.by) == ("abc", {"cpus": 2}, "admin")
    assert run.params == {"depth": "3"} and run.tags["a/b"] == "ü" and run.tags["team"] == "blue"
    assert [(each.key, each.value, each.step) for each in run.metrics] == [("loss", 1 / 3, 2)]
    assert [(each.kind, each.name, each.version) for each in run.inputs] == [("table", "orders", "17")]
    history = plane.call("runs.metrics", project="shop", id=id, key="loss").metrics
    assert [each.value for each in history] == [1.0, 0.5, 1 / 3]


def test_what_comes_twice_is_there_once(plane: Plane) -> None:
    id = begin(plane, id="mine", started_at=5.0)
    assert begin(plane, id="mine", started_at=5.0) == id == "mine"
    with pytest.raises(Conflict):
        begin(plane, id="mine", started_at=6.0)
    for _ in range(2):
        log(plane, id, metrics=[{"key": "a", "value": 1.0, "timestamp_ms": 1}], params={"p": "1"})
    assert len(plane.call("runs.metrics", project="shop", id=id, key="a").metrics) == 1
    with pytest.raises(Invalid) as caught:
        log(plane, id, metrics=[{"key": "b", "value": 1.0}], params={"p": "2"})
    assert caught.value.own_code == "PARAM_CHANGED"
    assert [each.key for each in show(plane, id).metrics] == ["a"], "a batch that is refused leaves nothing"


def test_the_latest_point_is_that_of_the_highest_step(plane: Plane) -> None:
    id = begin(plane)
    for step, value in ((0, 1.0), (9, "NaN"), (3, 2.0)):
        log(plane, id, metrics=[{"key": "a", "value": value, "step": step, "timestamp_ms": step}])
    assert [(each.value, each.step) for each in show(plane, id).metrics] == [("NaN", 9)]


def test_a_project_does_not_see_the_runs_of_another(plane: Plane) -> None:
    id = begin(plane)
    with pytest.raises(NotFound):
        plane.call("runs.show", project="other", id=id)
    assert plane.call("runs.list", project="other").runs == []


def test_a_viewer_reads_and_does_not_log(plane: Plane) -> None:
    id = begin(plane)
    viewer = Principal(id="pri_v", name="v", role=Role.VIEWER)
    assert plane.bough.operations.call("runs.show", {"project": "shop", "id": id}, viewer).id == id
    with pytest.raises(Forbidden):
        plane.bough.operations.call("runs.log", {"project": "shop", "id": id, "tags": {"a": "b"}}, viewer)


def test_logging_is_not_audited_row_by_row(plane: Plane) -> None:
    id = begin(plane)
    for at in range(10):
        log(plane, id, metrics=[{"key": "a", "value": float(at), "timestamp_ms": at}])
    with plane.bough.database.read() as tx:
        rows = tx.exec_driver_sql("SELECT count(*) FROM audit WHERE operation LIKE 'runs.%'").scalar()
    assert rows == 0


def test_runs_are_compared_and_drawn(plane: Plane) -> None:
    ids = [begin(plane, name=name) for name in ("one", "two")]
    for at, id in enumerate(ids):
        points = [{"key": "loss", "value": 1.0 / (step + at + 1), "step": step} for step in range(5)]
        log(plane, id, metrics=points, params={"depth": str(at), "same": "x"})
    found = plane.call("runs.compare", project="shop", ids=ids, picture=True)
    assert [(each.what, each.key, each.values) for each in found.differences] == [
        ("metric", "loss", ["0.2", "0.166667"]), ("param", "depth", ["0", "1"])
    ]  # fmt: skip
    assert found.picture.startswith("<svg") and found.picture.count("<polyline") == 2


OPERATORS = {"=": "__eq__", "!=": "__ne__", "<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__"}


@settings(max_examples=40)
@given(st.randoms(use_true_random=False))
def test_a_search_finds_what_a_plain_loop_finds(
    tmp_path_factory: pytest.TempPathFactory, chance: random.Random
) -> None:
    """Whatever way the search takes: along an index, or from the few that one condition leaves."""
    plane = Plane(tmp_path_factory.mktemp("plane"))
    runs = []
    for at in range(chance.randint(1, 25)):
        run = {"at": at, "loss": chance.choice([None, *range(5)]), "depth": chance.choice([None, "1", "2"])}
        id = begin(plane, name=str(at), started_at=float(chance.randint(0, 3)))
        if run["loss"] is not None:
            log(plane, id, metrics=[{"key": "loss", "value": float(run["loss"])}])
        if run["depth"] is not None:
            log(plane, id, params={"depth": run["depth"]})
        runs.append((run, show(plane, id)))
    operator, bound = chance.choice(list(OPERATORS)), chance.randint(0, 4)
    depth = chance.choice(["1", "2", ""])
    filter = f"metrics.loss {operator} {bound}" + (f" AND params.depth = '{depth}'" if depth else "")
    expected = [
        shown for run, shown in runs
        if run["loss"] is not None and getattr(run["loss"], OPERATORS[operator])(bound) and depth in ("", run["depth"])
    ]  # fmt: skip
    expected.sort(key=lambda each: (each.metrics[0].value, -each.started_at, each.id))
    found, page = [], ""
    while True:
        answer = plane.call("runs.list", project="shop", filter=filter, order=["metrics.loss"], limit=3, page=page)
        found += answer.runs
        if not (page := answer.next_page):
            break
    assert [each.id for each in found] == [each.id for each in expected]
    plane.bough.stop()


def test_runs_without_the_metric_come_last(plane: Plane) -> None:
    for name, value in (("none", None), ("nan", "NaN"), ("low", 1.0), ("high", 2.0)):
        id = begin(plane, name=name)
        if value is not None:
            log(plane, id, metrics=[{"key": "m", "value": value}])
    for way, expected in (("ASC", ["low", "high", "nan", "none"]), ("DESC", ["high", "low", "nan", "none"])):
        for limit in (2, 10):
            page = plane.call("runs.list", project="shop", order=[f"metrics.m {way}"], limit=limit)
            assert [each.name for each in page.runs] == expected[:limit]


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "a/../b", ".", "a\nb", "x" * 251])
def test_a_key_that_looks_like_a_way_out_is_refused(plane: Plane, key: str) -> None:
    id = begin(plane)
    with pytest.raises(Invalid):
        log(plane, id, tags={key: "x"})


def test_a_deleted_run_takes_nothing_and_comes_back(plane: Plane) -> None:
    id = begin(plane)
    plane.call("runs.delete", project="shop", id=id)
    with pytest.raises(Conflict):
        log(plane, id, tags={"a": "b"})
    assert plane.call("runs.list", project="shop").runs == []
    assert [each.id for each in plane.call("runs.list", project="shop", state="deleted").runs] == [id]
    plane.call("runs.restore", project="shop", id=id)
    log(plane, id, tags={"a": "b"})


def test_a_database_of_a_newer_bough_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "tracking.db") as connection:
        connection.execute(f"PRAGMA user_version = {len(schema.SCRIPTS) + 1}")
    database = SqliteDatabase(tmp_path / "tracking.db", durable=False)
    with pytest.raises(Conflict) as caught:
        schema.prepare(database)
    assert caught.value.own_code == "DATABASE_NEWER"
    database.close()
