"""One merge of a branch, from the question what differs to the release that brings its services live.

What is slow (rows of tables are compared) is prepared without a transaction, against what both sides are at that
moment; the transaction then only looks whether either has moved since, and writes.
"""

from __future__ import annotations

from collections import Counter

import msgspec
import sqlalchemy as sa

from bough.data.rules import clashes
from bough.environments import references, rules, store
from bough.environments.branching import manifest_at, rebase, repinned
from bough.environments.models import MERGED, ConflictView, Merge, Migrations
from bough.environments.operations import make_release
from bough.kernel import catalog, merging
from bough.kernel.catalog import DATABASE, FILE, SECRET, SERVICE, Point
from bough.kernel.context import Context
from bough.kernel.errors import Conflict, Invalid
from bough.kernel.merging import Choices, Merged, Mergers
from bough.kernel.operations import Moved

Place = tuple[str, str]
SHOWN = 1000  # conflicts in an error


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a merge would do, and the states that it was worked out for. `keys`: all that the branch has changed."""

    ours: Point
    theirs: Point
    kinds: tuple[str, ...]
    fast_forward: bool
    keys: frozenset[tuple[str, str]]
    merged: Merged
    migrations: dict[str, list[str]]


class Merging:
    """`into` empty: the branch's parent. Raises `NotFound`, `Invalid` (MERGE_INTO_ITSELF), `Conflict`
    (PARENT_MISSING)."""

    def __init__(self, context: Context, project: str, branch: str, into: str, *, choices: Choices) -> None:
        with context.read() as tx:
            self.place = store.resolve(tx, project, branch)
            target = into or store.view(tx, self.place).parent
            if not target:
                raise Conflict(
                    f"{'/'.join(self.place)} has no parent",
                    code="PARENT_MISSING",
                    hint="say where to: --into ENVIRONMENT",
                )
            self.into = store.resolve(tx, project, target)
        if self.into == self.place:
            what = f"{self.place[1]} cannot be merged into itself"
            raise Invalid(what, code="MERGE_INTO_ITSELF", hint="choose another --into")
        self._choices = choices

    def prepare(self, context: Context, kinds: tuple[str, ...]) -> Plan:
        """Works the merge out; writes nothing but blobs."""
        with context.read() as tx:
            now = catalog.newest(tx)
            ours, theirs = (Point(catalog.layer_of(tx, *each), now) for each in (self.into, self.place))
            moved = merging.has_moved(tx, ours, theirs, kinds)
            mine = merging.differences(tx, merging.base_of(tx, ours, theirs), theirs, kinds)
            mergers = context.part(Mergers).by_kind
            merged = merging.three_way(tx, ours, theirs, kinds=kinds, mergers=mergers, choices=self._choices)
            self._check_paths(tx, ours, merged)
        migrations: dict[str, list[str]] = {}
        if migrating := [each for each in merged.writes if each.kind == DATABASE]:
            migrations = context.part(Migrations).try_out(context, self.into, migrating)
        keys = frozenset((each.kind, each.key) for each in mine)
        return Plan(ours=ours, theirs=theirs, kinds=kinds, fast_forward=not moved, keys=keys, merged=merged,
                    migrations=migrations)  # fmt: skip

    def _check_paths(self, tx: sa.Connection, ours: Point, merged: Merged) -> None:
        """Each entry may be fine and all of them no tree: one side made a file where the other has a folder."""
        files = [each for each in merged.writes if each.kind == FILE]
        for dataset in sorted({each.key.partition("/")[0] for each in files if each.value is not None}):
            mine = [each for each in files if each.key.startswith(dataset + "/")]
            found = clashes(
                [each.key for each in catalog.items(tx, ours, FILE, dataset + "/")],
                [each.key for each in mine if each.value is None],
                [each.key for each in mine if each.value is not None],
            )
            if found:
                path, file = found[0]
                raise Conflict(
                    f"{self.place[1]} and {self.into[1]} together have a file {file!r} and {path!r} below it;"
                    " nothing was merged",
                    code="MERGE_PATH_CLASH",
                    hint=f"bough data rm {file} -e {self.place[1]}, or the other in {self.into[1]}",
                    paths=[list(each) for each in found[:SHOWN]],
                )

    def check_unmoved(self, context: Context, plan: Plan) -> None:
        """Raises `Moved` when the branch has changed since `prepare`, or the other side in what the branch changed."""
        for place, point, keys in ((self.into, plan.ours, plan.keys), (self.place, plan.theirs, None)):
            layer = catalog.layer_of(context.tx, *place)
            since = catalog.written(context.tx, layer, point.seq)
            if layer != point.layer or (since if keys is None else since & keys):
                raise Moved(f"{'/'.join(place)} was changed meanwhile", hint="try the merge again")

    def view(self, plan: Plan, *, dry_run: bool = False) -> Merge:
        return Merge(
            into=self.into[1],
            fast_forward=plan.fast_forward,
            merged=dict(Counter(each.kind for each in plan.merged.writes)),
            conflicts=[_view(each) for each in plan.merged.conflicts],
            migrations=plan.migrations,
            dry_run=dry_run,
        )

    def apply(self, context: Context, plan: Plan, message: str) -> Merge:
        """Writes it; raises `Conflict` (MERGE_CONFLICT) when something is undecided, and then writes nothing."""
        tx, now, why = context.tx, context.clock.now(), message or f"merge of {self.place[1]}"
        target = catalog.writable_layer(tx, *self.into, context.principal)
        if plan.merged.conflicts:
            raise self._conflicted(plan)
        data = [each for each in plan.merged.writes if each.kind != SERVICE]
        if migrating := [each for each in data if each.kind == DATABASE]:
            context.part(Migrations).run(context, self.into, migrating)
        change = catalog.commit(tx, target, data, at=now, by=context.principal.name, why=why) if data else 0
        before = manifest_at(tx, self.into[0], Point(target))
        writes = [each for each in plan.merged.writes if each.kind == SERVICE]
        services = references.services_here(context, self.into, writes)
        brought = {each.key for each in plan.merged.writes if each.kind == SECRET}
        manifest = repinned(tx, self.into, rules.with_services(before, services), brought)
        live = store.live(tx, self.place)
        release = None
        if manifest != before:
            release = make_release(context, self.into, manifest, why, live[0].commit if live else "")
        rebased = self._go_on(context, plan)
        made_at = store.view(tx, self.place).created_at
        context.emit(
            MERGED, "/".join(self.place), project=self.place[0], environment=self.place[1],
            into=self.into[1], change=change, by=context.principal.name, seconds=round(now - made_at, 3),
            rebased=list(rebased),
        )  # fmt: skip
        return msgspec.structs.replace(self.view(plan), release=release)

    def _go_on(self, context: Context, plan: Plan) -> tuple[str, ...]:
        """A branch goes on from the state that it was merged into, with what was not part of the merge. The kinds of
        which it does."""
        tx = context.tx
        if store.view(tx, self.place).parent != self.into[1]:
            return ()
        target = Point(catalog.layer_of(tx, *self.into))
        rebase(context, self.place, target, keep=[each for each in catalog.KINDS if each not in plan.kinds])
        if (live := store.live(tx, self.place)) is not None:
            store.define_services(tx, live[0], context.clock.now())
        return plan.kinds

    def _conflicted(self, plan: Plan) -> Conflict:
        conflicts, branch, into = [_view(each) for each in plan.merged.conflicts], self.place[1], self.into[1]
        shown = "; ".join(f"{each.id}: {into} {each.ours}, {branch} {each.theirs}" for each in conflicts[:5])
        more = f" and {len(conflicts) - 5} more" if len(conflicts) > 5 else ""
        return Conflict(
            f"{branch} and {into} changed the same in {len(conflicts)} places: nothing was merged; {shown}{more}",
            code="MERGE_CONFLICT",
            hint=f"bough branch merge {branch} with --theirs, --ours or --per-key ID=SIDE; --dry-run lists all",
            conflicts=msgspec.to_builtins(conflicts[:SHOWN]),
        )


def _view(each: merging.Conflict) -> ConflictView:
    return ConflictView(
        id=each.id,
        ours=rules.deed(each.kind, each.base, each.ours),
        theirs=rules.deed(each.kind, each.base, each.theirs),
    )
