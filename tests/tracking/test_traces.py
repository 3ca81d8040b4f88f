"""Traces: what came is there, in whatever order and however often; and it is found again."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bough.adapters.database.sqlite import SqliteDatabase
from bough.kernel.errors import Invalid, NotFound
from bough.tracking import schema
from tests.plane import Plane

SECOND = 1_000_000_000


def span(id: str, parent: str = "", started: int = 0, ended: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": id, "parent": parent, "name": id, "started_ns": started, "ended_ns": ended, **more}


def add(plane: Plane, trace: str, *spans: dict[str, Any], project: str = "shop", **more: Any) -> None:
    plane.call("experiments.begin", project=project)
    batch = {"trace": trace, "spans": list(spans), **more}
    plane.call("traces.add", project=project, experiment_id="0", traces=[batch])


def put(plane: Plane, trace: str, **more: Any) -> Any:
    plane.call("experiments.begin", project="shop")
    return plane.call("traces.put", project="shop", id=trace, **{"started_at": 1.0, "state": "ok", **more})


def show(plane: Plane, trace: str, project: str = "shop") -> Any:
    return plane.call("traces.show", project=project, id=trace)


def listed(plane: Plane, filter: str = "", **more: Any) -> list[str]:
    return [each.id for each in plane.call("traces.list", project="shop", filter=filter, **more).traces]


def test_spans_make_a_trace_and_its_root_says_how_it_went(plane: Plane) -> None:
    add(plane, "t", span("in", "root", 3 * SECOND, 4 * SECOND, attributes={"a": [1, 1.5, None, {"ü": True}]}))
    assert (show(plane, "t").state, show(plane, "t").started_at, show(plane, "t").seconds) == ("in_progress", 3.0, 1.0)
    add(plane, "t", span("root", "", 2 * SECOND, 6 * SECOND, status="error", message="no"), request="hello")
    found = show(plane, "t")
    assert (found.state, found.started_at, found.seconds, found.request) == ("error", 2.0, 4.0, "hello")
    assert [each.id for each in found.spans] == ["root", "in"]
    assert found.spans[1].attributes == {"a": [1, 1.5, None, {"ü": True}]} and found.spans[0].message == "no"


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(["a", "b", "root", "whole"]), twice=st.booleans())
def test_the_order_in_which_things_come_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, order: list[str], twice: bool
) -> None:
    plane = Plane(tmp_path_factory.mktemp("plane"))
    try:
        for each in order * (1 + twice):
            if each == "whole":
                said = {"kind": "feedback", "name": "good", "value": True}
                put(plane, "t", seconds=9.0, tags={"k": "v"}, request="said", assessments=[said])
            else:
                add(plane, "t", span(each, "" if each == "root" else "root", 5 * SECOND, 7 * SECOND), request=each)
        found = show(plane, "t")
        assert (found.state, found.started_at, found.seconds, found.tags) == ("ok", 1.0, 9.0, {"k": "v"})
        assert {each.id for each in found.spans} == {"a", "b", "root"} and len(found.assessments) == 1
    finally:
        plane.bough.stop()


def test_a_long_request_is_kept_by_its_beginning(plane: Plane) -> None:
    put(plane, "t", request="x" * 20_000, response="\N{SNOWMAN}" * 20_000)
    assert (show(plane, "t").request, show(plane, "t").response) == ("x" * 10_000, "\N{SNOWMAN}" * 10_000)


def test_traces_of_other_projects_are_others(plane: Plane) -> None:
    add(plane, "t", span("mine", attributes={"secret": "word"}))
    add(plane, "t", span("theirs"), project="other")
    assert [each.name for each in show(plane, "t").spans] == ["mine"]
    assert [each.name for each in show(plane, "t", "other").spans] == ["theirs"]
    add(plane, "only", span("x"), project="other")
    assert listed(plane) == ["t"]
    for name, fields in (
        ("traces.show", {"id": "only"}),
        ("traces.tag", {"id": "only", "tags": {"a": "b"}}),
        ("assessments.create", {"trace": "only", "assessment": {"kind": "feedback", "name": "a"}}),
        ("artifacts.list", {"owner": "only"}),
    ):
        with pytest.raises(NotFound):
            plane.call(name, project="shop", **fields)


def test_filters(plane: Plane) -> None:
    add(plane, "a", span("one", type="LLM", attributes={"tokens": 12, "model": "x%y", "inner": {"b": "deep"}}))
    add(plane, "b", span("one", type="TOOL"), span("two", "one", type="LLM", attributes={"tokens": 3}))
    put(plane, "c", seconds=2.5, metadata={"user": "ada"}, started_at=100.0, request_id="r1")
    for filter, found in {
        "span.attributes.tokens > 5": ["a"],
        "span.attributes.tokens <= 3": ["b"],
        "span.attributes.model = 'x%y'": ["a"],
        "span.attributes.inner LIKE '%deep%'": ["a"],
        "span.type = 'LLM' AND span.name = 'one'": ["a"],
        "text ILIKE '%DEEP%'": ["a"],
        "execution_time_ms >= 2500": ["c"],
        "end_time = 102500": ["c"],
        "metadata.user = 'ada' AND client_request_id = 'r1'": ["c"],
        "timestamp_ms > 0": ["c"],
    }.items():
        assert listed(plane, filter) == found, filter
    assert listed(plane, order=["trace_id DESC"], limit=2) == ["c", "b"]
    page = plane.call("traces.list", project="shop", order=["trace_id ASC"], limit=2)
    assert listed(plane, order=["trace_id ASC"], limit=2, page=page.next_page) == ["c"]
    for wrong in (
        "span.name IS NULL",
        "span.x = 'y'",
        "text = 'x'",
        "colour = 'x'",
        "name RLIKE 'x'",
        "feedback.a RLIKE 'x'",
    ):
        with pytest.raises(Invalid):
            listed(plane, wrong)


def test_an_assessment_that_overrides_another_one_and_goes_again(plane: Plane) -> None:
    add(plane, "t", span("root"))
    first = plane.call("assessments.create", project="shop", trace="t",
                       assessment={"kind": "feedback", "name": "good", "value": 0.2, "source": "human"})  # fmt: skip
    other = {"kind": "feedback", "name": "good", "value": 0.9, "overrides": first.id}
    second = plane.call("assessments.create", project="shop", trace="t", assessment=other)
    assert listed(plane, "feedback.good < 0.5") == [] and listed(plane, "feedback.good > 0.5") == ["t"]
    plane.call("assessments.delete", project="shop", trace="t", id=second.id)
    plane.call("assessments.delete", project="shop", trace="t", id=second.id)
    assert [each.valid for each in show(plane, "t").assessments] == [True]
    assert listed(plane, "feedback.good < 0.5") == ["t"]
    with pytest.raises(Invalid):
        changed = {"kind": "expectation", "value": 1}
        plane.call("assessments.update", project="shop", trace="t", id=first.id, changed=changed)


def test_deleting_takes_the_oldest_first_and_leaves_nothing(plane: Plane) -> None:
    for at in range(4):
        put(plane, f"t{at}", started_at=float(at), tags={"a": "b"})
        add(plane, f"t{at}", span("x"))
    delete = {"project": "shop", "experiment_id": "0"}
    for large in ({"before_ms": 1 << 63}, {"most": 1 << 63}):
        with pytest.raises(Invalid):
            plane.call("traces.delete", **delete, **large)
    assert plane.call("traces.delete", **delete, before_ms=2500, most=2).traces == 2
    assert listed(plane) == ["t3", "t2"]
    assert plane.call("traces.delete", **delete, ids=["t3", "no"]).traces == 1
    assert plane.call("traces.delete", **delete).traces == 1
    with sqlite3.connect(plane.bough.home.tracking) as database:
        for table in ("trace", "trace_tag", "trace_metadata", "trace_run", "span", "assessment"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
    database.close()


def test_what_cannot_be_kept_is_refused_whole(plane: Plane) -> None:
    deep: Any = 1
    for _ in range(70):
        deep = [deep]
    for odd in ({"attributes": {"a": deep}}, {"started_ns": 1 << 63}, {"id": "../x"}, {"name": "x" * 9000}):
        with pytest.raises(Invalid):
            add(plane, "t", span("fine"), {**span("odd"), **odd})
        with pytest.raises(NotFound):
            show(plane, "t")


def files(plane: Plane, project: str, owner: str) -> list[str]:
    return [each.path for each in plane.call("artifacts.list", project=project, owner=owner)]


def test_files_of_a_trace_are_its_projects_whatever_id_it_has(plane: Plane) -> None:
    """Who reports one chooses its id: the same one elsewhere, or that of a run, shows nobody else's."""
    plane.call("projects.create", name="other")
    run = str(plane.call("runs.create", project="shop").id)
    digest = plane.bough.blobs.put(b"x")
    plane.call("artifacts.put", project="shop", owner=run, path="of-a-run", digest=digest)
    for project, trace in (("shop", "t"), ("other", "t"), ("other", run)):
        add(plane, trace, span("root"), project=project)
        assert files(plane, project, trace) == []
        plane.call("artifacts.put", project=project, owner=trace, path=f"of-{project}", digest=digest)
        assert files(plane, project, trace) == [f"of-{project}"]
    plane.call("traces.delete", project="other", experiment_id="0")
    assert (files(plane, "shop", "t"), files(plane, "shop", run)) == (["of-shop"], ["of-a-run"])
    with pytest.raises(NotFound):
        files(plane, "other", "t")


