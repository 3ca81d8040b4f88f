"""A follower that was handed over answers at once, and acknowledges what is committed once the disk is sure of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bough.adapters.sql import postgres_follower
from bough.adapters.sql.postgres import Postgres
from bough.adapters.sql.postgres_server import Programs, Server
from bough.adapters.sql.postgres_settling import UNSETTLED
from bough.kernel.errors import NotFound
from tests.databases.conftest import PROJECT
from tests.plane import Plane

psycopg = pytest.importorskip("psycopg")
pytestmark = pytest.mark.skipif(bool(Programs().why_not), reason=Programs().why_not or "-")
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody settles what is handed over but `settle` itself."""
    with monkeypatch.context() as patch:
        patch.setattr(postgres_follower, "settle_soon", lambda server: None)
        yield


@pytest.mark.usefixtures("unhurried")
def test_commits_wait_until_the_disk_is_sure_of_the_branch(tmp_path: Path) -> None:
    engine = Postgres(tmp_path)
    try:
        source = followed(engine, engine.make("warm"))
        source.psql("CREATE TABLE rows (id integer)")
        branch = engine._server(engine.cut(source.place.name).handle)
        assert branch.ask("SHOW fsync") == "on", "who is served syncs from the first, however long a statement takes"
        assert branch.ask("SELECT count(*) FROM rows") == "0", "it is read at once"
        writer = threading.Thread(target=branch.ask, args=("INSERT INTO rows VALUES (1)",))
        writer.start()
        wait_until(lambda: branch.ask(WAITING) == "1")
        assert branch.ask("SELECT count(*) FROM rows") == "0", "nobody sees what is not acknowledged"
        engine.settle(branch.place.name)
        writer.join(30)
        assert branch.ask("SELECT count(*) FROM rows") == "1"
        assert branch.ask("SHOW autovacuum") == "on" and not (branch.place / UNSETTLED).exists()
    finally:
        engine.stop()


@pytest.mark.usefixtures("unhurried")
def test_a_branch_that_the_machine_went_down_with_is_found_lost_and_reset(plane: Plane) -> None:
    plane.call("databases.add", project=PROJECT, name="events", engine="postgres", how="warm")
    engine = Postgres(plane.bough.home.databases / "postgres")
    try:
        (source,) = [each.name for each in engine._folders() if each.name.startswith("warm_")]
        followed(engine, source)
        plane.call("environments.create", project=PROJECT, branch="try")
        made = next(each for each in engine._folders() if (each / UNSETTLED).exists())
        engine._server(made.name).stop()
        (made / UNSETTLED).write_text("# another boot\n")
        with pytest.raises(NotFound, match="before anything was committed"):
            engine.ensure(made.name)
        plane.call("databases.reset", project=PROJECT, name="events", environment="try")
        assert plane.call("databases.check", project=PROJECT, name="events", environment="try") == []
    finally:
        engine.stop()


def wait_until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def followed(engine: Postgres, handle: str) -> Server:
    engine.cut(handle, at_rest=True)  # so that it is one that is branched
    engine.keep(handle)
    server = engine._server(handle)
    engine._followers.wait(server)
    wait_until(lambda: engine.announce(handle).way == "warm")
    return server
