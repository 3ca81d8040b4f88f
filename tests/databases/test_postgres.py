"""Postgres, with real servers: what environments do with SQLite's databases holds of these."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bough.adapters.sql import Script, postgres_server, postgres_sharing
from bough.adapters.sql.postgres import Postgres
from bough.adapters.sql.postgres_overlay import size_of
from bough.adapters.sql.postgres_server import Programs
from bough.kernel.errors import Invalid, Problem
from bough.kernel.files import write_whole
from tests.databases.conftest import PROJECT
from tests.plane import Plane

psycopg = pytest.importorskip("psycopg")
pytestmark = pytest.mark.skipif(bool(Programs().why_not), reason=Programs().why_not or "-")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Postgres, str]]:
    """A server with two rows, which tests cut from and do not write into."""
    engine = Postgres(tmp_path_factory.mktemp("pg"))
    handle = engine.make("copy")
    with connected(engine, handle) as connection:
        connection.execute("CREATE TABLE orders (id serial PRIMARY KEY, email text, note text, total integer)")
        connection.execute("INSERT INTO orders (email, note, total) VALUES ('ada@example.org', 'one', 10),"
                           " ('bob@example.org', 'two', 2000)")  # fmt: skip
    yield engine, handle
    engine.stop()


def connected(engine: Postgres, handle: str) -> Any:
    return psycopg.connect(engine.url(handle, Path("-")), autocommit=True)


def emails(engine: Postgres, handle: str) -> list[str]:
    engine.ensure(handle)
    with connected(engine, handle) as connection:
        return [row[0] for row in connection.execute("SELECT email FROM orders ORDER BY id")]


SMALL_BYTES = 4 << 20  # of catalogs, which every connection reads and some write into
BOTH = ["ada@example.org", "bob@example.org"]


def test_a_branch_of_a_branch_has_the_rows_and_each_writes_for_itself(first: tuple[Postgres, str]) -> None:
    engine, handle = first
    branch = engine.cut(handle).handle
    engine.ensure(branch)
    with connected(engine, branch) as connection:
        connection.execute("UPDATE orders SET email = 'eve@example.org' WHERE id = 1")
        second = engine.cut(branch).handle
        connection.execute("DELETE FROM orders")
    assert emails(engine, handle) == BOTH
    assert emails(engine, second) == ["eve@example.org", BOTH[1]]
    assert emails(engine, branch) == []
    assert engine.check(second) == []
    for each in (branch, second):
        engine.close(each)


def test_a_cut_while_it_is_written_has_all_that_was_committed_and_is_whole(first: tuple[Postgres, str]) -> None:
    engine, _ = first
    handle = engine.cut(first[1]).handle
    engine.ensure(handle)
    script = (
        "import psycopg, sys\nc = psycopg.connect(sys.argv[1], autocommit=True)\n"
        "c.execute('CREATE TABLE n (id integer PRIMARY KEY)')\n"
        "for i in range(10**9):\n    c.execute('INSERT INTO n VALUES (%s)', (i,))\n    print(i, flush=True)\n"
    )
    program = subprocess.Popen([sys.executable, "-c", script, engine.url(handle, Path("-"))], stdout=subprocess.PIPE,
                               text=True)  # fmt: skip
    assert program.stdout is not None
    for _ in range(20):
        line = program.stdout.readline()
    made = engine.cut(handle).handle
    program.kill()
    program.communicate()
    engine.ensure(made)
    with connected(engine, made) as connection:
        count, newest = connection.execute("SELECT count(*), max(id) FROM n").fetchone()
    assert count == newest + 1 >= int(line) + 1
    assert engine.check(made) == []
    for each in (handle, made):
        engine.close(each)


def test_a_server_that_was_killed_is_started_again_with_what_was_committed(first: tuple[Postgres, str]) -> None:
    engine, _ = first
    handle = engine.cut(first[1]).handle
    engine.ensure(handle)
    pid = int((engine.path(handle) / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not engine._server(handle).pid())
    engine.keep(handle)
    assert emails(engine, handle) == BOTH
    engine.close(handle)
    engine.keep(handle)
    assert not (engine.path(handle) / "postmaster.pid").exists(), "what was stopped stays so"


def test_migrations_run_together_or_not_at_all(first: tuple[Postgres, str]) -> None:
    engine, _ = first
    handle = engine.cut(first[1]).handle
    good = Script(name="1.sql", digest="a", sql="ALTER TABLE orders ADD COLUMN paid boolean;")
    with pytest.raises(Invalid, match="nowhere"):
        engine.migrate(handle, [good, Script(name="2.sql", digest="b", sql="DROP TABLE nowhere")])
    assert "paid" not in engine.columns(handle)["orders"]
    assert engine.migrate(handle, [good]) == ["1.sql"]
    assert engine.migrate(handle, [good]) == []
    engine.close(handle)


def test_masked_columns_are_nowhere_in_its_files(first: tuple[Postgres, str]) -> None:
    engine, handle = first
    made = engine.mask(handle, {"orders.email": "token", "orders.note": "drop", "orders.total": "noise"})
    with connected(engine, made) as connection:
        rows = connection.execute("SELECT * FROM orders ORDER BY id").fetchall()
        connection.execute("CHECKPOINT")
    assert [row[0] for row in rows] == [1, 2]
    assert all(row[1].startswith("tok_") for row in rows) and 1800 <= rows[1][2] <= 2200
    for path in engine.path(made).rglob("*"):
        if path.is_file():
            assert b"ada@example.org" not in path.read_bytes(), path.name
    engine.close(made)
    with pytest.raises(Invalid, match="noise is for numbers"):
        engine.mask(handle, {"orders.email": "noise"})


def test_a_dump_comes_back(first: tuple[Postgres, str], tmp_path: Path) -> None:
    engine, handle = first
    engine.dump(handle, tmp_path / "dump")
    made = engine.make("copy", tmp_path / "dump")
    assert emails(engine, made) == BOTH
    engine.close(made)
    (tmp_path / "broken").write_text("no SQL at all")
    with pytest.raises(Invalid, match="no dump"):
        engine.make("copy", tmp_path / "broken")


def test_environments_branch_with_it_and_what_that_costs_is_said_before(plane: Plane) -> None:
    try:
        plane.call("databases.add", project=PROJECT, name="events", engine="postgres")
        url = plane.call("databases.url", project=PROJECT, name="events").url
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE events (id integer)")
        (told,) = plane.call("databases.plan", project=PROJECT)
        assert told.way in ("clone", "overlay", "copy") and told.bytes in (0, told.size) and told.seconds > 0
        plane.call("environments.create", project=PROJECT, branch="test")
        other = plane.call("databases.variables", project=PROJECT, environment="test")["EVENTS_URL"]
        assert other != url
        with psycopg.connect(other, autocommit=True) as connection:
            connection.execute("INSERT INTO events VALUES (1)")
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)
        plane.call("environments.discard", project=PROJECT, branch="test")
        plane.let_pass(0.3)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(other, connect_timeout=2)
    finally:
        Postgres(plane.bough.home.databases / "postgres").stop()


def test_a_way_that_does_not_fit_is_refused_with_the_reason(plane: Plane) -> None:
    ways = {each.way: each.why_not for each in plane.call("databases.ways", engine="postgres")}
    if not ways["clone"]:
        pytest.skip("this file system clones")
    with pytest.raises(Invalid, match="cannot clone"):
        plane.call("databases.add", project=PROJECT, name="events", engine="postgres", how="clone")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Postgres, str]]:
    """A server that counts as large, so that its branches are overlays on a frozen folder."""
    engine = Postgres(tmp_path_factory.mktemp("pg"))
    if why := {each.name: each.why_not for each in engine.ways()}["overlay"]:
        pytest.skip(why)
    engine._bases.own_bytes = 1 << 20
    handle = engine.make("overlay")
    server = engine._server(handle)
    server.psql("CREATE TABLE orders (id serial PRIMARY KEY, email text); CREATE TABLE other AS SELECT 1 AS one;"
                "CREATE TABLE much AS SELECT repeat('x', 900) FROM generate_series(1, 40000);"
                "VACUUM much")  # fmt: skip
    assert engine.announce(handle).way == "copy", "it is not frozen yet"
    engine.settle(handle)
    engine._bases.wait(server)
    server.psql("INSERT INTO orders (email) VALUES ('ada@example.org'), ('bob@example.org')")
    yield engine, handle
    engine.stop()


def test_an_overlay_takes_what_was_announced_and_what_came_after_the_frozen_folder(large: tuple[Postgres, str]) -> None:
    engine, handle = large
    told = engine.announce(handle)
    made = engine.cut(handle)
    assert (told.way, told.bytes) == ("overlay", made.copied_bytes)
    assert made.copied_bytes < told.size / 4
    assert emails(engine, made.handle) == BOTH
    server = engine._server(made.handle)
    server.psql("UPDATE orders SET email = 'eve@example.org' WHERE id = 1; DROP TABLE other")
    second = engine.cut(made.handle).handle
    server.psql("DELETE FROM orders")
    assert emails(engine, handle) == BOTH
    assert emails(engine, second) == ["eve@example.org", BOTH[1]]
    assert "other" not in engine.columns(second) and "other" in engine.columns(handle)
    assert engine.check(second) == []
    assert engine.own_bytes(made.handle) < told.size / 2, "the large table was never opened"
    before = size_of(server.data / "base")
    assert server.ask("SELECT count(*) FROM much") == "40000"
    assert size_of(server.data / "base") - before <= told.first_read_bytes + SMALL_BYTES
    server.psql("DELETE FROM much WHERE ctid = '(1,1)'; CHECKPOINT")
    assert told.first_write_bytes / 2 < size_of(server.data / "base") - before <= told.first_write_bytes
    for each in (made.handle, second):
        engine.close(each)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is here")
def test_a_table_that_is_read_or_dropped_is_not_copied(large: tuple[Postgres, str]) -> None:
    engine, handle = large
    assert engine.announce(handle).first_read_bytes == 0
    made = engine.cut(handle).handle
    engine.ensure(made)
    server = engine._server(made)
    before = size_of(server.data / "base")
    with connected(engine, made) as reader, connected(engine, made) as writer:
        assert reader.execute("SELECT count(*) FROM much").fetchone() == (40000,)
        writer.execute("DROP TABLE much")
        writer.execute("CHECKPOINT")
    assert size_of(server.data / "base") - before < SMALL_BYTES
    assert engine.check(made) == [] and "much" in engine.columns(handle)
    engine.close(made)


def test_without_a_compiler_files_are_copied_when_they_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert postgres_sharing.find(tmp_path / "pg") is None


def test_an_overlay_that_was_killed_is_mounted_again_with_what_was_committed(large: tuple[Postgres, str]) -> None:
    engine, handle = large
    made = engine.cut(handle).handle
    engine.ensure(made)
    server = engine._server(made)
    server.psql("INSERT INTO orders (email) VALUES ('eve@example.org'); DROP TABLE other")
    os.kill(server.pid(), signal.SIGKILL)
    wait_until(lambda: not server.pid())
    engine.keep(made)
    assert emails(engine, made) == [*BOTH, "eve@example.org"]
    assert "other" not in engine.columns(made)
    os.kill(server.pid(), signal.SIGKILL)
    wait_until(lambda: not server.pid())
    again = Postgres(engine._root)  # as after a restart of Bough
    assert emails(again, made) == [*BOTH, "eve@example.org"]
    engine.close(made)


def test_a_frozen_folder_stays_while_a_branch_stands_on_it(large: tuple[Postgres, str]) -> None:
    engine, handle = large
    made = engine.cut(handle).handle
    engine._bases.refresh(engine._server(handle))
    engine._bases.wait(engine._server(handle))
    engine.sweep([handle, made], -1)
    assert len(list(engine._root.glob("base_*"))) == 2
    assert emails(engine, made) == BOTH
    engine.close(made)
    assert engine.sweep([handle], -1) > 0
    assert len(list(engine._root.glob("base_*"))) == 1
    kept = engine._server(handle).psql("SELECT count(*) FROM pg_replication_slots").strip()
    assert kept == "1", "a slot that nobody needs keeps the log for ever"


def test_without_the_whole_log_a_cut_copies(large: tuple[Postgres, str]) -> None:
    engine, handle = large
    server = engine._server(handle)
    base = server.place / "base"
    before = base.read_text()
    try:
        (engine._root / "base_gone").mkdir()
        (engine._root / "base_gone" / "start").write_text("000000010000000000000000")
        base.write_text("base_gone")
        assert engine.announce(handle).way == "copy"
        made = engine.cut(handle).handle
        assert emails(engine, made) == BOTH
        engine.close(made)
    finally:
        base.write_text(before)


def test_a_follower_is_handed_over_with_all_that_was_committed_and_another_one_begins(tmp_path: Path) -> None:
    engine = Postgres(tmp_path)
    try:
        handle = engine.make("warm")
        server = engine._server(handle)
        server.psql("CREATE TABLE orders (id serial PRIMARY KEY, email text)")
        assert engine.announce(handle).way != "warm", "nobody follows it yet"
        engine.keep(handle)
        engine._followers.wait(server)
        wait_until(lambda: engine.announce(handle).way == "warm")
        following = engine._followers.named(server)
        server.psql("INSERT INTO orders (email) VALUES ('ada@example.org'), ('bob@example.org')")
        kept = engine.cut(handle, at_rest=True).handle
        assert not engine._server(kept).pid(), "a snapshot takes no server away"
        made = engine.cut(handle)
        assert following is not None and made.handle == following.place.name
        assert (made.copied_bytes, made.held_s) == (0, 0.0)
        server.psql("DELETE FROM orders")
        assert emails(engine, made.handle) == BOTH
        branch = engine._server(made.handle)
        branch.psql("INSERT INTO orders (email) VALUES ('eve@example.org')")
        os.kill(branch.pid(), signal.SIGKILL)
        wait_until(lambda: not branch.pid())
        engine.keep(made.handle)
        assert emails(engine, made.handle)[-1] == "eve@example.org"
        assert engine.check(made.handle) == []

        engine.keep(handle)
        engine._followers.wait(server)
        following = engine._followers.named(server)
        assert following is not None and following.pid()
        engine.sweep([handle, made.handle], -1)
        assert following.exists, "it goes with its source, not before"
        engine.close(handle)
        assert not following.pid()
        assert engine.sweep([made.handle], -1) > 0 and not following.place.exists()
    finally:
        engine.stop()


def test_several_who_start_a_server_at_once_all_find_it(first: tuple[Postgres, str]) -> None:
    engine, _ = first
    handle = engine.cut(first[1]).handle
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(engine.ensure, [handle] * 4))
    assert emails(engine, handle) == BOTH
    engine.close(handle)


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_a_killed_cutter_held_still_goes_on(first: tuple[Postgres, str]) -> None:
    engine, _ = first
    handle = engine.cut(first[1]).handle
    engine.ensure(handle)
    server = engine._server(handle)
    script = (
        "import sys, time; from pathlib import Path; from bough.adapters.sql.postgres import Postgres\n"
        "with Postgres(Path(sys.argv[1]))._server(sys.argv[2]).held_still():\n"
        "    print('held', flush=True); time.sleep(100)"
    )
    for postmaster_too in (False, True):
        cutter = subprocess.Popen([sys.executable, "-c", script, str(engine._root), handle], stdout=subprocess.PIPE)
        assert cutter.stdout is not None and cutter.stdout.readline() == b"held\n"
        if postmaster_too:
            os.kill(server.pid(), signal.SIGKILL)
        cutter.kill()
        cutter.communicate()
        engine.keep(handle)
        assert emails(engine, handle) == BOTH
    engine.close(handle)


def test_one_that_still_starts_is_waited_for(first: tuple[Postgres, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever started it may have been killed before it answered."""
    engine, handle = first
    engine.ensure(handle)
    said = engine._server(handle).data / "postmaster.pid"
    ready = said.read_text()
    write_whole(said, ready.replace("ready   ", "starting").encode())
    try:
        monkeypatch.setattr(postgres_server, "START_S", 0.05)
        with pytest.raises(Problem, match="still starts"):
            engine.ensure(handle)
        monkeypatch.setattr(postgres_server, "START_S", 60.0)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(engine.ensure, handle)
            write_whole(said, ready.encode())
            assert waiting.result(60)
    finally:
        write_whole(said, ready.encode())
