"""Makes previews true: step by step, the slow ones in threads, and again after whatever died."""

from __future__ import annotations

import msgspec

from bough.forges import rules, store
from bough.forges.bringing import Bringing
from bough.forges.models import CLOSED, DEPLOYING, Preview
from bough.forges.receiving import KIND
from bough.kernel.context import StreamClosed
from bough.kernel.errors import Problem
from bough.kernel.events import Events
from bough.kernel.reconcile import Handler, Turn
from bough.pushes import store as pushes
from bough.pushes.models import Push

CHECK_S = 0.5  # while a step is under way
RETRY_S = (5.0, 600.0)  # first and longest pause after the forge could not be reached; doubles in between
CHANGED = "preview.changed"


def handler(bringing: Bringing, events: Events) -> Handler:
    def turn(turn: Turn) -> float | None:
        with turn.read() as tx:
            preview = store.by_id(tx, turn.id)
            link = store.link(tx, preview.link) if preview is not None else None
        if preview is None or link is None:
            return None
        step = rules.wanted(preview, link)
        if step == rules.NOTHING and preview.shown != rules.mark(preview):
            step = rules.SAY
        if step == rules.NOTHING:
            return None
        if step == rules.BRING and preview.state != DEPLOYING:
            preview = _write(turn, events, preview, state=DEPLOYING)
        try:
            done = bringing.ensure(step, preview, link)
        except StreamClosed:
            return None  # the server is stopping; the next start looks at every preview
        except Problem as problem:
            return _failed(turn, events, preview, problem)
        if done is None:
            return CHECK_S
        before, changes = done
        push = rules.push_of(before, link, changes, turn.clock.now())
        _write(turn, events, before, push, failures=0, **changes)
        return 0.0

    return turn


def _failed(turn: Turn, events: Events, preview: Preview, problem: Problem) -> float:
    _write(turn, events, preview, failures=preview.failures + 1, why=problem.message)
    return min(RETRY_S[1], RETRY_S[0] * 2.0 ** min(preview.failures, 10))


def _write(turn: Turn, events: Events, before: Preview, push: Push | None = None, **changes: object) -> Preview:
    """Writes what was decided on `before`, and the `push` that it was; the preview as it is then. Fields that somebody
    has changed meanwhile stay as they have them."""
    with turn.apply(lambda tx: store.by_id(tx, before.id) is not None) as tx:
        found = store.by_id(tx, before.id) or before
        wanted = rules.still_wanted(changes, before, found)
        now = msgspec.structs.replace(found, **(wanted | {"changed_at": turn.clock.now()}))
        store.put(tx, now)
        if push is not None:
            pushes.record(tx, events, push)
        if now.state != found.state:
            events.emit(
                tx, CHANGED, now.id, project=now.project, number=now.number, branch=now.branch, state=now.state,
                environment=now.environment, why=changes.get("why", ""),
            )  # fmt: skip
    return now


__all__ = ["CHANGED", "CLOSED", "KIND", "handler"]
