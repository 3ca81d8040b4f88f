"""Following a job run to its end, over restarts of the server."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from bough.entrypoints.cli import unbroken
from bough.entrypoints.cli.drawing import DIM, paint, paint_state
from bough.entrypoints.cli.session import Session
from bough.kernel.errors import Unavailable, WorkloadFailed

LAST_LINES = 20
REGISTERING_S = 20.0  # that a run's output may take to become a version before the command ends
_OUTCOMES = {"registered": "registered", "not_registered": "not registered", "compared": "compared"}


def to_the_end(session: Session, made: Any) -> tuple[Any, str]:
    """Prints what happens as it does; the run at its end, and what to say of it. Raises `WorkloadFailed`."""
    session.out(f"  job run {made.id}")
    lines = deque[str](maxlen=LAST_LINES)  # a job may print millions
    for item in items(session, made.id):
        if item.kind == "log":
            lines.append(item.get("text", ""))
            session.out(f"  {paint(made.job + ' |', DIM, session.colour)} {lines[-1]}")
        elif item.kind == "state":
            session.out(f"  {paint_state(item.state, session.colour)}: {item.get('text', '')}")
        else:
            return _ended(session, item, list(lines))
    raise Unavailable("the job run went out of sight", code="STREAM_BROKEN", hint=f"bough jobs show {made.id}")


def registered(session: Session, run: Any, model: str) -> str:
    """A line on what became of its output, which is not waited for long: a student is measured for a while."""
    until = time.monotonic() + REGISTERING_S
    while model:
        for each in session.client().jobs.show(id=run.id).timeline:
            if each.what in _OUTCOMES:
                return f"\n  {_OUTCOMES[each.what]}: {each.get('said', '')}"
        if time.monotonic() > until:
            return f"\n  its output becomes a version of {model}: bough jobs show {run.id}"
        time.sleep(0.2)
    return ""


def items(session: Session, id: str) -> Iterator[Any]:
    """What happens to it, to its end."""

    def begin(cursor: str) -> Iterator[Any]:
        yield from session.client().jobs.follow(id=id, cursor=cursor)

    return unbroken.stream(begin, cut=lambda problem: session.note(f"  {problem.message}; the job goes on"))


def _ended(session: Session, item: Any, lines: list[str]) -> tuple[Any, str]:
    run = item.run
    if item.state != "succeeded":
        raise WorkloadFailed(
            f"{run.job} ({run.id}) {'was' if item.state in ('cancelled', 'skipped') else 'has'} {item.state};"
            f" {item.get('text', '')}",
            code="JOB_FAILED" if item.state == "failed" else f"JOB_{item.state.upper()}",
            hint=_next(run), run=run.id, log=lines,
        )  # fmt: skip
    text = f"{run.job} has {paint_state('succeeded', session.colour)} after {run.finished_at - run.created_at:.1f} s"
    if run.get("seconds"):
        text += f", {run.seconds:.1f} s of machines" + (f" for {run.cost:.4f}" if run.get("cost") else "")
    if run.get("run"):
        text += f"\n  bough runs show {run.run}"
    return run, text


def _next(run: Any) -> str:
    """What to type after an end that is none to be glad of."""
    if run.state == "failed" and (hint := run.get("failure", {}).get("hint")):
        return str(hint)
    if run.state == "failed" and run.get("attempt"):
        return f"bough jobs logs {run.id}, then bough jobs retry {run.id}"
    return f"bough jobs show {run.id}, then bough jobs retry {run.id}"
