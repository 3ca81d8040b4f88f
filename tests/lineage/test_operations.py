"""From any thing one finds what it came from and what came of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from bough.kernel.context import Principal, Role
from bough.kernel.errors import Forbidden, Invalid, NotFound
from tests.lineage.conftest import BUNDLE, COMMIT, arrows, event, names, register, show
from tests.plane import Plane

FILE = 'name = "shop"\n\n[services.churn]\nmodel = "service:Churn"\n'
ORDERS = {"kind": "table", "name": "orders", "version": "#17"}
IMAGES = {"kind": "dataset", "name": "images"}
CLICKS = {"kind": "feature_view", "name": "clicks", "version": "3"}


def test_a_version_shows_run_data_code_parameters_and_parent(plane: Plane) -> None:
    register(plane)
    made = register(
        plane, run="run_1", commit=COMMIT, bundle=BUNDLE, python_environment="e" * 64, parent="churn/1",
        inputs=[ORDERS, IMAGES, CLICKS],
        parameters={"depth": "3", "lr": "0.1"},
    )  # fmt: skip
    found = show(plane, f"churn/{made.number}")
    assert arrows(found) == {
        ("version churn/1", "version churn/2"),
        ("run run_1", "version churn/2"),
        ("table orders @#17", "run run_1"),
        ("table orders", "table orders @#17"),
        ("dataset images", "run run_1"),
        ("feature_view clicks @3", "run run_1"),
        ("feature_view clicks", "feature_view clicks @3"),
        (f"commit {COMMIT[:12]}", "run run_1"),
        (f"bundle {BUNDLE[:12]}", "run run_1"),
        (f"commit {COMMIT[:12]}", f"bundle {BUNDLE[:12]}"),
        (f"python_environment {'e' * 12}", "run run_1"),
        ("parameters depth=3, lr=0.1", "run run_1"),
    }


def test_the_same_is_found_from_the_other_end(plane: Plane) -> None:
    register(plane, run="run_1", commit=COMMIT, inputs=[ORDERS])
    register(plane, "other", inputs=[{"kind": "dataset", "name": "orders"}])
    register(plane, parent="churn/1")
    for start in ("table:orders", "table:orders@#17", "run:run_1", f"commit:{COMMIT}"):
        assert names(show(plane, start, down=True), "version") == {"version churn/1", "version churn/2"}, start
        assert "version other/1" not in names(show(plane, start))
    assert names(show(plane, "dataset:orders", down=True), "version") == {"version other/1"}


def test_a_model_means_its_champion_else_its_newest_version(plane: Plane) -> None:
    first, second = register(plane), register(plane, run="run_2")
    assert show(plane, "churn").start == f"version:{second.id}"
    plane.call("models.alias", project="shop", name="churn", alias="champion", version=1)
    assert show(plane, "churn").start == show(plane, "churn@champion").start == f"version:{first.id}"
    assert show(plane, "models:/churn/2").start == show(plane, f"version:{second.id}").start


def test_lineage_survives_renames(plane: Plane) -> None:
    made = register(plane, run="run_1", inputs=[ORDERS])
    register(plane, parent="churn/1", run="run_2")
    before = show(plane, "churn/1")
    plane.call("models.rename", project="shop", name="churn", to="leaving")
    after = show(plane, "leaving/1")
    assert after.start == before.start == f"version:{made.id}"
    assert {(each.source, each.target) for each in after.arrows} == {
        (each.source, each.target) for each in before.arrows
    }
    assert names(after, "version") == {"version leaving/1", "version leaving/2"}
    register(plane, "leaving", parent="leaving/1", run="run_3")
    assert "version leaving/3" in names(show(plane, "leaving/1", down=True))


def test_a_release_that_serves_is_found_from_its_code_and_from_its_service(plane: Plane) -> None:
    release = plane.deploy(FILE)
    found = show(plane, "service:churn")
    assert names(found, "deployment") == {"deployment main/churn"}
    bundle = next(each for each in found.things if each.kind == "bundle")
    assert {each.kind for each in show(plane, bundle.id, down=True).things} == {
        "bundle", "release", "deployment", "service",
    }  # fmt: skip
    assert show(plane, f"release:{release.number}").start == f"release:{release.id}"
    plane.deploy(FILE, content="two")
    assert names(show(plane, bundle.id, past=True), "release") == {"release main/1"}
    with pytest.raises(NotFound):
        show(plane, bundle.id)


def test_depth_says_where_more_would_be(plane: Plane) -> None:
    register(plane, run="run_1", inputs=[ORDERS])
    found = show(plane, "churn/1", depth=1)
    assert names(found) == {"version churn/1", "run run_1"}
    assert found.more == ["run:shop/run_1"]
    assert show(plane, "churn/1").more == []


def test_up_and_down_alone(plane: Plane) -> None:
    register(plane, run="run_1")
    register(plane, parent="churn/1", run="run_2")
    register(plane, parent="churn/2", run="run_3")
    assert names(show(plane, "churn/2", up=True), "version") == {"version churn/1", "version churn/2"}
    assert names(show(plane, "churn/2", down=True), "version") == {"version churn/2", "version churn/3"}
    assert "run run_3" not in names(show(plane, "churn/2")), "a sibling's causes are not this one's"


def test_what_others_report_joins_what_versions_say(plane: Plane) -> None:
    register(plane, inputs=[ORDERS, {"kind": "outside", "name": "postgres://db/public.users"}])
    told = event(reads=("s3://raw orders.csv",), writes=("bough://shop table/orders",))
    accepted = plane.call("lineage.accept", event=told)
    assert (accepted.edges, accepted.new) == (2, 2)
    found = show(plane, "churn", up=True)
    assert {
        ("outside s3://raw/orders.csv", "job airflow/clean"),
        ("job airflow/clean", "table orders"),
        ("table orders", "table orders @#17"),
        ("outside postgres://db/public.users", "version churn/1"),
    } <= arrows(found)
    assert names(show(plane, "outside:s3://raw/orders.csv", down=True), "version") == {"version churn/1"}
    assert names(show(plane, "outside:postgres://db/public.users"), "version") == {"version churn/1"}


def test_a_repeated_event_changes_nothing_and_an_old_one_takes_nothing_back(plane: Plane) -> None:
    done = event(writes=("s3://raw orders.csv",))
    late = done | {"eventType": "START", "eventTime": "2026-05-03T11:59:00Z"}
    assert plane.call("lineage.accept", event=done).new == 1
    before = msgspec.to_builtins(show(plane, "job:airflow/clean"))
    assert plane.call("lineage.accept", event=done).new == 0
    assert plane.call("lineage.accept", event=late).new == 0
    assert msgspec.to_builtins(show(plane, "job:airflow/clean")) == before
    assert show(plane, "job:airflow/clean").things[0].details["state"] == "finished"


def test_a_circle_that_others_report_ends(plane: Plane) -> None:
    plane.call("lineage.accept", event=event(reads=("s3://a x",), writes=("s3://a x", "s3://a y")))
    plane.call("lineage.accept", event=event("back", reads=("s3://a y",), writes=("s3://a x",)))
    found = show(plane, "outside:s3://a/x", picture=True)
    assert len(found.things) == 4
    assert len({(each.source, each.target) for each in found.arrows}) == len(found.arrows) == 5


def test_facets_become_details(plane: Plane) -> None:
    facets: dict[str, Any] = {
        "schema": {"fields": [{"name": "id", "type": "int"}, {"name": "at"}]},
        "ownership": {"owners": [{"name": "team:data"}]},
        "symlinks": {"identifiers": [{"namespace": "bough://shop", "name": "dataset/images", "type": "TABLE"}]},
    }
    told = event(writes=()) | {"outputs": [{"namespace": "s3://lake", "name": "images", "facets": facets}]}
    plane.call("lineage.accept", event=told)
    found = show(plane, "dataset:images")
    assert found.things[0].details == {"fields": "id int, at", "owners": "team:data"}


@pytest.mark.parametrize(
    "change",
    [
        {"eventTime": "yesterday"},
        {"eventTime": "2026-05-03"},
        {"run": {"runId": "1"}},
        {"job": None},
        {"job": {"namespace": "", "name": "x"}},
        {"eventType": "DONE"},
        {"inputs": [{"namespace": "s3://a", "name": "a\0b"}]},
        {"inputs": [{"namespace": "s3://a", "name": "x" * 5000}]},
        {"inputs": {"namespace": "s3://a"}},
        {"producer": None},
    ],
    ids=str,
)
def test_what_is_no_event_is_refused_and_leaves_nothing(plane: Plane, change: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        plane.call("lineage.accept", event=event(writes=("s3://a x",)) | change)
    assert caught.value.own_code == "EVENT_INVALID"
    with pytest.raises(NotFound):
        show(plane, "outside:s3://a/x")


def test_what_is_not_known_says_so(plane: Plane) -> None:
    for of in ("nothing", "churn/3", "churn@champion", "table:nothing", "release:9", "version:ver_x", "job:a/b"):
        with pytest.raises(NotFound):
            show(plane, of)
    with pytest.raises(NotFound):
        show(plane, "churn", environment="nowhere")
    with pytest.raises(Invalid):
        show(plane, "table:")


def test_a_viewer_sees_and_does_not_report(plane: Plane) -> None:
    viewer = Principal(id="pri_v", name="vera", role=Role.VIEWER)
    register(plane, run="run_1")
    fields = {"project": "shop", "of": "churn"}
    assert plane.bough.operations.call("lineage.show", fields, viewer).things
    with pytest.raises(Forbidden):
        plane.bough.operations.call("lineage.accept", {"event": event()}, viewer)


SERVING = """
name = "shop"
[services.api]
model = "service:Api"
models = { churn = "models:/churn@champion" }
[services.other]
model = "service:Other"
"""


def test_a_table_leads_to_the_service_that_answers_with_what_was_trained_on_it(plane: Plane) -> None:
    register(plane, run="run_1", inputs=[ORDERS])
    plane.call("models.alias", project="shop", name="churn", alias="champion", version=1)
    release = plane.create(SERVING)
    found = show(plane, "table:orders", down=True)
    assert names(found, "release") == {f"release main/{release.number}"}
    assert names(found, "service") == {"service main/api"}, "the other service loads no such model"
    assert ("version churn/1", "service main/api") in arrows(found), "nothing runs yet"
    plane.let_pass(3)
    found = show(plane, "table:orders", down=True)
    assert {("version churn/1", "deployment main/api"), ("deployment main/api", "service main/api")} <= arrows(found)
    assert "table orders" in names(show(plane, "service:api", up=True))
    assert "table orders" not in names(show(plane, "service:other", up=True))


def run(plane: Plane, **fields: Any) -> Any:
    """A run that read orders, by what it reported itself."""
    source = {"commit": COMMIT, "bundle": BUNDLE}
    made = plane.call("runs.create", project="shop", experiment="churn", name="first try", source=source, **fields)
    inputs = [ORDERS | {"context": "training"}, {"kind": "dataset", "name": "images"}]
    plane.call("runs.inputs", project="shop", id=made.id, inputs=inputs, outputs=[{"model": "m-1"}])
    plane.call("runs.log", project="shop", id=made.id, params={"lr": "0.1"})
    return made


def test_parameters_may_be_called_as_anything_is(plane: Plane) -> None:
    made = plane.call("runs.create", project="shop", name="first")
    params = {"kind": "forest", "id": "3", "name": "x", "version": "2", "details": "y"}
    plane.call("runs.log", project="shop", id=made.id, params=params)
    given = next(each for each in show(plane, f"run:{made.id}", up=True).things if each.kind == "parameters")
    assert given.details == params


def test_what_a_run_reported_needs_not_be_said_again(plane: Plane) -> None:
    made = run(plane)
    register(plane, run=made.id, parameters={"lr": "0.1"}, inputs=[ORDERS])
    found = show(plane, "churn/1")
    assert arrows(found) == {
        ("run first try", "version churn/1"),
        ("table orders @#17", "run first try"),
        ("table orders", "table orders @#17"),
        ("dataset images", "run first try"),
        (f"commit {COMMIT[:12]}", "run first try"),
        (f"bundle {BUNDLE[:12]}", "run first try"),
        (f"commit {COMMIT[:12]}", f"bundle {BUNDLE[:12]}"),
        ("parameters lr=0.1", "run first try"),
    }
    for thing in found.things:
        if thing.id != found.start:
            assert "version churn/1" in names(show(plane, thing.id, down=True)), thing.id


def test_a_run_without_a_version_is_found_as_well(plane: Plane) -> None:
    made = run(plane)
    for of in ("table:orders", "dataset:images", f"commit:{COMMIT}", f"parameters:run/{made.id}"):
        assert names(show(plane, of, down=True)) >= {"run first try", "model m-1"}, of
    assert show(plane, f"run:{made.id}").start == f"run:shop/{made.id}"
    following = plane.call("runs.create", project="shop", name="second")
    plane.call("runs.inputs", project="shop", id=following.id, inputs=[{"kind": "model", "name": "m-1"}])
    assert "run second" in names(show(plane, "table:orders", down=True))
    assert "table orders" in names(show(plane, f"run:{following.id}", up=True))


def test_a_commit_that_only_a_client_of_mlflow_knows_counts(plane: Plane) -> None:
    plane.call("runs.create", project="shop", name="tagged", tags={"mlflow.source.git.commit": COMMIT})
    assert names(show(plane, f"commit:{COMMIT}"), "run") == {"run tagged"}


def test_a_walk_asks_by_the_step_and_not_by_the_thing(plane: Plane) -> None:
    def statements(model: str, tables: int) -> int:
        names = [f"{model}{at}" for at in range(tables)]
        for each in names:
            told = event(f"load {each}", reads=(f"s3://raw {each}.csv",), writes=(f"bough://shop table/{each}",))
            plane.call("lineage.accept", event=told)
        made = plane.call("runs.create", project="shop", name="fit")
        register(plane, model, run=made.id, inputs=[{"kind": "table", "name": each} for each in names])
        asked: list[str] = []

        def count(*said: Any) -> None:
            asked.append(said[2])

        sa.event.listen(sa.Engine, "before_cursor_execute", count)
        try:
            found = show(plane, model, up=True)
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", count)
        assert len(found.things) == 3 * tables + 2
        return len(asked)

    assert statements("few", 2) == statements("many", 40)
