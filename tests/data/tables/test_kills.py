"""kill -9 in the middle of appends, updates and compactions: what was committed is there, every version is readable.

`BOUGH_KILLS=200` makes more rounds of it.
"""

from __future__ import annotations

import random
import textwrap
import time

from tests.data.tables.conftest import Shop
from tests.depth import times
from tests.programs import OURS

ROUNDS = times("BOUGH_KILLS", quick=2, deep=4)
WRITER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from bough.app import Bough
    from bough.kernel.context import SYSTEM
    from bough.kernel.platform import Platform

    bough = Bough(Path(sys.argv[1]), Platform())

    def do(verb, **fields):
        bough.operations.call(f"tables.{verb}", {"project": "shop", "name": "log", **fields}, SYSTEM)

    for number in range(int(sys.argv[2]), 10**9):
        blob = bough.blobs.put(f"id,times\\n{number},0\\n".encode())
        do("append", blob=blob, format="csv")
        print(number, flush=True)
        do("update", set={"times": "times + 1"}, where=f"id % 3 = {number % 3}")
        if number % 4 == 0:
            do("compact")
""")


def test_nothing_committed_is_lost_and_every_version_is_readable(shop: Shop) -> None:
    chance = random.Random(7)
    shop.do("create", "log", schema="id BIGINT, times BIGINT")
    acknowledged: list[int] = []
    for round_ in range(ROUNDS):
        writer = OURS.start(WRITER, shop.folder / "home", round_ * 1_000_000)
        try:
            for _ in range(chance.randint(1, 6)):
                acknowledged.append(int(writer.stdout.readline()))
                [[rows, ids]] = shop.rows("SELECT count(*), count(DISTINCT id) FROM log")  # another process reads
                assert rows == ids >= len(acknowledged)
            time.sleep(chance.random() * 0.3)  # somewhere in its work
        finally:
            writer.kill()
        acknowledged += map(int, writer.wait()[1].split())
        there = [row[0] for row in shop.rows("SELECT id FROM log")]
        assert len(there) == len(set(there)) and set(acknowledged) <= set(there)
    for each in shop.do("history", "log", limit=1000):
        assert shop.rows("SELECT count(*) FROM log", at=f"#{each.seq}") == [[each.rows]]
