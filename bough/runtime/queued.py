"""Who an item of a queue is, for a handler that asks: a parameter annotated `bough.Item`, or `list[bough.Item]` in a
batching one. It is no part of the body; a request that came from no queue has one that says so."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import unquote

_MARK = ";bough-item="
_PLACEHOLDERS = {"qmark": "?", "format": "%s", "pyformat": "%s", "numeric": ":1", "named": ":item"}


class Item:
    """`id` is empty where there is no queue. `attempt` counts from 1. `dedup` and `key` are what its sender said."""

    __slots__ = ("attempt", "dedup", "id", "key")

    def __init__(self, id: str = "", attempt: int = 1, dedup: str = "", key: str = "") -> None:
        self.id, self.attempt, self.dedup, self.key = id, attempt, dedup, key

    def __repr__(self) -> str:
        return f"Item({self.id!r}, attempt={self.attempt}, dedup={self.dedup!r}, key={self.key!r})"

    def once(self, connection: Any, table: str = "bough_done") -> bool:
        """True for the first time that this item, or one with its dedup id, is noted in the database; False ever after.
        `connection` is any DB-API connection. The note belongs to its open transaction: commit it together with the
        effect, and both have happened or neither has."""
        if not table.replace("_", "").isalnum():
            raise ValueError(f"{table!r} cannot be the name of a table here: letters, digits and _")
        if not self.id:
            return True
        module = sys.modules[type(connection).__module__.partition(".")[0]]
        place = _PLACEHOLDERS[getattr(module, "paramstyle", "qmark")]
        name = f"dedup:{self.dedup}" if self.dedup else self.id
        cursor = connection.cursor()
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {table} (item VARCHAR(300) PRIMARY KEY)")
        values = {"item": name} if place == ":item" else (name,)
        cursor.execute(f"INSERT INTO {table} (item) VALUES ({place}) ON CONFLICT DO NOTHING", values)  # noqa: S608 - the name was checked
        added = bool(cursor.rowcount == 1)
        cursor.close()
        return added


def item_of(meta: str) -> tuple[Item, str]:
    """What the gateway says of a request: its item, and the content type alone."""
    at = meta.find(_MARK)
    if at < 0:
        return Item(), meta
    said, _, rest = meta[at + len(_MARK) :].partition(";")
    parts = [unquote(part) for part in said.split("/")]
    content = meta[:at] + (";" + rest if rest else "")
    if len(parts) != 4 or not parts[1].isdigit():
        return Item(), content
    return Item(parts[0], int(parts[1]), parts[2], parts[3]), content
