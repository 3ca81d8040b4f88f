"""`bough plan`: what a deploy would change, before it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bough.entrypoints.cli import plan_train, sending
from bough.entrypoints.cli.drawing import GREEN, RED, YELLOW, cell, paint
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.options import common, environment_here, folder
from bough.entrypoints.cli.session import Session, find_project

_SIGNS = {"add": ("+", GREEN), "remove": ("-", RED), "change": ("~", YELLOW), "same": (" ", 0)}


def run(session: Session, folder: str, environment: str, all_: bool) -> None:
    root = find_project(Path(folder))
    prepared = sending.prepare(root, sending.environment_of(session, root, environment))
    plan = session.client().releases.plan(**prepared.request())
    session.answer(plan, text=_text(session, plan, everything=all_))


def _text(session: Session, plan: Any, *, everything: bool = False) -> str:
    """What stays as it is, and what of a change its author did not touch, only with `everything`."""
    place = f"{plan.project}/{plan.environment}"
    if plan.same:
        return f"{place}: a deploy would change nothing"
    lines = [f"{place}: a deploy would"]
    still = sum(change.action == "same" for change in plan.changes)
    for change in plan.changes:
        if change.action == "same" and not everything:
            continue
        sign, colour = _SIGNS.get(change.action, ("?", YELLOW))
        effect = "" if change.action == "same" else ", starts new processes" if change.get("restarts") else ""
        files = ", files differ" if change.get("files") else ""
        shown = paint(sign, colour, session.colour and bool(colour))
        lines.append(f"  {shown} {change.action} {change.what} {change.name}{files}{effect}")
        for key, values in change.get("keys", {}).items():
            before, after = [*values, None][:2]
            lines.append(f"      {key}: {_value(before)} -> {_value(after)}")
        if change.action == "add" or everything:
            lines += [f"      policy {key}: {_value(value)}" for key, value in change.get("policy", {}).items()]
    if still and not everything:
        lines.append(f"  and {still} more as before (--all)")
    return "\n".join(lines)


def _value(value: Any) -> str:
    return '""' if value == "" else "none" if value is None else cell("", value)


_alone = make(
    "plan",
    "Says what a deploy would change.\n\nNothing is sent and nothing is changed; also tells whether running processes "
    "would be replaced. `bough plan train JOB` says what a job would cost.",
    [
        folder(),
        environment_here(),
        click.Option(["--all", "all_"], is_flag=True, help="Also what would stay, and the policy of everything."),
    ],
    run,
    examples="Examples:\n  bough plan -e staging\n  bough plan train fit",
)


class _Plan(click.Group):
    """`bough plan [FOLDER]` as it is, unless the next word is one of the members."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and args[0] in self.commands:
            return super().make_context(info_name, args, parent, **extra)
        return _alone.make_context(info_name, args, parent, **extra)


command = _Plan(
    "plan", commands={"train": plan_train.command}, invoke_without_command=True, help=_alone.help, params=common()
)
