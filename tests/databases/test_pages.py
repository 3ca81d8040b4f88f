"""Databases in pages: what SQLite promises of a file holds of them, and what branching adds."""

from __future__ import annotations

import contextlib
import random
import select
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from bough.adapters.sql.pages import DEEPEST, Pages
from bough.adapters.sql.sqlite import Sqlite
from bough.kernel.errors import Busy
from bough.runtime.pages import extension, format, opening, vfs
from tests.depth import times

KILLS = times("BOUGH_KILLS", quick=3, deep=6)
MODES = ("wal", "delete", "truncate", "persist")


@pytest.fixture
def engine(tmp_path: Path) -> Sqlite:
    return Sqlite(tmp_path / "sqlite")


@contextlib.contextmanager
def in_c(path: Path) -> Iterator[Any]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@contextlib.contextmanager
def in_python(path: Path) -> Iterator[Any]:
    with contextlib.closing(apsw.Connection(str(path), vfs=vfs.register())) as connection:
        yield connection


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("page_size", [512, 4096, 65536])
@pytest.mark.parametrize("opened", [in_c, in_python])
def test_a_branch_and_its_parent_stay_whole_in_every_mode(
    engine: Sqlite, mode: str, page_size: int, opened: Any
) -> None:
    handle = engine.pages.make()
    with opened(engine.path(handle)) as parent:
        parent.execute(f"PRAGMA page_size = {page_size}")
        parent.execute(f"PRAGMA journal_mode = {mode}").fetchall()
        parent.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT)")
        parent.execute("BEGIN")
        for number in range(300):
            parent.execute("INSERT INTO rows VALUES (?, ?)", (number, "x" * number))
        parent.execute("COMMIT")
        made = engine.cut(handle).handle
        with opened(engine.path(made)) as branch:
            branch.execute("DELETE FROM rows WHERE id % 2 = 0")
            branch.execute("VACUUM")
            parent.execute("UPDATE rows SET text = 'short' WHERE id > 100")
            second = engine.cut(made).handle
            branch.execute("INSERT INTO rows VALUES (1000, 'late')")
            for each, count in ((parent, 300), (branch, 151)):
                assert each.execute("SELECT count(*) FROM rows").fetchall() == [(count,)]
                assert each.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        with opened(engine.path(second)) as third:
            assert third.execute("SELECT count(*), sum(length(text)) FROM rows").fetchall() == [(150, 150 * 150)]
            assert third.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_what_one_vfs_has_written_the_other_reads(engine: Sqlite) -> None:
    handle = engine.make("pages")
    with in_c(engine.path(handle)) as one, in_python(engine.path(handle)) as other:
        one.execute("CREATE TABLE rows (text)")
        one.execute("INSERT INTO rows VALUES ('c')")
        other.execute("INSERT INTO rows VALUES ('python')")
        one.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert one.execute("SELECT text FROM rows").fetchall() == other.execute("SELECT text FROM rows").fetchall()


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 program")
def test_the_sqlite3_program_opens_a_branch_with_the_extension_and_is_refused_without(engine: Sqlite) -> None:
    handle = engine.make("pages")
    with in_c(engine.path(handle)) as connection:
        connection.execute("CREATE TABLE rows (text)")
        connection.execute("INSERT INTO rows VALUES ('hello')")
    path = engine.path(engine.cut(handle).handle)
    library = extension.here()
    assert library is not None
    words = ["sqlite3", ":memory:", f".load {library}", f".open {path}", "SELECT text FROM rows"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "hello\n"
    alone = subprocess.run(["sqlite3", str(path), "SELECT 1 FROM rows"], capture_output=True, text=True, check=False)
    assert "not a database" in alone.stderr


def test_a_branch_takes_less_than_a_hundred_kilobytes_whatever_its_parent_holds(engine: Sqlite) -> None:
    handle = engine.make("pages")
    with in_c(engine.path(handle)) as connection:
        connection.execute("CREATE TABLE rows (content)")
        connection.execute("INSERT INTO rows VALUES (randomblob(5000000))")
    made = engine.cut(handle).handle
    assert engine.own_bytes(made) < 100_000
    told = engine.announce(handle)
    assert told.bytes < 100_000 < told.size


def test_three_writers_on_parent_and_branch_lose_nothing(engine: Sqlite) -> None:
    handle = engine.make("pages")
    with in_c(engine.path(handle)) as connection:
        connection.execute("CREATE TABLE rows (writer, number)")
    stop, written = threading.Event(), dict[str, int]()

    def write(name: str, of: str) -> None:
        connection = sqlite3.connect(engine.path(of), isolation_level=None, timeout=30)
        number = 0
        while not stop.is_set():
            connection.execute("INSERT INTO rows VALUES (?, ?)", (name, number))
            number += 1
        written[name] = number
        connection.close()

    heads = [engine.cut(handle).handle]
    threads = [threading.Thread(target=write, args=(name, of)) for name, of in
               (("one", handle), ("two", handle), ("three", heads[0]))]  # fmt: skip
    for thread in threads:
        thread.start()
    for _ in range(10):
        time.sleep(0.02)
        with contextlib.suppress(Busy):  # a machine with other work: a writer may hold on for long
            heads.append(engine.pages.branch(handle, 10).head)
    stop.set()
    for thread in threads:
        thread.join()
    with in_c(engine.path(handle)) as parent, in_c(engine.path(heads[0])) as branch:
        assert dict(parent.execute("SELECT writer, count(*) FROM rows GROUP BY 1")) == {
            "one": written["one"], "two": written["two"]}  # fmt: skip
        assert branch.execute("SELECT count(*) FROM rows").fetchone() == (written["three"],)
    for each in heads:
        with in_c(engine.path(each)) as found:
            assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            last = dict(found.execute("SELECT writer, max(number) + 1 - count(*) FROM rows GROUP BY 1"))
            assert set(last.values()) <= {0}, "a branch has every row up to a moment"


def test_many_branches_keep_a_database_shallow(engine: Sqlite) -> None:
    handle = engine.make("pages")
    with in_c(engine.path(handle)) as connection:
        connection.execute("CREATE TABLE rows (number)")
        for number in range(DEEPEST * 2):
            connection.execute("INSERT INTO rows VALUES (?)", (number,))
            engine.cut(handle)
            engine.settle(handle)
        assert engine.pages.depth(handle) <= DEEPEST + 2
        assert connection.execute("SELECT count(*) FROM rows").fetchone() == (DEEPEST * 2,)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_what_a_power_cut_took_of_a_fresh_branch_is_made_again(engine: Sqlite) -> None:
    handle = engine.make("pages")
    with in_c(engine.path(handle)) as connection:
        connection.execute("CREATE TABLE rows (number)")
    made = engine.cut(handle)
    for each in engine.path(made.handle).parent.glob(f"{made.handle}*"):
        each.unlink()
    assert engine.remake(made.handle, made.remake)
    assert not engine.remake(made.handle, made.remake)
    assert engine.check(made.handle) == []


def test_a_full_disk_is_an_error_and_loses_nothing(engine: Sqlite, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: the same error, at the same calls."""
    handle = engine.make("pages")
    with in_c(engine.path(handle)) as connection:
        connection.execute("CREATE TABLE rows (content)")
        connection.execute("INSERT INTO rows VALUES ('kept')")
    script = (
        "import resource, signal, sys; from pathlib import Path; from bough.runtime.pages import opening;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "db = opening.connect(Path(sys.argv[1]), isolation_level=None);"
        "db.execute('PRAGMA journal_mode = delete').fetchall();"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20));"
        "db.execute('INSERT INTO rows VALUES (randomblob(3000000))')"
    )
    done = subprocess.run([sys.executable, "-c", script, str(engine.path(handle))], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert "full" in done.stderr or "I/O" in done.stderr
    with in_c(engine.path(handle)) as connection:
        assert connection.execute("SELECT content FROM rows").fetchall() == [("kept",)]
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_while_it_writes_or_branches_it_is_whole_and_has_what_was_committed(engine: Sqlite, seed: int) -> None:
    chance = random.Random(seed)
    mode = MODES[seed % 2]
    handle = engine.make("pages")
    with in_c(engine.path(handle)) as connection:
        connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT)")
        connection.execute(f"PRAGMA journal_mode = {mode}").fetchall()
    program = [sys.executable, "-m", "tests.databases.writing_process", str(engine.pages.heads.parent), handle, mode]
    running = [
        subprocess.Popen(
            [*program, str(seed * 10 + number)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for number in range(3)
    ]
    select.select([each.stdout for each in running], [], [], 60)  # one has said what it did: they are at it
    time.sleep(chance.uniform(0.0, 0.5))
    for each in running:
        each.kill()
    said = [line.split() for each in running for line in each.communicate()[0].splitlines()]
    committed = max((int(words[1]) for words in said if words[0] == "w" and len(words) == 2), default=0)
    cut = [words[1] for words in said if words[0] == "b" and len(words) == 2]
    for each in [handle, *cut[-3:]]:
        assert engine.check(each) == []
    with in_c(engine.path(handle)) as connection:
        (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM rows").fetchone()
        assert newest >= committed
        connection.execute("INSERT INTO rows VALUES (?, 'after')", (newest + 1,))
    last = engine.cut(handle).handle
    assert engine.check(last) == []


def test_the_format_is_what_it_says(engine: Sqlite) -> None:
    path = engine.path(engine.make("pages"))
    assert path.read_bytes().startswith(format.MAGIC + format.NOTE)
    state = format.read_head(path)
    assert format.unpack(format.pack(state)) == state
    assert [each.kind for each in format.read_layers(path, state.generation)] == ["part", "whole"]


def test_a_plain_file_opens_as_it_would_without_the_vfs(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "plain.db")) as connection:
        connection.execute("CREATE TABLE rows (a)")
    assert (tmp_path / "plain.db").read_bytes().startswith(b"SQLite format 3")
    with contextlib.closing(opening.connect(tmp_path / "plain.db")) as connection:
        assert connection.execute("SELECT count(*) FROM rows").fetchone() == (0,)


def test_pages_below_a_cut_do_not_show_when_it_grows_again(tmp_path: Path) -> None:
    pages = Pages(tmp_path)
    handle = pages.make()
    with in_c(pages.path(handle)) as connection:
        connection.execute("PRAGMA auto_vacuum = full")
        connection.execute("CREATE TABLE rows (content)")
        connection.execute("INSERT INTO rows VALUES (randomblob(1000000))")
        before = pages.state(handle).size
        made = pages.branch(handle).head
        connection.execute("DELETE FROM rows")
        assert pages.state(handle).size < before / 2
        connection.execute("INSERT INTO rows VALUES (zeroblob(900000))")
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with in_c(pages.path(made)) as connection:
        assert connection.execute("SELECT length(content) FROM rows").fetchone() == (1000000,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
