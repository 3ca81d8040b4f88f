"""`bough deploy`: from the folder to URLs that answer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from bough.client import Client
from bough.entrypoints.cli import first_answer, rollout, sending
from bough.entrypoints.cli.drawing import size
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.options import environment_here, folder
from bough.entrypoints.cli.session import Session, find_project

_HELP = """Deploys the project in this folder and prints its URLs.

Sends the files that Bough does not have yet, makes a release and waits until every service of it answers. If one does
not become ready, nothing changes: the release before still serves, and the command ends with status 8."""

_EXAMPLES = """Examples:
  bough deploy
  bough deploy -e staging --message "new features"
  bough deploy --json --detach"""


def run(session: Session, folder: str, environment: str, message: str, detach: bool, timeout: float) -> None:
    began = time.monotonic()
    root = find_project(Path(folder))
    client = session.client()
    prepared = sending.prepare(root, sending.environment_of(session, root, environment))
    name = f"{prepared.project.name}/{environment}"
    session.out(f"{name}: {prepared.count} files, {size(prepared.size)}")
    for scanned in prepared.scans.values():
        for notice in scanned.notices:
            session.note(f"  left out {notice.path}: {notice.reason}")
    sent = sending.upload(session, client, prepared)
    if sent.files:
        session.out(f"  sent {sent.files} files, {size(sent.bytes)}")
    request = prepared.request() | {"message": message, "commit": sending.commit_of(root)}
    release = client.releases.create(**request)
    figures = {"sent_files": sent.files, "sent_bytes": sent.bytes}
    if release.state == "live":
        result = _unchanged(client, release, began) | figures
        session.answer(result, text=rollout.summary(session, result).replace(" is ", " was already ", 1))
        return
    if detach:
        result = {"release": release, "services": [], "seconds": round(time.monotonic() - began, 3)} | figures
        session.answer(result, text=f"release {release.number} is on its way; bough releases follow {release.id}")
        return
    done = rollout.follow(session, release, timeout_s=timeout)
    result = rollout.result_of(done, began) | figures
    text = rollout.summary(session, result)
    if (seconds := first_answer.seconds_from_init(root, result["services"])) is not None:
        result["seconds_from_init"] = seconds
        text += f"\nfirst answer {seconds:.1f} s after bough init"
    session.answer(result, text=text + _try(root, result["services"]))


def _unchanged(client: Client, release: Any, began: float) -> dict[str, Any]:
    place = {"project": release.project, "environment": release.environment}
    views = client.services.list(**place)
    queues = [{"queue": each.queue, "url": each.url} for each in client.queues.list(**place) if each.get("url")]
    services = [{"service": each.service, "url": each.url, "address": each.get("address", "")} for each in views]
    taken_s = round(time.monotonic() - began, 3)
    return {"release": release, "services": services, "queues": queues, "seconds": taken_s}


def _try(root: Path, services: list[Any]) -> str:
    if not services or not (root / first_answer.EXAMPLE).exists():
        return ""
    url = services[0].get("address") or services[0]["url"]
    return f"\ntry: curl -s {url} -d @{first_answer.EXAMPLE}"


command = make(
    "deploy",
    _HELP,
    [
        folder(),
        environment_here(),
        click.Option(["--message", "-m"], default="", metavar="TEXT", help="Kept with the release."),
        click.Option(["--detach"], is_flag=True, help="Do not wait until it is live."),
        click.Option(["--timeout"], type=float, default=0.0, metavar="SECONDS", help="Wait no longer; 0: to the end."),
    ],
    run,
    examples=_EXAMPLES,
)
