"""Secrets in the catalog: entries of the kind `secret`, key the name, value an envelope."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import sqlalchemy as sa

from bough.kernel import catalog
from bough.kernel.catalog import LAST, SECRET, Entry, Point, Write
from bough.kernel.errors import NotFound
from bough.secrets.models import Envelope, Place, Sealed, SecretVersion, SecretView

_VERSIONS = 10_000  # looked through for one that a release names


def point_of(tx: sa.Connection, place: Place) -> Point:
    return Point(catalog.layer_of(tx, *place), LAST)


def every(tx: sa.Connection, place: Place, using: Mapping[str, list[str]]) -> list[SecretView]:
    """What an environment sees, by name; `using` says which services use it."""
    point = point_of(tx, place)
    return [_view(each, point.layer, place, using.get(each.key, [])) for each in catalog.items(tx, point, SECRET)]


def pins(tx: sa.Connection, place: Place) -> dict[str, str]:
    """Every secret that an environment sees, with the version that it has now."""
    return {each.key: _envelope(each).pin for each in catalog.items(tx, point_of(tx, place), SECRET)}


def find(tx: sa.Connection, place: Place, name: str) -> Entry:
    found = catalog.get(tx, point_of(tx, place), SECRET, name)
    if found is None:
        raise missing(place, name)
    return found


def sealed(tx: sa.Connection, place: Place, name: str, pin: str) -> Sealed:
    """The version that a release names, also when there is a newer one or the secret was removed since."""
    point = point_of(tx, place)
    now = catalog.get(tx, point, SECRET, name)
    candidates = [_envelope(now)] if now else []
    if not candidates or candidates[0].pin != pin:
        kept = catalog.history(tx, point, SECRET, name, _VERSIONS)
        candidates = [msgspec.convert(each.value, Envelope) for each in kept if each.value is not None]
    candidates += _kept_version(tx, place, name, pin)
    for each in candidates:
        if each.pin == pin:
            return Sealed(project=place[0], name=name, envelope=each)
    raise NotFound(
        f"{'/'.join(place)} has no version {pin} of the secret {name} (any more)",
        code="SECRET_VERSION_GONE",
        hint=f"bough secrets set {name} -e {place[1]}, or bough deploy -e {place[1]} for the newest",
    )


def _kept_version(tx: sa.Connection, place: Place, name: str, pin: str) -> list[Envelope]:
    """The same by its number alone, for a release from before a merge or a reset of its environment. Where secrets are
    sealed off, only what was set in the environment itself."""
    environment, _, version = pin.rpartition("@")
    point = point_of(tx, place)
    if environment != place[1] and catalog.chain(tx, point, SECRET) != catalog.chain(tx, point):
        return []
    entry, change = catalog.entry, catalog.change
    written = sa.and_(entry.c.layer == change.c.layer, entry.c.seq == change.c.seq)
    query = sa.select(entry.c.value).join(change, written).where(change.c.seq == int(version))
    value = tx.execute(query.where(entry.c.kind == SECRET, entry.c.key == name)).scalar()
    found = [] if value is None else [msgspec.json.decode(value, type=Envelope)]
    return [each for each in found if each.project == place[0]]


def history(tx: sa.Connection, place: Place, name: str, limit: int) -> list[SecretVersion]:
    found = []
    for each in catalog.history(tx, point_of(tx, place), SECRET, name, limit):
        if each.value is None:
            version = SecretVersion(version=each.seq, environment="", at=each.at, by=each.by, removed=True)
        else:
            kept = msgspec.convert(each.value, Envelope)
            version = SecretVersion(version=kept.version, environment=kept.environment, at=each.at, by=each.by)
        found.append(version)
    if not found:
        raise missing(place, name)
    return found


def write(
    tx: sa.Connection, layer: int, envelopes: Mapping[str, Envelope | None], *, at: float, by: str, why: str
) -> None:
    """One change; None: gone."""
    writes = [
        Write(SECRET, name, None if each is None else msgspec.to_builtins(each))
        for name, each in sorted(envelopes.items())
    ]
    catalog.commit(tx, layer, writes, at=at, by=by, why=why)


def masters(tx: sa.Connection) -> set[str]:
    """The master keys under which envelopes stand, also old ones and those of branches that are gone."""
    query = sa.select(catalog.entry.c.value).where(catalog.entry.c.kind == SECRET, catalog.entry.c.value.is_not(None))
    return {msgspec.json.decode(value, type=Envelope).master for value in tx.execute(query).scalars()}


def any_at_all(tx: sa.Connection) -> bool:
    """Whether a secret was ever set in any project: then there must be a master key."""
    found = sa.select(catalog.entry.c.key).where(catalog.entry.c.kind == SECRET).limit(1)
    return tx.execute(found).first() is not None


def missing(place: Place, name: str) -> NotFound:
    return NotFound(
        f"there is no secret {name!r} in {'/'.join(place)}",
        code="SECRET_NOT_FOUND",
        hint=f"bough secrets set {name} -e {place[1]}, or bough secrets list -e {place[1]}",
    )


def _view(entry: Entry, own_layer: int, place: Place, services: list[str]) -> SecretView:
    envelope = _envelope(entry)
    inherited, moved = entry.layer != own_layer, envelope.environment != place[1]
    return SecretView(
        name=entry.key,
        version=envelope.version,
        environment=envelope.environment,
        source="inherited" if inherited else "merged" if moved else "own",
        at=envelope.at,
        by=envelope.by,
        services=services,
    )


def _envelope(entry: Entry) -> Envelope:
    return msgspec.convert(entry.value, Envelope)
