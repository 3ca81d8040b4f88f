"""Connections that stay open to servers which are asked often, and sometimes in a hurry."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import threading
import weakref
from typing import Any

from bough.adapters.sql.postgres_server import CONNECT_S, Server
from bough.kernel.errors import Invalid


class Lines:
    """From any thread. They end with it, at the latest."""

    def __init__(self) -> None:
        self._there, self._lock = dict[str, Any](), threading.Lock()
        weakref.finalize(self, _close_all, self._there)

    def ask(self, server: Server, sql: str) -> str:
        """As `Server.ask`, by the connection that stays; a server that was started anew gets another one."""
        if importlib.util.find_spec("psycopg") is None:
            return server.ask(sql)
        psycopg = importlib.import_module("psycopg")
        known = self._there.get(server.place.name)
        if known is not None:
            with contextlib.suppress(psycopg.OperationalError):  # that line is dead
                return _asked(known, sql)
            self.close(server)
        try:
            made = psycopg.connect(server.url, autocommit=True, connect_timeout=CONNECT_S)
            with self._lock:
                self._there[server.place.name] = made
            return _asked(made, sql)
        except psycopg.Error as error:
            raise Invalid(f"PostgreSQL says: {error}", code="POSTGRES_SAYS", hint="bough db check NAME") from error

    def close(self, server: Server) -> None:
        with self._lock:
            line = self._there.pop(server.place.name, None)
        if line is not None:
            line.close()

    def close_all(self) -> None:
        """Servers that are asked again get new ones."""
        with self._lock:
            _close_all(self._there)


def _close_all(lines: dict[str, Any]) -> None:
    while lines:
        lines.popitem()[1].close()


def _asked(connection: Any, sql: str) -> str:
    row = connection.execute(sql).fetchone()
    return str(row[0]) if row else ""
