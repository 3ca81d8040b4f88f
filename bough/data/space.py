"""Where the bytes of a project's data are, and what would free some of them.

A blob is there once, however many datasets, environments and earlier states show it. So bytes have three kinds of
holders: one dataset in one environment alone, several of them, or only the past: tags, and history that is kept.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Set
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa

from bough.adapters.blobs import Blobs
from bough.data.erasure import layers_of
from bough.data.garbage import GRACE_S, Collector, blobs_of, digests_in, size_of
from bough.data.operations import Environment
from bough.kernel import catalog, points
from bough.kernel.catalog import FILE, TABLE, Point
from bough.kernel.context import Context, Role
from bough.kernel.errors import Conflict, NotFound
from bough.kernel.operations import operation
from bough.kernel.project import PRODUCTION

VERSIONS_SHOWN = 50

Name = tuple[str, str]  # kind and name of a dataset or a table
Place = tuple[str, str, Name]  # project, environment, and what is shown there


class AskSpace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    dataset: Annotated[
        str,
        msgspec.Meta(
            description="a dataset or a table, with its versions; empty: all of them",
            extra_json_schema={"x-argument": True, "x-metavar": "DATASET"},
        ),
    ] = ""
    environment: Environment = PRODUCTION


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset or table as one environment shows it. `exclusive_bytes`: nothing else shows them; without it here they
    would be held by tags and kept history, and then by nobody."""

    environment: str
    name: str
    kind: str  # file: a dataset; table
    bytes: int
    shared_bytes: int
    exclusive_bytes: int


class Earlier(msgspec.Struct, frozen=True, kw_only=True):
    """What only earlier states of a dataset hold, in all environments together."""

    name: str
    kind: str
    bytes: int


class DataVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset or table after one change. `new_bytes` are not in the version before."""

    change: int
    changed_at: float
    by: str
    why: str
    bytes: int
    new_bytes: int


class SpaceAdvice(msgspec.Struct, frozen=True, kw_only=True):
    """What holds bytes that may not be wanted any more; `command` shows or lets go of them, `bough gc` frees them."""

    bytes: int
    why: str
    command: str


class Space(msgspec.Struct, frozen=True, kw_only=True):
    project: str
    bytes: int  # of all blobs that its datasets and tables show now, each once
    held: list[Held]
    earlier: list[Earlier]
    versions: list[DataVersion] = []  # of the dataset that was asked for, in one environment, newest first
    advice: list[SpaceAdvice] = []  # the most bytes first


@operation("data.space", role=Role.VIEWER, slow=True)
def space(context: Context, request: AskSpace) -> Space:
    """Says where the bytes of datasets and tables are, by environment and version, and what would free some of them."""
    with context.read() as tx:
        look = _Look(context, tx, request.project)
        if request.dataset:
            return look.of_one(request.dataset, request.environment)
        return look.of_all()


class _Look:
    """One look at the data of a project. `past`: blobs that nothing shows now, and that tags or kept history can."""

    def __init__(self, context: Context, tx: sa.Connection, project: str) -> None:
        self._context, self._tx, self._project = context, tx, project
        self._collector, self._now = context.part(Collector), context.clock.now()
        self._sizes = _Sizes(context.part(Blobs))
        shown = dict(_shown(tx, self._sizes))
        self._times = Counter(digest for used in shown.values() for digest in used)
        self._mine = {place: used for place, used in shown.items() if place[0] == project and _is_data(place[2])}
        self._past = _past(tx, project, self._reachable() - self._times.keys(), self._sizes)

    def of_all(self) -> Space:
        advice = [*self._garbage(), *self._tags_and_history(), *self._branches()]
        return self._space(advice=sorted((each for each in advice if each.bytes), key=lambda each: -each.bytes))

    def of_one(self, dataset: str, environment: str) -> Space:
        all_of_it = self._space(versions=self._versions(dataset, environment))
        return msgspec.structs.replace(
            all_of_it, held=[each for each in all_of_it.held if each.name == dataset],
            earlier=[each for each in all_of_it.earlier if each.name == dataset],
        )  # fmt: skip

    def _space(self, **more: Any) -> Space:
        earlier = [
            Earlier(name=name, kind=kind, bytes=self._sizes.of(used))
            for (kind, name), used in sorted(self._past.items())
        ]
        return Space(
            project=self._project, bytes=self._sizes.of(set().union(*self._mine.values())),
            held=[self._held(place, used) for place, used in sorted(self._mine.items())], earlier=earlier, **more,
        )  # fmt: skip

    def _reachable(self) -> set[str]:
        return self._collector.marked(self._tx, self._now - points.RETENTION_S).used

    def _held(self, place: Place, used: set[str]) -> Held:
        _, environment, (kind, name) = place
        total, own = self._sizes.of(used), self._only_here(used)
        return Held(
            environment=environment, name=name, kind=kind, bytes=total, shared_bytes=total - own, exclusive_bytes=own
        )

    def _only_here(self, used: set[str]) -> int:
        return self._sizes.of({digest for digest in used if self._times[digest] == 1})

    def _versions(self, dataset: str, environment: str) -> list[DataVersion]:
        of = catalog.layer_of(self._tx, self._project, environment)
        kind = TABLE if catalog.get(self._tx, Point(of), TABLE, dataset) else FILE
        changes = _changes(self._tx, of, kind, dataset)
        if not changes:
            raise NotFound(
                f"{self._project}/{environment} has neither a dataset nor a table {dataset!r}",
                code="DATASET_NOT_FOUND", hint=f"bough data ls --project {self._project} -e {environment}",
            )  # fmt: skip
        states = [_state(self._tx, Point(of, change.seq), kind, dataset, self._sizes) for change in changes]
        before = [*states[1:], set[str]()]
        return [
            DataVersion(
                change=change.seq, changed_at=change.at, by=change.by, why=change.why, bytes=self._sizes.of(now),
                new_bytes=self._sizes.of(now - old),
            )
            for change, now, old in zip(changes, states, before, strict=True)
        ][:VERSIONS_SHOWN]  # fmt: skip

    def _garbage(self) -> list[SpaceAdvice]:
        """Of all projects together: what nobody can reach has no project any more."""
        try:
            found = self._collector.run(dry_run=True)
        except Conflict:  # it is being collected just now
            return []
        wait = f"nothing reaches them; younger than {GRACE_S / 3600:.0f} h, they go by themselves after that"
        return [
            SpaceAdvice(bytes=found.bytes, why="nothing reaches them any more, in any project", command="bough gc"),
            SpaceAdvice(bytes=found.young_bytes, why=wait, command="bough gc"),
        ]

    def _tags_and_history(self) -> list[SpaceAdvice]:
        """What tags hold stays for ever; the rest goes when the history that is kept has moved on."""
        everything, tags = set[str]().union(*self._past.values()), catalog.tag
        rows = self._tx.execute(tags.select().where(tags.c.project == self._project))
        tagged = {row.name: everything & _of_point(self._tx, Point(row.layer, row.seq)) for row in rows}
        times = Counter(digest for used in tagged.values() for digest in used)
        advice = []
        for name, used in tagged.items():
            own = self._sizes.of({digest for digest in used if times[digest] == 1})
            why, command = f"only the tag {name} holds them", f"bough tags delete {name} --project {self._project}"
            advice.append(SpaceAdvice(bytes=own, why=why, command=command))
        days = f"{points.RETENTION_S / 86_400:.0f} days"
        for (kind, name), used in sorted(self._past.items()):
            why = f"only the history of {name} holds them; they go by themselves {days} after they were replaced"
            verb = "tables history" if kind == TABLE else "data log"
            own = self._sizes.of(used - times.keys())
            advice.append(SpaceAdvice(bytes=own, why=why, command=f"bough {verb} {name} --project {self._project}"))
        return advice

    def _branches(self) -> list[SpaceAdvice]:
        advice = []
        for environment in sorted({place[1] for place in self._mine} - {PRODUCTION}):
            mine = (used for place, used in self._mine.items() if place[1] == environment)
            own = self._only_here(set[str]().union(*mine))
            why = f"only the branch {environment} shows them; {self._last_change(environment)}"
            command = f"bough branch discard {environment} --project {self._project}"
            advice.append(SpaceAdvice(bytes=own, why=why, command=command))
        return advice

    def _last_change(self, environment: str) -> str:
        change = catalog.change
        mine = change.c.layer == catalog.layer_of(self._tx, self._project, environment)
        last = self._tx.execute(sa.select(sa.func.max(change.c.at)).where(mine)).scalar()
        return f"its last change was {(self._now - last) / 86_400:.0f} days ago" if last else "it has changed nothing"


class _Sizes:
    """Sizes of blobs; each that no entry says is asked for once."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs, self._known = blobs, dict[str, int]()

    def learn(self, value: object) -> set[str]:
        found = blobs_of(value)
        self._known |= {digest: size for digest, size in found.items() if size >= 0}
        return set(found)

    def of(self, digests: set[str]) -> int:
        for each in digests - self._known.keys():
            self._known[each] = size_of(self._blobs, each)
        return sum(self._known[each] for each in digests)