def test_files_of_traces_of_before_go_to_their_projects(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "tracking.db", durable=False)
    with database.write() as tx:
        for statement in ";\n".join(schema.SCRIPTS[:2]).split(";\n"):
            tx.exec_driver_sql(statement)
        for project in ("shop", "other"):
            tx.exec_driver_sql(
                "INSERT INTO trace VALUES (NULL, ?, 't', 1, 'ok', 1, NULL, NULL, NULL, NULL, 0)", (project,)
            )
        tx.exec_driver_sql("INSERT INTO artifact VALUES ('t', 'a', 'd', 1, 1), ('run', 'b', 'd', 1, 1)")
        tx.exec_driver_sql("PRAGMA user_version = 2")
    schema.prepare(database)
    with database.read() as tx:
        found = tx.exec_driver_sql("SELECT owner, path FROM artifact ORDER BY owner").all()
    assert found == [("other/t", "a"), ("run", "b"), ("shop/t", "a")]
    database.close()


def test_a_database_of_before_traces_gets_them(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "tracking.db", durable=False)
    with database.write() as tx:
        for statement in schema.SCRIPTS[0].split(";\n"):
            tx.exec_driver_sql(statement)
        tx.exec_driver_sql("INSERT INTO experiment VALUES (1, 'shop', 0, 'Default', 'x', 'active', 1, 1)")
        tx.exec_driver_sql("PRAGMA user_version = 1")
    schema.prepare(database)
    with database.read() as tx:
        assert tx.exec_driver_sql("SELECT count(*) FROM experiment").scalar_one() == 1
        assert tx.exec_driver_sql("SELECT count(*) FROM span").scalar_one() == 0
    database.close()
