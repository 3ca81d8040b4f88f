"""What `bough data plan` and some of `bough db` say on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bough.entrypoints.cli import drawing
from bough.entrypoints.cli.session import Session

Answer = Mapping[str, Any]


def plan(session: Session, answer: Sequence[Answer]) -> str:
    """A line for each database, then what its way is, and what follows later."""
    rows = [
        {
            "database": each["name"], "engine": each["engine"], "way": each["way"], "holds": drawing.size(each["size"]),
            "ready in": _time(each["seconds"]), "takes": drawing.size(each["bytes"]),
            "writers wait": _time(each["held_ms"] / 1000),
        }
        for each in answer
    ]  # fmt: skip
    lines = drawing.table(rows).splitlines() if rows else ["there are no databases; files and tables branch by one row"]
    for each in answer:
        lines.append(f"{each['name']}: {each['about']}")
        for key, what in (("read", "read"), ("write", "written into")):
            if each[f"first_{key}_bytes"]:
                size, time = drawing.size(each[f"first_{key}_bytes"]), _time(each[f"first_{key}_seconds"])
                lines.append(f"  later, when all shared tables were first {what}: {size} more, {time}")
    return "\n".join(lines)


def variables(session: Session, answer: Mapping[str, str]) -> str:
    return "\n".join(f"{name}={value}" for name, value in answer.items()) or "none"


def check(session: Session, answer: Sequence[str]) -> str:
    return "\n".join(answer) or "it is whole"


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


SAYS: dict[str, Callable[[Session, Any], str]] = {
    "databases.plan": plan,
    "databases.variables": variables,
    "databases.check": check,
}
