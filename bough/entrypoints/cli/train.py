"""`bough train`: a job of this folder, from its files to its end."""

from __future__ import annotations

from pathlib import Path

import click

from bough.entrypoints.cli import choosing, jobfollow, sending
from bough.entrypoints.cli.drawing import size
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.options import environment_here
from bough.entrypoints.cli.session import Session, find_project, load_project

_HELP = """Runs a job with the files of this folder and follows it to its end.

Sends what Bough does not have yet; nothing has to be deployed. The jobs that it comes after run first. Ends with status
8 when the job fails; Ctrl-C leaves it running."""

_EXAMPLES = """Examples:
  bough train
  bough train fit --params lr=0.01 --params epochs=20
  bough train fit --register churn
  bough train fit --start-from jr_01jd8x5m3k8v2n4q6r
  bough train fit --detach"""


def run(
    session: Session, job: str, folder: str, environment: str, params: tuple[str, ...], register: str,
    start_from: str, alone: bool, detach: bool,
) -> None:  # fmt: skip
    root = find_project(Path(folder))
    client = session.client()
    environment = sending.environment_of(session, root, environment)
    name = choosing.job_meant(load_project(root, environment), job, "bough train")
    prepared = sending.prepare(root, environment, job=name)
    sent = sending.upload(session, client, prepared)
    said = f", sent {sent.files} files, {size(sent.bytes)}" if sent.files else ""
    session.out(f"{prepared.project.name}/{prepared.project.environment} {name}: {prepared.count} files{said}")
    made = client.jobs.run(
        project=prepared.project.name, job=name, params=pairs(params), alone=alone, register=register,
        start_from=start_from, **prepared.request(),
    )  # fmt: skip
    if detach:
        session.answer(made, text=f"job run {made.id} is on its way; bough jobs show {made.id}")
        return
    ended, text = jobfollow.to_the_end(session, made)
    session.answer(
        ended, text=text + jobfollow.registered(session, ended, register or prepared.project.jobs[name].register)
    )


def pairs(given: tuple[str, ...]) -> dict[str, str]:
    found = [each.partition("=") for each in given]
    if bad := next((key for key, equals, _ in found if not equals), None):
        raise click.BadParameter(f"{bad!r} is not KEY=VALUE", param_hint="--params")
    return {key: value for key, _, value in found}


command = make(
    "train",
    _HELP,
    [
        click.Argument(["job"], default="", required=False, metavar="[JOB]", help="A job of bough.toml; the only one."),
        click.Option(["--folder"], default=".", metavar="DIR", help="The project's folder, or one inside it."),
        environment_here(),
        click.Option(["--params"], multiple=True, metavar="KEY=VALUE", help="Parameters, over bough.toml. Repeatable."),
        click.Option(["--register"], default="", metavar="MODEL", help="Its output becomes a version of this model."),
        click.Option(["--start-from"], default="", metavar="ID", help="Begin with what this job run has saved."),
        click.Option(["--alone"], is_flag=True, help="Without the jobs that it comes after."),
        click.Option(["--detach"], is_flag=True, help="Do not wait until it has ended."),
    ],
    run,
    examples=_EXAMPLES,
)
