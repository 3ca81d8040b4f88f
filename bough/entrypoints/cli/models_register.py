"""`bough models register`: a file or folder of this machine becomes a version."""

from __future__ import annotations

import contextlib
import json
import math
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import msgspec

from bough.data.local import LocalFile, scan
from bough.data.models import File
from bough.data.transfer import put
from bough.entrypoints.cli import data_store
from bough.entrypoints.cli.drawing import size
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.sending import commit_of
from bough.entrypoints.cli.session import Session, project_name
from bough.kernel.errors import Invalid

LISTED_FROM = 10_000  # files, from which on their list travels as a blob: a request has at most 8 MB


def run(session: Session, name: str, local: Path, project: str, environment: str, **chosen: Any) -> None:
    project = project or project_name()
    _check_origin(session, project, environment, chosen)
    files = [each for each in scan(local) if not _is(Path(each.place), chosen["signed"])]
    store = data_store.store(session)
    progress = data_store.progress(session, "reading and storing", len(files), sum(each.size for each in files))
    made = put(files, {}, store, progress)
    counted = progress.end()
    fields: dict[str, Any] = {"project": project, "name": name, "environment": environment}
    fields |= _content(session, made) | _said(chosen, local, files)
    done = session.client().models.register(**fields)
    signed = f", signed by {done.signed[0].signer}" if done.get("signed") else ""
    text = f"{done.name}/{done.number}: {done.files:,} files, {size(done.bytes)}{signed}"
    if counted.cached_bytes:
        text += f", {size(counted.cached_bytes)} of it already there"
    session.answer(done, text=text)


def _check_origin(session: Session, project: str, environment: str, chosen: dict[str, Any]) -> None:
    """Raises `NotFound` for a run or a parent that there is not, before anything is read or sent: lineage that leads
    nowhere would stay for ever."""
    if chosen["run"]:
        session.client().runs.show(project=project, id=chosen["run"])
    if chosen["parent"]:
        session.client().models.resolve(project=project, environment=environment, model=chosen["parent"])


def _content(session: Session, files: list[File]) -> dict[str, Any]:
    if len(files) < LISTED_FROM:
        return {"files": [msgspec.to_builtins(each) for each in files]}
    content = msgspec.json.encode(files)
    digest = sha256(content).hexdigest()
    session.client().put(content, digest)
    return {"listed": digest}


def _said(chosen: dict[str, Any], local: Path, files: list[LocalFile]) -> dict[str, Any]:
    facts = {
        "run": chosen["run"],
        "commit": chosen["commit"] or commit_of(local if local.is_dir() else local.parent),
        "parent": chosen["parent"],
        "metrics": {key: _number(key, value) for key, value in _pairs("--metric", chosen["metric"]).items()},
        "parameters": _pairs("--parameter", chosen["parameter"]),
        "inputs": [_input(each) for each in chosen["input"]],
    }
    said: dict[str, Any] = {"facts": {key: value for key, value in facts.items() if value}}
    said |= {"aliases": list(chosen["alias"]), "tags": _pairs("--tag", chosen["tag"])}
    said |= {"description": chosen["description"], "source": chosen["source"]}
    if chosen["types"]:
        said["signature"] = _json(Path(chosen["types"]))
    for name in ("signed", "key"):
        if chosen[name]:
            said[name] = Path(chosen[name]).read_text("utf-8")
    if chosen["card"]:
        said["card"] = Path(chosen["card"]).read_text("utf-8")
    said = {key: value for key, value in said.items() if value} | {"signer": chosen["signer"]}
    return said if chosen["sign"] else said | {"sign": False}


def _is(place: Path, other: str | None) -> bool:
    """Whether a file of the folder is the bundle that vouches for the others."""
    return other is not None and place.exists() and place.samefile(other)


def _pairs(flag: str, given: tuple[str, ...]) -> dict[str, str]:
    split = [each.partition("=") for each in given]
    if bad := next((key for key, equals, _ in split if not equals), None):
        raise click.BadParameter(f"{bad!r} is not KEY=VALUE", param_hint=flag)
    return {key: value for key, _, value in split}


def _number(key: str, value: str) -> float:
    with contextlib.suppress(ValueError):
        if math.isfinite(found := float(value)):
            return found
    raise click.BadParameter(f"{key}={value} is no number", param_hint="--metric")


def _input(text: str) -> dict[str, str]:
    """KIND:NAME[@VERSION]"""
    kind, colon, rest = text.partition(":")
    name, _, version = rest.partition("@")
    if not colon or not name:
        raise click.BadParameter(f"{text!r} is not KIND:NAME[@VERSION], as table:orders@#17", param_hint="--input")
    return {"kind": kind, "name": name, "version": version}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Invalid(f"{path} cannot be read: {error}", code="USAGE", hint="a JSON object: inputs, outputs") from error


def _file(flag: str, about: str) -> click.Option:
    return click.Option([flag], metavar="FILE", type=click.Path(exists=True, dir_okay=False), help=about)


command = make(
    "register",
    "Registers a file or a folder as the next version of a model.\n\nWhat the server has already is not sent again. "
    "Inputs and outputs are read from MLmodel or ONNX unless --types gives them; README.md becomes the card.",
    [
        click.Argument(["name"], metavar="NAME", help="Name of the model."),
        data_store.local("local", "A file or a folder."),
        *data_store.common(),
        click.Option(["--alias"], multiple=True, metavar="ALIAS", help="Alias that the version gets. Repeatable."),
        click.Option(["--description"], default="", metavar="TEXT", help="What is particular about it."),
        click.Option(["--tag"], multiple=True, metavar="KEY=VALUE", help="Tag of the version. Repeatable."),
        click.Option(["--metric"], multiple=True, metavar="KEY=NUMBER", help="A result, as auc=0.91. Repeatable."),
        click.Option(["--parameter"], multiple=True, metavar="KEY=VALUE", help="Parameter of training. Repeatable."),
        click.Option(["--input"], multiple=True, metavar="KIND:NAME[@VERSION]",
                     help="What it was made from, as table:orders@#17. Repeatable."),
        click.Option(["--run"], default="", metavar="ID", help="The run that made it."),
        click.Option(["--commit"], default="", metavar="SHA", help="Commit of the code; that of the folder in git."),
        click.Option(["--parent"], default="", metavar="NAME/NUMBER", help="The version that it was trained on from."),
        click.Option(["--source"], default="", metavar="TEXT", help="Where the files come from."),
        click.Option(["--signer"], default="", metavar="NAME", help="Who signs it; the automatic signer without it."),
        click.Option(["--sign/--no-sign"], default=True, help="Let the automatic signer sign it."),
        click.Option(["--signed", "--signature"], metavar="FILE", type=click.Path(exists=True, dir_okay=False),
                     help="The Sigstore bundle that it comes with; checked before anything is registered."),
        _file("--key", "Public key (PEM) of that bundle; that of a known signer without it."),
        _file("--types", "Inputs and outputs as JSON: names, datatypes, shapes."),
        _file("--card", "Text of the card; README.md of the folder without it."),
    ],
    run,
    examples="Examples:\n  bough models register churn model.onnx --metric auc=0.91 --alias candidate\n"
    "  bough models register team/churn mlruns/model --input table:orders@#17",
)  # fmt: skip
