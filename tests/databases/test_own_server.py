"""A PostgreSQL server of the user's own: here one that the tests start, behind a URL with a password."""

from __future__ import annotations

import time
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
    plane.bough.works.databases.sweep(_handles(plane), -1)
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
        found = variables_of(tx, (PROJECT, "main"), plane.bough.works.databases)
    assert found is not None and "EVENTS_URL" not in found.plain
    before, sealed, after = found.secrets["EVENTS_URL"]
    opened = plane.bough.works.vault.open_text(sealed)
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


POLICY = {"people.email": "hash", "people.name": "token", "people.age": "noise", "people.phone": "drop"}
CLEAR = (b"ada@example.org", b"Ada Lovelace", b"+44 20 7946", b"bob\t@example.org")


def people(url: str, *more: str) -> None:
    run(url, "DROP TABLE IF EXISTS people, notes")
    run(url, "CREATE TABLE people (id serial PRIMARY KEY, name text, email text UNIQUE, age integer, phone text)")
    run(url, "COMMENT ON COLUMN people.name IS 'for example Ada Lovelace'")
    run(
        url,
        "INSERT INTO people (name, email, age, phone) VALUES ('Ada Lovelace', 'ada@example.org', 40, '+44 20 7946')",
    )
    run(url, r"INSERT INTO people (email, age) VALUES (E'bob\t@example.org', 50)")
    for each in more:
        run(url, each)


def masked(plane: Plane, url: str) -> Any:
    plane.call("databases.add", project=PROJECT, name="events", engine="postgres", server=url)
    plane.call("databases.policy", project=PROJECT, name="events", policy="share", columns=POLICY)
    plane.call("environments.create", project=PROJECT, branch="shared", mask="share")
    return _made(plane)


def _made(plane: Plane) -> Any:
    for _ in range(200):
        plane.let_pass(0.1)
        found = plane.call("databases.show", project=PROJECT, name="events", environment="shared")
        if found.state != "making":
            return found
        time.sleep(0.05)  # it is made by programs
    raise AssertionError("it is not made")


def test_masked_columns_are_nowhere_in_the_files_of_the_branch(plane: Plane, server: Server, url: str) -> None:
    people(url)
    found = masked(plane, url)
    assert found.state == "ready", found.failure
    other = plane.call("databases.url", project=PROJECT, name="events", environment="shared").url
    rows = run(other, "SELECT * FROM people ORDER BY id")
    assert [len(row) for row in rows] == [4, 4] and rows[1][1] is None
    assert rows[0][1].startswith("tok_") and len(rows[0][2]) == 64 and 36 <= rows[0][3] <= 44
    run(other, "INSERT INTO people (name, email) VALUES ('new', 'new')")
    with pytest.raises(psycopg.errors.UniqueViolation):
        run(other, "INSERT INTO people (email) VALUES ('new')")
    ((number,),) = run(other, "SELECT oid FROM pg_database WHERE datname = current_database()")
    run(url, "CHECKPOINT")
    files = [path for path in (server.data / "base" / str(number)).iterdir() if path.is_file()]
    assert len(files) > 100
    assert [path for path in files if any(clear in path.read_bytes() for clear in CLEAR)] == []
    ((parent,),) = run(url, "SELECT oid FROM pg_database WHERE datname = current_database()")
    lie = [path.read_bytes() for path in (server.data / "base" / str(parent)).iterdir() if path.is_file()]
    assert all(any(clear in content for content in lie) for clear in CLEAR), "the search can find them"


@pytest.mark.parametrize(
    "more",
    [
        "CREATE TABLE notes AS SELECT 'call ada@example.org back' AS text",
        r"CREATE TABLE notes AS SELECT E'call bob\t@example.org' AS text",
        "CREATE TABLE notes (text text DEFAULT 'ada@example.org')",
        "CREATE TABLE notes AS SELECT convert_to('ada@example.org', 'UTF8') AS bytes",
    ],
)
def test_a_value_that_stands_in_clear_elsewhere_is_found_and_nothing_stays(plane: Plane, url: str, more: str) -> None:
    people(url, more)
    before = set(run(url, "SELECT datname FROM pg_database"))
    found = masked(plane, url)
    assert found.state == "failed" and "people.email" in found.failure["message"]
    made = set(run(url, "SELECT datname FROM pg_database")) - before
    assert len(made) == 1, "what was cut, and no masked one"
    run(url, "DROP TABLE people, notes")


