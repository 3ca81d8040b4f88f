"""A workload of the folder, built as a deploy would build it, without a running Bough."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from bough.adapters.blobs.directory import DirectoryBlobs
from bough.builds.models import BuildRequest, BuildResult, Scan
from bough.builds.rules import parse_result
from bough.entrypoints.cli.drawing import DIM, paint
from bough.entrypoints.cli.session import Session
from bough.kernel.errors import Problem, WorkloadFailed
from bough.kernel.platform import Home
from bough.kernel.workloads import Workload

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")  # of this command's environment; a container has no more


def build(session: Session, name: str, settings: Workload, scanned: Scan) -> BuildResult:
    """What a deploy would run, made by the same worker and kept in the same home."""
    home = Home(session.home.path)
    _keep(home, scanned)
    request = BuildRequest(
        service=name, bundle=scanned.digest, command=settings.command, dockerfile=settings.dockerfile,
        docker=settings.docker, requirements=settings.requirements, python=settings.python, environment=settings.env,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="bough-check-") as place:
        asked, result = Path(place, "request.json"), Path(place, "result.json")
        asked.write_bytes(msgspec.json.encode(request))
        paths = [str(home.path), str(asked), str(result)]
        worker = [sys.executable, "-P", "-m", "bough.builds.worker", *paths, "--no-bytecode"]
        # A session of its own: a build makes its whole session give way to others, and this one is a person's.
        with subprocess.Popen(  # noqa: S603 - our own
            worker, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            try:
                for line in process.stdout or ():
                    session.note(f"  {paint(f'{name} |', DIM, session.colour)} {line.rstrip()}")
            except BaseException:  # Ctrl-C reaches only us
                process.kill()
                raise
        outcome = parse_result(result.read_bytes()) if result.exists() else None
    if isinstance(outcome, BuildResult):
        return outcome
    if outcome is None:
        raise Problem("the build ended without a word", code="BUILD_FAILED", hint="run it again; its output says why")
    raise WorkloadFailed(outcome.message, code=outcome.code, hint=outcome.hint)


def _keep(home: Home, scanned: Scan) -> None:
    blobs = DirectoryBlobs(home.blobs)
    for digest, path in {entry.digest: entry.path for entry in scanned.bundle.entries}.items():
        if not blobs.has(digest):
            with (scanned.folder / path).open("rb") as content:
                blobs.put(content, expect=digest)
    blobs.put(scanned.bundle.manifest, expect=scanned.digest)
