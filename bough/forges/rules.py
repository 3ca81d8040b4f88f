"""Pure decisions about previews: what a webhook changes, what is to be done, and what a comment says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bough.adapters.forges import OPEN, Pull
from bough.environments.rules import environment_name
from bough.forges.models import ASK, CLOSED, DEPLOYING, FAILED, LIVE, NEVER, WAITING, ForgeLink, Preview
from bough.kernel.project import PRODUCTION
from bough.pushes.models import Push

NOTHING, BRING, REMOVE, SAY = "nothing", "bring", "remove", "say"
_STATUS = {WAITING: "pending", DEPLOYING: "pending", LIVE: "success", FAILED: "failure"}


def branch_for(pull: Pull) -> str:
    """Under which branch its commits are kept here. A fork calls its branches what it likes, and no pull request may
    become production."""
    if pull.fork or environment_name(pull.branch, {}) == PRODUCTION:
        return f"pr/{pull.number}"
    return pull.branch


def seen(preview: Preview | None, pull: Pull, link: ForgeLink, id: str, now: float) -> Preview | None:
    """The preview as `pull` makes it; None when what is known is newer, or the same. A forge counts time in seconds: of
    two states of one second the closed one counts, for a closed one that opens again gets a new time."""
    if preview is None:
        return Preview(
            id=id, link=link.id, project=link.project, number=pull.number, branch=branch_for(pull), commit=pull.commit,
            base=pull.base, fork=pull.fork, title=pull.title, author=pull.author, url=pull.url, open=pull.state == OPEN,
            seen_at=pull.updated_at, changed_at=now,
        )  # fmt: skip
    if pull.updated_at < preview.seen_at or (
        pull.updated_at == preview.seen_at and not preview.open and pull.state == OPEN
    ):
        return None
    made = msgspec.structs.replace(
        preview, commit=pull.commit, base=pull.base, title=pull.title, open=pull.state == OPEN, seen_at=pull.updated_at,
        fork=preview.fork or pull.fork,
    )  # fmt: skip
    return None if made == preview else msgspec.structs.replace(made, changed_at=now)


def wanted(preview: Preview, link: ForgeLink) -> str:
    """What is to be done next."""
    if not preview.open:
        return REMOVE if preview.state != CLOSED else NOTHING
    if not may_build(preview, link):
        return NOTHING if preview.state == WAITING else SAY
    return BRING if preview.commit != preview.deployed else NOTHING


def may_build(preview: Preview, link: ForgeLink) -> bool:
    if not preview.fork or link.forks not in (ASK, NEVER):
        return True
    return link.forks == ASK and preview.allowed == preview.commit


def why_waiting(preview: Preview, link: ForgeLink) -> str:
    if link.forks == NEVER:
        return "pull requests from forks get no environment here"
    return f"it comes from a fork: bough previews allow {preview.number} builds this commit, without any secret"


def mark(preview: Preview) -> str:
    """What a comment says, in short: it is written anew when this changes."""
    return f"{preview.state} {preview.commit} {preview.release} {preview.why}"


def about(preview: Preview) -> str:
    """A few words beside the mark on a commit."""
    where = f"{preview.project}/{preview.environment}" if preview.environment else preview.project
    return f"{where}: {preview.state}"


def status_of(preview: Preview) -> str:
    return _STATUS[preview.state]


def comment(preview: Preview, services: Sequence[Mapping[str, Any]]) -> str:
    """Markdown. Nothing in it comes from the pull request, so it cannot say anything of its own."""
    commit = f"`{preview.commit[:9]}`"
    head = f"**Bough** · {preview.project}/{preview.environment}" if preview.environment else "**Bough**"
    if preview.state == CLOSED:
        return f"{head}\n\nThe environment is gone: its pull request is closed."
    if preview.state == WAITING:
        return f"{head}\n\n{commit} waits; {preview.why}."
    if preview.state == FAILED:
        what = f"{commit} did not become live; what served before still serves."
        return f"{head}\n\n{what}\n\n```\n{_plain(preview.why)}\n```"
    if preview.state == DEPLOYING:
        return f"{head}\n\n{commit} is being deployed."
    rows = [f"| {each['service']} | {each['url']} | {each.get('address', '')} |" for each in services]
    table = ["| service | URL | by path |", "|---|---|---|", *rows] if rows else ["It has no services."]
    more = f"`bough branch diff {preview.environment}` shows what it would bring."
    return "\n".join([head, "", f"{commit} is live as release {preview.release}.", "", *table, "", more])


def _plain(text: str) -> str:
    return text.replace("```", "'''")[:2000]


def still_wanted(changes: Mapping[str, Any], before: Preview, now: Preview) -> dict[str, Any]:
    """What a step that began with `before` changes of the preview as it is now: without the fields that a webhook, or
    somebody, has changed meanwhile. A commit that was pushed while the one before was deployed is the next one."""
    return {name: value for name, value in changes.items() if getattr(now, name) == getattr(before, name)}


def push_of(preview: Preview, link: ForgeLink, changes: Mapping[str, Any], now: float) -> Push | None:
    """What a commit of a pull request was that has been deployed, or has failed: from the webhook to its URL."""
    if not changes.get("deployed"):
        return None
    return Push(
        project=preview.project, environment=changes["environment"], branch=preview.branch, state=changes["state"],
        seconds=round(max(0.0, now - preview.changed_at), 3), by=f"{link.kind}:{link.repository}",
        commit=changes["commit"], release=changes["release"], why=changes["why"],
    )  # fmt: skip
