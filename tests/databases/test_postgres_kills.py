"""Kills around writes, checkpoints, cuts and starts of Postgres: programs, Bough, and the server. BOUGH_KILLS=N, by
each way, with seeds from BOUGH_KILLS_FIRST on.

Each database is looked at by `pg_amcheck` where its extension is there (BOUGH_POSTGRES_BIN may name such a server),
else every row is read against the checksums of its page: the wheel ships the program without the extension.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bough.adapters.sql.postgres import Postgres
from bough.adapters.sql.postgres_follower import WARM
from bough.adapters.sql.postgres_server import Programs
from bough.adapters.sql.postgres_settling import settle
from tests.depth import times

pytest.importorskip("psycopg")
pytestmark = pytest.mark.skipif(bool(Programs().why_not), reason=Programs().why_not or "-")
KILLS, FIRST = times("BOUGH_KILLS", quick=1, deep=2), int(os.environ.get("BOUGH_KILLS_FIRST", "0"))
COUNT = "SELECT coalesce(max(id), 0) FROM rows"


@pytest.mark.timeout(600 + 20 * KILLS)
@pytest.mark.parametrize("asked", ["the best that fits", WARM])
def test_killed_at_any_moment_it_is_whole_and_has_what_was_committed(tmp_path: Path, asked: str) -> None:
    engine = Postgres(tmp_path)
    way = WARM if asked == WARM else next(each.name for each in engine.ways() if each.fits)
    engine._bases.own_bytes = 1 << 20
    handle = engine.make(way)
    server = engine._server(handle)
    server.psql("CREATE TABLE rows (id integer PRIMARY KEY, text text); CREATE INDEX texts ON rows (left(text, 20))")
    try:
        for seed in range(FIRST, FIRST + KILLS):
            handle = once(engine, handle, seed)
    finally:
        engine.stop()


def once(engine: Postgres, handle: str, seed: int) -> str:
    """The database that the next kill goes on with: this one, or, as a restore would have it, one of its cuts."""
    chance, server = random.Random(seed), engine._server(handle)
    programs = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.databases.postgres_process", what, str(engine._root), handle, str(seed)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        ) for what in ("write", "cut")
    ]  # fmt: skip
    select.select([each.stdout for each in programs], [], [], 60)  # one has said what it did: they are at it
    time.sleep(chance.uniform(0.0, 1.0))  # the moment of the kill; what is checked does not depend on it
    if chance.random() < 0.5:
        os.kill(server.pid(), signal.SIGKILL)
    for each in programs:
        os.killpg(each.pid, signal.SIGKILL)  # with the programs that it waits for; servers have sessions of their own
    said = [line.split() for each in programs for line in each.communicate()[0].splitlines()]
    committed = max((int(words[1]) for words in said if words[0] == "w" and len(words) == 2), default=0)
    cuts = [(words[1], int(words[2])) for words in said if words[0] == "c" and len(words) == 3]
    engine.keep(handle)
    engine.ensure(handle)
    settle(server)  # as the loop does: until then commits in one from the warm pool wait
    assert int(server.ask(COUNT)) >= committed
    assert engine.check(handle) == []
    looked_at = cuts[-2:]
    for made, before in looked_at:
        engine.ensure(made)
        settle(engine._server(made))
        assert before <= int(engine._server(made).ask(COUNT)) <= int(server.ask(COUNT))
        assert engine.check(made) == []
    engine._followers.wait(server)
    goes_on = looked_at[0][0] if looked_at and chance.random() < 0.3 else handle
    for each in engine._folders():
        if each.name != goes_on and not each.name.startswith((".", "base_")):
            engine.close(each.name)
    engine.sweep([goes_on], -1)
    return goes_on
