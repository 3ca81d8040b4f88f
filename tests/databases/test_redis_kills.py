"""Kills around writes, rewrites of the log, cuts and starts of Redis: programs, Bough, and the server. BOUGH_KILLS=N,
with seeds from BOUGH_KILLS_FIRST on.

A server that is killed may take with it what it answered while its disk was at work, in the last moment: Redis syncs
once a second beside its work. What a branch has was in the log, and no kill takes it.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bough.adapters.sql.redis import Redis
from bough.adapters.sql.redis_server import Program
from tests.depth import times

pytestmark = pytest.mark.skipif(bool(Program().why_not), reason=Program().why_not or "-")
KILLS, FIRST = times("BOUGH_KILLS", quick=2, deep=3), int(os.environ.get("BOUGH_KILLS_FIRST", "0"))


@pytest.mark.timeout(100 + 20 * KILLS)
def test_killed_at_any_moment_it_is_whole_and_has_what_was_answered(tmp_path: Path) -> None:
    engine = Redis(tmp_path)
    handle = engine.make("copy")
    try:
        for seed in range(FIRST, FIRST + KILLS):
            handle = once(engine, handle, seed)
    finally:
        engine.stop()


def once(engine: Redis, handle: str, seed: int) -> str:
    """The database that the next kill goes on with: this one, or, as a restore would have it, one of its cuts."""
    chance, server = random.Random(seed), engine._server(handle)
    began = number(engine, handle)
    programs = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.databases.redis_process", what, str(engine._root), handle, str(seed)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        ) for what in ("write", "cut")
    ]  # fmt: skip
    time.sleep(chance.uniform(0.6, 2.0))  # the moment of the kill; what is checked does not depend on it
    server_too = chance.random() < 0.5
    if server_too:
        os.kill(server.pid(), signal.SIGKILL)
    for each in programs:
        os.killpg(each.pid, signal.SIGKILL)
    said = [line.split() for each in programs for line in each.communicate()[0].splitlines()]
    answered = max((int(words[1]) for words in said if words[0] == "w" and len(words) == 2), default=began)
    cuts = [(words[1], int(words[2])) for words in said if words[0] == "c" and len(words) == 3]
    engine.keep(handle)
    answers(engine, handle)
    there = whole(engine, handle)
    if not server_too:
        assert there >= answered
    looked_at = cuts[-2:]
    for made, before in looked_at:
        answers(engine, made)
        assert before <= whole(engine, made) <= max(there, answered + 1)
    assert server_too or there <= answered + 1
    goes_on = looked_at[0][0] if looked_at and chance.random() < 0.3 else handle
    for folder in engine._folders():
        if folder.name != goes_on:
            engine.close(folder.name)
    engine.sweep([goes_on], -1)
    assert [folder.name for folder in engine._folders()] == [goes_on]
    return goes_on


def answers(engine: Redis, handle: str) -> None:
    """A child of a server that was killed may still write, and the next one waits for its end."""
    deadline = time.monotonic() + 60
    while not engine.ensure(handle):
        assert time.monotonic() < deadline


def number(engine: Redis, handle: str) -> int:
    with engine._server(handle).line() as line:
        return int(line.ask("GET", "number") or 0)


def whole(engine: Redis, handle: str) -> int:
    """Its number, which as many rows stand behind, one after the other."""
    with engine._server(handle).line() as line:
        rows = line.ask("LRANGE", "rows", 0, -1)
    assert [int(row.split()[0]) for row in rows] == list(range(1, number(engine, handle) + 1))
    assert engine.check(handle) == []
    return len(rows)
