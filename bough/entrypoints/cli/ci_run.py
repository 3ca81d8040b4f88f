"""`bough ci run`: what a workflow calls."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from bough.entrypoints.cli import rollout, sending
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.options import folder
from bough.entrypoints.cli.session import Session, find_project, git_branch, load_project
from bough.kernel.errors import NotFound, Problem, WorkloadFailed
from bough.kernel.project import PRODUCTION

CHECK_S = 0.5
# Which branch is built: GitHub's pull request, GitHub's branch, GitLab's.
_BRANCH = ("GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME")


def run(session: Session, folder: str, environment: str, gates: str, summary: Path | None, dry_run: bool) -> None:
    root = find_project(Path(folder))
    project, branch = load_project(root, PRODUCTION), "" if environment else _branch(root)
    client = session.client()
    models = [name for name, policy in project.models.items() if not policy.gates.empty]
    there = environment or _environment(client, project.name, branch)
    if dry_run:
        plan = client.releases.plan(**sending.prepare(root, there or PRODUCTION).request())
        place = there or branch
        answer = {"environment": place, "made": not there, "plan": plan, "gates": models, "of": gates}
        session.answer(answer, text=("" if there else f"would make an environment for the branch {branch} of main\n")
                       + f"would deploy {project.name}/{place} and run the gates of {gates} for "
                       + (", ".join(models) or "no model"))  # fmt: skip
        return
    place = there or str(client.environments.create(project=project.name, branch=branch).environment.name)
    prepared, lines = sending.prepare(root, place), [f"### bough: {project.name}/{place}", ""]
    failure: Problem | None = None
    runs: list[Any] = []
    try:
        release = _deployed(session, client, prepared, root)
        lines.append(f"release {release.number} is {release.state}")
        for model in models:
            if (done := _gates(client, project.name, model, place, gates)) is not None:
                runs.append(done)
                lines += _table(done)
    except Problem as problem:
        failure = problem
        lines += [f"**{problem.own_code}** {problem.message}", "", f"try: `{problem.hint}`"]
    if summary is not None:
        with summary.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    if failure is not None:
        raise failure
    if failed := [each for each in runs if each.state != "passed"]:
        raise WorkloadFailed(
            f"{failed[0].name}/{failed[0].number} has not passed the gates of {gates}", code="GATES_FAILED",
            hint=f"bough gates show {failed[0].id}",
        )  # fmt: skip
    session.answer({"release": release, "gates": runs}, text="\n".join(lines))


def _branch(root: Path) -> str:
    """The branch that is built, else the one that git has checked out; main where there is no git."""
    if built := next((os.environ[name] for name in _BRANCH if os.environ.get(name)), ""):
        return built
    return git_branch(root) if sending.in_git(root) else PRODUCTION


def _environment(client: Any, project: str, branch: str) -> str:
    """That of a branch; empty as long as it has none."""
    if branch in (PRODUCTION, "master"):
        return PRODUCTION
    there = client.environments.list(project=project)
    return next((str(each.name) for each in there if each.get("branch") == branch), "")


def _deployed(session: Session, client: Any, prepared: sending.Prepared, root: Path) -> Any:
    sending.upload(session, client, prepared)
    release = client.releases.create(**prepared.request(), commit=sending.commit_of(root))
    if release.state == "live":
        return release
    return rollout.follow(session, release).data["release"]


def _gates(client: Any, project: str, model: str, source: str, environment: str) -> Any:
    """The gates of `environment` for the candidate that the branch sees; None when it has none."""
    try:
        found = client.gates.run(project=project, model=f"{model}@candidate", environment=environment, source=source)
    except NotFound:
        return None
    while found.state == "running":
        time.sleep(CHECK_S)
        found = client.gates.show(id=found.id)
    return found


def _table(run: Any) -> list[str]:
    rows = [
        f"| {'passed' if each['passed'] else '**failed**'} | {each['gate']} | {each['said']} |" for each in run.results
    ]
    return ["", f"gates for {run.name}/{run.number}: **{run.state}**", "", "| | gate | |", "|---|---|---|", *rows]


command = make(
    "run",
    "Deploys the branch that is built, runs gates for its candidates, and writes what came of it.\n\nA branch that has "
    "no environment gets one; main is production. It ends with status 8 when a gate has not passed.",
    [
        folder(),
        click.Option(["--environment", "-e"], default="", help="In place of the branch's."),
        click.Option(["--gates"], default=PRODUCTION, show_default=True, metavar="ENVIRONMENT",
                     help="Whose gates are meant."),
        click.Option(["--summary"], metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
                     help="Append the result there, as Markdown."),
        click.Option(["--dry-run"], is_flag=True, help="Say what would be done and do nothing."),
    ],
    run,
)  # fmt: skip
