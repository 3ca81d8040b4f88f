"""Databases on a PostgreSQL server of the user's own: a branch is CREATE DATABASE … TEMPLATE on that server.

    <root>/<handle>.json    which database it is, on which server, and which secret the password of its URL is

PostgreSQL copies a database only while nobody is connected to it: connections to the parent end, and new ones wait for
the copy. Where the server is PostgreSQL 18 on a file system that clones, it is told to clone. What was there before
Bough is never dropped.

A masked database belongs to a role of its own, whose password lies beside its handle: who is given its URL cannot read
what it was made from (`postgres_roles.py`).
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from bough.adapters.sql import Announced, Cut, Running, Script, Way, postgres_roles
from bough.adapters.sql.policies import check_columns
from bough.adapters.sql.postgres_masks import Side, copy_masked, leak_in_dump, literal, quoted
from bough.adapters.sql.postgres_roles import Role
from bough.adapters.sql.postgres_server import Programs
from bough.kernel.errors import Conflict, Invalid, NotFound, Unavailable
from bough.kernel.files import as_exhausted, write_whole
from bough.kernel.names import new_id

TEMPLATE = "template"
COPY_BYTES_PER_S, CLONE_S = 0.4e9, 0.3  # for what is announced, until a branch has shown better
PATIENCE_S = 5.0  # until those who were connected are gone
CLONES_SINCE = 180_000  # PostgreSQL's version in numbers
LEDGER = "bough_migration"
_ABOUT = {
    True: "CREATE DATABASE … TEMPLATE on your server, which clones files; connections to the parent end for it",
    False: "CREATE DATABASE … TEMPLATE on your server, which copies files; connections to the parent end for it",
}
_COLUMNS = (
    "SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables"
    " USING (table_schema, table_name) WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
    " ORDER BY 1, ordinal_position"
)


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    """`server` is a URL without its password, `secret` what that is kept under; empty where there is none. `ours`:
    whether Bough made it, and may drop it. `clones`: whether the server has cloned, once it was tried. `origin`: the
    user's own database that it comes from. `role`: to whom a masked database belongs."""

    server: str
    secret: str
    database: str
    ours: bool
    clones: bool | None = None
    origin: str = ""
    role: Role | None = None


