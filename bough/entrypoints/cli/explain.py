"""`bough explain`."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import click
import msgspec

from bough.entrypoints.cli.drawing import columns_of
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.options import environment
from bough.entrypoints.cli.session import Session, find_project, load_project
from bough.kernel.errors import NotFound
from bough.kernel.project import Project


def run(session: Session, key: str, environment: str) -> None:
    rows = settings(load_project(find_project(Path.cwd()), environment))
    if key:
        rows = _matching(rows, key)
    lines = [[each["key"], msgspec.json.encode(each["value"]).decode(), each["origin"]] for each in rows]
    session.answer(rows, text=columns_of([["KEY", "VALUE", "FROM"], *lines]))


def settings(project: Project) -> list[dict[str, Any]]:
    """Every setting with its value in that environment and where it was set."""
    values: dict[str, Any] = {"name": project.name}
    for section in ("services", "jobs"):
        for name, workload in getattr(project, section).items():
            for key, value in msgspec.to_builtins(workload).items():
                values |= _flat(f"{section}.{name}.{key}", value)
    return [
        {"key": key, "value": value, "origin": project.origins.get(key, "default")} for key, value in values.items()
    ]


def _flat(key: str, value: Any) -> dict[str, Any]:
    """A table's keys may come from different places, so each has a row of its own."""
    return (
        {f"{key}.{inner}": each for inner, each in value.items()} if isinstance(value, dict) and value else {key: value}
    )


def _matching(rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """The key itself, what is below it, or the setting that holds it."""
    found = [each for each in rows if each["key"] == key or each["key"].startswith(key + ".")]
    found = found or [each for each in rows if key.startswith(each["key"] + ".")]
    found = found or [each for each in rows if each["key"].endswith("." + key)]
    if not found:
        near = difflib.get_close_matches(key, [each["key"] for each in rows], 1, cutoff=0.3)
        hint = f"bough explain {near[0]}" if near else "bough explain"
        raise NotFound(f"there is no setting {key!r}", code="SETTING_NOT_FOUND", hint=hint)
    return found


command = make(
    "explain",
    "Shows every setting's value and where it came from.\n\nKEY is a setting such as services.churn.replicas, the "
    "start of one, or its last word.",
    [
        click.Argument(
            ["key"], default="", required=False, metavar="[KEY]", help="What to show; everything without it."
        ),
        environment(),
    ],
    run,
    examples="Examples:\n  bough explain services.churn\n  bough explain replicas -e staging",
)
