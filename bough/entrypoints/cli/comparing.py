"""What `bough mirrors` and `bough replays` say on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bough.entrypoints.cli import drawing
from bough.entrypoints.cli.session import Session

Answer = Mapping[str, Any]
SHOWN = 5  # examples


def started(session: Session, answer: Answer) -> str:
    what = f"{answer['project']}/{answer['environment']} to {answer['target']}"
    return f"{answer['id']}: {what}\n  bough mirrors report {answer['id']}    what differs"


def stopped(session: Session, answer: Answer) -> str:
    what = f"{answer['project']}/{answer['environment']} to {answer['target']}"
    lasted = f"from {drawing.moment(answer['started_at'])} to {drawing.moment(answer['stopped_at'])}"
    return f"{answer['id']}: {what} has ended, {lasted}\n  bough mirrors report {answer['id']}    what differs"


def mirrors(session: Session, answer: Sequence[Answer]) -> str:
    rows = [
        _traffic(each) | {
            "sample": f"{each['percent']:g} %", "state": each["state"], "since": drawing.moment(each["started_at"]),
            "until": drawing.moment(each["stopped_at"] or each["until"]), "by": each["by"],
        }
        for each in answer
    ]  # fmt: skip
    return drawing.table(rows)


def replays(session: Session, answer: Sequence[Answer]) -> str:
    rows = [
        _traffic(each) | {
            "requests": f"{each['count']:,} at most", "state": each["state"],
            "since": drawing.moment(each["started_at"]), "until": drawing.moment(each["finished_at"]), "by": each["by"],
            "why": each["why"],
        }
        for each in answer
    ]  # fmt: skip
    return drawing.table(rows)


def report(session: Session, answer: Answer) -> str:
    ended = f", ended {drawing.moment(answer['ended_at'])}" if answer["state"] != "running" else ""
    what = f"{answer['kind']} {answer['id']} of {answer['project']}/{answer['source']} to {answer['target']}"
    lines = [f"{what}: {answer['state']} since {drawing.moment(answer['started_at'])}{ended}"]
    if why := answer["details"].get("why"):
        lines.append(f"  {why}")
    if not answer["services"]:
        lines.append("  nothing was compared yet")
    for service in answer["services"]:
        lines += ["", *_service(service)]
    return "\n".join(lines)


def _traffic(of: Answer) -> dict[str, str]:
    return {"id": of["id"], "from": of["environment"], "to": of["target"], "service": of["service"] or "all"}


def _service(of: Answer) -> list[str]:
    share = f" ({100 * of['same'] / of['compared']:.1f} %)" if of["compared"] else ""
    out = f", {of['left_out']} left out" if of["left_out"] else ""
    lines = [f"{of['service']}: {of['compared']} of {of['seen']} compared{out}; {of['same']} the same{share}"]
    rows = [
        {
            "environment": each["environment"], "answers": each["answers"], "errors": each["errors"],
            "p50 ms": each["p50_ms"], "p95 ms": each["p95_ms"], "p99 ms": each["p99_ms"],
            "CPU s/1000": each["cpu_s_per_1000"] if each["cpu_s_per_1000"] >= 0 else "-",
        }
        for each in (of["source"], of["target"])
    ]  # fmt: skip
    lines += drawing.table(rows).splitlines()
    if of["statuses"]:
        lines.append("statuses: " + ", ".join(f"{pair} {count} times" for pair, count in of["statuses"].items()))
    if of["fields"]:
        fields = [
            {
                "differs": each["path"] or "(all)", "times": each["different"], "mean": each["mean"],
                "at most": each["largest"],
            }
            for each in of["fields"]
        ]  # fmt: skip
        lines += ["", *drawing.table(fields).splitlines()]
    for example in of["examples"][:SHOWN]:
        said = "; ".join(f"{each[0] or '(all)'} {each[1]!r} -> {each[2]!r}" for each in _plain(example["differences"]))
        lines.append(f"  request {example['id']}: {said}")
    return lines


def _plain(differences: Any) -> list[tuple[str, Any, Any]]:
    return [(each["path"], each["source"], each["target"]) for each in differences]


SAYS: dict[str, Callable[[Session, Any], str]] = {
    "mirrors.start": started,
    "mirrors.stop": stopped,
    "mirrors.list": mirrors,
    "replays.list": replays,
    "replays.start": started,
    "mirrors.report": report,
}