def _shown(tx: sa.Connection, sizes: _Sizes) -> Iterator[tuple[Place, set[str]]]:
    """What every environment of every project shows, dataset by dataset: others share blobs too."""
    for row in tx.execute(catalog.head.select()):
        found: dict[Name, set[str]] = defaultdict(set)
        for kind in catalog.KINDS:
            for each in catalog.items(tx, Point(row.layer), kind):
                found[_name(kind, each.key)] |= sizes.learn(each.value)
        for name, used in found.items():
            yield (row.project, row.environment, name), used


def _past(tx: sa.Connection, project: str, among: Set[str], sizes: _Sizes) -> dict[Name, set[str]]:
    """Those of these blobs that entries of datasets and tables name, by dataset."""
    found: dict[Name, set[str]] = defaultdict(set)
    entry = catalog.entry
    query = sa.select(entry.c.kind, entry.c.key, entry.c.value).where(
        entry.c.layer.in_(layers_of(tx, project)), entry.c.kind.in_((FILE, TABLE)), entry.c.value.is_not(None)
    )
    for kind, key, value in tx.execute(query):
        if gone := {digest for digest in digests_in(value) if digest in among}:
            sizes.learn(msgspec.json.decode(value))
            found[_name(kind, key)] |= gone
    return found


def _changes(tx: sa.Connection, of: int, kind: str, name: str) -> list[catalog.Commit]:
    """Those that touched it, newest first: one more than is shown, to compare the last one with."""
    found: list[catalog.Commit] = []
    entry, change = catalog.entry, catalog.change
    below = sa.and_(entry.c.key >= f"{name}/", entry.c.key < f"{name}/\U0010ffff")
    for each in catalog.chain(tx, Point(of), kind):
        touched = sa.select(entry.c.seq).where(
            entry.c.layer == each.layer, entry.c.kind == kind, sa.or_(entry.c.key == name, below)
        )
        query = change.select().where(change.c.layer == each.layer, change.c.seq <= each.seq, change.c.seq.in_(touched))
        rows = tx.execute(query.order_by(change.c.seq.desc()).limit(VERSIONS_SHOWN + 1 - len(found)))
        found += [catalog.Commit(seq=row.seq, at=row.at, by=row.by, why=row.why, layer=row.layer) for row in rows]
        if len(found) > VERSIONS_SHOWN:
            break
    return found


def _state(tx: sa.Connection, at: Point, kind: str, name: str, sizes: _Sizes) -> set[str]:
    if kind == TABLE:
        found = catalog.get(tx, at, TABLE, name)
        return sizes.learn(found.value) if found is not None else set()
    return set().union(*(sizes.learn(each.value) for each in catalog.items(tx, at, FILE, f"{name}/")))


def _of_point(tx: sa.Connection, at: Point) -> set[str]:
    return {digest for kind in (FILE, TABLE) for each in catalog.items(tx, at, kind) for digest in blobs_of(each.value)}


def _name(kind: str, key: str) -> Name:
    return kind, key.partition("/")[0] if kind == FILE else key


def _is_data(name: Name) -> bool:
    return name[0] in (FILE, TABLE)
