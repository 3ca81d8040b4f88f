"""Commands made from the contract: a field without a default is an argument, any other an option; `project` comes
from the nearest bough.toml."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bough.client.contract import contract
from bough.entrypoints.cli import (
    branching,
    comparing,
    costsaying,
    dbsaying,
    jobsaying,
    optimizing,
    promoting,
    queuesaying,
    releasesaying,
    runsaying,
    scalesaying,
    spacing,
    trafficsaying,
    webhooksaying,
)
from bough.entrypoints.cli.options import Number, command, common, with_session
from bough.entrypoints.cli.session import Session, git_branch, project_name
from bough.kernel.errors import Problem

_TYPES: dict[str, click.ParamType[Any]] = {"string": click.STRING, "integer": click.INT, "number": Number()}
_SAYING = (
    *(branching, comparing, costsaying, dbsaying, jobsaying, optimizing),
    *(promoting, queuesaying, releasesaying, runsaying, scalesaying, spacing, trafficsaying, webhooksaying),
)
_SAYS = {name: say for each in _SAYING for name, say in each.SAYS.items()}
MOST_SHOWN = 5  # words in the place of an option's value; more are part of its help
_FROM_PROJECT = "project"
_FROM_GIT = "branch"
_FILE = "file"  # its text is meant, which nobody types: @PATH reads it


def build(name: str, operation: Mapping[str, Any]) -> click.Command:
    word = operation["command"].split()[-1]
    return command(word, help_of(operation), parameters(operation), _runner(name, operation))


def as_group(
    name: str, operation: Mapping[str, Any] | None, prefix: str, members: Mapping[str, click.Command]
) -> click.Group:
    """`bough releases` is a command, and the group of `bough releases show`."""
    group = click.Group(prefix, commands=dict(members), invoke_without_command=operation is not None)
    if operation is None:
        group.help = f"{prefix.capitalize()}: {', '.join(members)}."
        group.params = common()
        return group
    group.help, group.params = help_of(operation), [*parameters(operation), *common()]
    run = with_session(_runner(name, operation))

    def callback(**values: Any) -> Any:
        if click.get_current_context().invoked_subcommand is None:
            return run(**values)
        return None

    group.callback = callback
    return group


def help_of(operation: Mapping[str, Any]) -> str:
    return f"{operation['help']}\n\nNeeds the role {operation['role']}."


def parameters(operation: Mapping[str, Any]) -> list[click.Parameter]:
    found: list[click.Parameter] = [_parameter(field) for field in operation["fields"]]
    if follows(operation):
        found.append(click.Option(["--detach"], is_flag=True, help="Do not wait until it is live."))
    return found


def follows(operation: Mapping[str, Any]) -> bool:
    """What makes a release, or answers with one among others, is followed until the release is live."""
    return bool(operation["writes"]) and (_returns(operation) == "Release" or _holds_release(operation))


def _holds_release(operation: Mapping[str, Any]) -> bool:
    held = contract()["schemas"].get(_returns(operation), {}).get("properties", {}).get("release", {})
    return any(each.get("$ref", "").endswith("/Release") for each in (held, *held.get("anyOf", [])))


def _returns(operation: Mapping[str, Any]) -> str:
    return str(operation["returns"].get("$ref", "")).rpartition("/")[2]


def _parameter(field: Mapping[str, Any]) -> click.Parameter:
    name, kind = field["name"], field["kind"]
    if name == _FROM_GIT and field["required"]:
        about = _about(field).rstrip(".") + "; without it the one that git has checked out."
        return click.Argument([name], required=False, metavar=name.upper(), help=about)
    if shown := field.get("argument"):
        default = field["default"]
        return click.Argument(
            [name], type=_type(field), default=default, required=False, metavar=f"[{shown}]", help=_about(field)
        )
    if _is_argument(field):
        return click.Argument([name], type=_type(field), metavar=name.upper(), help=_about(field))
    flag = ["--" + field.get("flag", name).replace("_", "-"), name]
    if name == "environment":
        flag.insert(1, "-e")
    about = _about(field)
    if kind == "boolean":
        return click.Option([f"{flag[0]}/--no-{flag[0][2:]}" if field.get("default") else flag[0], name], is_flag=True,
                            default=field.get("default", False), help=about)  # fmt: skip
    if kind in ("list", "map"):
        metavar = "TEXT" if kind == "list" else "KEY=VALUE"
        return click.Option(
            flag, multiple=True, metavar=metavar, required=field["required"], help=about + " Repeatable."
        )
    if kind == "json":
        return click.Option(flag, metavar="JSON", required=field["required"], help=about)
    if field["required"] and name != _FROM_PROJECT:
        return click.Option(flag, type=_type(field), required=True, help=about)
    default = None if field["required"] else field["default"]
    place = None
    if (words := _words(field)) and len(words) > MOST_SHOWN:  # in the place of a word they would not wrap
        place, about = name.upper(), f"{about.rstrip('.')}: {', '.join(words)}."
    return click.Option(flag, type=_type(field), default=default if default or not words else None, metavar=place,
                        show_default=default not in (None, ""), help=about)  # fmt: skip


def _is_argument(field: Mapping[str, Any]) -> bool:
    """What has to be given, unless it says by which option."""
    if "flag" in field:
        return False
    return field["required"] and field["name"] != _FROM_PROJECT and field["kind"] in _TYPES


def _type(field: Mapping[str, Any]) -> click.ParamType[Any]:
    if words := _words(field):
        return click.Choice(words)
    low, high = field.get("minimum"), field.get("maximum")
    if field["kind"] == "integer" and (low is not None or high is not None):
        return click.IntRange(low, high)
    return _TYPES[field["kind"]]


def _words(field: Mapping[str, Any]) -> list[str]:
    """One of which has to be written; none is written by leaving the option out."""
    return [each for each in field.get("choices", []) if each]


def _about(field: Mapping[str, Any]) -> str:
    if field["help"]:
        text = str(field["help"]) + ("; @PATH reads it from there" if field["name"] == _FILE else "")
        return text[0].upper() + text[1:].rstrip(".") + "."
    if field["name"] == _FROM_PROJECT:
        return "Project; that of the nearest bough.toml." if field["required"] else "One project; all without it."
    return ""


def _runner(name: str, operation: Mapping[str, Any]) -> Any:
    def run(session: Session, **values: Any) -> None:
        detach = values.pop("detach", False)
        fields = fields_of(operation, values)
        answer = _asked(session, name, fields)
        if operation["streams"]:
            says = _SAYS.get(name)
            for item in answer:
                session.answer(item, text=says(session, item) if says and not session.json else None)
        elif follows(operation) and not detach and (release := _release_in(operation, answer)):
            from bough.entrypoints.cli import rollout

            if release is not answer:
                session.out(branching.merged(session, answer))
            rollout.follow_to_the_end(session, release)
        else:
            says = _SAYS.get(name)
            session.answer(answer, text=says(session, answer) if says and not session.json else None)

    return run


def fields_of(operation: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The request that was typed."""
    found = {field["name"]: _value(field, values[field["name"]]) for field in operation["fields"]}
    return {key: value for key, value in found.items() if value is not None}


