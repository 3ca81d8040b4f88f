"""Pure decisions about lineage: how things are called, and which of them a walk finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bough.lineage.models import Arrow, Edge, Lineage, Thing

MOST_THINGS = 2000  # in one answer: far more than anybody can read
AT_ONCE = 500  # ids in one statement
SHORT = 12  # characters of a digest that people see

Touching = Callable[[Thing], Iterable[Edge]]
"""Every edge that has this thing at one of its ends."""


def thing(kind: str, project: str, name: str, version: str = "", **details: str) -> Thing:
    """Something that is known by its name in a project."""
    id = f"{kind}:{project}/{name}" + (f"@{version}" if version else "")
    return Thing(id=id, kind=kind, name=name, project=project, version=version, details=_said(details))


def known_by(kind: str, id: str, name: str, **details: str) -> Thing:
    """Something that is the same wherever it turns up: a digest, a row's id."""
    return Thing(id=f"{kind}:{id}", kind=kind, name=name, details=_said(details))


def walk(start: Thing, touching: Touching, *, up: bool, down: bool, depth: int, most: int = MOST_THINGS) -> Lineage:
    """What `start` came from and what came of it, at most `depth` edges away. Breadth first, each thing once, also
    where edges go round in a circle. What lies beside (made from the same things) is not followed: up stays up."""
    things, arrows, more = {start.id: start}, dict[tuple[str, str], Arrow](), dict[str, None]()
    memory: dict[str, list[Edge]] = {}

    def edges(of: Thing) -> list[Edge]:
        if of.id not in memory:
            memory[of.id] = sorted(touching(of), key=lambda edge: (edge.source.id, edge.target.id, edge.how))
        return memory[of.id]

    for backward in [way for way, wanted in ((True, up), (False, down)) if wanted]:
        seen, front = {start.id}, [start]
        for step in range(depth + 1):
            following: list[Thing] = []
            for each in front:
                for edge in edges(each):
                    mine, other = (edge.target, edge.source) if backward else (edge.source, edge.target)
                    if mine.id != each.id:
                        continue
                    if step == depth or (other.id not in things and len(things) >= most):
                        if (edge.source.id, edge.target.id) not in arrows:
                            more[each.id] = None
                        continue
                    arrow = Arrow(source=edge.source.id, target=edge.target.id, how=edge.how)
                    arrows.setdefault((arrow.source, arrow.target), arrow)
                    things.setdefault(other.id, other)
                    if other.id not in seen:
                        seen.add(other.id)
                        following.append(other)
            front = following
    beyond = [id for id in more if _unseen(edges(things[id]), arrows, up=up, down=down, id=id)]
    return Lineage(start=start.id, things=list(things.values()), arrows=list(arrows.values()), more=beyond)


def _unseen(edges: list[Edge], arrows: dict[tuple[str, str], Arrow], *, up: bool, down: bool, id: str) -> bool:
    """Whether a thing has edges in a direction that was walked and that did not get into the answer."""
    return any(
        (edge.source.id, edge.target.id) not in arrows
        for edge in edges
        if (up and edge.target.id == id) or (down and edge.source.id == id)
    )


def _said(details: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in details.items() if value}
