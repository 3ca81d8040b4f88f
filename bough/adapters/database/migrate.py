"""Brings a database file to the tables that this version of Bough needs. Forward only.

One transaction for all of it: a crash leaves the old tables, two processes that start together do it once. Alembic is
imported only when there is something to do, because it would be a third of the server's start otherwise; that a
database is up to date is one SELECT.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from bough.adapters.database.sqlite import SqliteDatabase
from bough.kernel.errors import Conflict

HEAD = "0018"  # of `migrations/versions`; a test compares
FOLDER = Path(__file__).with_name("migrations")


def upgrade(path: Path) -> None:
    """Makes the database at `path`, or brings it up to date. Does nothing when it is. A database of a newer Bough is
    refused (code DATABASE_NEWER)."""
    database = SqliteDatabase(path)
    try:
        with database.read() as tx:
            if _version(tx) == HEAD:
                return
        with database.write() as tx:
            if _version(tx) != HEAD:  # not done by another process meanwhile
                _run(tx, path)
    finally:
        database.close()


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
