"""`bough dev`: the project in the folder, on a Bough of its own, deployed again after every change.

A whole private platform rather than a special server: what works here works in production, by the same code.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import click

from bough.client import Client, connect
from bough.entrypoints import supervision
from bough.entrypoints.cli import first_answer, logs, rollout, sending
from bough.entrypoints.cli.drawing import DIM, paint
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.options import folder
from bough.entrypoints.cli.session import FILE_NAME, Session, find_project
from bough.entrypoints.processes import GATEWAY, listening
from bough.kernel.errors import Problem, ProjectFileInvalid
from bough.kernel.platform import Home
from bough.kernel.project import PRODUCTION

LOOK_S = 0.25  # between two looks at the files; a look costs one stat per file
LONGEST_HOME = 60

_HELP = """Serves the project in this folder, again after every change.

Starts a private Bough (in .bough/dev), deploys, prints the URLs and the services' output, and deploys again when a file
is saved. What cannot be deployed is said, and the last version that worked goes on serving. Ctrl-C stops all of it."""


def run(session: Session, folder: str, port: int | None) -> None:
    root = find_project(Path(folder))
    home = home_of(root)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    try:
        up = supervision.bring_up(home, _ports(home, port), began)
        session.out(f"serving {root} on {up.gateway_url}; Ctrl-C stops it")
        client = session.use(connect(home.path))
        _Dev(session, client, root, home).run()
    except KeyboardInterrupt:
        session.note("stopping")
    finally:
        supervision.take_down(home, units=True)


class _Dev:
    def __init__(self, session: Session, client: Client, root: Path, home: Home) -> None:
        self._session, self._client, self._root, self._home = session, client, root, home
        self._deployed: Any = None
        self._told = ""
        self._listening = False

    def run(self) -> None:
        while True:
            try:
                self._look()
                self._told = ""
            except Problem as problem:
                self._tell(problem)
            time.sleep(LOOK_S)

    def _look(self) -> None:
        prepared = sending.prepare(self._root, PRODUCTION)
        request = prepared.request()
        if request == self._deployed:
            return
        again = self._deployed is not None
        self._deployed = request  # also when it fails: the next try comes with the next change
        began = time.monotonic()
        sending.upload(self._session, self._client, prepared)
        release = self._client.releases.create(**request)
        if release.state == "live":
            return
        if again:
            self._session.out("changed")
        result = rollout.result_of(rollout.follow(self._session, release), began)
        text = rollout.summary(self._session, result)
        if (seconds := first_answer.seconds_from_init(self._root, result["services"])) is not None:
            result["seconds_from_init"] = seconds
        self._session.answer(result, text=text)
        if not self._listening and not self._session.json:
            self._listening = True
            threading.Thread(target=self._print_output, args=(prepared.project.name,), daemon=True).start()

    def _tell(self, problem: Problem) -> None:
        """Once per mistake, not four times a second."""
        if problem.message == self._told:
            return
        self._told = problem.message
        if self._session.json:
            self._session.answer({"error": problem.detail()})
            return
        self._session.note(f"error: {problem.message}\n  try: {problem.hint}")
        if isinstance(problem, ProjectFileInvalid):
            self._session.note(f"  waiting for {FILE_NAME} to change")

    def _print_output(self, project: str) -> None:
        request = {"project": project, "service": "", "environment": PRODUCTION, "follow": True, "build": False}
        with connect(self._home.path) as client, contextlib.suppress(Problem):  # it ends with the platform
            for item in logs.items(client, request, lines=0):
                self._session.out(f"{paint(item.service + ' |', DIM, self._session.colour)} {item.text}")


def home_of(root: Path) -> Home:
    """`.bough/dev`, or a short path where sockets below that would be too long."""
    sending.state_folder(root)
    place = root / sending.STATE_FOLDER / "dev"
    if len(os.fsencode(place)) > LONGEST_HOME:
        name = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
        place = Path(tempfile.gettempdir()) / f"bough-dev-{os.getuid()}" / name
        place.parent.mkdir(mode=0o700, exist_ok=True)
    return Home(place)


def _ports(home: Home, port: int | None) -> dict[str, Any]:
    """Free ones, unless a dev that was killed left its platform running: that is taken over."""
    running = listening(home, GATEWAY)
    if running is not None and port in (None, running.port):
        return {}
    if running is not None:
        supervision.take_down(home, units=False)
    return {"gateway_port": port or 0, "api_port": 0, "personal": True}


command = make(
    "dev",
    _HELP,
    [
        folder(),
        click.Option(["--port"], type=click.IntRange(1, 65_535), help="Where requests go; a free port without it."),
    ],
    run,
    examples="Example:\n  bough dev --port 8000",
)
