"""Brings a database file to the tables that this version of Bough needs. Forward only.

One transaction for all of it: a crash leaves the old tables, two processes that start together do it once. Alembic is
imported only for a database that has to change, because it would be a third of the server's start otherwise; that a
database is up to date is one SELECT, and a new one is made by the statements of `schema.sql`, which is what all
migrations together come to (`make docs` writes it, a test compares).
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from bough.adapters.database.sqlite import SqliteDatabase
from bough.kernel.errors import Conflict

HEAD = "0032"  # of `migrations/versions`; a test compares
FOLDER = Path(__file__).with_name("migrations")
SCHEMA = Path(__file__).with_name("schema.sql")
_BETWEEN = ";\n\n"  # statements: no migration writes an empty line into one


def upgrade(path: Path, *, durable: bool = True) -> None:
    """Makes the database at `path`, or brings it up to date. Does nothing when it is. A database of a newer Bough is
    refused (code DATABASE_NEWER)."""
    database = SqliteDatabase(path, durable=durable)
    try:
        bring_up_to_date(database)
    finally:
        database.close()


def bring_up_to_date(database: SqliteDatabase) -> None:
    """The same for one that is open."""
    with database.read() as tx:
        if _version(tx) == HEAD:
            return
    with database.write() as tx:
        if not _tables(tx):  # not done by another process meanwhile
            _make(tx)
        if _version(tx) != HEAD:
            _run(tx, database.path)


def schema(folder: Path) -> str:
    """What `schema.sql` has to be: the statements of a database that all migrations have made, in `folder`."""
    database = SqliteDatabase(folder / "schema.db", durable=False)
    try:
        with database.write() as tx:
            _run(tx, database.path)
            made = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
            statements = [each.replace(", \n", ",\n") for each in tx.execute(sa.text(made)).scalars()]
    finally:
        database.close()
    version = f"INSERT INTO alembic_version VALUES ('{HEAD}')"  # noqa: S608 - a constant of ours
    return "".join(each + _BETWEEN for each in [*statements, version])


def _tables(tx: sa.Connection) -> int:
    return int(tx.execute(sa.text("SELECT count(*) FROM sqlite_master")).scalar_one())


def _make(tx: sa.Connection) -> None:
    for statement in SCHEMA.read_text("utf-8").split(_BETWEEN)[:-1]:
        tx.exec_driver_sql(statement)


def _version(tx: sa.Connection) -> str | None:
    if not tx.execute(sa.text("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'")).first():
        return None
    found: str | None = tx.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _run(tx: sa.Connection, path: Path) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(FOLDER))
    version = _version(tx)
    if version is not None and version not in {script.revision for script in scripts.walk_revisions()}:
        raise Conflict(
            f"{path} was written by a newer Bough (its tables are at {version}, this one knows {HEAD})",
            code="DATABASE_NEWER",
            hint="pip install --upgrade bough",
            version=version,
        )
    steps = EnvironmentContext(
        Config(), scripts, fn=lambda now, _: scripts._upgrade_revs("head", now), destination_rev="head"
    )
    with steps:
        steps.configure(connection=tx)
        steps.run_migrations()
