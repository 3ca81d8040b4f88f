"""Opening a database from a program. What it needs is imported when it is called: whoever never does pays nothing."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from bough.runtime.pages import extension, format

_registered = {"done": False}
_REGISTERED = 256  # SQLITE_OK_LOAD_PERMANENTLY


def register() -> bool:
    """Lets Python's `sqlite3`, and all that is built on it, open databases in pages by their path. False where the
    extension cannot be built or loaded."""
    if not _registered["done"]:
        library = extension.here()
        _registered["done"] = library is not None and (_handed_over(library) or _loaded(library))
    return _registered["done"]


def path_of(url: str) -> Path:
    """The file that a URL such as `sqlite:////srv/orders.db` names; a path is its own."""
    from urllib.parse import unquote, urlsplit

    return Path(unquote(urlsplit(url).path[1:])) if url.startswith("sqlite:") else Path(url)


def database(name: str, **options: Any) -> Any:
    """A connection to a database of this environment: `bough.database("orders")`. For SQLite a `sqlite3.Connection`
    (an `apsw.Connection` where the extension cannot be built), for Postgres one of psycopg, for Redis a client of the
    package redis."""
    variable = variable_of(name)
    url = os.environ.get(variable, "")
    if not url:
        raise KeyError(f"there is no database {name!r} here: {variable} is not set; bough db add {name}")
    if url.startswith("postgresql:"):
        return importlib.import_module("psycopg").connect(url, **options)
    if url.startswith("unix:"):
        return importlib.import_module("redis").from_url(url, **options)
    return connect(path_of(url), **options)


def connect(path: Path, **options: Any) -> Any:
    """The same by its path. A plain file is opened as it is."""
    import sqlite3

    if register() or not format.is_pages(path.resolve()):
        return sqlite3.connect(path, **options)
    ours = importlib.import_module("bough.runtime.pages.vfs")
    return importlib.import_module("apsw").Connection(str(path), vfs=ours.register(), **options)


def variable_of(name: str) -> str:
    """The variable with the URL of a database: `ORDERS_URL`."""
    return f"{name.upper().replace('-', '_')}_URL"


def _handed_over(library: Path) -> bool:
    """Straight to the SQLite that Python uses: many a Python is built without loadable extensions."""
    import ctypes

    try:
        module = importlib.import_module("_sqlite3")
        sqlite = ctypes.CDLL(str(module.__file__))
        done = ctypes.CDLL(str(library)).bough_pages_register(sqlite.sqlite3_vfs_find, sqlite.sqlite3_vfs_register)
    except (AttributeError, OSError):
        return False
    return bool(done == _REGISTERED)


def _loaded(library: Path) -> bool:
    import sqlite3

    if not hasattr(sqlite3.Connection, "enable_load_extension"):
        return False
    connection = sqlite3.connect(":memory:")
    try:
        connection.enable_load_extension(True)
        connection.load_extension(str(library))
    except sqlite3.Error:
        return False
    finally:
        connection.close()
    return True
