"""What `bough queues` says on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bough.entrypoints.cli import drawing
from bough.entrypoints.cli.session import Session

Answer = Mapping[str, Any]
COLUMNS = ("queue", "handler", "waiting", "behind", "delayed", "running", "dead", "oldest_s", "url")
COUNTS = ("waiting", "behind", "delayed", "running", "dead")
PEEKED = 20  # items that `queues peek` shows unless `--limit` says more
_UNSET: tuple[Any, ...] = (None, "", [])


def listed(session: Session, answer: Sequence[Answer]) -> str:
    rows = [{**each, "handler": _handler(each), "behind": each.get("behind", 0)} for each in answer]
    return drawing.table(rows, COLUMNS)


def shown(session: Session, answer: Answer) -> str:
    """What is not set is left out: docs/settings.md has all keys."""
    queue, settings = answer["queue"], answer["settings"] or {}
    items = ", ".join(f"{queue.get(name, 0)} {name}" for name in COUNTS)
    oldest = f"; the oldest has waited {drawing.cell('', queue['oldest_s'])} s" if queue.get("oldest_s") else ""
    parts = {"queue": queue["queue"], "handler": _handler(queue), "url": queue.get("url", ""), "items": items + oldest}
    parts |= {f"tells {each['to']}": _telling(each) for each in answer.get("telling", [])}
    blocks = [drawing.draw({name: text for name, text in parts.items() if text})]
    if kept := {name: value for name, value in settings.items() if value not in _UNSET and name != "handler"}:
        if not kept.get("schedule"):
            kept.pop("payload", None)
        blocks.append(drawing.columns_of([[name, _setting(value)] for name, value in kept.items()]))
    return "\n\n".join(blocks)


def peeked(session: Session, answer: Sequence[Answer]) -> str:
    more = len(answer) >= PEEKED
    return drawing.table(answer) + (f"\n\nthe first {len(answer)}; --limit shows more" if more else "")


def replayed(session: Session, answer: Answer) -> str:
    return f"{_items(answer['moved'])} back in the queue" if answer["moved"] else "there are no dead letters"


def delivered(session: Session, answer: Answer) -> str:
    if not answer["moved"]:
        return "everybody has been told of everything"
    count = answer["moved"]
    return f"{count} {'result is' if count == 1 else 'results are'} being told; bough queues show says what came of it"


def purged(session: Session, answer: Answer) -> str:
    return f"{_items(answer['moved'])} removed" if answer["moved"] else "there was nothing to remove"


SAYS: dict[str, Callable[[Session, Any], str]] = {
    "queues.list": listed,
    "queues.show": shown,
    "queues.peek": peeked,
    "queues.replay": replayed,
    "queues.deliver": delivered,
    "queues.purge": purged,
}


def _handler(queue: Answer) -> str:
    return str(queue["handler"]) if queue.get("declared", True) else "none: the live release has no such queue"


def _telling(of: Answer) -> str:
    waits = f"{of['waiting']} wait" if of["waiting"] else "all told"
    return f"{waits}; {of['said']}" if of["said"] else waits


def _setting(value: Any) -> str:
    if isinstance(value, Mapping):
        return drawing.cell("", {name: each for name, each in value.items() if each not in _UNSET})
    return drawing.cell("", value)


def _items(count: int) -> str:
    return "1 item is" if count == 1 else f"{count} items are"
