"""What `bough promote`, `promotions`, `approve`, `gates` and `audit` say on a terminal, where a plain record would not
do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bough.entrypoints.cli import drawing
from bough.entrypoints.cli.drawing import GREEN, RED, paint, paint_state
from bough.entrypoints.cli.session import Session

Answer = Mapping[str, Any]


def started(session: Session, answer: Answer) -> str:
    return "\n".join(
        [
            f"{_what(answer)}: {_state(session, answer)}",
            f"  bough promotions follow {answer['id']}   as it goes on",
            f"  bough promotions show {answer['id']}     where it stands",
            f"  bough promotions abort {answer['id']}    back to what serves now",
        ]
    )


def promotion(session: Session, answer: Answer) -> str:
    of, given = answer["promotion"], answer["approvals"]
    pairs = {
        "promotion": of["id"],
        "what": _what(of),
        "state": _state(session, of),
        "failed": of.get("failure", {}).get("message", "") or of.get("failure", {}).get("code", ""),
        "next": _next(of, answer["counting"]),
        "approvals": f"{answer['counting']} of {of['needed']}" if of["needed"] else "none needed",
        "evidence": f"{of['evidence'] or 'none yet'} (bough gates show {of['gate_run']})",
        "replaces": f"{of['name']}/{of['before']}" if of.get("before") else "nothing",
        "step": _step(of),
        "asked for": f"{drawing.moment(of['created_at'])} by {of['by']}" + (f": {of['why']}" if of["why"] else ""),
        "ended": drawing.moment(of["finished_at"]) if of["finished_at"] else "",
    }
    text = drawing.draw({key: value for key, value in pairs.items() if value})
    if given:
        rows = [{**each, "holds": _holds(of, each)} for each in given]
        text += "\n\n" + drawing.table(rows, ["by", "at", "expires_at", "holds", "digest", "evidence", "why"])
    return text + _watched(of)


def _holds(of: Answer, given: Answer) -> str:
    """Whether an approval is still in force, and why not."""
    if given["expires_at"] <= time.time():
        return "no, expired"
    if (given["digest"], given["evidence"]) != (of["digest"], of["evidence"]):
        return "no, for other evidence"
    return "yes"


def progress(session: Session, item: Answer) -> str:
    """One line whenever something has changed."""
    text = f"{drawing.moment(item['at'])}  {_state(session, item)}"
    if item.get("missing"):
        text += f"  {item['missing']} approval{'s' * (item['missing'] > 1)} missing: bough approve {item['id']}"
    if item.get("percent"):
        text += f"  {item['percent']:g} % of the requests, watched for {item['watched_s']:.0f} s"
        for side in ("candidate", "champion"):
            text += f"; {side} {item[f'{side}_requests']} answered, {item[f'{side}_errors']} errors"
    return text


def promotions(session: Session, answer: Sequence[Answer]) -> str:
    rows = [
        {
            "id": each["id"], "model": f"{each['name']}/{each['number']}",
            "to": f"{each['project']}/{each['environment']}", "state": each["state"], "by": each["by"],
            "changed_at": each["changed_at"], "why": each.get("failure", {}).get("message") or each["why"],
        }
        for each in answer
    ]  # fmt: skip
    return drawing.table(rows)


def gates(session: Session, answer: Answer) -> str:
    against = answer.get("against")
    beside = f", beside {against['name']}/{against['number']}" if against else ""
    lines = [
        f"{answer['name']}/{answer['number']} at the gates of {answer['project']}/{answer['environment']}{beside}:"
        f" {paint_state(answer['state'], session.colour)}"
    ]
    longest = max((len(each["gate"]) for each in answer["results"]), default=0)
    for each in answer["results"]:
        mark = paint("passed", GREEN, session.colour) if each["passed"] else paint("FAILED", RED, session.colour)
        lines.append(f"  {mark}  {each['gate']:<{longest}}  {each['said']}  evidence {each.get('evidence', '')[:12]}")
    if not answer["finished_at"]:
        lines.append(f"  bough gates show {answer['id']}")
    return "\n".join(lines)


def gate_runs(session: Session, answer: Sequence[Answer]) -> str:
    rows = [
        {
            "id": each["id"], "model": f"{each['name']}/{each['number']}",
            "at": each["started_at"], "by": each["by"], "state": each["state"],
            "failed": ", ".join(result["gate"] for result in each["results"] if not result["passed"]),
        }
        for each in answer
    ]  # fmt: skip
    return drawing.table(rows)


def ran_then(session: Session, answer: Answer) -> str:
    place, release = f"{answer['project']}/{answer['environment']}", answer.get("release")
    lines = [f"{place} on {drawing.moment(answer['at'])}"]
    if release is None:
        lines.append("  no release served")
    else:
        since = f"since {drawing.moment(release['since'])}, by {release['by']}"
        lines.append(f"  release {release['number']} ({release['digest'][:12]}), {since}; entry {release['entry']}")
    for each in answer.get("models", []):
        lines.append(
            f"  {each['name']}@{each['alias']} was {each['name']}/{each['version']} ({each.get('digest', '')[:12]}),"
            f" since {drawing.moment(each.get('since', 0.0))}, by {each.get('by', '')}; entry {each.get('entry', 0)}"
        )
        about = {
            "why": each.get("why", ""),
            "approved by": ", ".join(one["by"] for one in each.get("approved", [])),
            "gates": ", ".join(sorted(each.get("gates", {}))),
            "trained on": ", ".join(_input(one) for one in each.get("trained_on", [])),
            "run": each.get("run", ""),
        }
        lines += [f"    {name:<11}  {text}" for name, text in about.items() if text]
    return "\n".join(lines)


def ledger(session: Session, answer: Sequence[Answer]) -> str:
    return drawing.table(answer, ["number", "at", "project", "environment", "action", "subject", "by", "why"])


def verified(session: Session, answer: Answer) -> str:
    sound = paint("nothing was edited, removed, reordered or cut off", GREEN, session.colour)
    return f"{answer['entries']} entries: {sound}\n" + drawing.draw(
        {key: answer[key] for key in ("root", "key", "seconds")}
    )


SAYS: dict[str, Callable[[Session, Any], str]] = {
    "promotions.start": started,
    "promotions.list": promotions,
    "promotions.show": promotion,
    "promotions.follow": progress,
    "promotions.approve": promotion,
    "promotions.abort": lambda session, answer: f"{_what(answer)}: {_state(session, answer)}",
    "gates.run": gates,
    "gates.show": gates,
    "gates.list": gate_runs,
    "audit.at": ran_then,
    "audit.ledger": ledger,
    "audit.verify": verified,
}


def _what(of: Answer) -> str:
    return f"{of['name']}/{of['number']} to {of['project']}/{of['environment']}"


def _state(session: Session, of: Answer) -> str:
    return paint_state(of["state"], session.colour)


def _next(of: Answer, counting: int) -> str:
    match of["state"]:
        case "gating":
            return "its gates are running"
        case "waiting":
            missing = of["needed"] - counting
            return f"bough approve {of['id']}    ({missing} more)" if missing > 0 else "approved, it goes on"
        case "rolling" | "shadowing":
            return f"bough promotions abort {of['id']}    ends it, if it has to end"
        case "done":
            return "bough rollback    takes it back"
    return ""


def _step(of: Answer) -> str:
    steps = of["policy"].get("steps", [100])
    if of["state"] != "rolling" or of["step"] >= len(steps):
        return ""
    watched, whole = of["watch"].get("watched_s", 0.0), of["policy"].get("watch_s", 0.0)
    return f"{steps[of['step']]:g} % of the requests, watched for {watched:.0f} of {whole:g} s"


def _watched(of: Answer) -> str:
    """What the present step has seen of both sides."""
    tallies = {side: of["watch"].get(side, {}) for side in ("candidate", "champion")}
    if not any(tally.get("requests") for tally in tallies.values()):
        return ""
    rows = [
        {"side": side, "requests": tally.get("requests", 0), "errors": tally.get("errors", 0),
         "cpu_ms_each": 1000 * tally.get("cpu_s", 0.0) / max(1, tally.get("requests", 0))}
        for side, tally in tallies.items()
    ]  # fmt: skip
    return "\n\n" + drawing.table(rows)


def _input(of: Answer) -> str:
    version = of.get("version", "")
    return f"{of.get('kind', '')}:{of.get('name', '')}" + (f"@{version}" if version else "")
