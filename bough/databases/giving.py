"""What programs of an environment are given to find its databases: services, jobs, `bough data run`."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from bough.databases import rules, store
from bough.databases.disk import Databases
from bough.databases.models import FAILED, READY, Given, Instance, Place
from bough.environments.references import Filled
from bough.kernel.errors import WorkloadFailed
from bough.secrets import store as secrets
from bough.secrets.models import Envelope, Sealed


def variables_of(tx: sa.Connection, place: Place, disk: Databases) -> Given | None:
    """By name; None while one of its databases is being made: a program must not start without it. Raises what went
    wrong in making it."""
    found = store.of(tx, place)
    for each in found:
        if each.state == FAILED:
            raise WorkloadFailed(
                f"the database {each.name} of {place[1]} could not be made; {each.failure.get('message', '')}",
                code="DATABASE_FAILED_TO_BEGIN", hint=f"bough db show {each.name} -e {place[1]}",
            )  # fmt: skip
        if each.state != READY or not disk.engine(each.engine).ensure(each.handle):
            return None
    sealed = _sealed(tx, disk, found)
    if len(found) == 1 and sealed:
        sealed[rules.ONLY] = next(iter(sealed.values()))
    plain = given(disk, [each for each in found if rules.variable_of(each.name) not in sealed], alone=len(found) == 1)
    return Given(plain=plain, secrets=sealed, mark=rules.mark({each.name: each.handle for each in found}))


def mark_of(tx: sa.Connection, place: Place) -> str:
    """`Given.mark`, as it is now."""
    return rules.mark({each.name: each.handle for each in store.of(tx, place)})


def under(found: Given, filled: Filled) -> Filled:
    """Both; what a workload sets itself wins."""
    own = {*filled.plain, *filled.secrets}
    return msgspec.structs.replace(
        filled,
        databases=found.mark,
        plain={name: value for name, value in found.plain.items() if name not in own} | filled.plain,
        secrets={name: parts for name, parts in found.secrets.items() if name not in own} | filled.secrets,
    )


def given(disk: Databases, found: list[Instance], *, alone: bool = True) -> dict[str, str]:
    """The variables of an environment's programs; of databases that can be used. `alone`: there are no others."""
    ready = {each.name: disk.url(each) for each in found if each.state == READY}
    return rules.variables(ready, alone=alone) | (dict(disk.given()) if ready else {})


def _sealed(tx: sa.Connection, disk: Databases, databases: list[Instance]) -> dict[str, list[str]]:
    """The URLs with a password in them, as texts and sealed envelopes in turn: only a program's node opens them."""
    found: dict[str, list[str]] = {}
    for each in databases:
        before, secret, after = disk.sealed_url(each)
        if secret:
            found[rules.variable_of(each.name)] = [before, _envelope(tx, secret), after]
            continue
        before, password, after = rules.around_password(before)
        if password:
            found[rules.variable_of(each.name)] = [before, disk.sealed(each.project, each.name, password), after]
    return found


def _envelope(tx: sa.Connection, secret: str) -> str:
    """What a secret (`project/environment/name`) is sealed as."""
    project, environment, name = secret.split("/")
    envelope = msgspec.convert(secrets.find(tx, (project, environment), name).value, Envelope)
    return msgspec.json.encode(Sealed(project=project, name=name, envelope=envelope)).decode()
