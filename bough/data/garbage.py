"""Garbage collection: the only component that deletes layers, entries and blobs.

Mark: everything that can still be seen keeps its blobs. Roots are heads, tags, the history that is retained, and what
capabilities say they use (`References`: releases, deployments, the data files behind a table). Every digest that stands
anywhere in a kept entry's value counts, so a kind that is not known here loses nothing.

Sweep: a blob that is neither marked nor used within the grace period goes. Deleting happens in write transactions, and
whoever commits asks `blobs.missing` in one first, which counts as use: so a commit either comes before, and spares its
blobs, or after, and is told that they are missing. A kill at any moment leaves some garbage for the next time.

What is dropped of the catalog: layers that no head, tag or kept layer shows, and entries that were replaced so long ago
that nothing shows them any more.
"""

from __future__ import annotations

import bisect
import fcntl
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import msgspec
import sqlalchemy as sa

from bough.adapters.blobs import Blobs, Held
from bough.kernel import catalog, points
from bough.kernel.catalog import LAST, change, entry, head, layer, tag
from bough.kernel.clock import Clock
from bough.kernel.errors import Conflict, NotFound

References = Callable[[sa.Connection, Blobs], Iterator[str]]
"""Every digest that a capability uses and no entry of the catalog holds: what lies behind it. Raises rather than
leaving out what it cannot read: then nothing is swept."""

Pinned = Callable[[sa.Connection], set[tuple[str, str, int]]]
"""Entries that are needed though no point shows them, as (kind, key, change): versions of secrets of old releases."""

