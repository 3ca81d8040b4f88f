"""Pure decisions about lineage: how things are called, and which of them a walk finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bough.lineage.models import Arrow, Edge, Lineage, Thing

MOST_THINGS = 2000  # in one answer: far more than anybody can read
AT_ONCE = 500  # ids in one statement
SHORT = 12  # characters of a digest that people see

Touching = Callable[[Thing, bool], Iterable[Edge]]
"""Every edge to a thing (True: backward) or from it."""
Ahead = Callable[[Sequence[Thing], bool], None]


def thing(kind: str, project: str, name: str, version: str = "", /, **details: str) -> Thing:
    """Something that is known by its name in a project. A detail may have any name, `kind` and `name` too."""
    id = f"{kind}:{project}/{name}" + (f"@{version}" if version else "")
    return Thing(id=id, kind=kind, name=name, project=project, version=version, details=_said(details))


def known_by(kind: str, id: str, name: str, /, **details: str) -> Thing:
    """Something that is the same wherever it turns up: a digest, a row's id."""
    return Thing(id=f"{kind}:{id}", kind=kind, name=name, details=_said(details))


def walk(
    start: Thing, touching: Touching, *, up: bool, down: bool, depth: int, most: int = MOST_THINGS,
    ahead: Ahead = lambda things, backward: None,
) -> Lineage:  # fmt: skip
    """What `start` came from and what came of it, at most `depth` edges away. Breadth first, each thing once, also
    where edges go round in a circle. What lies beside (made from the same things) is not followed: up stays up.
    `ahead` is told of each step's things before `touching` is asked about any of them."""
    things, arrows = {start.id: start}, dict[tuple[str, str], Arrow]()
    left_out: dict[tuple[str, bool], None] = {}
    memory: dict[tuple[str, bool], list[Edge]] = {}

    def edges(of: Thing, backward: bool) -> list[Edge]:
        if (of.id, backward) not in memory:
            found = sorted(touching(of, backward), key=lambda edge: (edge.source.id, edge.target.id, edge.how))
            memory[of.id, backward] = found
        return memory[of.id, backward]

    for backward in [way for way, wanted in ((True, up), (False, down)) if wanted]:
        seen, front = {start.id}, [start]
        for step in range(depth + 1):
            following: list[Thing] = []
            ahead([each for each in front if (each.id, backward) not in memory], backward)
            for each in front:
                for edge in edges(each, backward):
                    other = edge.source if backward else edge.target
                    if step == depth or (other.id not in things and len(things) >= most):
                        left_out[each.id, backward] = None
                        continue
                    arrow = Arrow(source=edge.source.id, target=edge.target.id, how=edge.how)
                    arrows.setdefault((arrow.source, arrow.target), arrow)
                    things.setdefault(other.id, other)
                    if other.id not in seen:
                        seen.add(other.id)
                        following.append(other)
            front = following
    # What was left out in one place may have been found from another.
    more = [key[0] for key in left_out if any((e.source.id, e.target.id) not in arrows for e in memory[key])]
    return Lineage(
        start=start.id, things=list(things.values()), arrows=list(arrows.values()), more=list(dict.fromkeys(more))
    )


def _said(details: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in details.items() if value}
