"""Verbs of the ledger. They stand under `audit`, beside the list of who called which operation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from bough.kernel import moments
from bough.kernel.context import Context, Role
from bough.kernel.errors import Invalid, NotFound
from bough.kernel.operations import Nothing, operation
from bough.kernel.project import PRODUCTION
from bough.ledger import asking, rules, store, verifying
from bough.ledger.models import Consistency, Inclusion, LedgerEntry, LedgerHead, LedgerLine, LedgerVerified, RanThen
from bough.ledger.store import Ledger

Environment = Annotated[str, msgspec.Meta(description="environment; main is production")]
Number = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
PAGE = 1000  # entries that an export reads at once


class ListLedger(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str = ""
    environment: Annotated[str, msgspec.Meta(description="one environment; all without it")] = ""
    action: Annotated[str, msgspec.Meta(description="one action, such as release.live; promotion.* for a group")] = ""
    subject: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 50


class VerifyLedger(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: Annotated[str, msgspec.Meta(description="verifier key that must have signed, as `bough audit head` shows")] = (
        ""
    )


class ProveEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    number: Annotated[Number, msgspec.Meta(description="entry")]


class ProveGrowth(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    first: Annotated[Number, msgspec.Meta(description="size of an earlier head")]


class ExportLedger(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    after: Annotated[int, msgspec.Meta(ge=0, le=2**53, description="number of the last entry that is there")] = 0


class AtTime(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    time: Annotated[str, msgspec.Meta(description="time (of the server, unless with a zone), or age such as 2h")]
    environment: Environment = PRODUCTION
    model: Annotated[str, msgspec.Meta(description="one model; all without it")] = ""


@operation("audit.ledger", role=Role.VIEWER)
def list_ledger(context: Context, request: ListLedger) -> list[LedgerEntry]:
    """Lists entries of the ledger, newest first: what came into use, by whom, why, on which evidence."""
    return store.entries(context.tx, **msgspec.structs.asdict(request))


@operation("audit.verify", role=Role.VIEWER)
def verify(context: Context, request: VerifyLedger) -> LedgerVerified:
    """Checks that no entry of the ledger was edited, removed, reordered or cut off, and who signed it."""
    return verifying.verify(context.tx, context.part(Ledger).key.witnessed(), request.key)


@operation("audit.head", role=Role.VIEWER)
def head(context: Context, request: Nothing) -> LedgerHead:
    """Shows the signed head: keep it elsewhere, and the ledger can be held against it for ever."""
    found = store.head(context.tx)
    if found is None:
        raise NotFound("the ledger has no entry yet", code="LEDGER_EMPTY", hint="bough deploy")
    return found


@operation("audit.proof", role=Role.VIEWER)
def prove_entry(context: Context, request: ProveEntry) -> Inclusion:
    """Proves that an entry is part of the ledger (inclusion, RFC 9162)."""
    entry, signed = store.find(context.tx, request.number), head.function(context, Nothing())
    path = rules.inclusion_path(store.leaves(context.tx, signed.size), request.number - 1)
    line = rules.content(entry).decode()
    return Inclusion(entry=entry, line=line, path=[each.hex() for each in path], head=signed)


@operation("audit.growth", role=Role.VIEWER)
def prove_growth(context: Context, request: ProveGrowth) -> Consistency:
    """Proves that the ledger still begins with an earlier head's entries (consistency, RFC 9162)."""
    signed = head.function(context, Nothing())
    if request.first > signed.size:
        raise NotFound(f"the ledger has {signed.size} entries", code="ENTRY_NOT_FOUND", hint="bough audit verify")
    leaves = store.leaves(context.tx, signed.size)
    first_root = rules.root(rules.frontier_of(leaves[: request.first]))
    path = rules.consistency_path(leaves, request.first)
    return Consistency(
        first=request.first, first_root=first_root.hex(), path=[each.hex() for each in path], head=signed
    )


@operation("audit.export", role=Role.VIEWER)
def export(context: Context, request: ExportLedger) -> Iterator[LedgerLine]:
    """Writes every entry as the line that was hashed, and last the signed head."""
    with context.read() as tx:
        signed = store.head(tx)
    size = signed.size if signed is not None else 0
    for start in range(request.after, size, PAGE):
        with context.read() as tx:
            lines = [store.line_of(row).decode() for row in store.page(tx, start, min(start + PAGE, size))]
        yield from (LedgerLine(line=each) for each in lines)
    if signed is not None:
        yield LedgerLine(line=msgspec.json.encode({"head": signed.note, "key": signed.key}).decode())


@operation("audit.at", role=Role.VIEWER)
def at(context: Context, request: AtTime) -> RanThen:
    """Says what an environment ran at a time: release, models and their versions, who approved, trained on what."""
    now = context.clock.now()
    when = moments.moment(request.time, now)
    if when is None:
        raise Invalid(
            f"{request.time!r} is not a time", code="TIME_INVALID",
            hint="write it like 2026-05-03T12:00, or an age like 2h",
        )  # fmt: skip
    return asking.then(context.tx, (request.project, request.environment), when, request.model)


@operation("audit.rekey", role=Role.ADMIN, writes=True)
def rekey(context: Context, request: Nothing) -> LedgerEntry:
    """Signs heads with a new key from now on; the ledger says so. For a key that was lost or seen by others."""
    return context.part(Ledger).rekey(context.tx, context.principal.name)
