"""What environments do with their databases: branch, tag, reset, merge, discard."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from bough.adapters.sql.sqlite import Sqlite
from bough.databases import store
from bough.kernel.errors import Conflict, Invalid, Problem
from tests.databases.conftest import PROJECT, Rows
from tests.plane import Plane

ALL = "SELECT id, customer FROM orders ORDER BY id"
TWO = [(1, "Ada"), (2, "Bob")]
API = 'name = "shop"\n[services.api]\nmodel = "service:Api"\n'


def branch(plane: Plane, name: str, **more: object) -> None:
    plane.call("environments.create", project=PROJECT, branch=name, **more)
    plane.let_pass(0.3)


def test_a_branch_has_the_rows_of_its_parent_and_neither_sees_what_the_other_writes(plane: Plane, rows: Rows) -> None:
    branch(plane, "test")
    rows.run("INSERT INTO orders VALUES (3, 'Eve', '', 1)", "test")
    rows.run("UPDATE orders SET customer = 'Bert' WHERE id = 2")
    assert rows.run(ALL, "test") == [*TWO, (3, "Eve")]
    assert rows.run(ALL) == [(1, "Ada"), (2, "Bert")]


def test_a_branch_of_a_branch_of_a_branch_has_what_each_of_them_had(plane: Plane, rows: Rows) -> None:
    names = ["main", "one", "two", "three"]
    for number, (parent, name) in enumerate(itertools.pairwise(names), 10):
        branch(plane, name, source=parent)
        rows.run(f"INSERT INTO orders (id, customer) VALUES ({number}, '{name}')", name)
    assert rows.run(ALL, "three") == [*TWO, (10, "one"), (11, "two"), (12, "three")]
    assert rows.run(ALL, "one") == [*TWO, (10, "one")]
    assert rows.run("PRAGMA integrity_check", "three") == [("ok",)]


def test_a_program_that_has_the_parent_open_goes_on_writing_there(plane: Plane, rows: Rows) -> None:
    with rows.open() as parent:
        parent.execute("SELECT count(*) FROM orders").fetchall()
        branch(plane, "test")
        parent.execute("INSERT INTO orders (id, customer) VALUES (3, 'later')")
        parent.commit()
        parent.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert parent.execute(ALL).fetchall() == [*TWO, (3, "later")]
    assert rows.run(ALL, "test") == TWO
    assert rows.run(ALL) == [*TWO, (3, "later")]


def test_what_is_not_committed_is_not_in_the_branch_and_a_writer_who_stays_is_named(plane: Plane, rows: Rows) -> None:
    with rows.open() as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO orders (id) VALUES (3)")
        with pytest.raises(Problem, match="writing into"):
            plane.call("environments.create", project=PROJECT, branch="test")
        writer.execute("COMMIT")
    branch(plane, "test")
    assert len(rows.run(ALL, "test")) == 3


def test_each_environment_is_given_a_url_of_its_own(plane: Plane, rows: Rows) -> None:
    branch(plane, "test")
    given = {name: plane.call("databases.variables", project=PROJECT, environment=name) for name in ("main", "test")}
    assert given["main"]["ORDERS_URL"] == given["main"]["DATABASE_URL"] == rows.url()
    assert given["test"]["ORDERS_URL"] == rows.url(environment="test") != rows.url()
    plane.call("databases.add", project=PROJECT, name="events")
    assert "DATABASE_URL" not in plane.call("databases.variables", project=PROJECT)


def test_services_are_started_with_it(plane: Plane, rows: Rows) -> None:
    assert plane.deploy(API).state == "live"
    unit = plane.engine.next_spec(plane.running()[0])
    assert unit.environment["ORDERS_URL"] == rows.url()


def test_services_start_anew_when_a_database_is_replaced_or_added(plane: Plane, rows: Rows) -> None:
    plane.deploy(API)
    (before,) = plane.units()
    kept = plane.call("databases.snapshot", project=PROJECT, name="orders").id
    plane.call("databases.restore", project=PROJECT, name="orders", snapshot=kept)
    plane.let_pass(3.0)
    (after,) = plane.units()
    assert (after.unit, after.attempt, after.state) == (before.unit, before.attempt + 1, "ready")
    plane.call("databases.add", project=PROJECT, name="other")
    plane.let_pass(3.0)
    (after,) = plane.units()
    assert after.attempt == before.attempt + 2 and "OTHER_URL" in plane.engine.next_spec(after.unit).environment
    plane.let_pass(20.0)
    assert plane.units()[0].attempt == after.attempt, "once for each change"
    names = [each.name for each in plane.call("events.list", limit=1000)]
    assert "replica.restarted" not in names, "it did not crash"


def test_a_service_that_sleeps_wakes_with_the_database_that_is_there_by_then(plane: Plane, rows: Rows) -> None:
    plane.deploy(API)
    branch(plane, "test")
    plane.let_pass(1.0)
    (asleep,) = [each for each in plane.units() if each.labels["environment"] == "test"]
    assert asleep.state == "asleep"
    plane.call("databases.reset", project=PROJECT, name="orders", environment="test")
    plane.let_pass(1.0)
    (again,) = [each for each in plane.units() if each.labels["environment"] == "test"]
    assert again.state == "asleep" and again.labels["databases"] != asleep.labels["databases"]


def test_a_tag_keeps_the_rows_and_a_branch_of_it_has_them(plane: Plane, rows: Rows) -> None:
    plane.call("tags.create", project=PROJECT, name="v1")
    rows.run("DELETE FROM orders")
    branch(plane, "old", source="v1")
    assert rows.run(ALL, "old") == TWO
    assert rows.run(ALL) == []


def test_a_time_that_no_snapshot_knows_is_refused(plane: Plane, rows: Rows) -> None:
    plane.clock.advance(3600)
    with pytest.raises(Conflict, match="nobody knows"):
        plane.call("environments.create", project=PROJECT, branch="old", source="main@30m")


def test_a_branch_that_is_reset_has_the_rows_of_its_parent_now_and_keeps_its_own_in_a_snapshot(
    plane: Plane, rows: Rows
) -> None:
    branch(plane, "test")
    rows.run("DELETE FROM orders", "test")
    rows.run("INSERT INTO orders (id, customer) VALUES (3, 'new')")
    plane.call("environments.reset", project=PROJECT, branch="test")
    plane.let_pass(0.3)
    assert rows.run(ALL, "test") == [*TWO, (3, "new")]
    kept = plane.call("databases.snapshots", project=PROJECT, name="orders")
    assert [(each.environment, each.why) for each in kept] == [("test", "before a reset")]
    plane.call("databases.restore", project=PROJECT, name="orders", environment="test", snapshot=kept[0].id)
    assert rows.run(ALL, "test") == []


def test_who_has_a_database_open_that_was_replaced_gets_an_error_and_finds_the_new_one(
    plane: Plane, rows: Rows
) -> None:
    branch(plane, "test")
    with rows.open(environment="test") as program:
        program.execute("INSERT INTO orders (id, customer) VALUES (9, 'gone')")
        program.commit()
        plane.call("databases.reset", project=PROJECT, name="orders", environment="test")
        plane.let_pass(0.3)
        with pytest.raises(Exception, match="disk I/O error"):
            program.execute("INSERT INTO orders (id) VALUES (10)")
    assert rows.run(ALL, "test") == TWO


def test_a_branch_that_is_discarded_leaves_no_path_and_its_pages_are_freed(plane: Plane, rows: Rows) -> None:
    branch(plane, "test")
    path = Path(rows.url(environment="test").removeprefix("sqlite:///"))
    assert path.exists()
    plane.call("environments.discard", project=PROJECT, branch="test")
    plane.let_pass(0.3)
    assert not path.is_symlink()
    heads = plane.bough.home.databases / "sqlite" / "heads"
    with plane.bough.database.read() as tx:
        used = store.live_handles(tx)
    assert Sqlite(plane.bough.home.databases / "sqlite").sweep(used, -1) > 0
    assert len([each for each in heads.glob("db_*") if "-" not in each.name]) == 1
    assert rows.run(ALL) == TWO


def test_a_merge_runs_the_branch_s_migrations_on_the_parent_and_none_of_its_rows(plane: Plane, rows: Rows) -> None:
    branch(plane, "test")
    sql = "ALTER TABLE orders ADD COLUMN paid INTEGER NOT NULL DEFAULT 0; CREATE INDEX paid ON orders (paid);"
    ran = plane.call("databases.migrate", project=PROJECT, name="orders", environment="test", scripts={"001.sql": sql})
    assert ran.ran == ["001.sql"]
    rows.run("DELETE FROM orders", "test")
    planned = plane.call("environments.merge", project=PROJECT, branch="test", dry_run=True)
    assert planned.migrations == {"orders": ["001.sql"]}
    with pytest.raises(Exception, match="no such column"):
        rows.run("SELECT paid FROM orders")
    merged = plane.call("environments.merge", project=PROJECT, branch="test")
    plane.let_pass(0.3)
    assert merged.migrations == {"orders": ["001.sql"]}
    assert rows.run("SELECT id, paid FROM orders ORDER BY id") == [(1, 0), (2, 0)]
    assert rows.run("SELECT id, paid FROM orders ORDER BY id", "test") == [(1, 0), (2, 0)], "it goes on from there"


def test_a_migration_that_fails_on_the_parent_s_rows_merges_nothing(plane: Plane, rows: Rows) -> None:
    branch(plane, "test")
    unique = {"001.sql": "CREATE UNIQUE INDEX once ON orders (customer)"}
    plane.call("databases.migrate", project=PROJECT, name="orders", environment="test", scripts=unique)
    rows.run("INSERT INTO orders (id, customer) VALUES (3, 'Ada')")
    with pytest.raises(Invalid, match=r"nothing was merged; 001\.sql: UNIQUE"):
        plane.call("environments.merge", project=PROJECT, branch="test")
    assert plane.call("databases.show", project=PROJECT, name="orders").migrations == []
    assert len(rows.run(ALL)) == 3


def test_migrations_of_two_branches_come_together(plane: Plane, rows: Rows) -> None:
    for name in ("one", "two"):
        branch(plane, name)
        scripts = {f"{name}.sql": f"CREATE TABLE {name} (id INTEGER)"}
        plane.call("databases.migrate", project=PROJECT, name="orders", environment=name, scripts=scripts)
    for name in ("one", "two"):
        plane.call("environments.merge", project=PROJECT, branch=name)
    assert plane.call("databases.show", project=PROJECT, name="orders").migrations == ["one.sql", "two.sql"]
    assert rows.run("SELECT * FROM one, two") == []


def test_a_migration_runs_once_and_one_that_changed_is_refused(plane: Plane, rows: Rows) -> None:
    scripts = {"001.sql": "CREATE TABLE more (id INTEGER)"}
    asked = {"project": PROJECT, "name": "orders"}
    assert plane.call("databases.migrate", **asked, scripts=scripts).ran == ["001.sql"]
    assert plane.call("databases.migrate", **asked, scripts=scripts).ran == []
    with pytest.raises(Invalid, match="another content"):
        plane.call("databases.migrate", **asked, scripts={"001.sql": "CREATE TABLE other (id INTEGER)"})
