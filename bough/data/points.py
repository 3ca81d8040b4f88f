"""What people write for a point: nothing (now), a tag, an environment, a time, an age, `#` and a change's number."""

from __future__ import annotations

import datetime
import re

import sqlalchemy as sa

from bough.kernel import catalog
from bough.kernel.catalog import Point
from bough.kernel.errors import Invalid, NotFound

RETENTION_S = 30 * 86_400.0  # history that can be returned to without a tag; garbage collection keeps it

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)(?:\s+ago)?")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def resolve(tx: sa.Connection, project: str, environment: str, at: str, now: float) -> Point:
    """The point `at` of an environment; a tag or another environment's name stands for itself. Raises `NotFound`
    (ENVIRONMENT_NOT_FOUND, POINT_NOT_FOUND)."""
    layer = catalog.layer_of(tx, project, environment)
    if not at:
        return Point(layer)
    if at.startswith("#") and at[1:].isdigit():
        return _kept(tx, Point(layer, min(int(at[1:]), catalog.LAST)), at, now)
    when = parse_time(at, now)
    if when is None or _is_named(tx, project, at):
        return catalog.point(tx, project, at)
    found = catalog.point(tx, project, environment, at=when)
    if found.seq == 0:
        raise NotFound(
            f"nothing is older than {at}", code="POINT_NOT_FOUND", hint=f"bough data log --project {project}"
        )
    return _kept(tx, found, at, now)


def parse_time(text: str, now: float) -> float | None:
    """Seconds since the epoch; None when `text` is no time. A time without a zone is the server's local time."""
    if age := _AGE.fullmatch(text.strip()):
        return now - float(age[1]) * _SECONDS[age[2]]
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def check_tag(name: str) -> str:
    """A tag must be told from a time and stand in a command. Raises `Invalid` (NAME_INVALID)."""
    if not _TAG.fullmatch(name) or parse_time(name, 0.0) is not None:
        raise Invalid(
            f"{name!r} cannot be a tag: use letters, digits, dots, hyphens and underscores, and no time",
            code="NAME_INVALID", hint="bough data tag before-cleaning", name=name,
        )  # fmt: skip
    return name


def _kept(tx: sa.Connection, found: Point, at: str, now: float) -> Point:
    """What is older than the kept history may have been collected in part: refused rather than shown as if whole."""
    change = catalog.change
    first = tx.execute(sa.select(sa.func.max(change.c.seq)).where(change.c.at <= now - RETENTION_S)).scalar() or 0
    if found.seq < first:
        raise NotFound(
            f"{at} is older than the history that is kept ({RETENTION_S / 86_400:.0f} days)",
            code="POINT_NOT_FOUND", hint="states that must stay need a tag: bough tags create NAME",
        )  # fmt: skip
    return found


def _is_named(tx: sa.Connection, project: str, name: str) -> bool:
    tag, head = catalog.tag, catalog.head
    tagged = sa.select(tag.c.name).where(tag.c.project == project, tag.c.name == name)
    headed = sa.select(head.c.environment).where(head.c.project == project, head.c.environment == name)
    return tx.execute(tagged.union_all(headed)).first() is not None
