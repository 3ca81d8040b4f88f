"""Pure decisions: names of variables, policies of masks, what two lists of migrations become."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from bough.adapters.sql import MASKS
from bough.databases.models import MigrationPin
from bough.kernel.errors import Invalid

_PASSWORD = re.compile(r"\w+://[^:/@]*:([^@/]+)@")
ONLY = "DATABASE_URL"  # of an environment's only database, as most programs expect it


def variable_of(name: str) -> str:
    """`orders` -> ORDERS_URL."""
    return f"{name.upper().replace('-', '_')}_URL"


def variables(urls: Mapping[str, str], *, alone: bool = True) -> dict[str, str]:
    """What programs are given, of the URLs by name. `alone`: the environment has no other databases."""
    found = {variable_of(name): url for name, url in urls.items()}
    return found | ({ONLY: next(iter(urls.values()))} if len(urls) == 1 and alone else {})


def mark(handles: Mapping[str, str]) -> str:
    """Stands for these databases, by name; empty for none."""
    said = "\n".join(f"{name} {handle}" for name, handle in sorted(handles.items()))
    return hashlib.sha256(said.encode()).hexdigest()[:16] if said else ""


def is_server(url: str) -> bool:
    """Whether a URL names a database on a PostgreSQL server; a password is where it is found and kept, nowhere else."""
    return url.startswith(("postgresql://", "postgres://")) and "password=" not in url


def password_of(url: str) -> str:
    """As it is written in a URL; empty where there is none."""
    return around_password(url)[1]


def around_password(url: str) -> tuple[str, str, str]:
    """What comes before the password of a URL, the password, what comes after."""
    found = _PASSWORD.match(url)
    return (url[: found.start(1)], found.group(1), url[found.end(1) :]) if found else (url, "", "")


def check_policy(policy: Mapping[str, str]) -> None:
    """Raises `Invalid` (MASK_INVALID) unless it reads `table.column` (of Redis `pattern.field`) -> one of the masks."""
    for column, how in policy.items():
        table, _, name = column.partition(".")
        if not table or not name:
            raise Invalid(
                f"{column!r} is not written TABLE.COLUMN, or of Redis PATTERN.FIELD",
                code="MASK_INVALID", hint="customers.email=hash, 'user:*.email=hash'",
            )  # fmt: skip
        if how not in MASKS:
            raise Invalid(f"{how!r} is no mask", code="MASK_INVALID", hint=f"use one of {', '.join(MASKS)}")


def together(
    base: Sequence[MigrationPin], ours: Sequence[MigrationPin], theirs: Sequence[MigrationPin]
) -> list[MigrationPin] | None:
    """Ours, then what theirs has beyond the base; None when the two have one name for different migrations."""
    known = {each.name: each.digest for each in ours}
    fresh = [each for each in theirs if each not in base]
    if any(known.get(each.name, each.digest) != each.digest for each in fresh):
        return None
    return [*ours, *(each for each in fresh if each.name not in known)]
