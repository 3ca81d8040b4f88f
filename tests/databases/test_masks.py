"""Masked branches."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bough.adapters.sql.sqlite import Sqlite
from bough.databases import store
from bough.kernel.errors import Conflict, Invalid
from bough.runtime.pages import format
from tests.databases.conftest import PROJECT, Rows
from tests.plane import Plane

POLICY = {"orders.email": "hash", "orders.customer": "token", "orders.total": "noise"}


def masked(plane: Plane, policy: dict[str, str]) -> None:
    plane.call("databases.policy", project=PROJECT, name="orders", policy="share", columns=policy)
    plane.call("environments.create", project=PROJECT, branch="shared", mask="share")
    for _ in range(100):
        plane.let_pass(0.1)
        if plane.call("databases.show", project=PROJECT, name="orders", environment="shared").state != "making":
            break
        time.sleep(0.05)  # a masked database is made by a process of its own


def test_a_branch_that_is_discarded_at_the_moment_its_masked_database_is_there_stays_gone(
    plane: Plane, rows: Rows
) -> None:
    plane.call("databases.policy", project=PROJECT, name="orders", policy="share", columns=POLICY)
    plane.call("environments.create", project=PROJECT, branch="shared", mask="share")
    plane.before_writing("database", lambda: discarded(plane))
    while "shared" in names(plane):
        plane.let_pass(0.1)
        time.sleep(0.05)
    plane.let_pass(1)
    with plane.bough.database.read() as tx:
        assert store.of(tx, (PROJECT, "shared")) == []
    assert not Path(plane.bough.home.databases / "environments" / PROJECT / "shared").exists()


def discarded(plane: Plane) -> bool:
    plane.call("environments.discard", project=PROJECT, branch="shared")
    return True


def names(plane: Plane) -> list[str]:
    return [each.name for each in plane.call("environments.list", project=PROJECT)]


def test_masked_columns_are_nowhere_in_the_bytes_of_the_branch(plane: Plane, rows: Rows) -> None:
    rows.run("DELETE FROM orders WHERE id = 2")  # also what is deleted lies in no free page
    masked(plane, POLICY)
    found = rows.run("SELECT id, customer, email, total FROM orders", "shared")
    assert [row[0] for row in found] == [1]
    assert found[0][1].startswith("tok_") and len(found[0][2]) == 64 and 8 <= found[0][3] <= 12
    files = files_of(plane, "shared")
    assert len(files) > 3
    for path in files:
        content = path.read_bytes()
        assert not [clear for clear in (b"ada@example.org", b"bob@example.org", b"Ada") if clear in content]


def files_of(plane: Plane, environment: str) -> list[Path]:
    """All that a database of an environment is made of, its layers included."""
    with plane.bough.database.read() as tx:
        handle = store.find(tx, (PROJECT, environment), "orders").handle
    path = Sqlite(plane.bough.home.databases / "sqlite").path(handle)
    lines = format.read_layers(path, format.read_head(path).generation)
    return [Path(format.resolved(path, each)) for each in lines] + [*path.parent.glob(f"{handle}*")]


def test_equal_values_stay_equal_and_null_and_drop_take_them_away(plane: Plane, rows: Rows) -> None:
    rows.run("INSERT INTO orders VALUES (3, 'Ada', 'ada@example.org', 5)")
    masked(plane, {"orders.customer": "token", "orders.email": "null", "orders.total": "drop"})
    found = rows.run("SELECT * FROM orders ORDER BY id", "shared")
    assert found[0][1] == found[2][1] != found[1][1]
    assert [row[2] for row in found] == [None] * 3
    assert len(found[0]) == 3


def test_a_policy_with_a_column_that_is_not_there_is_refused(plane: Plane, rows: Rows) -> None:
    with pytest.raises(Invalid, match=r"no column orders\.phone"):
        masked(plane, {"orders.phone": "hash"})
    plane.call("databases.policy", project=PROJECT, name="orders", policy="share", columns=POLICY)
    rows.run("ALTER TABLE orders DROP COLUMN email")
    with pytest.raises(Invalid, match=r"no column orders\.email"):
        plane.call("environments.create", project=PROJECT, branch="shared", mask="share")
    assert names(plane) == ["main"]


def test_a_value_that_stands_in_clear_elsewhere_is_found(plane: Plane, rows: Rows) -> None:
    rows.run("CREATE TABLE notes (text TEXT)")
    rows.run("INSERT INTO notes VALUES ('call ada@example.org back')")
    masked(plane, {"orders.email": "hash"})
    found = plane.call("databases.show", project=PROJECT, name="orders", environment="shared")
    assert found.state == "failed"
    assert "orders.email" in found.failure["message"]
    with pytest.raises(Conflict):
        rows.url(environment="shared")


def test_an_unknown_policy_is_refused(plane: Plane, rows: Rows) -> None:
    with pytest.raises(Invalid, match="policy 'none'"):
        plane.call("environments.create", project=PROJECT, branch="shared", mask="none")
