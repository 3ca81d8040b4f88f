"""A control plane with a project, and databases opened as programs open them."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bough.runtime.pages import extension, opening
from tests.plane import Plane

PROJECT = "shop"


class Rows:
    """The environments' databases, as programs see them."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane

    def url(self, name: str = "orders", environment: str = "main") -> str:
        return str(self.plane.call("databases.url", project=PROJECT, name=name, environment=environment).url)

    @contextlib.contextmanager
    def open(self, name: str = "orders", environment: str = "main") -> Iterator[Any]:
        connection = opening.connect(opening.path_of(self.url(name, environment)))
        try:
            yield connection
        finally:
            connection.close()

    def run(self, sql: str, environment: str = "main", name: str = "orders") -> list[tuple[Any, ...]]:
        with self.open(name, environment) as connection:
            rows = connection.execute(sql).fetchall()
            if isinstance(connection, sqlite3.Connection):
                connection.commit()
            return list(rows)


@pytest.fixture(scope="session", autouse=True)
def compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The extension is built once, and is what Python's `sqlite3` uses from then on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        if extension.here() is not None:
            assert opening.register()


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    made = Plane(tmp_path)
    made.call("environments.create", project=PROJECT, branch="main")
    yield made
    made.bough.stop()


@pytest.fixture
def rows(plane: Plane) -> Rows:
    plane.call("databases.add", project=PROJECT, name="orders")
    found = Rows(plane)
    found.run("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, email TEXT, total REAL)")
    found.run("INSERT INTO orders VALUES (1, 'Ada', 'ada@example.org', 10.0), (2, 'Bob', 'bob@example.org', 20.0)")
    return found
