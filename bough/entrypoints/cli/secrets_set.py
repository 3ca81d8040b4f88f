"""`bough secrets set`: written by hand, because a value must come another way than by an argument."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from bough.entrypoints.cli import rollout
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.options import environment as environment_option
from bough.entrypoints.cli.session import Session, project_name
from bough.kernel.errors import Invalid
from bough.kernel.jobs import BUCKETS
from bough.kernel.project import PRODUCTION
from bough.secrets import envfile

_HELP = """Sets secrets of an environment. Live services and jobs that use them get the new values by a new release.

One, or with --env-file all that a file of variables holds. A value comes from a hidden prompt, from standard input
(without its last line end), or from --file (byte for byte); never from an argument, which everyone who lists processes
could read. A release is followed until it is live. Needs the role developer."""

_EXAMPLES = """Examples:
  bough secrets set db-password
  pwgen 32 1 | bough secrets set db-password -e staging
  bough secrets set tls-key --file key.pem
  bough secrets set --env-file .env --no-deploy"""
_BUCKETS = tuple(f".{key}" for key in BUCKETS)  # of jobs: opened when they are asked, not pinned by a release


def run(
    session: Session,
    name: str,
    project: str | None,
    environment: str,
    file: str | None,
    env_file: str | None,
    deploy: bool,
    detach: bool,
) -> None:
    values = _values(session, name, file, env_file)
    place: dict[str, Any] = {"project": project or project_name(), "environment": environment}
    answer = session.client().call("secrets.set", **place, values=values, deploy=deploy)
    if not answer.get("release") or detach:
        session.answer(answer, text=_text(answer, deploy, detach))
        return
    session.out(_text(answer, deploy, detach))
    began = time.monotonic()
    release = session.client().releases.show(**place, number=answer.release)
    result = rollout.result_of(rollout.follow(session, release.release), began)
    session.answer(dict(answer) | result | {"release": answer.release}, text=rollout.summary(session, result))


def _values(session: Session, name: str, file: str | None, env_file: str | None) -> dict[str, str]:
    if bool(name) == bool(env_file) or (file and env_file):
        raise Invalid("give either a NAME or --env-file", code="USAGE", hint="bough secrets set --help")
    word, equals, _ = name.partition("=")
    if equals:  # the rest is not repeated: it may be the value
        raise Invalid(
            f"the value of {word} is not given as an argument, which everyone who lists processes could read",
            code="USAGE", hint=f"bough secrets set {word}, which asks for it, or bough secrets set {word} --file PATH",
        )  # fmt: skip
    if env_file:
        found = envfile.parse(_content(env_file), env_file)
        for empty in (key for key, value in found.items() if not value):
            session.note(f"  left out {empty}: it is empty")
        return {key: value for key, value in found.items() if value}
    if file:
        return {name: _content(file)}
    if session.interactive:
        return {name: click.prompt(f"value of {name}", hide_input=True, confirmation_prompt=True, err=True)}
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise _not_text("standard input") from error
    return {name: text.removesuffix("\n").removesuffix("\r")}


def _content(path: str) -> str:
    try:
        return Path(path).read_bytes().decode()
    except UnicodeDecodeError as error:
        raise _not_text(path) from error
    except OSError as error:
        raise Invalid(f"cannot read {path}: {error.strerror}", code="FILE_UNREADABLE", hint=f"ls -l {path}") from error


def _not_text(place: str) -> Invalid:
    return Invalid(f"{place} is not UTF-8 text", code="SECRET_NOT_TEXT", hint="encode it, for example with base64")


def _text(answer: Any, deploy: bool, detach: bool) -> str:
    lines = [f"{each.name} is set in {answer.project}/{answer.environment} (version {each.version})"
             for each in answer.secrets]  # fmt: skip
    using, it = answer.get("services", []), "it" if len(answer.secrets) == 1 else "them"
    if not using:
        return "\n".join([*lines, f"no live service, job or queue uses {it}"])
    at_once = [each for each in using if each.startswith("queues.") or each.endswith(_BUCKETS)]
    users = [each for each in using if each not in at_once]
    if at_once:
        lines.append(f"{', '.join(at_once)}: used from now on")
    if users and not deploy:
        lines.append(f"{', '.join(users)} will get {it} with the next release: bough deploy")
    elif users:
        follow = f"; bough releases follow {answer.release_id}" if detach else ""
        lines.append(f"release {answer.release} gives {it} to {', '.join(users)}{follow}")
        jobs = [each.removeprefix("jobs.") for each in users if each.startswith("jobs.")]
        place = "" if answer.environment == PRODUCTION else f" -e {answer.environment}"
        lines += [
            f"runs of {name} that were asked for before keep the old one: bough jobs run {name}{place}" for name in jobs
        ]
    return "\n".join(lines)


command = make(
    "set",
    _HELP,
    [
        click.Argument(["name"], default="", required=False, metavar="[NAME]", help="Such as db-password or API_KEY."),
        click.Option(["--project"], help="Project; that of the nearest bough.toml."),
        environment_option(),
        click.Option(["--file"], metavar="PATH", help="The value is this file's text."),
        click.Option(["--env-file"], metavar="PATH", help="Many at once: a file of NAME=value lines."),
        click.Option(
            ["--deploy/--no-deploy"], default=True, help="Whether live services and jobs that use it get it now."
        ),
        click.Option(["--detach"], is_flag=True, help="Do not wait until the release is live."),
    ],
    run,
    examples=_EXAMPLES,
)
