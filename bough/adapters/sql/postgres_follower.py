"""The warm pool of Postgres: beside a database that is branched, a server that follows it and is handed over.

    <root>/<id>/follower    the name of the one that follows it; a branch of its own once this is gone

A follower is a copy that pg_basebackup makes while its source runs on, and that replays the log of its source from then
on (streaming replication). To hand it over is to wait until it has all that was committed, and to promote it; nobody is
held still, and another one is begun.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from bough.adapters.sql.postgres_lines import Lines
from bough.adapters.sql.postgres_overlay import drop_slots
from bough.adapters.sql.postgres_server import Programs, Server
from bough.adapters.sql.postgres_settling import is_lost, prepare, settle_soon, sync, sync_from_now
from bough.kernel.errors import Invalid, Problem
from bough.kernel.files import as_exhausted, write_whole
from bough.kernel.names import new_id
from bough.kernel.trees import remove_tree

WARM, FOLLOWER = "warm", "follower"
PATIENCE_S = 2.0  # until it has the log and is promoted: whoever changes the catalog waits with it
_FOLLOWS = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"
_RECEIVED = "SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')::bigint"
UNSYNCED_BYTES = 32 << 20  # of the log, that a follower has written and nobody has synced
_LOOK_S = 0.0003  # between two looks at a follower that is being promoted


class Followers:
    def __init__(self, server_of: Callable[[str], Server], programs: Programs) -> None:
        self._server_of, self._programs = server_of, programs
        self._making, self._lock = dict[str, threading.Thread](), threading.Lock()
        self._lines, self._synced = Lines(), dict[str, int]()  # how far in the log each was when it was last synced

    def of(self, source: Server) -> Server | None:
        """The one that follows it, if it is there and keeps up."""
        follower = self.named(source)
        if follower is not None and follower.pid():
            with contextlib.suppress(Problem):
                if self._lines.ask(follower, _FOLLOWS) == "1":
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
            lsn = self._lines.ask(source, "SELECT pg_current_wal_flush_lsn()")
            self._until(follower, f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'")
            self._lines.ask(follower, "SELECT pg_promote(false)")
            self._until(follower, "SELECT NOT pg_is_in_recovery()")
            sync_from_now(follower)
        except (Invalid, OSError):
            with contextlib.suppress(Problem):
                follower.stop()
            return None
        finally:
            self._lines.close(follower)
        threading.Thread(target=settle_soon, args=(follower,), name="settle", daemon=True).start()
        return follower

    def _until(self, follower: Server, sql: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self._lines.ask(follower, sql) not in ("True", "t"):  # as psycopg says it, and psql
            if time.monotonic() > deadline:
                raise Invalid("it does not keep up", code="POSTGRES_SAYS", hint="bough db list")
            time.sleep(_LOOK_S)

    def refresh(self, source: Server) -> None:
        """Sees to it that there is one. Returns at once."""
        with self._lock:
            at_work = self._making.get(source.place.name)
            if at_work is not None and at_work.is_alive():
                return
            follower = self.of(source)
            if follower is None or self._has_much_to_sync(follower):
                work = (self._make, (source,)) if follower is None else (sync, (follower.data,))
                thread = threading.Thread(target=work[0], args=work[1], name=FOLLOWER, daemon=True)
                self._making[source.place.name] = thread
                thread.start()

    def _has_much_to_sync(self, follower: Server) -> bool:
        """Who commits first in a branch waits for it."""
        with contextlib.suppress(Problem):
            received = int(self._lines.ask(follower, _RECEIVED))
            if received > self._synced.setdefault(follower.place.name, received) + UNSYNCED_BYTES:
                self._synced[follower.place.name] = received
                return True
        return False

    def wait(self, source: Server) -> None:
        """Until the one that is being made is there, or has failed."""
        if thread := self._making.get(source.place.name):
            thread.join()

    def end(self, source: Server) -> None:
        """Nobody branches from the source any more."""
        if (follower := self.named(source)) is not None:
            (source.place / FOLLOWER).unlink(missing_ok=True)
            self._lines.close(follower)
            follower.stop()
        self._lines.close(source)

    def stop(self) -> None:
        """Once its servers were stopped: one that is being made fails then, or is there, and no line stays open."""
        for thread in list(self._making.values()):
            thread.join()
        self._lines.close_all()

    def named(self, source: Server) -> Server | None:
        try:
            return self._server_of((source.place / FOLLOWER).read_text("ascii"))
        except FileNotFoundError:
            return None

    def _make(self, source: Server) -> None:
        there = self.named(source)
        if there is not None and there.exists and not is_lost(there):  # else it may have been handed over
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
                prepare(made)
                made.start()
                self._lines.ask(source, "SELECT pg_current_wal_flush_lsn()")  # so that a cut finds lines that are warm
                self._lines.ask(made, "SELECT pg_last_wal_replay_lsn(), pg_is_in_recovery()")
                write_whole(source.place / FOLLOWER, made.place.name.encode())
        except (Problem, OSError):  # cuts copy meanwhile, and the next turn tries again
            with contextlib.suppress(Problem):
                made.stop()
            remove_tree(made.place)
