"""What is kept and what goes: nothing that anybody can see, everything that nobody can."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from bough.adapters.blobs import Blobs
from bough.adapters.blobs.directory import DirectoryBlobs
from bough.adapters.blobs.memory import MemoryBlobs
from bough.adapters.database.sqlite import SqliteDatabase
from bough.data.garbage import Collected, Collector
from bough.kernel import catalog
from bough.kernel.catalog import FILE, TABLE, Point, Write
from bough.kernel.clock import SystemClock, VirtualClock
from bough.kernel.errors import Conflict, NotFound
from bough.kernel.points import RETENTION_S
from bough.kernel.tables import metadata
from tests.depth import times
from tests.programs import OURS

MAIN = ("shop", "main")


class World:
    def __init__(self, database: SqliteDatabase, folder: Path) -> None:
        self.database, self.blobs = database, MemoryBlobs()
        self.clock = VirtualClock(time.time())
        self.used: list[str] = []
        self.collector = Collector(database, self.blobs, self.clock, {"test": self.references}, folder / "gc.lock")
        with database.write() as tx:
            self.main = catalog.open_head(tx, *MAIN, None)

    def references(self, tx: sa.Connection, blobs: Blobs) -> Iterator[str]:
        yield from self.used

    def put(self, layer: int, key: str, text: str | None, kind: str = FILE) -> str:
        digest = self.blobs.put(text.encode()) if text is not None else ""
        value = {"digest": digest, "size": len(text)} if text is not None else None
        with self.database.write() as tx:
            catalog.commit(tx, layer, [Write(kind, key, value)], at=self.clock.now(), by="t", why="")
        return digest

    def branch(self, name: str, at: Point) -> int:
        with self.database.write() as tx:
            return catalog.open_head(tx, "shop", name, at)

    def discard(self, name: str) -> None:
        with self.database.write() as tx:
            catalog.close_head(tx, "shop", name)

    def tag(self, name: str) -> None:
        with self.database.write() as tx:
            catalog.set_tag(tx, "shop", name, "main", self.clock.now(), "t")

    def later(self, seconds: float = RETENTION_S + 90_000) -> Collected:
        """Collects after grace and retention have passed."""
        self.clock.advance(seconds)
        return self.collector.run()

    def texts(self) -> set[str]:
        return {self.blobs.read(each.digest).decode() for each in self.blobs.held()}


@pytest.fixture
def world(database: SqliteDatabase, tmp_path: Path) -> World:
    return World(database, tmp_path)


def test_what_a_head_shows_is_kept_and_what_was_never_committed_goes(world: World) -> None:
    world.put(world.main, "d/a", "shown")
    world.blobs.put(b"never committed")
    done = world.later()
    assert (done.blobs, done.bytes, done.kept_blobs) == (1, 15, 1) and world.texts() == {"shown"}


def test_an_upload_whose_commit_has_not_come_yet_is_spared(world: World) -> None:
    world.blobs.put(b"on its way")
    done = world.later(3600)
    assert (done.blobs, done.young_blobs) == (0, 1) and world.texts() == {"on its way"}


def test_a_dry_run_deletes_nothing_and_says_the_same(world: World) -> None:
    world.put(world.branch("try", Point(world.main)), "d/a", "of the branch")
    world.discard("try")
    world.clock.advance(RETENTION_S + 90_000)
    said = world.collector.run(dry_run=True)
    assert world.texts() == {"of the branch"}
    done = world.collector.run()
    assert (said.blobs, said.layers, said.bytes) == (done.blobs, done.layers, done.bytes) == (1, 1, 13)
    assert world.texts() == set()


def test_history_is_kept_for_its_time_and_then_goes(world: World) -> None:
    world.put(world.main, "d/a", "old")
    world.put(world.main, "d/a", "new")
    world.later(RETENTION_S / 2)
    assert world.texts() == {"old", "new"}
    assert world.later().entries == 1
    assert world.texts() == {"new"}


def test_a_removed_file_stays_removed(world: World) -> None:
    world.put(world.main, "d/a", "old")
    world.put(world.main, "d/a", None)
    world.later()
    with world.database.read() as tx:
        assert catalog.get(tx, Point(world.main), FILE, "d/a") is None
    assert world.texts() == set()


def test_a_tag_keeps_what_it_names_until_it_is_deleted(world: World) -> None:
    world.put(world.main, "d/a", "tagged")
    world.tag("v1")
    world.put(world.main, "d/a", "new")
    world.later()
    assert world.texts() == {"tagged", "new"}
    with world.database.write() as tx:
        tx.execute(catalog.tag.delete())
    world.later()
    assert world.texts() == {"new"}


def test_a_branch_keeps_what_it_sees_of_its_parent_also_when_the_parent_is_gone(world: World) -> None:
    world.put(world.main, "d/a", "seen")
    child = world.branch("child", Point(world.main))
    world.put(world.main, "d/a", "after")
    grandchild = world.branch("grandchild", Point(child))
    world.put(child, "d/b", "of the child")
    world.discard("main")
    world.discard("child")
    world.later()
    assert world.texts() == {"seen"}
    with world.database.read() as tx:
        found = catalog.get(tx, Point(grandchild), FILE, "d/a")
        assert found and world.blobs.read(found.value["digest"]) == b"seen"
    world.discard("grandchild")
    assert world.later().layers == 3 and world.texts() == set()


def test_digests_in_entries_of_any_kind_and_behind_them_are_kept(world: World) -> None:
    world.put(world.main, "orders", "manifest of a table", TABLE)
    world.used.append(world.blobs.put(b"data file"))
    world.later()
    assert world.texts() == {"manifest of a table", "data file"}


def test_when_a_capability_cannot_read_what_it_uses_nothing_is_swept(world: World) -> None:
    def broken(tx: sa.Connection, blobs: Blobs) -> Iterator[str]:
        yield blobs.read("0" * 64).decode()

    world.blobs.put(b"perhaps in use")
    world.clock.advance(RETENTION_S)
    collector = Collector(world.database, world.blobs, world.clock, {"broken": broken}, Path(os.devnull))
    with pytest.raises(NotFound):
        collector.run()
    assert world.texts() == {"perhaps in use"}


def test_one_collection_at_a_time(world: World) -> None:
    def again(tx: sa.Connection, blobs: Blobs) -> Iterator[str]:
        with pytest.raises(Conflict, match="already"):
            world.collector.run()
        yield from ()

    Collector(world.database, world.blobs, world.clock, {"again": again}, world.collector._lock).run()


def test_what_is_committed_while_garbage_is_collected_is_not_lost(world: World) -> None:
    """An old blob, already garbage, is taken up again between mark and sweep: asking for it makes it young."""
    digest = world.blobs.put(b"again")
    world.clock.advance(RETENTION_S)

    def meanwhile(tx: sa.Connection, blobs: Blobs) -> Iterator[str]:
        world.blobs._used[digest] = world.clock.now()  # what `missing` does, by the clock of this test
        yield from ()

    Collector(world.database, world.blobs, world.clock, {"slow": meanwhile}, Path(os.devnull)).run()
    assert world.texts() == {"again"}


ROUNDS = times("BOUGH_KILLS", quick=5, deep=12)
CHURN = """
import random, sys, time
from pathlib import Path
from bough.adapters.blobs.directory import DirectoryBlobs
from bough.adapters.database.sqlite import SqliteDatabase
from bough.data.garbage import Collector
from bough.kernel import catalog
from bough.kernel.catalog import FILE, Write
from bough.kernel.clock import SystemClock
home, seed = Path(sys.argv[1]), int(sys.argv[2])
database, blobs, rng = SqliteDatabase(home / "bough.db"), DirectoryBlobs(home / "blobs"), random.Random(seed)
collector = Collector(database, blobs, SystemClock(), {}, home / "gc.lock")
with database.read() as tx:
    layer = catalog.layer_of(tx, "shop", "main")