GRACE_S = 86_400.0  # longer than any upload whose commit has not come yet
EVERY_S = 3600.0
AT_ONCE = 200  # deletions in one write transaction, which holds up other writers
TRIES = 5
_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What was dropped, or would be. `young_*` is garbage that the grace period still spares."""

    layers: int = 0
    entries: int = 0
    blobs: int = 0
    bytes: int = 0
    young_blobs: int = 0
    young_bytes: int = 0
    kept_blobs: int = 0
    kept_bytes: int = 0
    dry_run: bool = False


class Database(Protocol):
    def write(self) -> AbstractContextManager[sa.Connection]: ...

    def read(self) -> AbstractContextManager[sa.Connection]: ...


class Seen(msgspec.Struct, frozen=True):
    """What the roots show of each layer: up to which changes, in order; `current` layers have a head."""

    points: dict[int, list[int]]
    current: set[int]

    def keeps(self, of: int, start: int, end: int, retained: int) -> bool:
        """Whether an entry of a layer, written by the change `start` and replaced by `end`, can be seen."""
        if of in self.current and end > retained:
            return True
        shown = self.points.get(of, [])
        at = bisect.bisect_left(shown, start)
        return at < len(shown) and shown[at] < end


class Marked(msgspec.Struct, frozen=True):
    used: set[str]
    layers: list[int]  # to drop, children first
    entries: list[tuple[int, str, str, int]]
    seen: Seen
    retained: int
    emptied: list[int] = []  # layers that nothing shows, kept for entries that are pinned


class Collector:
    """One at a time among all processes of a home: `lock` is a file."""

    def __init__(
        self, database: Database, blobs: Blobs, clock: Clock, references: Mapping[str, References], lock: Path,
        pinned: Pinned = lambda tx: set(), sweep: Callable[[], object] = lambda: None,
    ) -> None:  # fmt: skip
        """`sweep` clears away what killed programs have left beside blobs."""
        self._database, self._blobs, self._clock, self._references = database, blobs, clock, dict(references)
        self._lock, self._pinned, self._sweep_others = lock, pinned, sweep

    def run(
        self, *, dry_run: bool = False, grace_s: float = GRACE_S, retention_s: float = points.RETENTION_S
    ) -> Collected:
        """Raises `Conflict` (GC_RUNNING) when another one runs, and what a capability could not read."""
        with self._alone():
            if not dry_run:
                self._sweep_others()
            since = self._clock.now() - grace_s
            marked = self._mark(self._clock.now() - retention_s, dry_run)
            return self._sweep(marked, since, dry_run)

    def used(self, tx: sa.Connection) -> set[str]:
        """Every digest that anything still uses, all history included."""
        return self.marked(tx, 0.0).used

    def marked(self, tx: sa.Connection, retained_from: float) -> Marked:
        """What can be reached now, history younger than that included."""
        found = mark(tx, retained_from, self._pinned(tx))
        for references in self._references.values():
            found.used.update(references(tx, self._blobs))
        return found

    def users(self, tx: sa.Connection, digests: Set[str]) -> dict[str, list[str]]:
        """By whom each of these blobs is used: entries of the catalog, or what `references` calls a capability."""
        found: dict[str, set[str]] = defaultdict(set)
        for digest in mark(tx, 0.0, self._pinned(tx)).used & digests:
            found[digest].add("the catalog")
        for name, references in self._references.items():
            for digest in digests & set(references(tx, self._blobs)):
                found[digest].add(name)
        return {digest: sorted(names) for digest, names in found.items()}

    def _mark(self, retained_from: float, dry_run: bool) -> Marked:
        for _ in range(TRIES):
            with self._database.read() as tx:
                marked = self.marked(tx, retained_from)
            if dry_run or self._prune(marked):
                return marked
        raise Conflict("branches come and go too fast to tell what is seen", code="GC_BUSY", hint="bough gc, later")

    def _prune(self, marked: Marked) -> bool:
        """False when meanwhile something has been branched or tagged: it may show what would be dropped."""
        if not marked.layers and not marked.entries:
            return True
        with self._database.write() as tx:
            if seen(tx, marked.retained).points != marked.seen.points:
                return False
            for of, kind, key, seq in marked.entries:
                same = entry.c.layer == of, entry.c.kind == kind, entry.c.key == key, entry.c.seq == seq
                tx.execute(entry.delete().where(*same))
            for of in marked.emptied:
                catalog.cut_layer(tx, of)
            for of in marked.layers:
                catalog.drop_layer(tx, of)
        return True

    def _sweep(self, marked: Marked, since: float, dry_run: bool) -> Collected:
        old: list[Held] = []
        kept = young = (0, 0)
        for each in self._blobs.held():
            if each.digest in marked.used:
                kept = kept[0] + 1, kept[1] + each.size
            elif each.used_at >= since:
                young = young[0] + 1, young[1] + each.size
            else:
                old.append(each)
        gone = old if dry_run else list(self._delete(old, since))
        return Collected(
            layers=len(marked.layers), entries=len(marked.entries), blobs=len(gone),
            bytes=sum(each.size for each in gone), young_blobs=young[0], young_bytes=young[1], kept_blobs=kept[0],
            kept_bytes=kept[1], dry_run=dry_run,
        )  # fmt: skip

    def _delete(self, old: list[Held], since: float) -> Iterator[Held]:
        for start in range(0, len(old), AT_ONCE):
            with self._database.write():
                for each in old[start : start + AT_ONCE]:
                    if self._blobs.delete(each.digest, unless_used_since=since):
                        yield each

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with self._lock.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(
                    "garbage is being collected already", code="GC_RUNNING", hint="bough gc, later"
                ) from None
            yield


def seen(tx: sa.Connection, retained: int) -> Seen:
    """What heads and tags show of every layer. An environment that was merged or reset after the change `retained` also
    shows the layer that it was in until then."""
    parents = {row.id: (row.parent, row.at) for row in tx.execute(layer.select())}
    current = points.kept_layers(tx, retained)
    shown: dict[int, set[int]] = defaultdict(set)
    starts = [(of, LAST) for of in current]
    starts += [(row.layer, row.seq) for row in tx.execute(sa.select(tag.c.layer, tag.c.seq))]
    for of, seq in starts:
        at: int | None = of
        while at is not None and seq not in shown[at]:
            shown[at].add(seq)
            at, until = parents.get(at, (None, 0))
            seq = min(seq, until)
    return Seen({of: sorted(found) for of, found in shown.items()}, current)


def mark(tx: sa.Connection, retained_from: float, pinned: set[tuple[str, str, int]]) -> Marked:
    """What the catalog uses and what it can drop; history younger than `retained_from` is kept, and what is pinned.
    A layer that nothing shows stays for the sake of a pinned entry, without parent and without anything else."""
    retained = points.retained(tx, retained_from)
    found = seen(tx, retained)
    numbers = sorted({seq for _, _, seq in pinned})
    homes = tx.execute(sa.select(change.c.layer).where(change.c.seq.in_(numbers))).scalars()
    kept = set(homes) - found.points.keys()
    unseen = [of for of in tx.execute(sa.select(layer.c.id).order_by(layer.c.id.desc())).scalars()
              if of not in found.points]  # fmt: skip
    dead = [of for of in unseen if of not in kept]
    used: set[str] = set()
    gone: list[tuple[int, str, str, int]] = []
    following = (0, "", "", LAST)
    order = (entry.c.layer.desc(), entry.c.kind.desc(), entry.c.key.desc(), entry.c.seq.desc())
    for row in tx.execute(entry.select().order_by(*order)):
        same = following[:3] == (row.layer, row.kind, row.key)
        end = following[3] if same else LAST + 1
        following = (row.layer, row.kind, row.key, row.seq)
        if row.layer not in found.points and row.layer not in kept:
            continue
        is_pinned = (row.kind, row.key, row.seq) in pinned
        if not is_pinned and not found.keeps(row.layer, row.seq, end, retained):
            gone.append(following)
        elif row.value is not None:
            used.update(_DIGEST.findall(row.value))
    return Marked(used, dead, gone, found, retained, sorted(kept))


class Schedule:
    """Collects every so often in a thread of its own, while `app.Bough` runs."""

    def __init__(
        self, collector: Collector, clock: Clock, say: Callable[[str], None], every_s: float = EVERY_S
    ) -> None:
        self._collector, self._clock, self._say, self._every_s = collector, clock, say, every_s
        self._stopping = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="garbage", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._clock.wait(self._stopping, self._every_s):
            try:
                done = self._collector.run()
                if done.blobs or done.layers:
                    self._say(f"collected {done.blobs} blobs ({done.bytes} bytes) and {done.layers} layers")
            except Exception as error:  # said, and tried again at the next time; garbage harms nobody meanwhile
                self._say(f"garbage was not collected: {type(error).__name__}: {error}")


def digests_in(text: str) -> list[str]:
    """Every digest that stands in a text."""
    return _DIGEST.findall(text)


def environments_using(tx: sa.Connection) -> dict[tuple[str, str], dict[str, int]]:
    """The blobs that each environment shows now, with their sizes where the entry says them (else -1)."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for row in tx.execute(head.select()):
        used = found[(row.project, row.environment)] = {}
        for kind in catalog.KINDS:
            for each in catalog.items(tx, catalog.Point(row.layer), kind):
                for digest, size in blobs_of(each.value).items():
                    if size >= 0 or digest not in used:
                        used[digest] = size
    return found


def blobs_of(value: object) -> dict[str, int]:
    """The digests that stand in an entry's value (None: none do), with the size of a file's; -1: not said there."""
    found = dict.fromkeys(digests_in(msgspec.json.encode(value).decode()), -1)
    if isinstance(value, dict) and "digest" in value and "size" in value:
        found[value["digest"]] = value["size"]
    return found


def size_of(blobs: Blobs, digest: str) -> int:
    """0 for a digest of something else, or of a blob that was lost; `verify` says which."""
    try:
        return blobs.size(digest)
    except NotFound:
        return 0
