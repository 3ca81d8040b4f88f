"""Verbs of secrets. None gives a value back: whoever may deploy can have a program print one, and that is seen."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from bough.kernel import catalog
from bough.kernel.catalog import SECRET
from bough.kernel.context import Context, Role
from bough.kernel.errors import Conflict, Invalid
from bough.kernel.operations import Nothing, operation
from bough.kernel.project import PRODUCTION
from bough.secrets import rules, store
from bough.secrets.cipher import SealBroken
from bough.secrets.models import (
    Dependents,
    Envelope,
    Place,
    Rekeyed,
    Sealing,
    SecretsSet,
    SecretVersion,
    SecretView,
)
from bough.secrets.vault import Vault

CHANGED = "secrets.changed"
MOST_AT_ONCE = 500

Environment = Annotated[str, msgspec.Meta(description="environment; main is production")]


class SetSecrets(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    values: Annotated[dict[str, str], msgspec.Meta(description="value by name")]
    environment: Environment = PRODUCTION
    deploy: Annotated[bool, msgspec.Meta(description="give services and jobs the new value, by a new release")] = True


class OfEnvironment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    environment: Environment = PRODUCTION


class OneSecret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: str
    environment: Environment = PRODUCTION


class SecretHistory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: str
    environment: Environment = PRODUCTION
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50


@operation("secrets.set", role=Role.DEVELOPER, writes=True, private=True)
def set_(context: Context, request: SetSecrets) -> SecretsSet:
    """Sets secrets of an environment. Live services and jobs that use them get the new values by a new release."""
    if not request.values:
        raise Invalid("there is nothing to set", code="SECRETS_EMPTY", hint="bough secrets set NAME")
    if len(request.values) > MOST_AT_ONCE:
        raise Invalid(f"at most {MOST_AT_ONCE} secrets at once", code="SECRETS_TOO_MANY", hint="set them in parts")
    for name, value in request.values.items():
        rules.check_value(rules.check_name(name), value)
    place, dependents = (request.project, request.environment), context.part(Dependents)
    dependents.begin(context, place)
    layer = catalog.writable_layer(context.tx, *place, context.principal)
    seal_all(context, place, layer, request.values)
    using, names = dependents.using(context, place), sorted(request.values)
    context.emit(CHANGED, "/".join(place), project=place[0], environment=place[1], names=names)
    made = dependents.redeploy(context, place, names) if request.deploy else None
    return SecretsSet(
        project=place[0],
        environment=place[1],
        secrets=[each for each in store.every(context.tx, place, using) if each.name in request.values],
        services=sorted({service for name in names for service in using.get(name, [])}),
        release=made[1] if made else 0,
        release_id=made[0] if made else "",
    )


@operation("secrets.list", role=Role.VIEWER)
def list_(context: Context, request: OfEnvironment) -> list[SecretView]:
    """Lists the secrets that an environment sees: version, where it was set, who uses it; never a value."""
    place = request.project, request.environment
    return store.every(context.tx, place, context.part(Dependents).using(context, place))


@operation("secrets.history", role=Role.VIEWER)
def history(context: Context, request: SecretHistory) -> list[SecretVersion]:
    """Lists the versions of a secret that an environment has seen, newest first."""
    return store.history(context.tx, (request.project, request.environment), request.name, request.limit)


@operation("secrets.remove", role=Role.DEVELOPER, writes=True, command="secrets rm")
def remove(context: Context, request: OneSecret) -> list[SecretView]:
    """Removes a secret from an environment; refused while a live service uses it. Its history stays."""
    place = request.project, request.environment
    layer = catalog.writable_layer(context.tx, *place, context.principal)
    store.find(context.tx, place, request.name)
    using = context.part(Dependents).using(context, place)
    if services := using.get(request.name):
        raise Conflict(
            f"{', '.join(services)} of {'/'.join(place)} uses the secret {request.name}",
            code="SECRET_IN_USE", hint=f"take ${{secrets.{request.name}}} out of bough.toml and deploy, then remove it",
        )  # fmt: skip
    now, by = context.clock.now(), context.principal.name
    store.write(context.tx, layer, {request.name: None}, at=now, by=by, why=f"secret {request.name} removed")
    context.emit(CHANGED, "/".join(place), project=place[0], environment=place[1], names=[request.name])
    return store.every(context.tx, place, using)


@operation("secrets.seal", role=Role.DEVELOPER, writes=True)
def seal(context: Context, request: OfEnvironment) -> Sealing:
    """Seals a branch off: it sees no secret but its own. Refused while a live service uses an inherited one."""
    place = request.project, request.environment
    layer = catalog.writable_layer(context.tx, *place, context.principal)
    using = context.part(Dependents).using(context, place)
    inherited = [each for each in store.every(context.tx, place, using) if each.source == "inherited"]
    if used := [each.name for each in inherited if each.services]:
        raise Conflict(
            f"live services or jobs of {'/'.join(place)} use inherited secrets: {', '.join(used)}",
            code="SECRET_IN_USE", hint=f"give it values of its own: bough secrets set {used[0]} -e {place[1]}",
        )  # fmt: skip
    return _set_sealed(context, place, layer, True)


@operation("secrets.unseal", role=Role.APPROVER, writes=True)
def unseal(context: Context, request: OfEnvironment) -> Sealing:
    """Lets a branch inherit the secrets of its parent again, as they were when it began."""
    place = request.project, request.environment
    return _set_sealed(context, place, catalog.layer_of(context.tx, *place), False)


@operation("secrets.rekey", role=Role.ADMIN, writes=True)
def rekey(context: Context, request: Nothing) -> Rekeyed:
    """Makes a new master key and wraps every data key anew. The key before stays in the file until the next rekey, for
    processes that were started with it. Values, versions and running services stay as they are."""
    vault, broken = context.part(Vault), list[str]()
    if not store.any_at_all(context.tx):
        vault.create()
    master, kept = vault.rotate(store.masters(context.tx))

    def rewrapped(name: str, value: Any) -> Any:
        envelope = msgspec.convert(value, Envelope)
        try:
            return msgspec.to_builtins(vault.rewrap(name, envelope))
        except SealBroken:  # one that nobody can open must not keep all others under the old key
            broken.append(f"{envelope.project}/{envelope.environment}/{name}@{envelope.version}")
            return value

    count = catalog.rewrite(context.tx, SECRET, rewrapped)
    return Rekeyed(master=master, envelopes=count - len(broken), kept=kept, broken=broken)


def seal_all(context: Context, place: Place, layer: int, values: dict[str, str]) -> None:
    """Keeps values under names of an environment; also what other capabilities are given to keep."""
    vault, now, by = context.part(Vault), context.clock.now(), context.principal.name
    if not store.any_at_all(context.tx):
        vault.create()  # with secrets there and no key, `seal` says that it is gone
    version = rules.next_version(catalog.newest(context.tx))
    blank = Envelope(
        project=place[0], environment=place[1], version=version, at=now, by=by, master="", wrapped="", sealed=""
    )
    envelopes = {name: vault.seal(name, value, blank) for name, value in values.items()}
    names = ", ".join(sorted(values)[:5]) + (" …" if len(values) > 5 else "")
    store.write(context.tx, layer, envelopes, at=now, by=by, why=f"secret {names} set")


def _set_sealed(context: Context, place: Place, layer: int, sealed: bool) -> Sealing:
    catalog.seal(context.tx, layer, SECRET, sealed)
    context.emit(CHANGED, "/".join(place), project=place[0], environment=place[1], names=[])
    using = context.part(Dependents).using(context, place)
    return Sealing(project=place[0], environment=place[1], sealed=sealed, secrets=store.every(context.tx, place, using))
