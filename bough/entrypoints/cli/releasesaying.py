"""What `bough releases` says on a terminal, where a plain record would not do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bough.entrypoints.cli import drawing
from bough.entrypoints.cli.session import Session

Answer = Mapping[str, Any]
COLUMNS = ("number", "state", "created_at", "by", "seconds", "digest", "why")
_RUNS = ("model", "file", "command", "dockerfile")


def listed(session: Session, answer: Sequence[Answer]) -> str:
    """The place stands before the number where there is more than one."""
    several = len({(each["project"], each["environment"]) for each in answer}) > 1
    place = ("project", "environment") if several else ()
    return drawing.table([_row(each) for each in answer], (*place, *COLUMNS))


def shown(session: Session, answer: Answer) -> str:
    release, manifest = answer["release"], answer["manifest"]
    failure = release.get("failure") or {}
    blocks = [drawing.draw({key: value for key, value in release.items() if key != "failure"})]
    if failure:
        lines = [f"why it failed  {_why(failure)}", f"try            {failure.get('hint', '')}"]
        blocks.append("\n".join([*lines, str(failure.get("traceback", ""))]).rstrip())
    for kind in ("services", "jobs"):
        if rows := [_workload(name, each) for name, each in manifest.get(kind, {}).items()]:
            blocks.append(f"{kind}\n{drawing.table(rows)}")
    return "\n\n".join(blocks)


SAYS: dict[str, Callable[[Session, Any], str]] = {"releases.list": listed, "releases.show": shown}


def _row(of: Answer) -> dict[str, Any]:
    ended = of.get("finished_at", 0.0)
    return {
        **of, "by": of["created_by"], "seconds": round(ended - of["created_at"], 1) if ended else "",
        "why": _why(of.get("failure") or {}) or of.get("message", ""),
    }  # fmt: skip


def _why(failure: Answer) -> str:
    said = str(failure.get("message", "")).replace("\n", " ")
    return f"{failure['service']}: {said}" if said and failure.get("service") else said


def _workload(name: str, of: Answer) -> dict[str, Any]:
    settings = of["settings"]
    runs = next((str(settings[key]) for key in _RUNS if settings.get(key)), "")
    return {"name": name, "runs": runs, "bundle": of["bundle"], "digest": of["digest"]}