class OwnServers:
    """`root` belongs to it alone; `url_of` opens the secret that a server's URL is."""

    def __init__(self, root: Path, opened: Callable[[str], str]) -> None:
        """`opened`: gives the text of a secret."""
        self._root, self._opened, self._programs = root, opened, Programs()
        self._seconds = dict[str, float]()  # of the last branch, by server

    def ways(self) -> list[Way]:
        there = importlib.util.find_spec("psycopg") is not None
        why_not = "" if there else "psycopg is missing: pip install 'bough[postgres]'"
        return [Way(name=TEMPLATE, about=_ABOUT[False], why_not=why_not)]

    def adopt(self, url: str, secret: str) -> str:
        with _connected(url) as connection:
            row = connection.execute("SELECT current_database(), rolcreatedb OR rolsuper FROM pg_roles"
                                     " WHERE rolname = current_user").fetchone()  # fmt: skip
        if not row[1]:
            raise Invalid(
                "the user of this URL may not create databases, and a branch is one",
                code="SERVER_UNFIT", hint="ALTER ROLE … CREATEDB",
            )  # fmt: skip
        before, password, after = _split(url.replace("postgres://", "postgresql://", 1))  # what programs know
        kept = secret if password else ""
        return self._keep(_Known(server=before + after, secret=kept, database=row[0], origin=row[0], ours=False))

    def make(self, way: str, source: Path | None = None) -> str:
        raise Invalid(
            "a database on a server of your own is made there", code="SERVER_NEEDED",
            hint="bough db add NAME --engine postgres --server URL; psql URL -f FILE fills it",
        )  # fmt: skip

    def announce(self, handle: str) -> Announced:
        known = self._known(handle)
        with self._open(known) as connection:
            size = int(connection.execute("SELECT pg_database_size(current_database())").fetchone()[0])
        clones = bool(known.clones)
        seconds = self._seconds.get(known.server) or (CLONE_S if clones else 0.1 + size / COPY_BYTES_PER_S)
        return Announced(way=TEMPLATE, about=_ABOUT[clones], size=size, seconds=seconds,
                         bytes=0 if clones else size, held_s=seconds)  # fmt: skip

    def cut(self, handle: str, *, at_rest: bool = False) -> Cut:
        known = self._known(handle)
        name = f"bough_{new_id('db')[3:]}"
        with self._open(known, elsewhere="postgres") as connection:
            began = time.perf_counter()
            with _alone(connection, known.database):
                cloned = _copied(connection, known, name)
                postgres_roles.shut(connection, name)
            held_s = time.perf_counter() - began
        self._seconds[known.server] = held_s
        if cloned != known.clones:
            self._write(handle, msgspec.structs.replace(known, clones=cloned))
        made = self._keep(msgspec.structs.replace(known, database=name, ours=True, clones=cloned))
        return Cut(handle=made, size=0, held_s=held_s)

    def settle(self, handle: str) -> None:
        """Lets programs in again where a branch was killed half-way."""
        known = self._known(handle)
        with self._open(known, elsewhere="postgres") as connection:
            shut = connection.execute(
                "SELECT 1 FROM pg_database WHERE datname = %s AND NOT datallowconn", (known.database,)
            )
            if shut.fetchone():
                connection.execute(f"ALTER DATABASE {quoted(known.database)} ALLOW_CONNECTIONS true")

    def keep(self, handle: str) -> None:
        """The server is the user's."""

    def running(self, handle: str) -> Running | None:
        """The server is the user's."""
        return None

    def remake(self, handle: str, how: Mapping[str, Any]) -> bool:
        return False

    def url(self, handle: str, shown: Path) -> str:
        return self._url(self._known(handle))

    def sealed_url(self, handle: str) -> tuple[str, str, str]:
        known = self._known(handle)
        if known.role is not None:
            return self._url(known), "", ""
        before, _, after = _split(_at(known.server, known.database))
        return (f"{before}:" if known.secret else before), known.secret, after

    def ensure(self, handle: str) -> bool:
        return True

    def path(self, handle: str) -> Path:
        return self._root / f"{handle}.json"

    def own_bytes(self, handle: str) -> int:
        with self._open(self._known(handle)) as connection:
            return int(connection.execute("SELECT pg_database_size(current_database())").fetchone()[0])

    def close(self, handle: str) -> None:
        with contextlib.suppress(NotFound):
            known = self._known(handle)
            if known.ours:
                with self._open(known, elsewhere="postgres") as connection:
                    _let_nobody_in(connection, known.database)

    def dump(self, handle: str, target: Path) -> None:
        side = self._side(self._known(handle))
        self._programs.run("pg_dump", "-Fc", *side.words, "-f", str(target), password=side.password)

    def check(self, handle: str) -> list[str]:
        """All rows are read, against the checksums of their pages."""
        tables = [f"SELECT count(*) FROM {quoted(each)}" for each in self.columns(handle)]  # noqa: S608 - quoted
        try:
            with self._open(self._known(handle)) as connection:
                for each in tables:
                    connection.execute(each)
        except Invalid as error:
            return [error.message]
        return []

    def check_policy(self, handle: str, policy: Mapping[str, str]) -> None:
        """Raises `Invalid` (SERVER_UNFIT) too, where a masked database could have no role of its own."""
        check_columns(policy, self.columns(handle))
        if policy:
            self._check_roles(self._known(handle))

    def columns(self, handle: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        with self._open(self._known(handle)) as connection:
            for table, column in connection.execute(_COLUMNS).fetchall():
                found.setdefault(table, []).append(column)
        return found

    def migrate(self, handle: str, scripts: Sequence[Script]) -> list[str]:
        with self._open(self._known(handle)) as connection, connection.transaction():
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {LEDGER} (name text PRIMARY KEY, digest text, at timestamptz)"
            )
            known = dict(connection.execute(f"SELECT name, digest FROM {LEDGER}").fetchall())  # noqa: S608 - a constant
            fresh = [each for each in scripts if known.get(each.name) != each.digest]
            for each in fresh:
                if each.name in known:
                    raise Invalid(f"{each.name} has run here with another content", code="MIGRATION_FAILED",
                                  hint="write a new migration")  # fmt: skip
                try:
                    connection.execute(each.sql)
                except _errors() as error:
                    raise Invalid(
                        f"{each.name}: {error}", code="MIGRATION_FAILED", hint="change it, try again"
                    ) from error
                connection.execute(f"INSERT INTO {LEDGER} VALUES (%s, %s, now())", (each.name, each.digest))  # noqa: S608
        return [each.name for each in fresh]

    def mask(self, handle: str, policy: Mapping[str, str]) -> str:
        """A database of the same server that is written anew, row by row, by a role that owns nothing else."""
        known = self._known(handle)
        name = f"bough_{new_id('db')[3:]}"
        role = postgres_roles.fresh(name)
        target = msgspec.structs.replace(known, database=name, ours=True, role=role)
        self._check_roles(known)
        made = self._keep(target)  # first, so that a sweep finds what a kill leaves
        try:
            with self._open(known, elsewhere="postgres") as connection:
                postgres_roles.make(connection, role)
                _make_empty(connection, name, like=known.database, owner=name)
            sides = self._side(known), self._side(target)
            copy_masked(*sides, policy)
            if found := leak_in_dump(*sides, policy):
                raise Conflict(found, code="MASK_LEAKS", hint="bough db policy: mask or drop that column as well")
        except BaseException as error:
            self._drop(made)
            if isinstance(error, Invalid) and error.own_code == "POSTGRES_SAYS":
                raise Invalid(
                    f"it cannot be masked; {error.message}", code="MASK_INVALID",
                    hint="bough db policy; BOUGH_POSTGRES_BIN names programs of the server's version",
                ) from error  # fmt: skip
            raise
        return made

    def _side(self, known: _Known) -> Side:
        password = unquote(self._password(known))  # a program's words can be read by others, its environment cannot
        return Side(programs=self._programs, words=("-d", _as_user(known)), password=password)

    def sweep(self, live: Collection[str], older_than_s: float) -> int:
        before, freed = time.time() - older_than_s, 0
        for path in self._root.glob(f"{TEMPLATE}_*.json"):
            if path.stem not in live and path.stat().st_mtime < before:
                freed += self._drop(path.stem)
        return freed

    def _drop(self, handle: str) -> int:
        """The bytes that it freed; 0 of a server that is away: the next sweep tries again."""
        known, freed = self._known(handle), 0
        size = "SELECT coalesce(sum(pg_database_size(datname)), 0) FROM pg_database WHERE datname = %s"
        with contextlib.suppress(Invalid, Unavailable, NotFound):
            if known.ours:
                with self._open(known, elsewhere="postgres") as connection:
                    freed = int(connection.execute(size, (known.database,)).fetchone()[0])
                    connection.execute(f"DROP DATABASE IF EXISTS {quoted(known.database)} WITH (FORCE)")
                    if known.role is not None:
                        with contextlib.suppress(_errors()):  # while a branch of it is the role's
                            postgres_roles.drop(connection, known.role)
            self.path(handle).unlink()
        return freed

    def _known(self, handle: str) -> _Known:
        try:
            return msgspec.json.decode(self.path(handle).read_bytes(), type=_Known)
        except FileNotFoundError:
            raise NotFound(
                f"the database {handle} is not known here", code="DATABASE_LOST", hint="bough db restore"
            ) from None

    def _keep(self, known: _Known) -> str:
        handle = new_id(TEMPLATE)
        self._write(handle, known)
        return handle

    def _write(self, handle: str, known: _Known) -> None:
        with as_exhausted(self._root):
            write_whole(self.path(handle), msgspec.json.encode(known), mode=0o600)

    @contextlib.contextmanager
    def _open(self, known: _Known, *, elsewhere: str = "") -> Iterator[Any]:
        """`elsewhere`: to another database of its server, by the user that Bough was given; so that it can be
        copied."""
        url = self._url(msgspec.structs.replace(known, database=elsewhere, role=None) if elsewhere else known)
        with _connected(url) as connection:
            yield connection

    def _check_roles(self, known: _Known) -> None:
        origin = known.origin or known.database
        with self._open(known, elsewhere="postgres") as connection:
            postgres_roles.check(connection, origin, lambda name: self._open(known, elsewhere=name))

    def _url(self, known: _Known) -> str:
        before, _, after = _split(_as_user(known))
        password = self._password(known)
        return f"{before}:{password}{after}" if password else before + after

    def _password(self, known: _Known) -> str:
        if known.role is not None:
            return known.role.password
        return self._opened(known.secret) if known.secret else ""


