"""A PostgreSQL server of the user's own: here one that the tests start, behind a URL with a password."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bough.adapters.sql import postgres_own
from bough.adapters.sql.postgres_server import Programs, Server
from bough.databases import store
from bough.databases.giving import variables_of
from bough.kernel.errors import Invalid, Unavailable
from bough.secrets.models import Sealed
from tests.databases.conftest import PROJECT
from tests.plane import Plane

psycopg = pytest.importorskip("psycopg")
pytestmark = pytest.mark.skipif(bool(Programs().why_not), reason=Programs().why_not or "-")
PASSWORD = "s3cret%21word"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(Programs(), tmp_path_factory.mktemp("own") / "server")
    made.make()
    made.psql("CREATE TABLE orders (id integer, customer text); INSERT INTO orders VALUES (1, 'Ada')")
    yield made
    made.stop()


@pytest.fixture
def url(server: Server) -> str:
    return server.url.replace("bough@", f"bough:{PASSWORD}@")


def run(url: str, sql: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql)
        return list(cursor.fetchall()) if cursor.description else []


def test_a_branch_is_a_database_made_from_its_parent_as_was_announced(plane: Plane, server: Server, url: str) -> None:
    made = plane.call("databases.add", project=PROJECT, name="events", engine="postgres", server=url)
    assert (made.engine, made.way) == ("postgres-server", "template")
    (told,) = plane.call("databases.plan", project=PROJECT)
    assert told.way == "template" and "connections to the parent end" in told.about and told.bytes in (0, told.size)
    with psycopg.connect(server.url) as somebody:  # whom PostgreSQL would wait for
        plane.call("environments.create", project=PROJECT, branch="test")
        with pytest.raises(psycopg.OperationalError):
            somebody.execute("SELECT 1")
    plane.let_pass(0.3)
    other = plane.call("databases.url", project=PROJECT, name="events", environment="test").url
    run(other, "INSERT INTO orders VALUES (2, 'Bob')")
    assert run(url, "SELECT customer FROM orders") == [("Ada",)]
    assert run(other, "SELECT customer FROM orders ORDER BY id") == [("Ada",), ("Bob",)]
    assert plane.call("databases.check", project=PROJECT, name="events", environment="test") == []

    plane.call("environments.discard", project=PROJECT, branch="test")
    plane.let_pass(0.3)
    with pytest.raises(psycopg.OperationalError):
        run(other, "SELECT 1")
    plane.bough._databases.sweep(_handles(plane), -1)
    assert run(url, "SELECT datname FROM pg_database WHERE datname LIKE 'bough_%'") == []
    plane.call("databases.remove", project=PROJECT, name="events")
    plane.let_pass(0.3)
    assert run(url, "SELECT customer FROM orders") == [("Ada",)], "what was there before Bough is never dropped"


def test_its_password_is_a_secret_that_nobody_reads_and_programs_are_given(plane: Plane, url: str) -> None:
    plane.call("databases.add", project=PROJECT, name="events", engine="postgres", server=url)
    listed = plane.call("databases.list", project=PROJECT)
    shown = [listed, plane.call("audit.list"), plane.call("secrets.list", project=PROJECT)]
    assert PASSWORD.encode() not in msgspec.json.encode(shown)
    assert "bough:***@" in listed[0].url
    files = [path for path in plane.bough.home.path.rglob("*") if path.is_file()]
    assert [path.name for path in files if PASSWORD.encode() in path.read_bytes()] == []
    with plane.bough.database.read() as tx:
        found = variables_of(tx, (PROJECT, "main"), plane.bough._databases)
    assert found is not None and "EVENTS_URL" not in found.plain
    before, sealed, after = found.secrets["EVENTS_URL"]
    opened = plane.bough._vault.open_text(sealed)
    assert before + opened + after == url == plane.call("databases.url", project=PROJECT, name="events").url
    assert msgspec.json.decode(sealed, type=Sealed).name == "database-events"


def test_migrations_run_on_the_branch_and_with_a_merge_on_the_parent(plane: Plane, url: str) -> None:
    plane.call("databases.add", project=PROJECT, name="events", engine="postgres", server=url)
    plane.call("environments.create", project=PROJECT, branch="test")
    scripts = {"001.sql": "CREATE TABLE more (id integer); INSERT INTO more VALUES (1)"}
    asked = {"project": PROJECT, "name": "events", "environment": "test"}
    assert plane.call("databases.migrate", **asked, scripts=scripts).ran == ["001.sql"]
    assert plane.call("databases.migrate", **asked, scripts=scripts).ran == []
    with pytest.raises(Invalid, match=r"002\.sql"):
        plane.call("databases.migrate", **asked, scripts={"002.sql": "DROP TABLE nowhere"})
    plane.call("environments.merge", project=PROJECT, branch="test")
    assert run(url, "SELECT id FROM more") == [(1,)]
    run(url, "DROP TABLE more, bough_migration")


def test_what_is_no_server_is_refused_and_nothing_is_made(plane: Plane, tmp_path: Path) -> None:
    away = f"postgresql://x:y@/db?host={tmp_path}"
    open_ = "postgresql://x@somewhere/db?password=y"
    for server, code in (("mysql://somewhere/db", "SERVER_UNFIT"), (open_, "SERVER_UNFIT"), (away, "SERVER_AWAY")):
        with pytest.raises((Invalid, Unavailable)) as refused:
            plane.call("databases.add", project=PROJECT, name="events", engine="postgres", server=server)
        assert refused.value.own_code == code
    assert plane.call("databases.list", project=PROJECT) == []
    assert plane.call("secrets.list", project=PROJECT) == []


@pytest.mark.parametrize(
    ("url", "parts", "other"),
    [
        (
            "postgresql://u:p%40@h:5/db?x=1",
            ("postgresql://u", "p%40", "@h:5/db?x=1"),
            "postgresql://u:p%40@h:5/n%20n?x=1",
        ),
        ("postgresql:///db?host=/a/b", ("postgresql://", "", "/db?host=/a/b"), "postgresql:///n%20n?host=/a/b"),
        ("postgresql://h", ("postgresql://", "", "h"), "postgresql://h/n%20n"),
    ],
)
def test_urls_are_taken_apart_as_they_are_written(url: str, parts: tuple[str, ...], other: str) -> None:
    assert (postgres_own._split(url), postgres_own._at(url, "n n")) == (parts, other)


def _handles(plane: Plane) -> set[str]:
    with plane.bough.database.read() as tx:
        return store.live_handles(tx)
