"""What branching does: an environment with a layer of its own, and what it inherits running as its own.

A new branch is three rows in one transaction: the environment, its layer, and a release that says which services it has
— those that its parent had at that point, bundle by bundle, so nothing is sent and nothing is built. Everything else,
of every kind, it sees through its layer. Nothing is started either: `serving` hears of the branch and lets each service
wake with its first request.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence

import msgspec
import sqlalchemy as sa

from bough.environments import rules, store
from bough.environments.models import JOB_PREFIX, LIVE, QUEUE_PREFIX, JobManifest, Manifest, Release, ServiceManifest
from bough.environments.references import pinned_here
from bough.kernel import catalog
from bough.kernel.catalog import KINDS, LAST, SERVICE, Point, Write
from bough.kernel.context import Context
from bough.kernel.errors import Conflict, Invalid, NotFound
from bough.kernel.queue import Queue
from bough.kernel.reconcile import wake
from bough.secrets import store as secrets

KIND = "environment"  # what the loop looks after: time to live
# Events; data: project, environment, release; of BRANCHED also parent, start [layer, change], mask.
BRANCHED, DISCARDED = "environment.branched", "environment.discarded"
RESET = "environment.reset"  # event; data: project, environment, start
BUDGET = "environment.budget"  # event; data: project, environment, budget

Place = tuple[str, str]


def branch_off(
    context: Context, place: Place, start: Point, *, parent: str, branch: str = "", ttl_s: float = 0.0,
    sealed: Sequence[str] = (), mask: str = "",
) -> Release | None:  # fmt: skip
    """Makes `place` as a branch of `parent` at `start`; `mask`: the policy by which its databases are masked. Returns
    the release that serves in it; None when there was nothing to serve."""
    tx, now, by = context.tx, context.clock.now(), context.principal.name
    manifest, release = manifest_at(tx, place[0], start), None
    if manifest.services or manifest.jobs:
        release = store.add_release(
            tx, place, manifest, rules.digest(manifest), by=by, now=now, message=f"branched from {parent}", commit="",
            state=LIVE,
        )  # fmt: skip
    store.add_environment(
        tx, place, now, by=by, parent=parent, start=start, branch=branch, ttl_s=ttl_s, sealed=tuple(sealed),
        paused=True, live=release.id if release else None,
    )  # fmt: skip
    if ttl_s:
        wake(tx, KIND, "/".join(place), at=now + ttl_s)
    context.emit(
        BRANCHED, "/".join(place), project=place[0], environment=place[1], parent=parent,
        release=release.id if release else "", start=[start.layer, start.seq], mask=mask,
    )  # fmt: skip
    return release


def discard(context: Context, place: Place) -> None:
    """Lets go of all that only this environment has. Environments that branched from it go on: what they see of it
    stays, and their parent is now its parent."""
    tx, now = context.tx, context.clock.now()
    found = store.view(tx, place)
    store.end_releases(tx, place, now)
    store.adopt_children(tx, place, found.parent)
    store.remove_environment(tx, place)
    catalog.close_head(tx, *place)
    context.emit(DISCARDED, "/".join(place), project=place[0], environment=place[1])


def manifest_at(tx: sa.Connection, project: str, at: Point) -> Manifest:
    """The services, jobs and queues that a point shows."""
    services: dict[str, ServiceManifest] = {}
    jobs: dict[str, JobManifest] = {}
    queues: dict[str, Queue] = {}
    for each in catalog.items(tx, at, SERVICE):
        if each.key.startswith(QUEUE_PREFIX):
            queues[each.key.removeprefix(QUEUE_PREFIX)] = msgspec.convert(each.value, Queue)
        elif each.key.startswith(JOB_PREFIX):
            jobs[each.key.removeprefix(JOB_PREFIX)] = msgspec.convert(each.value, JobManifest)
        else:
            services[each.key] = msgspec.convert(each.value, ServiceManifest)
    return Manifest(project=project, services=services, jobs=jobs, queues=queues)


def manifest_for(tx: sa.Connection, place: Place, at: Point) -> Manifest:
    """The same, as `place` would run it: with the versions of secrets that it sees. A service that needs one that it
    does not see (a sealed branch) stays as it is, and says so when it is woken."""
    found = manifest_at(tx, place[0], at)
    services = dict(found.services)
    for name, each in services.items():
        with contextlib.suppress(NotFound):
            services[name] = pinned_here(tx, place, each)
    return msgspec.structs.replace(found, services=services)


def repinned(tx: sa.Connection, place: Place, manifest: Manifest, names: Collection[str]) -> Manifest:
    """`manifest` with the versions that `place` sees of the secrets `names`; all others stay, such as what a rollback
    has restored."""
    known = {name: pin for name, pin in secrets.pins(tx, place).items() if name in names} if names else {}
    services = {name: rules.repinned(each, known) for name, each in manifest.services.items()}
    return msgspec.structs.replace(manifest, services=services)


def rebase(context: Context, place: Place, onto: Point, *, keep: Sequence[str]) -> None:
    """Puts the environment on a fresh layer over `onto`. Of its own changes those of the kinds `keep` come along."""
    tx = context.tx
    old = catalog.layer_of(tx, *place)
    kept = [
        Write(kind, key, found.value if found else None)
        for kind, key in sorted(catalog.written(tx, old))
        if kind in keep
        for found in [catalog.get(tx, Point(old), kind, key)]
    ]
    layer = catalog.move_head(tx, *place, onto, context.clock.now())
    catalog.commit(tx, layer, kept, at=context.clock.now(), by=context.principal.name, why="kept over a rebase")


def parent_point(tx: sa.Connection, place: Place, parent: str) -> Point:
    if not parent:
        raise Conflict(
            f"{'/'.join(place)} has no parent to go back to", code="PARENT_MISSING",
            hint="say to which state: --to TAG or --to TIME",
        )  # fmt: skip
    return Point(catalog.layer_of(tx, place[0], parent), LAST)


def kinds_of(chosen: Sequence[str], *, secrets: bool) -> tuple[str, ...]:
    """The kinds that a merge or a comparison is about. A branch's secrets are usually not its parent's: a test
    database's password must not reach production because somebody merged code."""
    kinds = tuple(chosen) or KINDS
    if unknown := [each for each in kinds if each not in KINDS]:
        raise Invalid(f"there is no kind {unknown[0]!r}", code="KIND_UNKNOWN", hint=f"kinds: {', '.join(KINDS)}")
    return tuple(each for each in kinds if secrets or each in chosen or each != catalog.SECRET)
