"""What `bough optimize` says on a terminal: the contenders beside the version before, line by line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bough.entrypoints.cli.drawing import columns_of, paint_state, size, table
from bough.entrypoints.cli.session import Session

Answer = Mapping[str, Any]


def optimization(session: Session, answer: Answer) -> str:
    lines = [f"{answer['model']} on {answer['judging']['data']}: {paint_state(answer['state'], session.colour)}"]
    if answer["contenders"]:
        lines += ["", columns_of(_rows(answer)), ""]
    if answer["version"]:
        chosen = ": " if answer["kind"] == "distill" else ", from "  # one of several contenders, which is named
        lines.append(f"registered {answer['becomes']}/{answer['version']}{chosen}{answer['said']}")
        lines.append(f"  bough promote {answer['becomes']}@{answer['aliases'][0]}")
    elif answer["said"]:
        lines.append(answer["said"])
    else:
        lines.append(f"  bough optimize show {answer['id']}")
    return "\n".join(lines)


def optimizations(session: Session, answer: Sequence[Answer]) -> str:
    rows = [
        {
            "id": each["id"], "kind": each["kind"], "model": each["model"], "state": each["state"], "by": each["by"],
            "at": each["started_at"], "result": f"{each['becomes']}/{each['version']}" if each["version"] else "",
            "why": each["said"],
        }
        for each in answer
    ]  # fmt: skip
    return table(rows)


SAYS: dict[str, Callable[[Session, Any], str]] = {
    "optimize.quantize": optimization,
    "optimize.show": optimization,
    "optimize.list": optimizations,
}


def _rows(answer: Answer) -> list[list[str]]:
    priced = any(each.get("cost", -1.0) >= 0 for each in answer["contenders"])
    head = ["", answer["judging"].get("metric", "accuracy").upper(), "LOSS", "P50 MS", "P95 MS", "SIZE", "CORE-S/1000"]
    found = [head + (["COST/1000"] if priced else []) + ["GATE"]]
    for each in answer["contenders"]:
        first = each["name"] == "before"
        line = [each["name"], f"{each['score']:.4f}", "" if first else f"{each.get('loss', 0.0):+.4f}"]
        line += [f"{each['p50_ms']:.3f}", f"{each['p95_ms']:.3f}", size(each["bytes"]), f"{each['core_s']:.4f}"]
        line += [f"{each['cost']:.3g}"] if priced else []
        found.append([*line, "" if first else _gate(each)])
    return found


def _gate(each: Answer) -> str:
    return "passed" if each.get("passed", True) else f"FAILED: {each.get('said', '')}"