def _asked(session: Session, name: str, fields: dict[str, Any]) -> Any:
    if name in branching.PLANS:
        branching.PLANS[name](session, fields)
    try:
        answer = session.client().call(name, **fields)
    except Problem as problem:
        branching.refused(session, problem)
        raise
    return branching.COMPLETES[name](session, answer) if name in branching.COMPLETES else answer


def _release_in(operation: Mapping[str, Any], answer: Any) -> Any:
    return answer if _returns(operation) == "Release" else answer.get("release")


def _value(field: Mapping[str, Any], given: Any) -> Any:
    """None: not given, the server's default holds."""
    kind = field["kind"]
    if field["name"] == _FILE and isinstance(given, str) and given.startswith("@"):
        return _content(given[1:])
    if given is None and field["name"] == _FROM_PROJECT and field["required"]:
        return project_name()
    if given is None and field["name"] == _FROM_GIT and field["required"]:
        return git_branch()
    if kind == "list":
        return list(given) if given else None
    if kind == "map":
        if len(given) == 1 and given[0].startswith("@"):
            return _mapping(given[0][1:], field["name"])
        pairs = [each.partition("=") for each in given]
        if bad := next((key for key, equals, _ in pairs if not equals), None):
            raise click.BadParameter(f"{bad!r} is not KEY=VALUE", param_hint=f"--{field['name']}")
        return {key: value for key, _, value in pairs} if given else None
    if kind == "json" and given is not None:
        try:
            return json.loads(given)
        except ValueError as error:
            raise click.BadParameter(f"not JSON: {error}", param_hint=f"--{field['name']}") from error
    return given


def _mapping(path: str, name: str) -> dict[str, str]:
    try:
        found = json.loads(_content(path))
    except ValueError as error:
        raise click.BadParameter(f"{path} is not JSON: {error}", param_hint=f"--{name}") from error
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise click.BadParameter(f"{path} is not a JSON object of texts", param_hint=f"--{name}")
    return found


def _content(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"cannot read {path}: {error}", param_hint="FILE") from error