@contextlib.contextmanager
def _connected(url: str) -> Iterator[Any]:
    if importlib.util.find_spec("psycopg") is None:
        raise Unavailable("psycopg is missing", code="POSTGRES_MISSING", hint="pip install 'bough[postgres]'")
    psycopg = importlib.import_module("psycopg")
    try:
        connection = psycopg.connect(url, autocommit=True, connect_timeout=5)
    except psycopg.Error as error:  # what it says names host and user, never the password
        raise Unavailable(f"PostgreSQL cannot be reached; {error}", code="SERVER_AWAY", hint="psql URL") from error
    with contextlib.closing(connection):
        try:
            yield connection
        except psycopg.Error as error:
            raise Invalid(f"PostgreSQL says: {error}", code="POSTGRES_SAYS", hint="bough db check NAME") from error


@contextlib.contextmanager
def _alone(connection: Any, database: str) -> Iterator[None]:
    """Nobody is connected to it meanwhile."""
    try:
        _let_nobody_in(connection, database)
        yield
    finally:
        connection.execute(f"ALTER DATABASE {quoted(database)} ALLOW_CONNECTIONS true")


def _make_empty(connection: Any, name: str, *, like: str, owner: str) -> None:
    asked = "SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database WHERE datname = %s"
    encoding, collate, kinds = (literal(each) for each in connection.execute(asked, (like,)).fetchone())
    connection.execute(
        f"CREATE DATABASE {quoted(name)} OWNER {quoted(owner)} TEMPLATE template0 ENCODING {encoding}"
        f" LC_COLLATE {collate} LC_CTYPE {kinds}"
    )
    postgres_roles.shut(connection, name)


