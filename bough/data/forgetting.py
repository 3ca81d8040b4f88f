"""Forgetting somebody by the words that name them: an address, a number of a customer.

Every blob of the home is read through, every capability asked for what it keeps beside the catalog, and at last
everything else in the home is searched, so that what remains is named with what can be typed about it. What is
compressed cannot be seen into: rows of tables have a verb of their own, databases have SQL. The proof that is kept
does not say the words.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from bough.adapters.blobs import Blobs
from bough.data.erasure import ERASED, Elsewhere, Proof, layers_of
from bough.data.garbage import Collector, digests_in
from bough.kernel.catalog import DATABASE, FILE, TABLE, change, entry
from bough.kernel.context import Context, Role
from bough.kernel.errors import Invalid, NotFound
from bough.kernel.operations import Commit, operation
from bough.kernel.platform import Home
from bough.kernel.subjects import REWRITTEN, Named, Subject
from bough.kernel.tables import metadata

SHORTEST = 4  # of a word: a shorter one means others as well
_ELSEWHERE = {  # folders whose files are blobs, made from blobs or Bough itself, or are searched by who writes them
    *("blobs", "builds", "data", "models", "run", "runtime", "jobs", "checkpoints"),
}
_TYPE = {  # what can be done about a file that says it, by its folder
    "logs": "it goes when the log turns over",
    "traffic": "it goes with the mirror or the replay",
    "databases": "bough db shell",
    "git": "the history of the repository",
}


class Forget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    text: Annotated[str, msgspec.Meta(description="whole words that name somebody, such as ada@example.com")]
    also: Annotated[list[str], msgspec.Meta(description="other words that name them")] = []
    dry_run: Annotated[bool, msgspec.Meta(description="say what would go, and change nothing")] = False


@operation("data.forget", role=Role.ADMIN, writes=True, private=True, secret=True, slow=True)
def forget(context: Context, request: Forget) -> Commit[Proof]:
    """Erases what names somebody from artifacts, traces, runs, queues and requests that services keep, for good, says
    what names them elsewhere, and returns the proof."""
    subject = Subject(project=request.project, texts=_checked([request.text, *request.also]), dry_run=request.dry_run)
    subject = replace(subject, digests=frozenset(_blobs(context.part(Blobs), subject)))
    with context.read() as tx:
        reached = context.part(Elsewhere).reach(tx, subject)
        subject.teach(tx)
        layers = list(layers_of(tx, request.project))
        remains = [*reached.remains, *_entries(tx, layers, subject), *_rows(tx, layers)]
    remains += _files(context.part(Home).path, subject)

    def commit(context: Context) -> Proof:
        subject.teach(context.tx)
        why = sa.and_(change.c.layer.in_(layers), sa.func.names(change.c.why))
        changes = list(context.tx.execute(sa.select(change.c.seq).where(why)).scalars())
        users = context.part(Collector).users(context.tx, subject.digests)
        gone = sorted(subject.digests - users.keys())
        left = [f"blob {digest}: used by {', '.join(names)}" for digest, names in sorted(users.items())]
        if not request.dry_run:
            context.tx.execute(change.update().where(why).values(why=sa.func.without(change.c.why)))
            for digest in gone:
                context.part(Blobs).delete(digest)
        said = [Named(kind="change", key=f"#{seq}", done=REWRITTEN) for seq in changes]
        proof = Proof(
            project=request.project, dataset="", path="", erased_at=context.clock.now(), by=context.principal.name,
            entries=[], deleted_blobs=gone, remains=[*remains, *left], elsewhere=[*reached.done, *said],
        )  # fmt: skip
        if not request.dry_run:
            kept = msgspec.json.decode(subject.without(msgspec.json.encode(proof).decode()))
            context.emit(ERASED, request.project, **kept)
        return proof

    return commit


def _checked(texts: list[str]) -> tuple[str, ...]:
    for text in texts:
        if len(text.strip()) < SHORTEST:
            raise Invalid(
                f"{text!r} is too short to name somebody: {SHORTEST} characters at least", code="TEXT_TOO_SHORT",
                hint="bough data forget ada@example.com --dry-run says what would go",
            )  # fmt: skip
    return tuple(sorted({text.strip() for text in texts}))


def _blobs(blobs: Blobs, subject: Subject) -> Iterator[str]:
    """Those whose bytes name them; what goes meanwhile does not count."""
    for held in blobs.held():
        try:
            with blobs.open(held.digest, afresh=False) as stream:
                if subject.is_in_stream(stream):
                    yield held.digest
        except NotFound:
            continue


def _entries(tx: sa.Connection, layers: list[int], subject: Subject) -> Iterator[str]:
    """What datasets and tables say, and what is not looked into."""
    found: dict[str, set[str]] = {kind: set() for kind in (FILE, TABLE, DATABASE)}
    query = sa.select(entry.c.kind, entry.c.key, entry.c.value).where(entry.c.layer.in_(layers))
    for kind, key, value in tx.execute(query.where(entry.c.kind.in_(list(found)))):
        if kind != FILE or subject.is_in(key) or set(digests_in(value or "")) & subject.digests:
            found[kind].add(key)
    for key in sorted(found[FILE]):
        dataset, _, path = key.partition("/")
        yield f"file {key}: bough data erase {dataset} --path {path!r}"
    if found[TABLE]:
        yield f"rows of tables were not looked into ({', '.join(sorted(found[TABLE]))}): bough tables erase"
    if found[DATABASE]:
        yield f"databases were searched as files only ({', '.join(sorted(found[DATABASE]))}): bough db shell"


def _rows(tx: sa.Connection, layers: list[int]) -> Iterator[str]:
    """Everything else that the control plane's database says of anything; the connection has learnt `names`."""
    for table in metadata.sorted_tables:
        texts = [column for column in table.columns if isinstance(column.type, sa.Text | sa.LargeBinary)]
        if not texts or table.name == change.name:
            continue
        query = sa.select(sa.func.count()).select_from(table).where(sa.or_(*map(sa.func.names, texts)))
        if table is entry:  # files have been named one by one
            query = query.where(sa.or_(entry.c.kind != FILE, entry.c.layer.not_in(layers)))
        if count := tx.execute(query).scalar():
            yield f"bough.db: {count} rows of {table.name}, which keeps what was said"


def _files(home: Path, subject: Subject) -> Iterator[str]:
    for top in sorted(home.iterdir()):
        if top.name in _ELSEWHERE or ".db" in top.suffix:
            continue
        for path in [top, *top.rglob("*")]:
            if path.is_symlink() or not path.is_file():
                continue
            with path.open("rb") as stream:
                if subject.is_in(str(path.relative_to(home))) or subject.is_in_stream(stream):
                    yield f"file {path.relative_to(home)} of the home: {_TYPE.get(top.name, 'written by hand')}"
