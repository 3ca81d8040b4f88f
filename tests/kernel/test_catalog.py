"""The catalog of layers: what an environment sees, and what nobody else does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from bough.adapters.database.sqlite import SqliteDatabase
from bough.kernel import catalog
from bough.kernel.catalog import FILE, LAST, SECRET, TABLE, Point, Write
from bough.kernel.context import Principal, Role
from bough.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from bough.kernel.tables import metadata
from tests.depth import times

# 10,000 histories are looked at once in a while: BOUGH_HISTORIES=10000 make test ARGS=tests/kernel/test_catalog.py
HISTORIES = times("BOUGH_HISTORIES", quick=60, deep=150)


@pytest.fixture
def tx(database: SqliteDatabase) -> Iterator[sa.Connection]:
    with database.write() as connection:
        yield connection


def put(tx: sa.Connection, layer: int, key: str, value: Any, *, kind: str = FILE, at: float = 1.0) -> int:
    return catalog.commit(tx, layer, [Write(kind, key, value)], at=at, by="ada", why="a test")


def seen(tx: sa.Connection, layer: int, key: str, *, kind: str = FILE, seq: int = LAST) -> Any:
    found = catalog.get(tx, Point(layer, seq), kind, key)
    return found and found.value


def test_a_branch_sees_what_its_parent_had_and_nothing_that_came_later(tx: sa.Connection) -> None:
    main = catalog.open_head(tx, "shop", "main", None)
    put(tx, main, "a", 1)
    child = catalog.open_head(tx, "shop", "child", Point(main))
    put(tx, main, "a", 2)
    put(tx, main, "b", 2)
    assert (seen(tx, child, "a"), seen(tx, child, "b")) == (1, None)
    assert (seen(tx, main, "a"), seen(tx, main, "b")) == (2, 2)


def test_what_a_branch_writes_and_removes_its_parent_and_siblings_do_not_see(tx: sa.Connection) -> None:
    main = catalog.open_head(tx, "shop", "main", None)
    put(tx, main, "a", 1)
    one, two = (catalog.open_head(tx, "shop", name, Point(main)) for name in ("one", "two"))
    put(tx, one, "a", None)
    put(tx, one, "b", 1)
    assert [seen(tx, layer, "a") for layer in (main, one, two)] == [1, None, 1]
    assert [seen(tx, layer, "b") for layer in (main, one, two)] == [None, 1, None]
    assert [each.key for each in catalog.items(tx, Point(one), FILE)] == ["b"]


def test_all_writes_of_one_change_appear_under_one_number(tx: sa.Connection) -> None:
    main = catalog.open_head(tx, "shop", "main", None)
    seq = catalog.commit(tx, main, [Write(FILE, "a", 1), Write(TABLE, "t", {"x": [1]})], at=1.0, by="ada", why="both")
    assert {each.seq for kind in (FILE, TABLE) for each in catalog.items(tx, Point(main), kind)} == {seq}
    assert seen(tx, main, "a", seq=seq - 1) is None


def test_nothing_to_write_makes_no_change(tx: sa.Connection) -> None:
    main = catalog.open_head(tx, "shop", "main", None)
    first = put(tx, main, "a", 1)
    assert catalog.commit(tx, main, [], at=2.0, by="ada", why="nothing") == first


def test_a_kind_that_the_catalog_does_not_know_is_refused(tx: sa.Connection) -> None:
    main = catalog.open_head(tx, "shop", "main", None)
    with pytest.raises(Invalid) as refused:
        put(tx, main, "a", 1, kind="nonsense")
    assert refused.value.own_code == "KIND_UNKNOWN"


def test_items_with_a_prefix_are_those_and_no_others(tx: sa.Connection) -> None:
    main = catalog.open_head(tx, "shop", "main", None)
    for key in ("a", "a/1", "a/2", "a0", "b/1", "a/ü\U0010ff00"):
        put(tx, main, key, key)
    found = [each.key for each in catalog.items(tx, Point(main), FILE, "a/")]
    assert found == ["a/1", "a/2", "a/ü\U0010ff00"]


def test_a_sealed_kind_is_not_inherited_through_any_number_of_layers(tx: sa.Connection) -> None:
    main = catalog.open_head(tx, "shop", "main", None)
    put(tx, main, "key", 1, kind=SECRET)
    put(tx, main, "file", 1)
    sealed = catalog.open_head(tx, "shop", "sealed", Point(main), (SECRET,))
    below = catalog.open_head(tx, "shop", "below", Point(sealed))
    assert (seen(tx, below, "key", kind=SECRET), seen(tx, below, "file")) == (None, 1)
    put(tx, sealed, "key", 2, kind=SECRET)
    again = catalog.open_head(tx, "shop", "again", Point(sealed))
    assert seen(tx, again, "key", kind=SECRET) == 2
    assert catalog.sealed_kinds(tx, sealed) == (SECRET,)


def test_a_kind_that_is_sealed_or_opened_later_is_so_for_all_that_branched_before(tx: sa.Connection) -> None:
    main = catalog.open_head(tx, "shop", "main", None)
    put(tx, main, "key", 1, kind=SECRET)
    put(tx, main, "file", 1)
    middle = catalog.open_head(tx, "shop", "middle", Point(main))
    below = catalog.open_head(tx, "shop", "below", Point(catalog.open_head(tx, "shop", "between", Point(middle))))
    catalog.seal(tx, middle, SECRET, True)
    assert (seen(tx, below, "key", kind=SECRET), seen(tx, below, "file")) == (None, 1)
    catalog.seal(tx, below, SECRET, True)
    catalog.seal(tx, middle, SECRET, False)
    assert (seen(tx, middle, "key", kind=SECRET), seen(tx, below, "key", kind=SECRET)) == (1, None)
    catalog.seal(tx, below, SECRET, False)
    assert seen(tx, below, "key", kind=SECRET) == 1
    assert [each.layer for each in catalog.chain(tx, Point(below), SECRET)] == [below, below - 1, middle, main]


def test_the_past_can_be_named_by_time_and_by_tag_and_branched(tx: sa.Connection) -> None:
    main = catalog.open_head(tx, "shop", "main", None)
    put(tx, main, "a", 1, at=100.0)
    catalog.set_tag(tx, "shop", "first", "main", 100.0, "ada")
    put(tx, main, "a", 2, at=200.0)
    for point in (catalog.point(tx, "shop", "main", 150.0), catalog.point(tx, "shop", "first")):
        branch = catalog.new_layer(tx, point)
        assert seen(tx, branch, "a") == 1
    assert catalog.get(tx, catalog.point(tx, "shop", "main", 50.0), FILE, "a") is None


def test_a_clock_that_goes_back_does_not_reorder_what_happened(tx: sa.Connection) -> None:
    main = catalog.open_head(tx, "shop", "main", None)
    put(tx, main, "a", 1, at=200.0)
    put(tx, main, "a", 2, at=100.0)
    assert catalog.get(tx, catalog.point(tx, "shop", "main", 250.0), FILE, "a").value == 2  # type: ignore[union-attr]
    assert [each.at for each in catalog.history(tx, Point(main), FILE, "a")] == [200.0, 200.0]


def test_a_tag_never_moves(tx: sa.Connection) -> None:
    catalog.open_head(tx, "shop", "main", None)
    catalog.set_tag(tx, "shop", "v1", "main", 1.0, "ada")
    for name in ("v1", "main"):
        with pytest.raises(Conflict) as refused:
            catalog.set_tag(tx, "shop", name, "main", 2.0, "ada")
        assert refused.value.own_code == "TAG_EXISTS"


def test_history_tells_who_and_why_across_the_branch_point(tx: sa.Connection) -> None:
    main = catalog.open_head(tx, "shop", "main", None)
    catalog.commit(tx, main, [Write(FILE, "a", 1)], at=1.0, by="ada", why="first")
    dev = catalog.open_head(tx, "shop", "dev", Point(main))
    catalog.commit(tx, main, [Write(FILE, "a", 9)], at=2.0, by="ada", why="not for dev")
    catalog.commit(tx, dev, [Write(FILE, "a", None)], at=3.0, by="bob", why="gone")
    found = catalog.history(tx, Point(dev), FILE, "a")
    assert [(each.by, each.why, each.value) for each in found] == [("bob", "gone", None), ("ada", "first", 1)]
    assert [each.why for each in catalog.history(tx, Point(dev))] == ["gone", "first"]


def test_a_protected_environment_is_written_by_approvers_only(tx: sa.Connection) -> None:
    main = catalog.open_head(tx, "shop", "main", None)
    catalog.protect(tx, "shop", "main", True)
    with pytest.raises(Forbidden) as refused:
        catalog.writable_layer(tx, "shop", "main", Principal(id="1", name="ada", role=Role.DEVELOPER))
    assert refused.value.own_code == "ENVIRONMENT_PROTECTED"
    assert catalog.writable_layer(tx, "shop", "main", Principal(id="2", name="bob", role=Role.APPROVER)) == main


def test_an_environment_that_is_not_there_is_said_so(tx: sa.Connection) -> None:
    with pytest.raises(NotFound) as missing:
        catalog.layer_of(tx, "shop", "nowhere")
    assert missing.value.own_code == "ENVIRONMENT_NOT_FOUND"


# --- any history: the catalog against copies of dictionaries

KEYS = ("a", "b", "c")
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 7), st.sampled_from(KEYS), st.one_of(st.none(), st.integers(0, 3))),
        st.tuples(st.just("branch"), st.integers(0, 7), st.integers(0, 20), st.booleans()),
        st.tuples(st.just("reset"), st.integers(0, 7), st.integers(0, 7), st.booleans()),
    ),
    max_size=24,
)


class Model:
    """Environments as plain dictionaries that are copied: slow, and obviously right. `past` has every state that each
    of them was in, under the number of the change."""

    def __init__(self) -> None:
        self.states: list[dict[str, int]] = [{}]
        self.past: list[dict[int, dict[str, int]]] = [{0: {}}]


def run(tx: sa.Connection, actions: list[tuple[Any, ...]]) -> None:
    model, layers = Model(), [catalog.open_head(tx, "p", "e0", None)]
    for kind, which, x, y in actions:
        at = which % len(layers)
        if kind == "write":
            seq = put(tx, layers[at], x, y)
            state = {key: value for key, value in model.states[at].items() if key != x}
            model.states[at] = state if y is None else state | {x: y}
            model.past[at][seq] = model.states[at]
        elif kind == "branch":
            seqs = sorted(model.past[at])
            seq = LAST if y else seqs[x % len(seqs)]
            layers.append(catalog.open_head(tx, "p", f"e{len(layers)}", Point(layers[at], seq)))
            copy = dict(model.states[at] if y else model.past[at][seq])
            model.states.append(copy)
            model.past.append({catalog.newest(tx): copy})
        else:
            other = x % len(layers)
            layers[at] = catalog.open_head(tx, "p", f"e{at}", Point(layers[other]))
            model.states[at] = dict(model.states[other])
            model.past[at] = {catalog.newest(tx): model.states[at]}
        for number, layer in enumerate(layers):  # nothing leaks, nothing is lost, after every single step
            shown = {each.key: each.value for each in catalog.items(tx, Point(layer), FILE)}
            assert shown == model.states[number]
            assert {key: seen(tx, layer, key) for key in KEYS if seen(tx, layer, key) is not None} == shown
    for number, layer in enumerate(layers):
        for seq, state in model.past[number].items():
            assert {each.key: each.value for each in catalog.items(tx, Point(layer, seq), FILE)} == state


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteDatabase]:
    """One database for all examples: making its tables would cost more than the examples."""
    made = SqliteDatabase(tmp_path_factory.mktemp("histories") / "bough.db", durable=False)
    with made.write() as tx:
        metadata.create_all(tx)
    yield made
    made.close()


@given(actions=ACTIONS)
@settings(max_examples=HISTORIES)
def test_any_history_of_branches_shows_what_copies_would(histories: SqliteDatabase, actions: Any) -> None:
    with histories.write() as tx:
        tx.execute(catalog.head.delete())
        run(tx, actions)
