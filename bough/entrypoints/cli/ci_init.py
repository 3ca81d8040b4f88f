"""`bough ci init`: a workflow of a few lines that calls one command."""

from __future__ import annotations

from pathlib import Path

import click

import bough
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.options import folder
from bough.entrypoints.cli.session import Session, find_project
from bough.kernel.errors import Conflict
from bough.kernel.files import save

_GITHUB = """\
name: bough
on: [push]
jobs:
  bough:
    runs-on: ubuntu-latest
    env:
      BOUGH_URL: ${{{{ vars.BOUGH_URL }}}}
      BOUGH_TOKEN: ${{{{ secrets.BOUGH_TOKEN }}}}
    steps:
      - uses: actions/checkout@v4
      - run: pipx run --spec bough=={version} bough ci run --summary "$GITHUB_STEP_SUMMARY"
"""
_GITLAB = """\
bough:
  image: python:3.11
  script:
    - pip install bough=={version}
    - bough ci run --summary bough.md
  artifacts:
    when: always
    expose_as: bough
    paths: [bough.md]
"""
WORKFLOWS = {"github": (".github/workflows/bough.yml", _GITHUB), "gitlab": (".gitlab-ci.yml", _GITLAB)}


def run(session: Session, service: str, folder: str, dry_run: bool) -> None:
    root = find_project(Path(folder))
    name, template = WORKFLOWS[service]
    text, path = template.format(version=bough.__version__), root / name
    if dry_run:
        session.answer({"file": str(path), "text": text}, text=text.rstrip())
        return
    if path.exists() and path.read_text("utf-8") != text:
        raise Conflict(
            f"{path} is there already and says something else", code="FILE_EXISTS",
            hint=f"compare it with: bough ci init {service} --dry-run",
        )  # fmt: skip
    save(path, text)
    answer = {"file": str(path), "lines": len(text.splitlines())}
    session.answer(answer, text=f"{path}\n  set BOUGH_URL (a variable) and BOUGH_TOKEN (a secret) for it")


command = make(
    "init",
    "Writes a workflow of at most 15 lines for a CI service.\n\nIt calls `bough ci run`: everything else stands in "
    "bough.toml, and holds for whoever deploys from elsewhere too.",
    [
        click.Argument(["service"], type=click.Choice(sorted(WORKFLOWS)), metavar="github|gitlab"),
        folder(),
        click.Option(["--dry-run"], is_flag=True, help="Print it and write nothing."),
    ],
    run,
    examples="Example:\n  bough ci init github",
)
