"""Writes the next migration from the difference between the tables in code and those that the migrations make.

python tools/migration.py NAME      for example: add-budgets
python tools/migration.py --first   makes the first one anew; only until the first release
python tools/migration.py --schema  writes what all of them come to, from which new databases are made (`make docs`)
"""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
from pathlib import Path

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext

from bough.adapters.database import migrate
from bough.adapters.database.sqlite import SqliteDatabase
from bough.kernel.tables import metadata

ROOT = Path(__file__).parent.parent
TEMPLATE = '''"""{title}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {down}


def upgrade() -> None:
{body}
'''


def main(name: str) -> None:
    importlib.import_module("bough.app")  # which imports everything that has tables
    importlib.import_module("bough.kernel.catalog")
    first = name == "--first"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bough.db"
        if not first:
            migrate.upgrade(path)
        database = SqliteDatabase(path)
        with database.read() as tx:
            context = MigrationContext.configure(tx, opts={"compare_type": True, "compare_server_default": True})
            changes = produce_migrations(context, metadata).upgrade_ops
            if changes is None:
                sys.exit("Alembic found nothing to compare")
            rendered = render_python_code(changes, migration_context=context).splitlines()
            body = [line for line in rendered if not line.strip().startswith("# ###")]
        database.close()
    number = 1 if first else int(migrate.HEAD[:4]) + 1
    slug = "first" if first else re.sub(r"[^a-z0-9]+", "_", name.lower())
    text = TEMPLATE.format(
        title="The tables of the first release" if first else slug.replace("_", " ").capitalize(),
        revision=f"{number:04}",
        down="None" if first else f'"{migrate.HEAD}"',
        body="\n".join(line if line.startswith("    ") or not line else "    " + line for line in body) or "    pass",
    )
    target = migrate.FOLDER / "versions" / f"{number:04}_{slug}.py"
    target.write_text(text, "utf-8")
    print(f"{target.relative_to(ROOT)} written; read it, then set HEAD in bough/adapters/database/migrate.py,")
    print("and run `make docs`, which writes schema.sql anew")


def schema() -> None:
    with tempfile.TemporaryDirectory() as folder:
        migrate.SCHEMA.write_text(migrate.schema(Path(folder)), "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    schema() if sys.argv[1] == "--schema" else main(sys.argv[1])
