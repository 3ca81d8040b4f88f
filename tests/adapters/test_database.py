"""The database keeps what it has committed, makes writers wait and readers not, and refuses clearly.

SQLite files for real; what a full disk does is seen on a small file system of its own where the tests may mount one.
"""

from __future__ import annotations

import errno
import importlib
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

from bough.adapters.database import migrate
from bough.adapters.database.sqlite import BUSY_TIMEOUT_S, CHECKPOINT_PAGES, SqliteDatabase
from bough.kernel import catalog
from bough.kernel.catalog import FILE, LAST, SECRET, Point, Write
from bough.kernel.context import WouldWait
from bough.kernel.errors import Conflict, Exhausted, Problem, Unavailable
from bough.kernel.prepared import ask
from bough.kernel.tables import metadata as all_tables
from tests.programs import OURS

ROOT = Path(__file__).parent.parent.parent
metadata = sa.MetaData()
line = sa.Table("line", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("text", sa.Text))


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[SqliteDatabase]:
    made = SqliteDatabase(tmp_path / "lines.db")
    with made.write() as tx:
        metadata.create_all(tx)
    yield made
    made.close()


def count(database: SqliteDatabase) -> int:
    with database.read() as tx:
        return int(tx.execute(sa.select(sa.func.count()).select_from(line)).scalar_one())


# --- transactions


def test_a_write_that_raises_changes_nothing(lines: SqliteDatabase) -> None:
    with pytest.raises(ZeroDivisionError), lines.write() as tx:
        tx.execute(line.insert().values(text="half"))
        raise ZeroDivisionError
    assert count(lines) == 0
    with lines.write() as tx:  # and the lock is free again
        tx.execute(line.insert().values(text="whole"))
    assert count(lines) == 1


def test_writers_of_one_process_wait_for_each_other(lines: SqliteDatabase) -> None:
    """Read, then write: each of 200 increments sees the one before, so none is lost."""
    with lines.write() as tx:
        tx.execute(line.insert().values(id=1, text="0"))

    def increment() -> None:
        for _ in range(25):
            with lines.write() as tx:
                now = int(tx.execute(sa.select(line.c.text)).scalar_one())
                tx.execute(line.update().values(text=str(now + 1)))

    threads = [threading.Thread(target=increment) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with lines.read() as tx:
        assert tx.execute(sa.select(line.c.text)).scalar() == "200"


def test_sixteen_writers_with_handles_of_their_own_meet_no_lock_error(lines: SqliteDatabase) -> None:
    """As 16 processes would: nothing but SQLite's own lock between them."""
    failures: list[BaseException] = []

    def write() -> None:
        own = SqliteDatabase(lines.path, durable=False)
        try:
            for number in range(20):
                with own.write() as tx:
                    tx.execute(sa.select(line).limit(1)).all()
                    tx.execute(line.insert().values(text=str(number)))
        except BaseException as error:  # shown by the assertion below
            failures.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=write) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert count(lines) == 16 * 20


def test_a_reader_neither_waits_for_a_writer_nor_sees_its_half(lines: SqliteDatabase) -> None:
    with lines.write() as tx:
        tx.execute(line.insert().values(text="before"))
        began = time.monotonic()
        assert count(lines) == 0
        assert time.monotonic() - began < BUSY_TIMEOUT_S / 2
    assert count(lines) == 1


def test_a_read_sees_one_state_from_its_first_look_to_its_end(lines: SqliteDatabase) -> None:
    with lines.read() as before:
        counting = sa.select(sa.func.count()).select_from(line)
        assert before.execute(counting).scalar() == 0
        with lines.write() as tx:
            tx.execute(line.insert().values(text="after"))
        assert before.execute(counting).scalar() == 0
    assert count(lines) == 1


def test_a_write_inside_a_write_is_told_so_instead_of_hanging(lines: SqliteDatabase) -> None:
    with lines.write(), pytest.raises(RuntimeError, match="inside a write"), lines.write():
        pass


def test_a_read_that_writes_is_told_so(lines: SqliteDatabase) -> None:
    """It would escape the audit, and meet lock errors that no time-out cures."""
    with pytest.raises(RuntimeError, match="may not write"), lines.read() as tx:
        tx.execute(line.insert().values(text="by the way"))
    assert count(lines) == 0


def test_listeners_hear_of_commits_only_and_outside_the_transaction(lines: SqliteDatabase) -> None:
    heard: list[int] = []

    lines.on_commit(lambda: heard.append(count(lines)))
    with pytest.raises(ZeroDivisionError), lines.write():
        raise ZeroDivisionError
    assert heard == []
    with lines.write() as tx:
        tx.execute(line.insert().values(text="x"))
    assert heard == [1]


