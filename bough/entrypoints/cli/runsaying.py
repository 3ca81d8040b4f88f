"""What `bough runs list` and lists of versions say on a terminal: how good each one is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bough.entrypoints.cli import drawing
from bough.entrypoints.cli.session import Session

Answer = Mapping[str, Any]
SHOWN = 6  # metrics or parameters of one row: programs log hundreds


def runs(session: Session, answer: Answer) -> str:
    """The rest of what a run has reported is in `bough runs show`."""
    rows = [
        {
            "id": each["id"], "name": each["name"], "experiment": each["experiment"], "status": each["status"],
            "by": each["by"], "started_at": each["started_at"], "seconds": each.get("seconds", 0.0),
            "metrics": _few({one["key"]: _figure(one["value"]) for one in each.get("metrics", [])}),
            "params": _few(each.get("params", {})),
        }
        for each in answer["runs"]
    ]  # fmt: skip
    more = f"\n\nmore: --page {answer['next_page']}" if answer.get("next_page") else ""
    return drawing.table(rows) + more


def versions(session: Session, answer: Sequence[Answer]) -> str:
    """The rest of what is known of a version is in `bough models resolve` and on its card."""
    rows = [
        {
            "version": f"{each['name']}/{each['number']}", "aliases": each.get("aliases", []),
            "digest": each["digest"], "bytes": each["bytes"], "created_at": each["created_at"], "by": each["by"],
            "signed": ", ".join(dict.fromkeys(one["signer"] for one in each.get("signed", []))) or "no",
            "metrics": _few({key: _figure(one) for key, one in each.get("facts", {}).get("metrics", {}).items()}),
        }
        for each in answer
    ]  # fmt: skip
    return drawing.table(rows)


SAYS: dict[str, Callable[[Session, Any], str]] = {"runs.list": runs, "models.versions": versions}


def _few(pairs: Mapping[str, str]) -> str:
    said = [f"{key}={value}" for key, value in pairs.items()]
    return " ".join(said[:SHOWN]) + (" …" if len(said) > SHOWN else "")


def _figure(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, int | float) else str(value)
