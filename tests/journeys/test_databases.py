"""Databases by the command line: added before anything was deployed, branched, kept, brought back."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest

from bough.adapters.sql.postgres_server import Programs
from bough.adapters.sql.redis_server import Program
from tests.journeys.machine import Machine

WHY_NOT = Programs().why_not
ENGINES = ["sqlite", pytest.param("postgres", marks=pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "-"))]
MIGRATION = "CREATE TABLE orders (id integer PRIMARY KEY, customer text); INSERT INTO orders VALUES (1, 'Ada');"

CUSTOMERS = ("Ada", "Bob")


class Shop:
    """A project that is never deployed, and `bough db` for its database."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine, self.folder = machine, machine.project(name, "")

    def bough(self, *words: str, code: int = 0) -> Any:
        return self.machine.bough(*words, cwd=self.folder, code=code)

    def db(self, verb: str, *words: str, code: int = 0) -> Any:
        return self.bough("db", verb, *words, code=code)

    def rows(self, *words: str) -> list[str]:
        done = self.machine.run("db", "shell", "orders", *words, "-c", "SELECT customer FROM orders ORDER BY id",
                                cwd=self.folder)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [word for word in done.stdout.split() if word in CUSTOMERS]

    def write(self, sql: str, *words: str) -> None:
        done = self.machine.run("db", "shell", "orders", *words, "-c", sql, cwd=self.folder)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("engine", ENGINES)
def test_a_database_comes_before_production_branches_and_comes_back(machine: Machine, engine: str) -> None:
    shop = Shop(machine, f"shop-{engine}")
    (shop.folder / "001.sql").write_text(MIGRATION)
    added = shop.db("add", "orders", "--engine", engine)
    assert (added["environment"], added["engine"], added["state"]) == ("main", engine, "ready")
    assert shop.db("add", "orders", code=5)["error"]["code"] == "DATABASE_EXISTS"
    assert shop.db("migrate", "orders", "001.sql")["ran"] == ["001.sql"]
    assert [each["name"] for each in shop.db("list")] == ["orders"]
    assert shop.db("show", "orders")["migrations"] == ["001.sql"]

    (told,) = shop.bough("data", "plan")
    assert told["name"] == "orders" and told["seconds"] > 0 and told["way"] in (added["way"], "copy")
    shop.bough("branch", "create", "trial")
    shop.write("INSERT INTO orders VALUES (2, 'Bob')", "-e", "trial")
    assert (shop.rows(), shop.rows("-e", "trial")) == (["Ada"], ["Ada", "Bob"])
    assert shop.db("url", "orders", "-e", "trial")["url"] != shop.db("url", "orders")["url"]

    kept = shop.db("snapshot", "orders", "--message", "before the sale")
    shop.write("DELETE FROM orders")
    shop.db("restore", "orders", "--snapshot", kept["id"])
    assert shop.rows() == ["Ada"]
    assert [each["why"] for each in shop.db("snapshots", "orders")][-1] == "before the sale"
    shop.db("reset", "orders", "-e", "trial")
    assert shop.rows("-e", "trial") == ["Ada"]
    assert shop.db("check", "orders", "-e", "trial") == []

    shop.db("backup", "orders", "orders.backup")
    shop.write("DELETE FROM orders")
    shop.db("restore", "orders", "--file", "orders.backup")
    assert shop.rows() == ["Ada"]
    shop.bough("branch", "discard", "trial")
    assert shop.db("show", "orders", "-e", "trial", code=4)["error"]["code"] == "DATABASE_NOT_FOUND"
    shop.db("rm", "orders")
    assert shop.db("list") == []


@pytest.mark.skipif(bool(Program().why_not), reason=Program().why_not or "-")
def test_keys_of_redis_branch_and_come_back_like_rows(machine: Machine) -> None:
    shop = Shop(machine, "shop-redis")
    added = shop.db("add", "cache", "--engine", "redis")
    assert (added["engine"], added["state"], added["variable"]) == ("redis", "ready", "CACHE_URL")
    assert "***" in added["url"]
    assert shop.db("shell", "cache", "-c", "SET greeting 'good morning'") == ["OK"]
    (told,) = shop.bough("data", "plan")
    assert told["name"] == "cache" and told["seconds"] > 0 and told["way"] == added["way"]
    shop.bough("branch", "create", "trial")
    shop.db("shell", "cache", "-e", "trial", "-c", "RPUSH words a b")
    assert shop.db("shell", "cache", "-e", "trial", "-c", "LRANGE words 0 -1") == ["a", "b"]
    assert shop.db("shell", "cache", "-c", "EXISTS words") == [0]
    variables = [shop.db("variables", *where)["CACHE_URL"] for where in ((), ("-e", "trial"))]
    assert len({each.partition("@")[0] for each in variables}) == 2, "each has a password of its own"

    kept = shop.db("snapshot", "cache")
    shop.db("shell", "cache", "-c", "FLUSHALL")
    shop.db("restore", "cache", "--snapshot", kept["id"])
    assert shop.db("shell", "cache", "-c", "GET greeting") == ["good morning"]
    shop.db("reset", "cache", "-e", "trial")
    assert shop.db("shell", "cache", "-e", "trial", "-c", "DBSIZE") == [1]
    assert shop.db("check", "cache", "-e", "trial") == []

    shop.db("backup", "cache", "cache.rdb")
    shop.db("shell", "cache", "-c", "FLUSHALL")
    shop.db("restore", "cache", "--file", "cache.rdb")
    assert shop.db("shell", "cache", "-c", "GET greeting") == ["good morning"]
    (shop.folder / "001.sql").write_text(MIGRATION)
    assert shop.db("migrate", "cache", "001.sql", code=2)["error"]["code"] == "MIGRATION_UNFIT"
    refused = shop.db("shell", "cache", "-c", "CONFIG GET dir", code=2)
    assert refused["error"]["code"] == "REDIS_SAYS" and "NOPERM" in refused["error"]["message"]
    shop.bough("branch", "discard", "trial")
    shop.db("rm", "cache")
    assert shop.db("list") == []


def test_what_cannot_be_added_makes_no_production(machine: Machine) -> None:
    shop = Shop(machine, "nothing")
    assert shop.db("add", "orders", "--engine", "oracle", code=2)["error"]["code"] == "ENGINE_UNKNOWN"
    assert shop.db("add", "orders", "-e", "trial", code=4)["error"]["code"] == "ENVIRONMENT_NOT_FOUND"
    assert shop.bough("branch", "list", "--project", "nothing") == []


def test_a_database_begins_with_a_file(machine: Machine) -> None:
    shop = Shop(machine, "filed")
    path = shop.folder / "given.sqlite"
    with sqlite3.connect(path) as given:
        given.executescript(MIGRATION)
    given.close()
    shop.db("add", "orders", "--from", str(path))
    assert shop.rows() == ["Ada"]
    assert json.loads(shop.machine.run("db", "variables", "--json", cwd=shop.folder).stdout).keys() >= {"ORDERS_URL"}
    (shop.folder / "broken").write_text("no database")
    assert shop.db("add", "more", "--from", "broken", code=2)["error"]["code"] == "DATABASE_FILE_INVALID"