def test_the_url_of_a_masked_branch_opens_that_and_nothing_else(plane: Plane, server: Server, url: str) -> None:
    people(url)
    assert masked(plane, url).state == "ready"
    plane.call("environments.create", project=PROJECT, branch="clear")
    other = plane.call("databases.url", project=PROJECT, name="events", environment="shared").url
    role = other.partition("://")[2].partition(":")[0]
    assert role.startswith("bough_") and PASSWORD not in other
    rights = "rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls"
    assert run(url, f"SELECT {rights}, rolcanlogin FROM pg_roles WHERE rolname = '{role}'") == [(False, True)]
    assert run(url, f"SELECT 1 FROM pg_auth_members WHERE member = '{role}'::regrole") == []

    run(other, "CREATE TABLE own (id integer); ALTER TABLE people ADD COLUMN seen boolean; DROP TABLE own")
    host = f"?host={server.sockets}"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run(f"postgresql://{role}@/app{host}", "SELECT email FROM people")
    names = {name for (name,) in run(url, "SELECT datname FROM pg_database WHERE datname LIKE 'bough%'")} - {role}
    assert names
    for name in names:
        with pytest.raises(psycopg.OperationalError, match=r"permission denied|not currently accepting"):
            run(f"postgresql://{role}@/{name}{host}", "SELECT 1")

    (listed,) = plane.call("databases.list", project=PROJECT, environment="shared")
    assert f"{role}:***@" in listed.url
    with plane.bough.database.read() as tx:
        found = variables_of(tx, (PROJECT, "shared"), plane.bough.works.databases)
    assert found is not None and "EVENTS_URL" not in found.plain
    before, sealed, after = found.secrets["EVENTS_URL"]
    assert before + plane.bough.works.vault.open_text(sealed) + after == other

    scripts = {"001.sql": "CREATE TABLE more (id integer)"}
    plane.call("databases.migrate", project=PROJECT, name="events", environment="shared", scripts=scripts)
    run(other, "INSERT INTO more VALUES (1)")
    plane.call("environments.create", project=PROJECT, branch="below", source="shared")
    below = plane.call("databases.url", project=PROJECT, name="events", environment="below").url
    assert run(below, "SELECT id FROM more") == [(1,)] and below.partition("@")[0] == other.partition("@")[0]
    plane.call("environments.discard", project=PROJECT, branch="shared")
    plane.let_pass(0.3)
    plane.bough.works.databases.sweep(_handles(plane), -1)
    assert run(below, "INSERT INTO more VALUES (2) RETURNING id") == [(2,)], "its role stays for the branch of it"
    for name in ("below", "clear"):
        plane.call("environments.discard", project=PROJECT, branch=name)
    plane.let_pass(0.3)
    plane.bough.works.databases.sweep(_handles(plane), -1)
    assert run(url, f"SELECT 1 FROM pg_roles WHERE rolname = '{role}'") == [], "it went with the last one"
    run(url, "DROP TABLE people")


@pytest.fixture
def plain_user(server: Server) -> Iterator[str]:
    """The URL of somebody who owns a database and may not create roles."""
    address = server.url.replace("bough@", "plain:other@").replace("/app", "/plain")
    server.psql("CREATE ROLE plain LOGIN CREATEDB PASSWORD 'other'", database="postgres")
    server.psql("CREATE DATABASE plain OWNER plain", database="postgres")
    people(address)
    yield address
    for name in server.psql("SELECT datname FROM pg_database WHERE datname LIKE 'bough%' OR datname = 'plain'").split():
        server.psql(f'DROP DATABASE "{name}" WITH (FORCE)', database="postgres")
    for name in server.psql(r"SELECT rolname FROM pg_roles WHERE rolname LIKE 'bough\_%' OR rolname = 'plain'").split():
        server.psql(f'DROP ROLE "{name}"', database="postgres")


def test_who_may_not_create_roles_is_told_what_an_administrator_runs(
    plane: Plane, server: Server, plain_user: str
) -> None:
    plane.call("databases.add", project=PROJECT, name="events", engine="postgres", server=plain_user)
    with pytest.raises(Invalid) as refused:
        plane.call("databases.policy", project=PROJECT, name="events", policy="share", columns=POLICY)
    assert refused.value.own_code == "SERVER_UNFIT"
    statement = refused.value.hint.partition(": ")[2]
    assert statement == 'ALTER ROLE "plain" CREATEROLE'
    server.psql(statement, database="postgres")
    plane.call("databases.policy", project=PROJECT, name="events", policy="share", columns=POLICY)
    server.psql('ALTER ROLE "plain" NOCREATEROLE', database="postgres")
    with pytest.raises(Invalid, match="may create"):
        plane.call("environments.create", project=PROJECT, branch="shared", mask="share")
    server.psql(statement, database="postgres")
    plane.call("environments.create", project=PROJECT, branch="shared", mask="share")
    found = _made(plane)
    assert found.state == "ready", found.failure
    other = plane.call("databases.url", project=PROJECT, name="events", environment="shared").url
    assert len(run(other, "SELECT email FROM people")) == 2
    plane.call("environments.create", project=PROJECT, branch="below", source="shared")
    plane.call("environments.discard", project=PROJECT, branch="shared")
    plane.let_pass(0.3)
    plane.bough.works.databases.sweep(_handles(plane), -1)
    below = plane.call("databases.url", project=PROJECT, name="events", environment="below").url
    assert len(run(below, "SELECT email FROM people")) == 2


@pytest.mark.parametrize(
    ("opened", "said"),
    [
        ("GRANT SELECT (email) ON people TO PUBLIC", "the table public.people"),
        (
            "CREATE FUNCTION first_one() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT email FROM people'",
            "the function public.first_one",
        ),
    ],
)
def test_a_parent_that_everybody_can_read_is_refused_until_that_is_closed(
    plane: Plane, server: Server, plain_user: str, opened: str, said: str
) -> None:
    server.psql("ALTER ROLE plain CREATEROLE", database="postgres")
    run(plain_user, opened)
    plane.call("databases.add", project=PROJECT, name="events", engine="postgres", server=plain_user)
    with pytest.raises(Invalid, match=said) as refused:
        plane.call("databases.policy", project=PROJECT, name="events", policy="share", columns=POLICY)
    assert refused.value.own_code == "SERVER_UNFIT"
    run(plain_user, refused.value.hint)
    plane.call("databases.policy", project=PROJECT, name="events", policy="share", columns=POLICY)
    plane.call("environments.create", project=PROJECT, branch="shared", mask="share")
    assert _made(plane).state == "ready"


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
