"""Entries, heads and proofs as data."""

from __future__ import annotations

from typing import Any

import msgspec

ZERO = "0" * 64  # what the first entry follows


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry, numbered from 1 without gaps. Its JSON text (`rules.content`) is the leaf of the tree; `hash` is not
    part of it."""

    number: int
    previous: str  # hash of the entry before
    at: float  # seconds since the epoch; never below that of the entry before
    project: str
    environment: str
    action: str  # release.live, model.alias_set, promotion.approved …
    subject: str
    by: str
    why: str
    evidence: dict[str, Any]
    hash: str = ""


class LedgerHead(msgspec.Struct, frozen=True, kw_only=True):
    """The tree over the first `size` entries, signed. `note` is the C2SP checkpoint, `key` its verifier key."""

    size: int
    root: str
    note: str
    key: str


class Inclusion(msgspec.Struct, frozen=True, kw_only=True):
    """That an entry is part of the tree of a head (RFC 9162, 2.1.3)."""

    entry: LedgerEntry
    line: str  # the leaf as it is hashed
    path: list[str]
    head: LedgerHead


class Consistency(msgspec.Struct, frozen=True, kw_only=True):
    """That the tree of `head` begins with the tree of `first` entries (RFC 9162, 2.1.4)."""

    first: int
    first_root: str
    path: list[str]
    head: LedgerHead


class LedgerVerified(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing was changed. `seconds`: what it took."""

    entries: int
    root: str
    key: str
    seconds: float


class LedgerLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an export, to be written as it is."""

    line: str


class ApprovedBy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    by: str
    at: float
    why: str = ""
    entry: int = 0


class ModelThen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model that an alias named at some time, with what the ledger has as its reasons."""

    name: str
    alias: str
    version: int
    digest: str = ""
    since: float = 0.0
    by: str = ""
    why: str = ""
    promotion: str = ""
    approved: list[ApprovedBy] = []
    gates: dict[str, str] = {}  # digest of the evidence by gate
    trained_on: list[dict[str, Any]] = []
    run: str = ""
    entry: int = 0


class ReleaseThen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    number: int
    digest: str
    since: float
    by: str
    commit: str = ""
    rolled_back_to: int = 0
    models: dict[str, Any] = {}  # by service, as the release pins them
    entry: int = 0


class RanThen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an environment ran at a time."""

    project: str
    environment: str
    at: float
    release: ReleaseThen | None = None
    models: list[ModelThen] = []
