"""Rules of the graph, held against graphs that nobody would think of."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as some

from bough.entrypoints.cli.lineage import tree
from bough.lineage import picture, rules
from bough.lineage.models import Edge, Lineage, Thing

THINGS = [Thing(id=f"x:{name}", kind="x", name=name) for name in "abcdefghi"]
PAIRS = some.lists(some.tuples(some.sampled_from(THINGS), some.sampled_from(THINGS)), max_size=25).map(
    lambda pairs: [each for each in pairs if each[0].id != each[1].id]
)
Pairs = list[tuple[Thing, Thing]]


def found(
    pairs: Pairs, start: Thing, *, up: bool = True, down: bool = True, depth: int = 50, most: int = 2000
) -> Lineage:
    def touching(thing: Thing, backward: bool) -> list[Edge]:
        return [Edge(source=a, target=b) for a, b in pairs if thing.id == (b.id if backward else a.id)]

    return rules.walk(start, touching, up=up, down=down, depth=depth, most=most)


def ids(found: Lineage) -> set[str]:
    return {each.id for each in found.things}


def reach(pairs: Pairs, start: Thing, depth: int) -> set[str]:
    """What effects of effects there are, at most `depth` edges away; written as plainly as can be."""
    seen = {start.id}
    for _ in range(depth):
        seen |= {b.id for a, b in pairs if a.id in seen}
    return seen


def turned(pairs: Pairs) -> Pairs:
    return [(b, a) for a, b in pairs]


@given(PAIRS, some.sampled_from(THINGS), some.integers(1, 6))
def test_what_is_found_is_what_can_be_reached_within_the_depth(pairs: Pairs, start: Thing, depth: int) -> None:
    assert ids(found(pairs, start, up=False, depth=depth)) == reach(pairs, start, depth)
    assert ids(found(pairs, start, down=False, depth=depth)) == reach(turned(pairs), start, depth)
    both = found(pairs, start, depth=depth)
    assert ids(both) == reach(pairs, start, depth) | reach(turned(pairs), start, depth)


@given(PAIRS, some.sampled_from(THINGS), some.sampled_from(THINGS))
def test_up_and_down_are_inverse(pairs: Pairs, one: Thing, other: Thing) -> None:
    assert (other.id in ids(found(pairs, one, up=False))) == (one.id in ids(found(pairs, other, down=False)))


@given(PAIRS, some.sampled_from(THINGS), some.integers(1, 6))
def test_nothing_is_there_twice_and_every_arrow_has_both_ends(pairs: Pairs, start: Thing, depth: int) -> None:
    every = found(pairs, start, depth=depth)
    assert len(ids(every)) == len(every.things)
    arrows = [(each.source, each.target) for each in every.arrows]
    assert len(set(arrows)) == len(arrows)
    assert {end for each in arrows for end in each} <= ids(every)
    assert set(arrows) <= {(a.id, b.id) for a, b in pairs}


@given(PAIRS, some.sampled_from(THINGS), some.integers(1, 6))
def test_more_says_where_something_was_left_out(pairs: Pairs, start: Thing, depth: int) -> None:
    less, whole = found(pairs, start, depth=depth), found(pairs, start)
    assert whole.more == []
    assert (len(less.arrows) < len(whole.arrows)) == bool(less.more)


@given(PAIRS, some.sampled_from(THINGS), some.integers(1, 4))
def test_an_answer_is_bounded(pairs: Pairs, start: Thing, most: int) -> None:
    less = found(pairs, start, most=most)
    assert len(less.things) <= most
    assert (len(less.things) < len(found(pairs, start).things)) <= bool(less.more)


@given(PAIRS, some.sampled_from(THINGS))
def test_a_tree_follows_each_thing_once_and_shows_every_arrow(pairs: Pairs, start: Thing) -> None:
    every = found(pairs, start, up=False)
    lines = tree(msgspec.to_builtins(every), down=True)
    below = [line for line in lines if "─ x " in line]
    assert len(below) == len(every.arrows)
    followed = [line.partition("─ x ")[2][0] for line in below if "see above" not in line]
    leaves = {each.id for each in every.things} - {each.source for each in every.arrows}
    assert len([each for each in followed if f"x:{each}" not in leaves]) == len(
        {each for each in followed if f"x:{each}" not in leaves}
    )


@given(PAIRS, some.sampled_from(THINGS))
def test_no_box_lies_on_another_and_arrows_go_from_left_to_right(pairs: Pairs, start: Thing) -> None:
    every = found(pairs, start)
    boxes, ways = picture.layout(every)
    placed = sorted(boxes.values(), key=lambda box: (box.x, box.y))
    for one, other in itertools.pairwise(placed):
        assert one.x + one.width <= other.x or one.y + picture.HEIGHT <= other.y
    for way in ways:
        for left, right in itertools.pairwise(way):
            assert boxes[left].x + boxes[left].width < boxes[right].x
    circles = {(a, b) for a, b in ((each.source, each.target) for each in every.arrows)}
    assert {frozenset((way[0], way[-1])) for way in ways} == {frozenset(each) for each in circles}


@given(some.lists(some.text(max_size=300), min_size=1, max_size=5), some.text(max_size=40))
def test_a_picture_is_xml_whatever_things_are_called(called: list[str], how: str) -> None:
    things = [Thing(id=f"x:{at}{name}", kind="table", name=name, details={"by": how}) for at, name in enumerate(called)]
    pairs = [(things[0], each) for each in things[1:]]
    root = ElementTree.fromstring(picture.svg(found(pairs, things[0])))
    drawn = [each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert len(drawn) == 2 * len(things)
    assert all(len(each) <= picture.LONGEST for each in drawn)


def test_a_chain_longer_than_the_stack_is_drawn() -> None:
    chain = [Thing(id=f"x:{at}", kind="x", name=f"{at}") for at in range(1500)]
    after: dict[tuple[str, bool], list[Edge]] = defaultdict(list)
    for one, other in itertools.pairwise(chain):
        for end, backward in ((one, False), (other, True)):
            after[end.id, backward].append(Edge(source=one, target=other))
    every = rules.walk(chain[0], lambda thing, backward: after[thing.id, backward], up=True, down=True, depth=5000)
    answer: dict[str, Any] = msgspec.to_builtins(every)
    assert len(tree(answer)) == 1500 + 4
    assert picture.svg(every).count("<g ") == 1500
