"""How commands are made: the options that all of them have, in one place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from bough.entrypoints.cli.session import Session


def common() -> list[click.Parameter]:
    """--json, --home, --url, --token: before or after the command's name, the later one wins."""
    return [
        click.Option(["--json"], is_flag=True, expose_value=False, callback=_flag, help="Answer in one line of JSON."),
        click.Option(["--home"], metavar="DIR", expose_value=False, callback=_text, help="Home of Bough (BOUGH_HOME)."),
        click.Option(["--url"], metavar="URL", expose_value=False, callback=_text, help="A remote Bough (BOUGH_URL)."),
        click.Option(["--token"], metavar="TEXT", expose_value=False, callback=_text, help="Its token (BOUGH_TOKEN)."),
    ]


def command(
    name: str, help: str, parameters: Sequence[click.Parameter], run: Callable[..., Any], *, examples: str = ""
) -> click.Command:
    """`run(session, **values)`."""
    text = help + (f"\n\n\b\n{examples}" if examples else "")
    return click.Command(name, params=[*parameters, *common()], help=text, callback=with_session(run))


def with_session(run: Callable[..., Any]) -> Callable[..., Any]:
    def callback(**values: Any) -> Any:
        return run(session_of(click.get_current_context()), **values)

    return callback


def session_of(context: click.Context) -> Session:
    root = context.find_root()
    if root.obj is None:
        root.obj = Session()
    session: Session = root.obj
    return session


def environment() -> click.Option:
    return click.Option(
        ["--environment", "-e"],
        default="main",
        show_default=True,
        metavar="NAME",
        help="Environment; main is production.",
    )


def environment_here() -> click.Option:
    """For what sends the folder: see `sending.environment_of`."""
    return click.Option(
        ["--environment", "-e"],
        default="",
        metavar="NAME",
        help="Environment; without it that of the git branch checked out here, if it has one, else production (main).",
    )


def folder() -> click.Argument:
    about = "The project's folder, or one inside it; the present one without it."
    return click.Argument(["folder"], default=".", metavar="[FOLDER]", required=False, help=about)


class Picture(click.Path):
    """A file for a picture. All of them are SVG, and under another ending no program would show one."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = Path(value)
        if found.suffix.lower() != ".svg":
            self.fail(f"{value} would hold SVG: write {found.with_suffix('.svg')}", param, ctx)
        return super().convert(value, param, ctx)


class _Finite(click.ParamType[float]):
    """JSON, in which a request travels, has neither nan nor inf."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found: float = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value!r} is no number that can be counted with", param, ctx)
        return found


class Number(_Finite, click.types.FloatParamType):
    pass


class NumberRange(_Finite, click.FloatRange):
    pass


def _flag(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        session_of(context).json = True


def _text(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value:
        setattr(session_of(context), f"{parameter.name}_option", value)
