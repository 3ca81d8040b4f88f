"""What `bough branch …` says on a terminal, where a plain record would not do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bough.entrypoints.cli import drawing
from bough.entrypoints.cli.drawing import GREEN, RED, YELLOW, paint
from bough.entrypoints.cli.session import Session
from bough.kernel.errors import NotFound, Problem

ROUTED_WITHIN_S = 3.0  # the gateway takes a new branch's routes within tens of milliseconds
LOOK_S = 0.02
DATABASE = "database"  # the kind; the catalog itself is not imported by commands
_MARKS = {"add": ("+", GREEN), "remove": ("-", RED), "change": ("~", YELLOW)}


def with_services(session: Session, answer: Any) -> Any:
    """The answer of `branch create` with the URLs that it made, once requests to them are taken."""
    view = answer["environment"]
    answer["services"] = []
    deadline = time.monotonic() + ROUTED_WITHIN_S
    while view.get("release"):
        try:
            found = session.client().services.list(project=view["project"], environment=view["name"])
        except NotFound:
            break
        if found or time.monotonic() > deadline:
            keys = ("service", "state", "url", "address")
            answer["services"] = [{key: each.get(key, "") for key in keys} for each in found]
            _wait_for_routes(session, view)
            break
        time.sleep(LOOK_S)
    return answer


def _wait_for_routes(session: Session, view: Mapping[str, Any]) -> None:
    """Until the gateway has them, or a few seconds where there is none."""
    for release in session.client().releases.list(project=view["project"], environment=view["name"])[:1]:
        for _ in session.client().releases.follow(id=release["id"]):
            pass


def created(session: Session, answer: Mapping[str, Any]) -> str:
    view = answer["environment"]
    name = f"{view['project']}/{view['name']}"
    if not answer["created"]:
        first = f"{name} is there already"
    elif view.get("parent"):
        first = f"{name} branched from {view['parent']}: everything it has, copied nowhere"
    else:
        first = f"{name} is there, and empty"
    if view.get("expires_at"):
        first += f"; it goes away {drawing.moment(view['expires_at'])} unless it is deployed to"
    longest = max((len(each["service"]) for each in answer["services"]), default=0)
    lines = [f"  {each['service']:<{longest}}  {each['url']}  {each['state']}" for each in answer["services"]]
    return "\n".join([first, *lines])


def listed(session: Session, answer: Sequence[Mapping[str, Any]]) -> str:
    """What tells environments apart, and of the rest only what some of them have."""
    optional = [name for name in ("expires_at", "protected", "budget") if any(row.get(name) for row in answer)]
    several = len({row["project"] for row in answer}) > 1
    columns = [*(["project"] if several else []), "name", "parent", "branch", "release", "created_at", *optional]
    return drawing.table(answer, columns)


def shown(session: Session, answer: Mapping[str, Any]) -> str:
    view = answer["environment"]
    pairs = {
        "environment": f"{view['project']}/{view['name']}" + (" (protected)" if view.get("protected") else ""),
        "parent": view.get("parent", ""),
        "git branch": view.get("branch", ""),
        "release": view.get("release", 0),
        "services": ", ".join(answer["services"]),
        "ahead by": _counts(answer["ahead"]),
        "behind by": _counts(answer["behind"]),
        "bytes of its own": f"{drawing.size(answer['own_bytes'])} (what it shares: bough data usage)",
        "sealed off from": ", ".join(answer["sealed"]),
        "branches of it": ", ".join(answer["children"]),
        "budget": f"{view['budget']:g} a month (spent: bough costs budgets)" if view.get("budget") else "",
        "goes away": drawing.moment(view["expires_at"]) if view.get("expires_at") else "",
        "created": f"{drawing.moment(view['created_at'])} by {view.get('created_by', '')}",
    }
    return drawing.draw({key: value for key, value in pairs.items() if value not in ("", 0)})


def compared(session: Session, answer: Mapping[str, Any]) -> str:
    if not answer["changes"]:
        if answer.get("parent_moved"):
            return f"{answer['environment']} has changed nothing; {answer['against']} has moved since"
        return f"{answer['environment']} and {answer['against']} do not differ"
    lines = []
    for each in answer["changes"]:
        mark, colour = _MARKS[each["action"]]
        fields = "; ".join(_field(name, *both) for name, both in list(each.get("fields", {}).items())[:4])
        head = paint(f"{mark} {each['kind']} {each['name']}", colour, session.colour)
        lines.append(f"{head}{'  ' + fields if fields and each['action'] == 'change' else ''}")
    total = sum(sum(each.values()) for each in answer["counts"].values())
    if total > len(lines):
        lines.append(f"… and {total - len(lines)} more; --json counts them, --kinds narrows")
    counts = "; ".join(
        f"{kind}: {', '.join(f'{number} {action}' for action, number in sorted(each.items()))}"
        for kind, each in sorted(answer["counts"].items())
    )
    moved = f"; {answer['against']} has moved since" if answer["parent_moved"] else ""
    return "\n".join([*lines, f"{answer['environment']} against {answer['against']}: {counts}{moved}"])


def merged(session: Session, answer: Mapping[str, Any]) -> str:
    counts = _counts(answer["merged"]) or "nothing"
    how = "would merge" if answer.get("dry_run") else "merged"
    lines = [f"{how} {counts} into {answer['into']}{' (fast-forward)' if answer['fast_forward'] else ''}"]
    for database, names in answer.get("migrations", {}).items():
        ran = "would run" if answer.get("dry_run") else "ran"
        lines.append(f"{ran} on {database} of {answer['into']}, tried on a fresh branch of it: {', '.join(names)}")
    for each in answer.get("conflicts", []):
        head = paint(f"! {each['id']}", RED, session.colour)
        lines.append(f"{head}  {answer['into']} {each['ours']}, the branch {each['theirs']}")
    return "\n".join(lines)


def planned(session: Session, fields: Mapping[str, Any]) -> None:
    """What a merge is going to run on databases, said before it does."""
    if session.json or fields.get("dry_run"):
        return
    with contextlib.suppress(Problem):  # the merge itself says what is wrong
        client = session.client()
        asked = {"project": fields["project"], "branch": fields["branch"]}
        if client.environments.diff(**asked, kinds=[DATABASE])["changes"]:
            session.note(merged(session, client.call("environments.merge", **{**fields, "dry_run": True})))


def refused(session: Session, problem: Problem) -> None:
    """A conflict of a merge, line by line; the error itself follows."""
    for each in problem.fields.get("conflicts", []):
        head = paint(f"! {each['id']}", RED, session.colour)
        session.note(f"{head}  ours {each['ours']}, theirs {each['theirs']}")


PLANS: dict[str, Callable[[Session, Mapping[str, Any]], None]] = {"environments.merge": planned}
COMPLETES: dict[str, Callable[[Session, Any], Any]] = {"environments.create": with_services}
SAYS: dict[str, Callable[[Session, Any], str]] = {
    "environments.create": created,
    "environments.list": listed,
    "environments.show": shown,
    "environments.diff": compared,
    "environments.merge": merged,
}


def _counts(by_kind: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(by_kind.items()))


def _field(name: str, before: Any, after: Any) -> str:
    return f"{name} {_said(before)} -> {_said(after)}"


def _said(value: Any) -> str:
    """Digests shortened as in tables; all else as it is."""
    return "-" if value is None else drawing.cell("", value) if isinstance(value, str) else str(value)
