"""What `bough services traffic` and `exposure` say on a terminal, where a plain record would not do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bough.entrypoints.cli import drawing
from bough.entrypoints.cli.drawing import GREEN, RED, paint
from bough.entrypoints.cli.session import Session

Answer = Mapping[str, Any]


def traffic(session: Session, answer: Answer) -> str:
    replicas = f"{answer['replicas']} replica{'' if answer['replicas'] == 1 else 's'}"
    batches = f", {answer['per_batch']:g} in a batch" if answer["batches"] else ""
    starts = [f"{each['count']} {each['kind']} ({each['mean_ms']:.0f} ms)" for each in answer["starts"]]
    pairs = {
        "service": f"{answer['project']}/{answer['environment']} {answer['service']}",
        "since": f"{drawing.moment(answer['since'])}, when the gateway began",
        "requests": f"{answer['requests']}, {answer['per_s']:g} a second now, {replicas}{batches}",
        "items": _items(answer),
        "objective": _objective(session, answer.get("objective")),
        "starts": ", ".join(starts),
        "cost": _cost(answer["cost"]),
    }
    text = drawing.draw({key: value for key, value in pairs.items() if value})
    return text + "\n\n" + drawing.table([_version(each) for each in answer["versions"]])


def exposure(session: Session, answer: Answer) -> str:
    public = "may be public" if answer["public_services"] else "are never public: all ask for a key or a token"
    lines = [drawing.table(answer["listeners"]), "", f"services {public}", ""]
    return "\n".join([*lines, drawing.table([_exposed(each) for each in answer["services"]])])


SAYS: dict[str, Callable[[Session, Any], str]] = {"services.traffic": traffic, "services.exposure": exposure}


def _items(answer: Answer) -> str:
    """Empty where every request carried one."""
    if answer["items"] <= sum(each["answers"].get("2xx", 0) for each in answer["versions"]):
        return ""
    return f"{answer['items']}, {answer['items_per_s']:g} a second now"


def _objective(session: Session, of: Answer | None) -> str:
    if of is None:
        return ""
    said = paint("kept", GREEN, session.colour) if of["kept"] else paint("missed", RED, session.colour)
    return f"99 % of answers within {of['latency_s'] * 1000:g} ms: {said} ({100 * of['within']:.1f} %)"


def _cost(of: Answer) -> str:
    if of["per_1000"] >= 0:
        cores = f"{of['cores']:g} core{'' if of['cores'] == 1 else 's'}"
        return f"{of['per_1000']:.3g} per 1,000 requests ({of['replica_s']:.0f} replica-seconds of {cores})"
    if of["core_hour"] <= 0:
        return "unknown: no pool of settings.toml says what a core costs (docs/capacity.md)"
    return ""


def _version(of: Answer) -> dict[str, Any]:
    classes = {name: of["answers"].get(name, 0) for name in ("2xx", "4xx", "5xx")}
    return {
        "release": of["release"] + ("" if of["answering"] else " (gone)"), "api": of["api"],
        "share": f"{of['share']:.1f} %", "requests": of["requests"], "items": of["items"], **classes,
        "refused": of["refused"], "p50 ms": of["p50_ms"], "p95 ms": of["p95_ms"], "p99 ms": of["p99_ms"],
    }  # fmt: skip


def _exposed(of: Answer) -> dict[str, Any]:
    return {
        "project": of["project"], "environment": of["environment"], "name": of["name"], "what": of["what"],
        "ports": of["ports"], "reached from": of["reached_from"], "asks for": of["asks_for"],
        "only from": of.get("allow", []), "TLS": of["tls"], "limits": of.get("limits", {}),
    }  # fmt: skip
