"""What `bough data space` says on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bough.entrypoints.cli import drawing
from bough.entrypoints.cli.session import Session

Answer = Mapping[str, Any]
_KINDS = {"file": "dataset", "table": "table"}


def space(session: Session, answer: Answer) -> str:
    blocks = [drawing.table([_held(each) for each in answer["held"]])] if answer["held"] else ["there is no data"]
    if answer["earlier"]:
        lines = [f"only earlier states of {each['name']}: {drawing.size(each['bytes'])}" for each in answer["earlier"]]
        blocks.append("\n".join(lines))
    if answer["versions"]:
        blocks.append(drawing.table([_version(each) for each in answer["versions"]]))
    if answer["advice"]:
        lines = [f"{drawing.size(each['bytes'])}: {each['why']}\n  {each['command']}" for each in answer["advice"]]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


SAYS: dict[str, Callable[[Session, Any], str]] = {"data.space": space}


def _held(of: Answer) -> dict[str, Any]:
    return {
        "environment": of["environment"], "name": of["name"], "kind": _KINDS[of["kind"]],
        "bytes": drawing.size(of["bytes"]), "shared": drawing.size(of["shared_bytes"]),
        "its own": drawing.size(of["exclusive_bytes"]),
    }  # fmt: skip


def _version(of: Answer) -> dict[str, Any]:
    return {
        "change": f"#{of['change']}", "changed_at": of["changed_at"], "by": of["by"],
        "bytes": drawing.size(of["bytes"]), "new": drawing.size(of["new_bytes"]), "why": of["why"],
    }  # fmt: skip
