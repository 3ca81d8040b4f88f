"""Verbs that look after blobs: checking all of them, what they cost, and collecting garbage."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Annotated

import msgspec

from bough.adapters.blobs import Blobs
from bough.data import rules, store
from bough.data.garbage import Collected, Collector, environments_using, size_of
from bough.data.models import Usage, Verified
from bough.data.operations import At, Environment, Target
from bough.kernel import points
from bough.kernel.context import Context, Role
from bough.kernel.errors import NotFound, Problem
from bough.kernel.operations import Commit, operation
from bough.kernel.project import PRODUCTION

READ_BYTES = 1 << 20
SAY_S = 0.5


class VerifyFiles(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    path: Target = ""
    environment: Environment = PRODUCTION
    at: At = ""


class CollectGarbage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    dry_run: Annotated[bool, msgspec.Meta(description="say what would go, and delete nothing")] = False


class OfProject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str = ""


@operation("files.verify", role=Role.DEVELOPER, command="data check")
def verify(context: Context, request: VerifyFiles) -> Iterator[Verified]:
    """Reads every file of an environment and says which are damaged or missing."""
    with context.read() as tx:
        at = points.resolve(tx, request.project, request.environment, request.at, context.clock.now())
        key = "/".join(filter(None, rules.split(request.path))) if request.path else ""
        files = store.files(tx, at, key)
    blobs = context.part(Blobs)
    total_files, total_bytes = len(files), sum(each.size for each in files)
    wrong: dict[str, str] = {}  # digest -> why; "" for a good one: many files may have one content
    read = count = 0
    said = time.monotonic()
    for each in files:
        if each.digest not in wrong:
            wrong[each.digest] = _problem(blobs, each.digest)
        read, count = read + each.size, count + 1
        seen = Verified(files=count, bytes=read, total_files=total_files, total_bytes=total_bytes)
        if why := wrong[each.digest]:
            yield msgspec.structs.replace(seen, path=each.path, digest=each.digest, problem=why)
        elif time.monotonic() - said > SAY_S:
            said = time.monotonic()
            yield seen
    yield Verified(files=count, bytes=read, total_files=total_files, total_bytes=total_bytes)


@operation("data.usage", role=Role.VIEWER)
def usage(context: Context, request: OfProject) -> list[Usage]:
    """Says how many bytes each environment shows, and how many only it does."""
    using = environments_using(context.tx)
    times = Counter(digest for used in using.values() for digest in used)
    blobs, sizes = context.part(Blobs), dict[str, int]()
    for used in using.values():
        sizes |= {digest: size if size >= 0 else size_of(blobs, digest) for digest, size in used.items()}
    found = []
    for (project, environment), used in sorted(using.items()):
        if request.project in ("", project):
            own = sum(sizes[digest] for digest in used if times[digest] == 1)
            total = sum(sizes[digest] for digest in used)
            found.append(
                Usage(project=project, environment=environment, blobs=len(used), total_bytes=total,
                      shared_bytes=total - own, exclusive_bytes=own)
            )  # fmt: skip
    return found


@operation("gc.run", role=Role.ADMIN, writes=True, command="gc", slow=True)
def collect(context: Context, request: CollectGarbage) -> Commit[Collected]:
    """Deletes what no environment, tag, retained change, release or running unit can reach any more."""
    done = context.part(Collector).run(dry_run=request.dry_run)
    return lambda context: done  # the transaction that is left holds the audit row


def _problem(blobs: Blobs, digest: str) -> str:
    try:
        with blobs.open(digest) as stream:
            while stream.read(READ_BYTES):
                pass
    except NotFound:
        return "missing"
    except Problem as problem:
        if problem.own_code != "BLOB_DAMAGED":
            raise
        return "damaged"
    return ""
