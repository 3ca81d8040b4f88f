"""What `bough webhooks` says on a terminal, where a plain record would not do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bough.entrypoints.cli import drawing
from bough.entrypoints.cli.session import Session

Answer = Mapping[str, Any]
COLUMNS = ("id", "project", "url", "events", "told", "told_at", "tries", "lost", "said")


def added(session: Session, answer: Answer) -> str:
    of = answer["webhook"]
    told = "everything" if of["events"] == ["*"] else ", ".join(of["events"])
    return (
        f"{of['url']} is told of {told} in {of['project']} from now on\n"
        f"  signed with {answer['signing_secret']}, which is not shown again\n"
        f"  bough webhooks test {of['id']}"
    )


def listed(session: Session, answer: Sequence[Answer]) -> str:
    return drawing.table(answer, COLUMNS)


def tested(session: Session, answer: Answer) -> str:
    return f"{answer['url']} is being told; bough webhooks list says what came of it"


SAYS: dict[str, Callable[[Session, Any], str]] = {
    "webhooks.add": added,
    "webhooks.list": listed,
    "webhooks.retry": tested,
    "webhooks.test": tested,
}