print("go", flush=True)
while True:
    with blobs.batch() as batch:
        texts = [b"%d" % rng.randrange(40) * 1000 for _ in range(10)]
        digests = [batch.put(text) for text in texts]
    with database.write() as tx:
        if not blobs.missing(digests):
            writes = {f"d/{rng.randrange(20)}": digest for digest in digests}
            catalog.commit(tx, layer, [Write(FILE, key, {"digest": d, "size": 1}) for key, d in writes.items()],
                           at=time.time(), by="t", why="")
    collector.run(grace_s=0.05, retention_s=0.0)
"""


def test_killed_in_the_middle_of_put_and_collection_nothing_that_is_seen_is_lost(tmp_path: Path) -> None:
    """kill -9 at seeded moments of writing and collecting at once; BOUGH_KILLS sets how many."""
    database, blobs, rng = SqliteDatabase(tmp_path / "bough.db"), DirectoryBlobs(tmp_path / "blobs"), random.Random(11)
    with database.write() as tx:
        metadata.create_all(tx)
        main = catalog.open_head(tx, *MAIN, None)
    for number in range(ROUNDS):
        process = OURS.start(CHURN, tmp_path, number)
        assert process.stdout.readline() == "go\n"
        time.sleep(rng.random() * 0.3)
        process.kill()
        process.wait()
        with database.read() as tx:
            entries = catalog.items(tx, Point(main), FILE)
        for each in entries:
            blobs.read(each.value["digest"])
    time.sleep(0.1)
    Collector(database, blobs, SystemClock(), {}, tmp_path / "gc.lock").run(grace_s=0.05, retention_s=0.0)
    assert {each.digest for each in blobs.held()} == {each.value["digest"] for each in entries}
    database.close()