def test_a_listener_that_asks_for_it_hears_only_of_what_lasts(lines: SqliteDatabase) -> None:
    heard: list[str] = []
    lines.on_commit(lambda: heard.append("any"))
    lines.on_commit(lambda: heard.append("lasting"), lasting=True)
    with lines.write(lasting=False) as tx:
        tx.execute(line.insert().values(text="x"))
    assert heard == ["any"]
    with lines.write():
        pass
    assert heard == ["any", "any", "lasting"]


def test_the_version_is_another_one_once_anybody_has_committed(lines: SqliteDatabase) -> None:
    other = SqliteDatabase(lines.path, durable=False)
    found = [lines.version()]
    count(lines)
    assert lines.version() == found[0], "who reads has written nothing"
    for database, lasting in ((lines, True), (lines, False), (other, True)):
        with database.write(lasting=lasting) as tx:
            tx.execute(line.insert().values(text="x"))
        found.append(lines.version())
    assert len(set(found)) == 4
    other.close()


def test_a_glance_sees_all_that_was_committed_keeps_nobody_from_writing_and_writes_nothing(
    lines: SqliteDatabase,
) -> None:
    other = SqliteDatabase(lines.path, durable=False)
    for number in range(3):
        with lines.glance() as connection:
            assert ask(connection, "SELECT count(*) FROM line").fetchone()[0] == number
            with other.write() as tx:
                tx.execute(line.insert().values(text="x"))
    with lines.glance() as connection, pytest.raises(sa.exc.OperationalError, match="readonly"):
        ask(connection, "DELETE FROM line")
    other.close()


