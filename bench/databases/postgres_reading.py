"""First reads and writes of a large table that a branch shares.

python -m bench.databases.postgres_reading [--rows N]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from bough.adapters.sql import postgres_sharing
from bough.adapters.sql.postgres import Postgres
from bough.adapters.sql.postgres_overlay import size_of
from bough.adapters.sql.postgres_server import Server

MB = 1 << 20
STEPS = {
    "first read": "SELECT count(pad) FROM big",
    "again": "SELECT count(pad) FROM big",
    "one row": "UPDATE big SET pad = 'x' WHERE id = 7",
    "checkpoint": "CHECKPOINT",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_100_000, help="of about a kilobyte")
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        engine = Postgres(Path(folder))
        handle = engine.make("overlay")
        server = engine._server(handle)
        server.psql("CREATE TABLE big AS SELECT g AS id, repeat(md5(g::text), 28) AS pad"
                    f" FROM generate_series(1, {rows}) g; VACUUM big; CREATE INDEX ON big (id)")  # fmt: skip
        engine.settle(handle)
        engine._bases.wait(server)
        works = postgres_sharing.find
        for name, find in [("with the library", works), ("without", lambda root: None)] * 2:
            postgres_sharing.find = find  # type: ignore[assignment]
            made = engine.cut(handle).handle
            engine.ensure(made)
            print(f"{name}: {measured(engine._server(made))}", flush=True)
            engine.close(made)
        engine.stop()


def measured(server: Server) -> str:
    found, before = [], size_of(server.data)
    for name, sql in STEPS.items():
        began = time.perf_counter()
        server.psql(sql)
        found.append(f"{name} {time.perf_counter() - began:.2f} s (+{(size_of(server.data) - before) // MB} MB)")
    return ", ".join(found)


if __name__ == "__main__":
    main()
