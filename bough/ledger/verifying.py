"""Finds out whether the ledger is what was written: every entry, their order, their number, and who signed it.

What each check catches: the hash of an entry, an edit; the hash before, one that was edited and hashed anew, or put
somewhere else; the numbers, one that is missing; the frontier under the signed root, a chain that was rewritten whole,
and where it begins to differ; the size of the signed head, a tail that was cut off; the head that lies outside the
database, a tail that was cut off together with its head.
"""

from __future__ import annotations

import hashlib
import time

import msgspec
import sqlalchemy as sa

from bough.kernel.errors import Conflict, Invalid
from bough.ledger import notes, rules, store
from bough.ledger.models import ZERO, LedgerHead, LedgerVerified

MOST_FINDINGS = 20  # of one verification: the first ones tell what happened


class LedgerBroken(Conflict):
    """The ledger was changed."""

    code = "LEDGER_BROKEN"


def verify(tx: sa.Connection, witnessed: str, trusted: str = "") -> LedgerVerified:
    """Raises `LedgerBroken`, with every finding. `trusted`: the verifier key that must have signed; empty: the one that
    the head names."""
    began = time.perf_counter()
    head = store.head(tx)
    findings, hashes = _entries(tx)
    root = rules.EMPTY
    if head is not None:
        findings += _head(tx, head, hashes, trusted)
        root = bytes.fromhex(head.root)
    elif hashes:
        findings.append("the signed head is missing")
    findings += _witness(head, hashes, witnessed, findings)
    if findings:
        raise LedgerBroken(
            f"the ledger is not what was written: {findings[0]}"
            + (f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""),
            hint="compare it with an export or a copy of the database: bough audit export", findings=findings,
        )  # fmt: skip
    seconds = round(time.perf_counter() - began, 3)
    return LedgerVerified(entries=len(hashes), root=root.hex(), key=head.key if head else "", seconds=seconds)


def _entries(tx: sa.Connection) -> tuple[list[str], list[bytes]]:
    """Each entry by itself and after the one before; returns the hashes as they are computed anew."""
    findings: list[str] = []
    hashes: list[bytes] = []
    add, line_of, sha256 = hashes.append, store.line_of, hashlib.sha256
    before, expected = ZERO, 1
    for row in store.rows(tx):
        number, previous, said = row[0], row[1], row[-1]
        try:
            made = sha256(b"\0" + line_of(row))
        except (AttributeError, TypeError, ValueError, msgspec.MsgspecError):  # a value of a type that none may have
            made = sha256(b"")
        if number != expected and len(findings) < MOST_FINDINGS:
            gone = f"entry {expected} is" if number == expected + 1 else f"entries {expected} to {number - 1} are"
            findings.append(f"{gone} missing")
        elif previous != before and len(findings) < MOST_FINDINGS:
            findings.append(f"entry {number} does not follow entry {number - 1}: one of them was edited or moved")
        if made.hexdigest() != said and len(findings) < MOST_FINDINGS:
            findings.append(f"entry {number} was edited: its content has another hash")
        add(made.digest())
        before, expected = said, number + 1
    return findings, hashes


def _head(tx: sa.Connection, head: LedgerHead, hashes: list[bytes], trusted: str) -> list[str]:
    if trusted and trusted != head.key:
        return [f"the head names the key {head.key}, not {trusted}"]
    try:
        size, root = notes.read(head.note, head.key)
    except Invalid as problem:
        return [problem.message]
    findings = []
    if (size, root.hex()) != (head.size, head.root):
        findings.append(f"the signed head is of {size} entries and another root than the one that is kept beside it")
    if len(hashes) < size:
        gone = f"entry {size} is" if len(hashes) == size - 1 else f"entries {len(hashes) + 1} to {size} are"
        findings.append(f"{gone} missing: the head was signed with {size} entries")
    elif len(hashes) > size:
        findings.append(f"entries after {size} were never signed")
    else:
        findings += _differences(store.frontier(tx), rules.frontier_of(hashes), size)
    return findings


def _differences(signed: list[bytes], found: list[bytes], size: int) -> list[str]:
    """Which part of the tree is not the signed one."""
    if signed == found:
        return []
    for (first, last), one, other in zip(rules.ranges(size), signed, found, strict=False):
        if one != other:
            return [f"among the entries {first} to {last} one is not what was signed"]
    return ["the entries are not what was signed"]


def _witness(head: LedgerHead | None, hashes: list[bytes], witnessed: str, findings: list[str]) -> list[str]:
    """Compares with the newest head that was seen: the tree must still begin with it."""
    if not witnessed or findings:
        return []
    try:
        lines = witnessed.split("\n")
        size, root = notes.read(witnessed, head.key) if head else (int(lines[1]), b"")
    except Invalid:
        return []  # it is older than the present key, or no head: it says nothing
    except (IndexError, ValueError):
        return []
    if size > len(hashes):
        return [f"the ledger ends at entry {len(hashes)}, and a signed head of {size} entries has been seen"]
    if rules.root(rules.frontier_of(hashes[:size])) != root:
        return [f"the first {size} entries are not those of a signed head that has been seen"]
    return []