def test_a_listener_that_fails_does_not_make_a_commit_look_failed(
    lines: SqliteDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []
    lines.on_commit(lambda: Path("/nowhere/at/all").unlink())
    lines.on_commit(lambda: heard.append("the next one"))
    with lines.write() as tx:
        tx.execute(line.insert().values(text="kept"))
    assert (count(lines), heard) == (1, ["the next one"])
    assert "after a commit" in caplog.text


def test_a_lock_that_is_not_given_back_is_reported_as_busy(lines: SqliteDatabase, tmp_path: Path) -> None:
    holder = sqlite3.connect(lines.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    hasty = SqliteDatabase(lines.path, busy_timeout_s=0.05)
    try:
        with pytest.raises(Unavailable) as raised, hasty.write():
            pass
        assert raised.value.own_code == "DATABASE_BUSY"
    finally:
        holder.close()
        hasty.close()


# --- writes that wait for nothing


@pytest.fixture
def passing(tmp_path: Path) -> Iterator[SqliteDatabase]:
    """Not synced at every commit, and with a log that has begun."""
    made = SqliteDatabase(tmp_path / "passing.db", durable=False)
    with made.write() as tx:
        metadata.create_all(tx)
    yield made
    made.close()


def test_a_write_at_once_is_whole_or_nothing(passing: SqliteDatabase) -> None:
    heard: list[int] = []
    passing.on_commit(lambda: heard.append(1))
    with pytest.raises(ZeroDivisionError), passing.write_at_once() as tx:
        tx.execute(line.insert().values(text="half"))
        raise ZeroDivisionError
    assert count(passing) == 0 and heard == []
    with passing.write_at_once() as tx:
        tx.execute(line.insert().values(text="whole"))
    assert count(passing) == 1 and heard == [1]
    with passing.write() as tx:
        tx.execute(line.insert().values(text="and the lock is free again"))


def test_a_write_at_once_waits_for_no_writer(passing: SqliteDatabase) -> None:
    def refused() -> None:
        began = time.monotonic()
        with pytest.raises(WouldWait), passing.write_at_once():
            pytest.fail("the block has begun")
        assert time.monotonic() - began < BUSY_TIMEOUT_S / 2  # of which a write that waits has all

    other = SqliteDatabase(passing.path, durable=False)  # as another process
    for holder in (passing, other):
        with holder.write() as tx:
            tx.execute(line.insert().values(text="slow"))
            refused()
        with passing.write_at_once() as tx:
            tx.execute(line.insert().values(text="quick"))
    other.close()
    assert count(passing) == 4


def test_what_is_synced_at_every_commit_is_never_written_at_once(lines: SqliteDatabase) -> None:
    with lines.write() as tx:
        tx.execute(line.insert().values(text="x"))
    with pytest.raises(WouldWait), lines.write_at_once():
        pytest.fail("the block has begun")


def test_a_write_at_once_neither_makes_a_checkpoint_nor_begins_the_log(passing: SqliteDatabase) -> None:
    """Both are synced. A checkpoint shows in the database's file, a log that begins anew in the salt of its head."""
    log = Path(f"{passing.path}-wal")

    def synced() -> tuple[int, bytes]:
        return passing.path.stat().st_mtime_ns, log.read_bytes()[16:24]

    begun, longest, at_once = {synced()}, 0, 0
    for _ in range(1500):
        before = synced()
        try:
            with passing.write_at_once() as tx:
                tx.execute(line.insert().values(text="x" * 1000))
            assert synced() == before
            at_once += 1
        except WouldWait:
            with passing.write() as tx:
                tx.execute(line.insert().values(text="x" * 1000))
        begun.add(synced())
        longest = max(longest, log.stat().st_size)
    assert count(passing) == 1500 and at_once > 1400
    assert len({salt for _, salt in begun}) >= 3  # the log did begin anew, several times
    assert longest < 1.1 * CHECKPOINT_PAGES * 4120


def test_while_a_reader_keeps_the_log_from_beginning_anew_nothing_is_written_at_once(passing: SqliteDatabase) -> None:
    def write() -> bool:
        try:
            with passing.write_at_once() as tx:
                tx.execute(line.insert().values(text="x" * 100_000))
            return True
        except WouldWait:
            with passing.write() as tx:
                tx.execute(line.insert().values(text="x" * 100_000))
            return False

    with passing.read() as tx:
        tx.execute(sa.select(line)).all()
        assert [write() for _ in range(100)].count(True) < 60
        assert not any(write() for _ in range(20))
    assert [write() for _ in range(10)][-1]
    assert count(passing) == 130


# --- disks that refuse


def test_a_full_database_refuses_and_keeps_what_it_has(lines: SqliteDatabase) -> None:
    with lines.write() as tx:
        tx.execute(line.insert().values(text="kept"))
    with pytest.raises(Exhausted) as raised, lines.write() as tx:
        tx.exec_driver_sql("PRAGMA max_page_count = 3")
        for _ in range(100):
            tx.execute(line.insert().values(text="x" * 4000))
    assert raised.value.own_code == "DISK_FULL"
    assert "nothing was changed" in raised.value.message and "df -h" in raised.value.hint
    assert count(lines) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"may not mount here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_refuses_loses_nothing_and_works_again_once_there_is_room(small_disk: Path) -> None:
    database = SqliteDatabase(small_disk / "lines.db")
    try:
        with database.write() as tx:
            metadata.create_all(tx)
        committed = 0
        with pytest.raises(Exhausted, match="nothing was changed") as raised:
            for _ in range(2000):
                with database.write() as tx:
                    tx.execute(line.insert().values(text="x" * 2000))
                committed += 1
        assert committed > 10
        assert raised.value.own_code == "DISK_FULL"
        assert count(database) == committed
        subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
        with database.write() as tx:
            tx.execute(line.insert().values(text="room again"))
        assert count(database) == committed + 1
        with database.read() as tx:
            assert tx.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    finally:
        database.close()


def test_a_disk_that_turns_read_only_refuses_and_can_still_be_read(small_disk: Path) -> None:
    database = SqliteDatabase(small_disk / "lines.db")
    with database.write() as tx:
        metadata.create_all(tx)
        tx.execute(line.insert().values(text="kept"))
    database.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(Exhausted) as raised, database.write() as tx:
        tx.execute(line.insert().values(text="refused"))
    assert raised.value.own_code == "NOT_WRITABLE"
    database.close()
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert count(database) == 1
    database.close()


def test_a_folder_that_is_not_there_or_not_ours_is_refused_with_its_name(tmp_path: Path) -> None:
    for place in (tmp_path / "absent", Path("/proc")):
        database = SqliteDatabase(place / "lines.db")
        with pytest.raises(Exhausted, match=str(place)) as raised, database.write():
            pass
        assert raised.value.own_code == "NOT_WRITABLE"
        database.close()


def test_errors_of_the_operating_system_inside_a_write_are_told_apart(lines: SqliteDatabase) -> None:
    for number, expected in ((errno.ENOSPC, Exhausted), (errno.EROFS, Exhausted), (errno.ENOENT, OSError)):
        with pytest.raises(expected), lines.write():
            raise OSError(number, os.strerror(number))


def test_what_is_no_fault_of_the_disk_is_not_called_so(lines: SqliteDatabase) -> None:
    with pytest.raises(Problem) as raised, lines.write() as tx:
        tx.exec_driver_sql("SELECT * FROM full_of_readonly_things")
    assert raised.value.own_code == "DATABASE_FAILED"


# --- kill -9

COMMITTER = """
import sys
from pathlib import Path
from bough.adapters.database.sqlite import SqliteDatabase
import sqlalchemy as sa
line = sa.Table("line", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("text", sa.Text))
database = SqliteDatabase(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), 1_000_000):
    with database.write() as tx:
        tx.execute(line.insert().values(id=2 * number, text="a"))
        tx.execute(line.insert().values(id=2 * number + 1, text="b"))
    print(number, flush=True)
"""


def test_kill_9_while_committing_loses_nothing_that_was_committed_and_keeps_no_half(lines: SqliteDatabase) -> None:
    """Six times, at a moment of its own; what the process had said to be committed must be there, in whole pairs."""
    said = -1
    for wanted in (3, 5, 8, 13, 21, 34):
        first = said + 1_000  # room for a pair that was committed but not said
        process = OURS.start(COMMITTER, lines.path, first)
        for _ in range(wanted):
            said = int(process.stdout.readline())
        process.kill()
        said = max([said, *(int(rest) for rest in process.wait()[1].splitlines())])
        with lines.read() as tx:
            ids = set(tx.execute(sa.select(line.c.id)).scalars())
            assert tx.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        assert set(range(2 * first, 2 * said + 2)) <= ids
        assert all((each ^ 1) in ids for each in ids)


# --- migrations


def test_the_migrations_make_exactly_the_tables_of_the_code(tmp_path: Path) -> None:
    """Fails when somebody changes a table and forgets: `make migration NAME=what-changed`."""
    importlib.import_module("bough.app")  # which imports everything that has tables
    migrate.upgrade(tmp_path / "bough.db")
    database = SqliteDatabase(tmp_path / "bough.db")
    with database.read() as tx:
        context = MigrationContext.configure(tx, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, all_tables) == []
        foreign_keys = {
            name: {(key.parent.name, key.target_fullname) for key in table.foreign_keys}
            for name, table in all_tables.tables.items()
        }
        made = sa.MetaData()
        made.reflect(tx)
    database.close()
    for name, keys in foreign_keys.items():
        assert {(key.parent.name, key.target_fullname) for key in made.tables[name].foreign_keys} == keys
        assert [c.name for c in made.tables[name].primary_key] == [c.name for c in all_tables.tables[name].primary_key]


def test_the_head_in_the_code_is_the_head_of_the_files() -> None:
    """The fast path compares with a constant, so the constant must be right; and no migration goes back."""
    scripts = ScriptDirectory(str(migrate.FOLDER))
    assert scripts.get_heads() == [migrate.HEAD]
    assert [script.path for script in scripts.walk_revisions() if hasattr(script.module, "downgrade")] == []


def test_a_new_database_is_the_one_that_all_migrations_make(tmp_path: Path) -> None:
    """It is made by `schema.sql`. Fails when there is a migration more: `make docs`."""
    made = []
    for name, make in (("new.db", migrate.upgrade), ("schema.db", lambda path: migrate.schema(path.parent))):
        make(tmp_path / name)
        connection = sqlite3.connect(tmp_path / name)
        made.append([line.replace(", \n", ",\n") for line in connection.iterdump()])
        connection.close()
    assert made[0] == made[1]
    assert len(made[0]) > 60
    (tmp_path / "again").mkdir()
    assert migrate.SCHEMA.read_text("utf-8") == migrate.schema(tmp_path / "again")


def test_a_new_database_is_made_without_alembic(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bough.adapters.database.migrate import upgrade;"
        "upgrade(Path(sys.argv[1])); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "bough.db")]).returncode == 0


def test_a_database_that_an_older_bough_made_is_brought_up_to_date(tmp_path: Path) -> None:
    """From the first release's tables on, whatever `schema.sql` says."""
    scripts = ScriptDirectory(str(migrate.FOLDER))
    path = tmp_path / "bough.db"
    database = SqliteDatabase(path)
    with database.write() as tx:
        with Operations.context(MigrationContext.configure(tx)):
            scripts.get_revision("0001").module.upgrade()
        tx.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        tx.exec_driver_sql("INSERT INTO alembic_version VALUES ('0001')")
        tx.exec_driver_sql("INSERT INTO event (at, name, subject, data) VALUES (1, 'x', 'y', '{}')")
    database.close()
    migrate.upgrade(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(migrate.HEAD,)]
    assert connection.execute("SELECT count(*) FROM event").fetchone() == (1,)
    names = "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
    found = connection.execute(names).fetchall()
    connection.close()
    migrate.upgrade(tmp_path / "new.db")
    connection = sqlite3.connect(tmp_path / "new.db")
    assert connection.execute(names).fetchall() == found
    connection.close()


def test_an_upgrade_writes_down_what_layers_show_as_branching_does(tmp_path: Path) -> None:
    path = tmp_path / "bough.db"
    migrate.upgrade(path)
    database, draw = SqliteDatabase(path, durable=False), random.Random(19)
    with database.write() as tx:
        layers = [catalog.new_layer(tx, None)]
        for number in range(40):
            parent = Point(draw.choice(layers), draw.choice((LAST, number)))
            layers.append(catalog.new_layer(tx, parent, draw.choice(((), (SECRET,), (FILE, SECRET)))))
            catalog.commit(tx, layers[-1], [Write(FILE, "a", number)], at=float(number), by="", why="")
        for each in draw.sample(layers, 9):
            catalog.seal(tx, each, FILE, draw.random() < 0.5)
        everything = sa.select(catalog.shown).order_by(catalog.shown.c.layer, catalog.shown.c.depth)
        before = [(*row[:4], sorted(filter(None, row.sealed.split(",")))) for row in tx.execute(everything)]
        tx.exec_driver_sql("DROP TABLE shown")
        with Operations.context(MigrationContext.configure(tx)):
            ScriptDirectory(str(migrate.FOLDER)).get_revision("0019").module.upgrade()
        after = [(*row[:4], sorted(filter(None, row.sealed.split(",")))) for row in tx.execute(everything)]
    database.close()
    assert before == after
    assert max(row[1] for row in after) > 3


def test_an_upgrade_keeps_what_was_counted_before_costs_had_tags(tmp_path: Path) -> None:
    path = tmp_path / "bough.db"
    migrate.upgrade(path)
    database = SqliteDatabase(path, durable=False)
    with database.write() as tx:
        tx.exec_driver_sql("DROP TABLE cost_usage")
        tx.exec_driver_sql("DROP TABLE cost_budget_told")
        with Operations.context(MigrationContext.configure(tx)):
            scripts = ScriptDirectory(str(migrate.FOLDER))
            tx.exec_driver_sql("DROP TABLE cost_meter")
            scripts.get_revision("0024").module.upgrade()
            tx.exec_driver_sql(
                "INSERT INTO cost_usage VALUES ('shop', 20000, 'main', 'inference', 'service', 'web', 60, 3, 0, 0.5)"
            )
            scripts.get_revision("0029").module.upgrade()
        kept = tx.exec_driver_sql("SELECT workload, tags, seconds, cpu_s, gpu_s, cost FROM cost_usage").all()
    database.close()
    assert kept == [("web", "{}", 60.0, 3.0, 0.0, 0.5)]


def test_an_upgrade_of_what_is_up_to_date_does_not_even_import_alembic(tmp_path: Path) -> None:
    path = tmp_path / "bough.db"
    migrate.upgrade(path)
    code = (
        "import sys; from pathlib import Path; from bough.adapters.database.migrate import upgrade;"
        "upgrade(Path(sys.argv[1])); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == 0


def test_upgrading_again_keeps_the_data(tmp_path: Path) -> None:
    path = tmp_path / "bough.db"
    migrate.upgrade(path)
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO event (at, name, subject, data) VALUES (1, 'x', 'y', '{}')")
    connection.close()
    migrate.upgrade(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM event").fetchone() == (1,)
    connection.close()


def test_many_that_start_together_upgrade_once(tmp_path: Path) -> None:
    path, failures = tmp_path / "bough.db", []
    gate = threading.Barrier(4)

    def start() -> None:
        gate.wait(60)
        try:
            migrate.upgrade(path)
        except BaseException as error:  # shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(migrate.HEAD,)]
    connection.close()


def test_a_database_of_a_newer_bough_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "bough.db"
    migrate.upgrade(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    before = list(connection.iterdump())
    with pytest.raises(Conflict) as raised:
        migrate.upgrade(path)
    assert raised.value.own_code == "DATABASE_NEWER"
    assert list(connection.iterdump()) == before
    connection.close()


def test_an_upgrade_that_finds_no_room_leaves_no_half_of_it(small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(b"x" * (1024 * 1024 - 90 * 1024))
    with pytest.raises(Exhausted):
        migrate.upgrade(small_disk / "bough.db")
    (small_disk / "filler").unlink()
    connection = sqlite3.connect(small_disk / "bough.db")
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()
    migrate.upgrade(small_disk / "bough.db")
