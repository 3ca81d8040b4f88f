"""The role of a masked database on a server of the user's own: it owns that database, may sign in, and has no other
right than what everybody has there. So what everybody (PUBLIC) may read in the databases around it must be nothing.

Names of tables and columns, and comments, are read by all who may connect to a database, as PostgreSQL has it; who
revokes CONNECT on it from PUBLIC closes that too.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from bough.adapters.sql.postgres_masks import literal, quoted
from bough.kernel.errors import Invalid

MEMBERS_INHERIT_SINCE = 160_000  # PostgreSQL's version in numbers: a membership says itself what it brings
_MAY = "SELECT current_user, rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"
_OPEN = (
    "SELECT datname FROM pg_database WHERE datallowconn AND has_database_privilege('public', oid, 'CONNECT')"
    r" AND (datname = %s OR datname LIKE 'bough\_%%' AND pg_has_role(datdba, 'MEMBER'))"
)
_NOT_OURS = (
    "n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
    " AND has_schema_privilege('public', n.oid, 'USAGE')"
    " AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = o.oid AND d.deptype = 'e')"
)
_READABLE = (
    "SELECT format('the table %I.%I', n.nspname, o.relname) FROM pg_class o"  # noqa: S608 - constants
    f" JOIN pg_namespace n ON n.oid = o.relnamespace WHERE o.relkind IN ('r', 'p', 'v', 'm', 'f') AND {_NOT_OURS}"
    " AND has_any_column_privilege('public', o.oid, 'SELECT')"
    " UNION ALL SELECT format('the function %I.%I, which has its owner''s rights', n.nspname, o.proname)"
    f" FROM pg_proc o JOIN pg_namespace n ON n.oid = o.pronamespace WHERE o.prosecdef AND {_NOT_OURS}"
    " AND has_function_privilege('public', o.oid, 'EXECUTE') LIMIT 1"
)


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """Its password is written down beside the handle of its database, for Bough's user to read."""

    name: str
    password: str


def fresh(name: str) -> Role:
    return Role(name=name, password=secrets.token_hex(24))


def check(connection: Any, origin: str, connected: Callable[[str], AbstractContextManager[Any]]) -> None:
    """Raises `Invalid` (SERVER_UNFIT) where no role could be made, or one could read what the database `origin` or a
    branch of it holds. `connected`: to another database of the server."""
    user, may = connection.execute(_MAY).fetchone()
    if not may:
        raise Invalid(
            f"a masked database gets a role of its own, so that its URL does not open the parent, and {user} may create"
            " none",
            code="SERVER_UNFIT", hint=f"an administrator runs: ALTER ROLE {quoted(user)} CREATEROLE",
        )  # fmt: skip
    for (name,) in connection.execute(_OPEN, (origin,)).fetchall():
        with connected(name) as there:
            found = there.execute(_READABLE).fetchone()
        if found is not None:
            raise Invalid(
                f"everybody who may connect to the database {name} can read {found[0]}, and so could whoever is given"
                " the masked one",
                code="SERVER_UNFIT", hint=f"REVOKE CONNECT ON DATABASE {quoted(name)} FROM PUBLIC",
            )  # fmt: skip


def make(connection: Any, role: Role) -> None:
    """Its password does not appear in the statement, which a server may log."""
    sealed = connection.pgconn.encrypt_password(role.password.encode(), role.name.encode(), b"scram-sha-256").decode()
    name = quoted(role.name)
    connection.execute(
        f"CREATE ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
        f" PASSWORD {literal(sealed)}"
    )
    options = " WITH INHERIT TRUE, SET TRUE" if connection.info.server_version >= MEMBERS_INHERIT_SINCE else ""
    connection.execute(f"GRANT {name} TO CURRENT_USER{options}")  # Bough goes on looking after the database


def shut(connection: Any, database: str) -> None:
    """Nobody connects to it but its owner, and who has the owner's rights."""
    connection.execute(f"REVOKE ALL ON DATABASE {quoted(database)} FROM PUBLIC")


def drop(connection: Any, role: Role) -> None:
    """Raises what PostgreSQL says while another database is the role's."""
    connection.execute(f"DROP ROLE IF EXISTS {quoted(role.name)}")