def _let_nobody_in(connection: Any, database: str) -> None:
    connection.execute(f"ALTER DATABASE {quoted(database)} ALLOW_CONNECTIONS false")
    deadline = time.monotonic() + PATIENCE_S
    ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s"
    while connection.execute(ended, (database,)).fetchone()[0] and time.monotonic() < deadline:
        time.sleep(0.01)


def _copied(connection: Any, known: _Known, name: str) -> bool:
    """Whether the server has cloned it; a server or file system that cannot copies."""
    owner = f" OWNER {quoted(known.role.name)}" if known.role else ""
    create = f"CREATE DATABASE {quoted(name)}{owner} TEMPLATE {quoted(known.database)} STRATEGY = FILE_COPY"
    if known.clones is not False and connection.info.server_version >= CLONES_SINCE:
        with contextlib.suppress(_errors()):
            connection.execute("SET file_copy_method = clone")
            connection.execute(create)
            return True
        connection.execute("SET file_copy_method = copy")
    connection.execute(create if connection.info.server_version >= 150_000 else create.partition(" STRATEGY")[0])
    return False


def _errors() -> Any:
    return importlib.import_module("psycopg").Error


def _split(url: str) -> tuple[str, str, str]:
    """What comes before the password of a URL, the password as it is written there, what comes after."""
    scheme, _, rest = url.partition("://")
    netloc, slash, path = rest.partition("/")
    user, at, host = netloc.rpartition("@")
    name, _, password = user.partition(":")
    return f"{scheme}://{name}", password, f"{at}{host}{slash}{path}"


def _as_user(known: _Known) -> str:
    """The URL of a database without a password, with the user to whom a masked one belongs."""
    url = _at(known.server, known.database)
    if known.role is None:
        return url
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{known.role.name}@{rest.partition('/')[0].rpartition('@')[2]}/{rest.partition('/')[2]}"


def _at(url: str, database: str) -> str:
    """The URL of another database of the same server."""
    scheme, _, rest = url.partition("://")
    place, mark, query = rest.partition("?")
    return f"{scheme}://{place.partition('/')[0]}/{quote(database)}{mark}{query}"
