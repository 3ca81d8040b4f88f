"""What people write for a state (`--at`, `--from`, `--to`, `--against`), for every capability alike.

    nothing                 the environment as it is now
    main, good              another environment as it is now, or a tag
    2h, 2h ago, 1d12h       the environment as it was so long ago
    2026-05-03T12:00        the environment as it was then; without a zone in the local time of the server
    #17                     the environment as change 17 left it
    main@2h, main@#17       another environment, then

A name wins over a time that is written alike. States that garbage collection may have taken in part are refused.
"""

from __future__ import annotations

import re

import sqlalchemy as sa

from bough.kernel import catalog, moments
from bough.kernel.catalog import LAST, Point
from bough.kernel.errors import Invalid, NotFound

RETENTION_S = 30 * 86_400.0  # history that can be returned to without a tag; garbage collection keeps it
ABOUT = moments.ABOUT_POINTS

_CHANGE = re.compile(r"#(\d{1,18})")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def resolve(tx: sa.Connection, project: str, environment: str, text: str, now: float) -> Point:
    """The state that `text` means where `environment` is spoken of. Raises `NotFound` (ENVIRONMENT_NOT_FOUND,
    POINT_NOT_FOUND, POINT_GONE) and `Invalid` (TIME_INVALID)."""
    if not text:
        return Point(catalog.layer_of(tx, project, environment))
    if _is_named(tx, project, text):
        return catalog.point(tx, project, text)
    name, at_sign, when = text.partition("@")
    if not at_sign:
        name, when = environment, text
    seq = _change(tx, when, now)
    if seq is None and at_sign:
        raise Invalid(f"{when!r} is not a time", code="TIME_INVALID", hint="write main@2026-05-03T12:00, or main@2h")
    if seq is None:
        raise NotFound(
            f"{project} has neither an environment nor a tag {text!r}, and it is no time",
            code="POINT_NOT_FOUND",
            hint=f"bough branch list --project {project}; bough tags list --project {project}",
        )
    found = _before_moves(tx, Point(catalog.layer_of(tx, project, name or environment), seq))
    if seq == 0:
        raise NotFound(
            f"nothing is older than {text}", code="POINT_NOT_FOUND", hint=f"bough data log --project {project}"
        )
    if not _is_whole(tx, found, now):
        raise NotFound(
            f"{text} is older than the history that is kept ({RETENTION_S / 86_400:.0f} days, and of a parent that was "
            "discarded only what its branches see)",
            code="POINT_GONE", hint="states that must stay need a tag: bough tags create NAME",
        )  # fmt: skip
    return found


def check_tag(name: str) -> str:
    """A tag must be told from a time and stand in a command. Raises `Invalid` (NAME_INVALID)."""
    if not _TAG.fullmatch(name) or moments.moment(name, 0.0) is not None:
        raise Invalid(
            f"{name!r} cannot be a tag: use letters, digits, dots, hyphens and underscores, and no time",
            code="NAME_INVALID", hint="bough tags create before-cleaning", name=name,
        )  # fmt: skip
    return name


def retained(tx: sa.Connection, since: float) -> int:
    """The change that was the last one at that time: what came later is kept history."""
    change = catalog.change
    return tx.execute(sa.select(sa.func.max(change.c.seq)).where(change.c.at <= since)).scalar() or 0


def kept_layers(tx: sa.Connection, retained: int) -> set[int]:
    """The layers whose kept history can be named: those of environments, and those that they were in before a merge or
    a reset that came after the change `retained`."""
    found = set(tx.execute(sa.select(catalog.head.c.layer)).scalars())
    moves, following = catalog.moves(tx, retained), list(found)
    while following:
        if (was := moves.get(following.pop())) is not None and was.layer not in found:
            found.add(was.layer)
            following.append(was.layer)
    return found


def _change(tx: sa.Connection, text: str, now: float) -> int | None:
    """The last change that shows; None when `text` names none."""
    if number := _CHANGE.fullmatch(text):
        return int(number[1])
    when = moments.moment(text, now)
    return None if when is None else retained(tx, when)


def _before_moves(tx: sa.Connection, at: Point) -> Point:
    """Before a reset or a merge the environment wrote into another layer."""
    moves = catalog.moves(tx)
    while (was := moves.get(at.layer)) is not None and at.seq <= was.seq:
        at = Point(was.layer, at.seq)
    return at


def _is_whole(tx: sa.Connection, at: Point, now: float) -> bool:
    """Whether nothing that the point shows may have been collected: it is what its layer shows today of those above,
    and otherwise only what layers that environments write into (or did lately) showed within the kept history."""
    first = retained(tx, now - RETENTION_S)
    shown = {each.layer: each.seq for each in catalog.chain(tx, Point(at.layer, LAST))}
    kept = kept_layers(tx, first)
    return all(
        each.seq == shown[each.layer] or (each.layer in kept and each.seq >= first) for each in catalog.chain(tx, at)
    )


def _is_named(tx: sa.Connection, project: str, name: str) -> bool:
    tag, head = catalog.tag, catalog.head
    tagged = sa.select(tag.c.name).where(tag.c.project == project, tag.c.name == name)
    headed = sa.select(head.c.environment).where(head.c.project == project, head.c.environment == name)
    return tx.execute(tagged.union_all(headed)).first() is not None
