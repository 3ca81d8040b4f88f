"""Makes previews true: step by step, the slow ones in threads, and again after whatever died."""

from __future__ import annotations

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
        try:
            changes = bringing.ensure(step, preview, link)
        except StreamClosed:
            return None  # the server is stopping; the next start looks at every preview
        except Problem as problem:
            return _failed(turn, events, preview, problem)
        if changes is None:
            if step == rules.BRING and preview.state != DEPLOYING:
                _write(turn, events, preview, state=DEPLOYING)
            return CHECK_S
        now = turn.clock.now()
        _write(turn, events, preview, rules.push_of(preview, link, changes, now), failures=0, **changes)
        return 0.0

    return turn


def _failed(turn: Turn, events: Events, preview: Preview, problem: Problem) -> float:
    _write(turn, events, preview, failures=preview.failures + 1, why=problem.message)
    return min(RETRY_S[1], RETRY_S[0] * 2.0 ** min(preview.failures, 10))


def _write(turn: Turn, events: Events, preview: Preview, push: Push | None = None, **changes: object) -> None:
    """Fields that a webhook has changed meanwhile stay as the webhook has them: only `changes` are written, and the
    `push` that it was."""
    now = turn.clock.now()
    with turn.apply() as tx:
        store.change(tx, preview.id, changed_at=now, **changes)
        if push is not None:
            pushes.record(tx, events, push)
        if changes.get("state", preview.state) != preview.state:
            events.emit(
                tx, CHANGED, preview.id, project=preview.project, number=preview.number, branch=preview.branch,
                state=changes["state"], environment=changes.get("environment", preview.environment),
                why=changes.get("why", ""),
            )  # fmt: skip


__all__ = ["CHANGED", "CLOSED", "KIND", "handler"]
