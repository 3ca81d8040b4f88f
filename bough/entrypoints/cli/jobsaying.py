"""What `bough jobs` says on a terminal, where a plain record would not do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bough.entrypoints.cli import drawing
from bough.entrypoints.cli.drawing import paint_state
from bough.entrypoints.cli.session import Session

Answer = Mapping[str, Any]
_STATES = {"stopped": "stopped early"}  # as they are said, where a word is not enough
_WAITING, _RUNNING = ("waiting", "building", "bringing", "queued"), ("running", "stopping", "ending")


def begun(session: Session, answer: Answer) -> str:
    said = f"{answer['job']} ({answer['id']}) is {paint_state(answer['state'], session.colour)}: {answer['said']}"
    return f"{said}\n  bough jobs show {answer['id']}"


def runs(session: Session, answer: Sequence[Answer]) -> str:
    return drawing.table([_row(each) for each in answer])


def run(session: Session, answer: Answer) -> str:
    of = answer["run"]
    progress, params = answer.get("progress"), of.get("params", {})
    pairs = {
        "job run": f"{of['id']}, of {of['job']} in {of['project']}/{of['environment']}",
        "state": f"{paint_state(of['state'], session.colour)}: {of['said']}",
        "try": of.get("failure", {}).get("hint", "") if of["state"] == "failed" else "",
        "runs": _members(answer.get("totals", {})),
        "progress": _progress(progress) if progress else "",
        "params": " ".join(f"{key}={value}" for key, value in params.items()),
        "begins with": f"the checkpoints of {of['start_from']}" if of.get("start_from") else "",
        "attempt": _attempt(of),
        "runs on": of.get("capacity", ""),
        "devices": ", ".join(of.get("devices", [])),
        "took": f"{of['seconds']:.1f} s" if of.get("seconds") else "",
        "cost": f"{of['cost']:.4f} ({of.get('cost_center', '')})" if of.get("cost") else "",
        "reports to": f"bough runs show {of['run']}" if of.get("run") and not of.get("children") else "",
        "best": answer.get("best", ""),
        "output": f"bough jobs logs {of['id']}" if of.get("attempt") else "",
    }
    text = drawing.draw({key: value for key, value in pairs.items() if value})
    lines = [{"at": each["at"], "what": each["what"], "said": each["said"]} for each in answer["timeline"]]
    text += "\n\n" + drawing.table(lines) if lines else ""
    members = answer.get("runs", [])
    return text + (
        "\n\n" + drawing.table([_row(each) | {"params": _params(each)} for each in members]) if members else ""
    )


SAYS: dict[str, Callable[[Session, Any], str]] = {
    "jobs.run": begun,
    "jobs.cancel": begun,
    "jobs.retry": begun,
    "jobs.resize": begun,
    "jobs.list": runs,
    "jobs.show": run,
}


def _row(of: Answer) -> dict[str, Any]:
    return {
        "id": of["id"], "job": of["job"], "state": of["state"],
        "attempt": "" if of.get("children") else of.get("attempt", 0), "created_at": of["created_at"],
        "seconds": of.get("seconds", 0.0), "cost": of.get("cost", 0.0), "said": of["said"],
    }  # fmt: skip


def _members(totals: Mapping[str, int]) -> str:
    """Of a group: how many of its runs have ended, and how; how many run, and how many wait."""
    active = {"running": _RUNNING, "waiting": _WAITING}
    parts = {word: sum(totals.get(state, 0) for state in states) for word, states in active.items()}
    whole, left = sum(totals.values()), sum(parts.values())
    ends = {state: number for state, number in totals.items() if state not in (*_RUNNING, *_WAITING)}
    how = ", ".join(f"{number} {_STATES.get(state, state)}" for state, number in ends.items())
    said = [f"{whole - left} of {whole} ended ({how})"] if how else []
    return ", ".join([*said, *(f"{number} {word}" for word, number in parts.items() if number)])


def _attempt(of: Answer) -> str:
    """Empty for a group, which is never started itself."""
    processes = f", {of['size']} processes" if of.get("size", 1) > 1 else ""
    return "" if of.get("children") else f"{of.get('attempt', 0)}{processes}"


def _params(of: Answer) -> str:
    return " ".join(f"{key}={value}" for key, value in of.get("params", {}).items())


def _progress(of: Answer) -> str:
    of_all = f" of {of['total']}" if of.get("total") else ""
    left = f", {of['left_s']:.0f} s left" if of.get("left_s") else ""
    said = f"; {of['said']}" if of.get("said") else ""
    samples = f", {of['samples_per_s']:,.0f} samples/s" if of.get("samples_per_s") else ""
    read = f"; {of['read_bytes'] / 1e6:,.1f} MB read at {of['read_mb_per_s']:,.1f} MB/s" if of.get("read_bytes") else ""
    read += f", {of.get('waited', 0.0):.0%} of the time waiting for it" if read else ""
    return f"step {of.get('step', 0)}{of_all}, saved at {of.get('saved_step', 0)}{samples}{left}{read}{said}"
