"""The ledger finds and names every way in which somebody could have changed it, and answers from what it holds."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bough.adapters.database.sqlite import SqliteDatabase
from bough.kernel.clock import VirtualClock
from bough.kernel.errors import Forbidden, Invalid, NotFound
from bough.ledger import notes, rules, store, verifying
from bough.ledger.keys import SigningKey
from bough.ledger.store import Ledger, ledger_entry, ledger_head
from bough.ledger.verifying import LedgerBroken
from tests.plane import Plane

ROOT = Path(__file__).parent.parent.parent
FILE = 'name = "shop"\n\n[services.churn]\nmodel = "service:Churn"\n'


class Kept:
    """A ledger in a database of its own."""

    def __init__(self, folder: Path, database: SqliteDatabase, clock: VirtualClock) -> None:
        self.database, self.clock = database, clock
        self.key = SigningKey(folder)
        self.ledger = Ledger(self.key, clock)

    def add(self, count: int) -> None:
        for number in range(count):
            with self.database.write() as tx:
                self.ledger.append(
                    tx, "shop", "main", "release.live", f"{number}", by="ann", why="für alle\n", evidence={"n": number},
                )  # fmt: skip
            self.ledger.remember(self.database.read)

    def verify(self, trusted: str = "") -> Any:
        with self.database.read() as tx:
            return verifying.verify(tx, self.key.witnessed(), trusted)

    def findings(self) -> list[str]:
        with pytest.raises(LedgerBroken) as caught:
            self.verify()
        found: list[str] = caught.value.fields["findings"]
        return found

    def tamper(self, *statements: sa.Executable) -> None:
        with self.database.write() as tx:
            for each in statements:
                tx.execute(each)

    def rehash(self, first: int) -> None:
        """What somebody does who knows how entries are hashed, and has not the key."""
        with self.database.write() as tx:
            rows = store.page(tx, first - 1, 10**9)
            previous = rows[0][1]
            for row in rows:
                changed = (row[0], previous, *row[2:])
                made = rules.leaf_hash(store.line_of(changed)).hex()
                at = ledger_entry.c.number == row[0]
                tx.execute(ledger_entry.update().where(at).values(previous=previous, hash=made))
                previous = made


@pytest.fixture
def kept(tmp_path: Path, database: SqliteDatabase, clock: VirtualClock) -> Kept:
    made = Kept(tmp_path, database, clock)
    made.add(11)
    return made


def entry(number: int) -> sa.Update:
    return ledger_entry.update().where(ledger_entry.c.number == number)


def test_what_nobody_changed_verifies(kept: Kept) -> None:
    found = kept.verify()
    assert found.entries == 11
    with kept.database.read() as tx:
        head = store.head(tx)
        leaves = store.leaves(tx, 11)
    assert head is not None and head.root == found.root == rules.root(rules.frontier_of(leaves)).hex()
    assert notes.read(head.note, found.key) == (11, bytes.fromhex(found.root))


def test_an_empty_ledger_verifies(tmp_path: Path, database: SqliteDatabase, clock: VirtualClock) -> None:
    assert Kept(tmp_path, database, clock).verify().entries == 0


@pytest.mark.parametrize("column", ["at", "project", "environment", "action", "subject", "by", "why", "evidence"])
@pytest.mark.parametrize("number", [1, 6, 11])
def test_an_edited_entry_is_named(kept: Kept, column: str, number: int) -> None:
    value: Any = {"at": 1.5, "evidence": '{"n":99}'}.get(column, "mallory")
    kept.tamper(entry(number).values({column: value}))
    assert f"entry {number} was edited: its content has another hash" in kept.findings()


def test_an_edit_with_its_hash_made_anew_shows_in_the_entry_after_it(kept: Kept) -> None:
    kept.tamper(entry(5).values(by="mallory"))
    with kept.database.read() as tx:
        (row,) = store.page(tx, 4, 5)
    kept.tamper(entry(5).values(hash=rules.leaf_hash(store.line_of(row)).hex()))
    assert "entry 6 does not follow entry 5: one of them was edited or moved" in kept.findings()


@pytest.mark.parametrize(("number", "among"), [(3, "1 to 8"), (9, "9 to 10"), (11, "11 to 11")])
def test_a_chain_that_is_whole_again_is_held_against_the_signed_tree(kept: Kept, number: int, among: str) -> None:
    kept.tamper(entry(number).values(by="mallory"))
    kept.rehash(number)
    assert kept.findings() == [f"among the entries {among} one is not what was signed"]


def test_a_removed_entry_is_named(kept: Kept) -> None:
    kept.tamper(ledger_entry.delete().where(ledger_entry.c.number == 4))
    assert kept.findings()[0] == "entry 4 is missing"
    kept.tamper(ledger_entry.delete().where(ledger_entry.c.number.in_((5, 6))))
    assert kept.findings()[0] == "entries 4 to 6 are missing"


def test_a_removed_entry_is_found_when_the_others_move_up(kept: Kept) -> None:
    kept.tamper(
        ledger_entry.delete().where(ledger_entry.c.number == 4),
        *(entry(number).values(number=number - 1) for number in range(5, 12)),
    )
    assert "entry 4 was edited: its content has another hash" in kept.findings()
    kept.rehash(4)
    assert kept.findings() == ["entry 4 does not follow entry 3: one of them was edited or moved",
                               "entry 11 is missing: the head was signed with 11 entries"]  # fmt: skip


def test_reordered_entries_are_named(kept: Kept) -> None:
    kept.tamper(entry(3).values(number=100), entry(4).values(number=3), entry(100).values(number=4))
    found = kept.findings()
    assert {f"entry {number} was edited: its content has another hash" for number in (3, 4)} <= set(found)
    assert "entry 3 does not follow entry 2: one of them was edited or moved" in found


def test_a_tail_that_was_cut_off_is_named(kept: Kept) -> None:
    kept.tamper(ledger_entry.delete().where(ledger_entry.c.number >= 10))
    assert kept.findings() == ["entries 10 to 11 are missing: the head was signed with 11 entries"]


def test_a_tail_that_was_cut_off_with_its_head_is_found_by_the_head_outside_the_database(kept: Kept) -> None:
    """An older database put back: everything in it was signed once."""
    with kept.database.read() as tx:
        older = dict(tx.execute(sa.select(ledger_head)).one()._mapping)
    kept.add(2)
    kept.tamper(ledger_entry.delete().where(ledger_entry.c.number > 11), ledger_head.update().values(older))
    assert kept.findings() == ["the ledger ends at entry 11, and a signed head of 13 entries has been seen"]


def test_another_history_of_the_same_length_is_found_by_the_head_outside_the_database(kept: Kept) -> None:
    with kept.database.read() as tx:
        older = dict(tx.execute(sa.select(ledger_head)).one()._mapping)
    kept.add(1)
    seen = kept.key.witnessed()
    kept.tamper(ledger_entry.delete().where(ledger_entry.c.number > 11), ledger_head.update().values(older))
    kept.clock.advance(60)
    kept.add(1)
    kept.key.witness(seen)
    assert kept.findings() == ["the first 12 entries are not those of a signed head that has been seen"]


def test_entries_and_heads_that_the_key_did_not_sign_are_found(kept: Kept, tmp_path: Path) -> None:
    kept.tamper(ledger_head.update().values(size=12))
    assert kept.findings()[0].startswith("the signed head is of 11 entries")
    kept.tamper(ledger_head.update().values(size=11))
    (tmp_path / "other").mkdir()
    other = SigningKey(tmp_path / "other")
    with kept.database.read() as tx:
        root = rules.root(store.frontier(tx))
        key = store.head(tx)
    assert key is not None
    forged = notes.sign(other.private(create=True), 11, root)
    kept.tamper(ledger_head.update().values(note=forged))
    assert kept.findings() == [f"the head was not signed with the key {key.key}"]
    kept.tamper(ledger_head.update().values(note=forged, key=other.verifier))
    kept.verify()  # by itself it is in order …
    with pytest.raises(LedgerBroken, match="names the key"):  # … but who kept the key finds it
        kept.verify(key.key)
    kept.tamper(ledger_head.delete())
    assert kept.findings()[0] == "the signed head is missing"


@pytest.mark.parametrize("damage", [lambda line: line[:-9] + "AAAA" + line[-5:], lambda line: line.replace("11", "12")])
def test_a_head_with_one_changed_byte_is_refused(kept: Kept, damage: Callable[[str], str]) -> None:
    with kept.database.read() as tx:
        head = store.head(tx)
    assert head is not None
    with pytest.raises(Invalid, match="not signed with"):
        notes.read(damage(head.note), head.key)


def test_a_transaction_that_fails_adds_nothing(kept: Kept) -> None:
    with pytest.raises(ZeroDivisionError), kept.database.write() as tx:
        kept.ledger.append(tx, "shop", "main", "release.live", "x", by="ann", why="", evidence={})
        raise ZeroDivisionError
    kept.ledger.remember(kept.database.read)
    assert kept.verify().entries == 11


def test_many_threads_remember_the_head_at_once_and_the_newest_stays(kept: Kept) -> None:
    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(kept.add, 1) for _ in range(80)]:
            done.result()
    with kept.database.read() as tx:
        head = store.head(tx)
    assert head is not None and kept.key.witnessed() == head.note


def test_a_clock_that_goes_backwards_makes_no_entry_older(kept: Kept) -> None:
    kept.clock.advance(-86_400)
    kept.add(1)
    with kept.database.read() as tx:
        newest, before = store.entries(tx, limit=2)
    assert newest.number == 12 and newest.at == before.at
    kept.verify()


def test_the_key_is_a_private_file_and_is_not_used_when_others_can_read_it(kept: Kept, tmp_path: Path) -> None:
    assert stat.S_IMODE(kept.key.path.stat().st_mode) == 0o600
    kept.key.path.chmod(0o644)
    again = Kept(tmp_path, kept.database, kept.clock)
    with pytest.raises(Forbidden, match="can be read by others"):
        again.add(1)
    kept.key.path.unlink()
    with pytest.raises(NotFound) as caught:  # it does not make a new one: that would look like an attacker's
        again.add(1)
    assert "bough audit rekey" in caught.value.hint


def test_a_new_key_says_which_one_it_follows(kept: Kept) -> None:
    before = kept.key.verifier
    with kept.database.write() as tx:
        made = kept.ledger.rekey(tx, "ann")
    assert made.evidence == {"before": before, "key": kept.key.verifier} and before != kept.key.verifier
    kept.ledger.remember(kept.database.read)
    assert kept.verify().key == kept.key.verifier
    kept.add(2)
    kept.verify()


# --- through operations


def test_a_deploy_and_a_rollback_are_entries_and_the_audit_answers_for_any_time(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    first = plane.deploy(FILE, content="one")
    noon = plane.clock.now()
    plane.clock.advance(3600)
    second = plane.deploy(FILE, content="two")
    plane.clock.advance(3600)
    plane.call("releases.rollback", project="shop")
    plane.let_pass(3)
    listed = plane.call("audit.ledger", project="shop", action="release.live")
    assert [each.evidence["release"] for each in listed] == [3, 2, 1]
    assert listed[0].evidence["rolled_back_to"] == 1 and listed[0].evidence["manifest"] == first.digest
    assert listed[0].by == "admin"

    def at(time: float) -> Any:
        from datetime import UTC, datetime

        text = datetime.fromtimestamp(time, UTC).isoformat()
        return plane.call("audit.at", project="shop", time=text).release

    assert at(noon).digest == first.digest and at(noon).number == 1
    assert at(noon + 4000).digest == second.digest
    assert (at(plane.clock.now()).number, at(plane.clock.now()).rolled_back_to) == (3, 1)
    assert at(noon - 1000) is None
    with pytest.raises(Invalid, match="is not a time"):
        plane.call("audit.at", project="shop", time="when it was good")
    assert plane.call("audit.verify").entries == 3


def test_proofs_can_be_checked_with_the_head_alone(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    for content in "abcde":
        plane.deploy(FILE, content=content)
    old = plane.call("audit.head")
    plane.deploy(FILE, content="f")
    plane.deploy(FILE, content="g")
    new = plane.call("audit.head")
    size, root = notes.read(new.note, new.key)
    assert size == 7
    for number in range(1, 8):
        proof = plane.call("audit.proof", number=number)
        leaf = rules.leaf_hash(proof.line.encode())
        path = [bytes.fromhex(each) for each in proof.path]
        assert rules.root_from_inclusion(leaf, number - 1, size, path) == root
        assert json.loads(proof.line)["subject"] == str(number)
    growth = plane.call("audit.growth", first=old.size)
    assert growth.first_root == old.root
    path = [bytes.fromhex(each) for each in growth.path]
    assert rules.is_consistent(old.size, bytes.fromhex(old.root), size, root, path)
    with pytest.raises(NotFound):
        plane.call("audit.proof", number=8)


def test_an_export_is_verified_by_the_program_in_the_docs(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    for content in "abcde":
        plane.deploy(FILE, content=content)
    lines = [each.line for each in plane.call("audit.export")]
    exported = tmp_path / "ledger.jsonl"
    exported.write_text("\n".join(lines) + "\n", "utf-8")
    page = (ROOT / "docs/audit.md").read_text("utf-8")
    program = page.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "verify.py").write_text(program, "utf-8")

    def run() -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, tmp_path / "verify.py", exported, plane.call("audit.head").key], capture_output=True,
            text=True,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    assert run() == (0, "5 entries, as they were signed\n")
    exported.write_text("\n".join(lines).replace('"by":"admin"', '"by":"mallory"', 1) + "\n", "utf-8")
    assert run()[0] != 0
    exported.write_text("\n".join([*lines[:3], *lines[4:]]) + "\n", "utf-8")
    assert run()[0] != 0
