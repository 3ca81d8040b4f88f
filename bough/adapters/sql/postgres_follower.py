"""The warm pool of Postgres: beside a database that is branched, a server that follows it and is handed over.

    <root>/<id>/follower    the name of the one that follows it

A follower is a copy that pg_basebackup makes while its source runs on, and that replays the log of its source from then
on (streaming replication). To hand it over is to wait until it has all that was committed, and to promote it; nobody is
held still, and another one is begun.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from bough.adapters.sql.postgres_overlay import drop_slots
from bough.adapters.sql.postgres_server import Programs, Server
from bough.kernel.errors import Invalid, Problem
from bough.kernel.files import as_exhausted, write_whole
from bough.kernel.names import new_id
from bough.kernel.trees import remove_tree

WARM, FOLLOWER = "warm", "follower"
PATIENCE_S = 2.0  # until it has the log and is promoted: whoever changes the catalog waits with it
_FOLLOWS = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"
_TAKE_OVER = """
DO $$
DECLARE deadline timestamptz := clock_timestamp() + interval '{patience} s';
BEGIN
    WHILE pg_last_wal_replay_lsn() < '{lsn}' LOOP
        IF clock_timestamp() > deadline THEN RAISE 'it does not keep up'; END IF;
        PERFORM pg_sleep(0.0005);
    END LOOP;
    PERFORM pg_promote(false);
    WHILE pg_is_in_recovery() LOOP
        IF clock_timestamp() > deadline THEN RAISE 'it was not promoted'; END IF;
        PERFORM pg_sleep(0.0005);
    END LOOP;
END $$;
"""


class Followers:
    def __init__(self, server_of: Callable[[str], Server], programs: Programs) -> None:
        self._server_of, self._programs = server_of, programs
        self._making, self._lock = dict[str, threading.Thread](), threading.Lock()

    def of(self, source: Server) -> Server | None:
        """The one that follows it, if it is there and keeps up."""
        follower = self.named(source)
        if follower is not None and follower.pid():
            with contextlib.suppress(Problem):
                if follower.ask(_FOLLOWS) == "1":
                    return follower
        return None

    def handed_over(self, source: Server) -> Server | None:
        """The one that followed it, a database of its own now, with all that was committed in its source before this
        was called; None when there is none, or it does not keep up."""
        follower = self.named(source)
        if follower is None or not follower.pid():
            return None
        (source.place / FOLLOWER).unlink()
        try:
            lsn = source.ask("SELECT pg_current_wal_flush_lsn()")
            follower.ask(_TAKE_OVER.format(lsn=lsn, patience=PATIENCE_S))
        except Invalid:
            with contextlib.suppress(Problem):
                follower.stop()
            return None
        return follower

    def refresh(self, source: Server) -> None:
        """Sees to it that there is one. Returns at once."""
        with self._lock:
            at_work = self._making.get(source.place.name)
            if (at_work is None or not at_work.is_alive()) and self.of(source) is None:
                thread = threading.Thread(target=self._make, args=(source,), name=FOLLOWER, daemon=True)
                self._making[source.place.name] = thread
                thread.start()

    def wait(self, source: Server) -> None:
        """Until the one that is being made is there, or has failed."""
        if thread := self._making.get(source.place.name):
            thread.join()

    def end(self, source: Server) -> None:
        """Nobody branches from the source any more."""
        if (follower := self.named(source)) is not None:
            (source.place / FOLLOWER).unlink(missing_ok=True)
            follower.stop()

    def named(self, source: Server) -> Server | None:
        try:
            return self._server_of((source.place / FOLLOWER).read_text("ascii"))
        except FileNotFoundError:
            return None

    def _make(self, source: Server) -> None:
        if (there := self.named(source)) is not None and there.exists:
            with contextlib.suppress(Problem):
                there.start()
            return
        slot = f"{WARM}_{source.place.name.partition('_')[2]}"
        made = self._server_of(new_id(WARM))
        try:
            drop_slots(source, f"slot_name = '{slot}'")
            with as_exhausted(made.place):
                made.place.mkdir(mode=0o700)
                words = ["-h", str(source.sockets), "-D", str(made.data), "-c", "fast", "--no-manifest"]
                self._programs.run("pg_basebackup", *words, "-R", "-C", "-S", slot)
                made.start()
                write_whole(source.place / FOLLOWER, made.place.name.encode())
        except (Problem, OSError):  # cuts copy meanwhile, and the next turn tries again
            with contextlib.suppress(Problem):
                made.stop()
            remove_tree(made.place)
