"""Verbs of branches: create, list, show, diff, merge, reset, discard, protect."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import msgspec

from bough.adapters.blobs import Blobs
from bough.data.garbage import blobs_of, size_of
from bough.environments import branching, rules, store
from bough.environments.branching import branch_off, kinds_of, manifest_for, parent_point, rebase
from bough.environments.merges import Merging
from bough.environments.models import (
    Branched,
    Changed,
    EnvironmentDetail,
    EnvironmentDiff,
    EnvironmentView,
    Merge,
    Merges,
)
from bough.environments.operations import make_release
from bough.kernel import catalog, merging, points
from bough.kernel.catalog import Point
from bough.kernel.context import Context, Role
from bough.kernel.errors import Conflict, Invalid
from bough.kernel.merging import Choices
from bough.kernel.moments import duration_s
from bough.kernel.names import check_name
from bough.kernel.operations import Commit, operation
from bough.kernel.project import PRODUCTION
from bough.kernel.reconcile import wake

Name = Annotated[str, msgspec.Meta(description="environment, or the git branch that it stands for")]
BranchName = Annotated[str, msgspec.Meta(description="git branch, or environment")]
Kinds = Annotated[list[str], msgspec.Meta(description="only these kinds: file, table, service, secret …")]
SHOWN = 1000  # changes of a diff that are listed; all of them are counted


class OfProject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str = ""


class CreateBranch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    branch: BranchName
    source: Annotated[
        str,
        msgspec.Meta(description=f"where it begins: {points.ABOUT}", extra_json_schema={"flag": "from"}),
    ] = PRODUCTION
    ttl: Annotated[str, msgspec.Meta(description="discard it so long after its last deploy, such as 3d")] = ""
    sealed: Annotated[bool, msgspec.Meta(description="inherit no secrets")] = False
    mask: Annotated[str, msgspec.Meta(description="policy by which its databases are masked: bough db policy")] = ""


class MergesOf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20


class OneBranch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    branch: BranchName


class DiffBranch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    branch: BranchName
    against: Annotated[
        str,
        msgspec.Meta(description=f"{points.ABOUT}; empty: what a merge into the parent would bring"),
    ] = ""
    kinds: Kinds = []


class MergeBranch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    branch: BranchName
    into: Annotated[str, msgspec.Meta(description="environment to merge into; empty: the parent")] = ""
    ours: Annotated[bool, msgspec.Meta(description="in conflicts keep what is merged into")] = False
    theirs: Annotated[bool, msgspec.Meta(description="in conflicts take the branch's")] = False
    per_key: Annotated[
        dict[str, str], msgspec.Meta(description="ours or theirs for each conflict by its id; @FILE reads JSON")
    ] = {}
    kinds: Kinds = []
    with_secrets: Annotated[bool, msgspec.Meta(description="merge the branch's secrets as well")] = False
    dry_run: Annotated[bool, msgspec.Meta(description="say what would happen, change nothing")] = False
    message: str = ""


class ResetBranch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    branch: BranchName
    to: Annotated[str, msgspec.Meta(description=f"{points.ABOUT}; empty: the parent as it is now")] = ""


class ProtectBranch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    branch: BranchName
    off: Annotated[bool, msgspec.Meta(description="no longer")] = False


class ChangeBranch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    branch: BranchName
    ttl: Annotated[str, msgspec.Meta(description="from now on, such as 3d; none: it stays")] = ""
    budget: Annotated[
        float,
        msgspec.Meta(ge=-1, le=1e9, description="a month; once spent, nothing grows; 0: none; -1: as it is"),
    ] = -1.0
    paused: Annotated[str, msgspec.Meta(description="yes or no: whether its schedules rest; empty: as it is")] = ""


@operation("environments.create", role=Role.DEVELOPER, writes=True, command="branch create")
def create(context: Context, request: CreateBranch) -> Branched:
    """Gives a git branch an environment of its own: URL, services, secrets, and all data as it is now, copied nowhere.

    Nothing starts and nothing is built: a service wakes with its first request. An environment that is there already is
    returned as it is."""
    tx, project = context.tx, request.project
    taken = store.branches(tx, project)
    name = rules.environment_name(request.branch, taken)
    if name in taken:
        return Branched(environment=store.view(tx, (project, name)), created=False)
    check_name(name, "environment")
    ttl_s = duration_s(request.ttl) if request.ttl else 0.0
    if name == PRODUCTION:
        store.ensure_project(tx, check_name(project, "project"), context.clock.now())
        store.add_environment(tx, (project, name), context.clock.now(), by=context.principal.name, branch=PRODUCTION)
        return Branched(environment=store.view(tx, (project, name)), created=True)
    start = points.resolve(tx, project, PRODUCTION, request.source, context.clock.now())
    of = request.source.partition("@")[0]
    parent = of if of in taken else PRODUCTION  # what it will be merged into
    sealed = (catalog.SECRET,) if request.sealed else ()
    branch_off(
        context, (project, name), start, parent=parent, branch=request.branch, ttl_s=ttl_s, sealed=sealed,
        mask=request.mask,
    )  # fmt: skip
    return Branched(environment=store.view(tx, (project, name)), created=True)


@operation("environments.list", role=Role.VIEWER, command="branch list")
def list_environments(context: Context, request: OfProject) -> list[EnvironmentView]:
    """Lists environments, where each came from and the release that serves in it."""
    return store.environments(context.tx, request.project)


@operation("environments.show", role=Role.VIEWER, command="branch show")
def show(context: Context, request: OneBranch) -> EnvironmentDetail:
    """Shows an environment: its services, and how far it and its parent have moved since it branched."""
    tx = context.tx
    place = store.resolve(tx, request.project, request.branch)
    view, point = store.view(tx, place), Point(catalog.layer_of(tx, *place))
    mine: list[merging.Difference] = []
    theirs: list[merging.Difference] = []
    if view.parent:
        other = parent_point(tx, place, view.parent)
        mine, theirs = merging.incoming(tx, other, point), merging.incoming(tx, point, other)
    live = store.live(tx, place)
    return EnvironmentDetail(
        environment=view,
        services=sorted(live[1].services) if live else [],
        sealed=list(catalog.sealed_kinds(tx, point.layer)),
        ahead=_counted(mine),
        behind=_counted(theirs),
        own_bytes=_bytes_brought(context.part(Blobs), mine),
        children=sorted(each.name for each in store.environments(tx, place[0]) if each.parent == place[1]),
    )


@operation("environments.diff", role=Role.VIEWER, command="branch diff")
def diff(context: Context, request: DiffBranch) -> EnvironmentDiff:
    """Shows what an environment has changed: services, files, tables, secrets (never their values).

    Without --against: what a merge into its parent would bring."""
    tx = context.tx
    place = store.resolve(tx, request.project, request.branch)
    view, point = store.view(tx, place), Point(catalog.layer_of(tx, *place))
    kinds = kinds_of(request.kinds, secrets=True)
    against = request.against or view.parent
    moved = False
    if request.against:
        other = points.resolve(tx, place[0], place[1], request.against, context.clock.now())
        found = merging.differences(tx, other, point, kinds)
    else:
        other = parent_point(tx, place, view.parent)
        found, moved = merging.incoming(tx, other, point, kinds), merging.has_moved(tx, other, point, kinds)
    counts: dict[str, dict[str, int]] = {}
    for each in found:
        of_kind = counts.setdefault(each.kind, {})
        of_kind[each.action] = of_kind.get(each.action, 0) + 1
    return EnvironmentDiff(
        environment=place[1],
        against=against,
        parent_moved=moved,
        counts=counts,
        changes=[
            Changed(kind=each.kind, name=each.key, action=each.action,
                    fields=rules.changed_fields(each.kind, each.before, each.after)) for each in found[:SHOWN]
        ],
    )  # fmt: skip


@operation("environments.merge", role=Role.DEVELOPER, writes=True, command="branch merge", slow=True)
def merge(context: Context, request: MergeBranch) -> Commit[Merge]:
    """Brings what a branch has changed into its parent, in one transaction over all kinds.

    What both have changed differently is a conflict: nothing is written, and the answer says what each side did. Decide
    with --ours, --theirs, or --per-key. Services go live as a release of the very bundles that ran in the branch;
    secrets stay behind unless asked for. Afterwards the branch goes on from the merged state."""
    found = Merging(context, request.project, request.branch, request.into, choices=_choices(request))
    plan = found.prepare(context, kinds_of(request.kinds, secrets=request.with_secrets))

    def commit(context: Context) -> Merge:
        found.check_unmoved(context, plan)
        if request.dry_run:
            return found.view(plan, dry_run=True)
        return found.apply(context, plan, request.message)

    return commit


@operation("environments.merges", role=Role.VIEWER, command="branch merges")
def list_merges(context: Context, request: MergesOf) -> Merges:
    """Lists merges of a project's branches, and how long each took from the branch's beginning, with the median."""
    return rules.times(store.merges(context.tx, request.project, request.limit))


@operation("environments.reset", role=Role.DEVELOPER, writes=True, command="branch reset")
def reset(context: Context, request: ResetBranch) -> Merge:
    """Makes an environment what its parent is now, or what a tag or a time was; what it had changed is left behind."""
    tx = context.tx
    place = store.resolve(tx, request.project, request.branch)
    catalog.writable_layer(tx, *place, context.principal)
    if request.to:
        onto = points.resolve(tx, place[0], place[1], request.to, context.clock.now())
    else:
        onto = parent_point(tx, place, store.view(tx, place).parent)
    left = _counted(merging.differences(tx, onto, Point(catalog.layer_of(tx, *place))))
    rebase(context, place, onto, keep=())
    manifest, release = manifest_for(tx, place, onto), None
    live = store.live(tx, place)
    if live is None or rules.digest(manifest) != live[0].digest:
        release = make_release(context, place, manifest, f"reset to {request.to or 'the parent'}", "")
    context.emit(branching.RESET, "/".join(place), project=place[0], environment=place[1], start=[onto.layer, onto.seq])
    return Merge(into=place[1], fast_forward=True, merged=left, release=release)


@operation("environments.discard", role=Role.DEVELOPER, writes=True, command="branch discard")
def discard(context: Context, request: OneBranch) -> EnvironmentView:
    """Removes an environment: its services stop, and what only it could see is garbage. Production stays."""
    place = store.resolve(context.tx, request.project, request.branch)
    if place[1] == PRODUCTION:
        raise Conflict(
            "production cannot be discarded",
            code="PRODUCTION_STAYS",
            hint="bough branch reset main --to TAG, or bough down",
        )
    catalog.writable_layer(context.tx, *place, context.principal)
    found = store.view(context.tx, place)
    branching.discard(context, place)
    return found


@operation("environments.protect", role=Role.APPROVER, writes=True, command="branch protect")
def protect(context: Context, request: ProtectBranch) -> EnvironmentView:
    """Protects an environment: deploying to it, merging into it, resetting it, writing its data ask for an approver."""
    place = store.resolve(context.tx, request.project, request.branch)
    catalog.protect(context.tx, *place, protected=not request.off)
    return store.view(context.tx, place)


@operation("environments.change", role=Role.DEVELOPER, writes=True, command="branch change")
def change(context: Context, request: ChangeBranch) -> EnvironmentView:
    """Changes an environment's time to live, budget, or whether its schedules rest."""
    tx, now = context.tx, context.clock.now()
    place = store.resolve(tx, request.project, request.branch)
    values: dict[str, Any] = {}
    if request.ttl:
        ttl_s = 0.0 if request.ttl == "none" else duration_s(request.ttl)
        values |= {"ttl_s": ttl_s, "expires_at": now + ttl_s if ttl_s else 0.0}
        wake(tx, branching.KIND, "/".join(place), at=now + ttl_s)
    if request.budget >= 0:
        values["budget"] = request.budget
        context.emit(branching.BUDGET, "/".join(place), project=place[0], environment=place[1], budget=request.budget)
    if request.paused:
        if request.paused not in ("yes", "no"):
            raise Invalid(f"paused is yes or no, not {request.paused!r}", code="REQUEST_INVALID", hint="--paused yes")
        values["paused"] = request.paused == "yes"
    if values:
        store.change_environment(tx, place, **values)
    return store.view(tx, place)


def _choices(request: MergeBranch) -> Choices:
    if request.ours and request.theirs:
        raise Invalid("--ours and --theirs exclude each other", code="CHOICE_INVALID", hint="use --per-key for both")
    choices = Choices(
        all=merging.OURS if request.ours else merging.THEIRS if request.theirs else "", by_id=request.per_key
    )
    choices.check()
    return choices


def _bytes_brought(blobs: Blobs, found: list[merging.Difference]) -> int:
    """Of blobs that these differences name and what was there before does not."""
    sizes: dict[str, int] = {}
    for each in found:
        before = blobs_of(each.before)
        sizes |= {digest: size for digest, size in blobs_of(each.after).items() if digest not in before}
    return sum(size if size >= 0 else size_of(blobs, digest) for digest, size in sizes.items())


def _counted(found: list[merging.Difference]) -> dict[str, int]:
    return dict(Counter(each.kind for each in found))
