"""Images by Docker or Podman, whichever answers first.

Both are driven through their command line, which is the same for all that is used here.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bough.adapters.builder import Log
from bough.adapters.builder.complaints import redact
from bough.kernel.errors import Unavailable, WorkloadFailed

PROGRAMS = ("docker", "podman")
PROBE_S = 5.0  # a Docker client without its daemon answers at once; one with a remote daemon may hang
SHOWN_LINES = 5  # of a failed build's output, in the error; the log has all


class CommandLineContainers:
    def __init__(self, path: str | None = None) -> None:
        """`path` stands for PATH."""
        self._path = path
        self._engine: str | None = None

    def engine(self) -> str:
        if self._engine is None:
            found = (shutil.which(program, path=self._path) for program in PROGRAMS)
            self._engine = next((program for program in found if program and _answers(program)), "")
        return self._engine

    def build(self, folder: str, dockerfile: str, digest: str, log: Log) -> str:
        engine = self.engine()
        if not engine:
            raise Unavailable(
                "neither Docker nor Podman answers on this machine", code="NO_CONTAINER_ENGINE",
                hint='start one (docker info), or set docker = "never" to read the Dockerfile without it',
            )  # fmt: skip
        image = f"bough/build:{digest[:32]}"
        known = subprocess.run(  # noqa: S603 - found on PATH; no shell
            [engine, "image", "inspect", "--format", "{{.Id}}", image], check=False, capture_output=True
        )
        if known.returncode == 0:
            log(f"image: {image} (known)")
            return image
        command = [engine, "build", "--tag", image, "--file", str(Path(folder, dockerfile)), folder]
        said: list[str] = []
        with subprocess.Popen(  # noqa: S603 - as above
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            for raw in process.stdout or ():
                said.append(redact(raw.decode("utf-8", "replace").rstrip()))
                log(f"  {said[-1]}")
        if process.returncode:
            last = " / ".join([line for line in said if line.strip()][-SHOWN_LINES:])
            raise WorkloadFailed(
                f"{Path(engine).name} could not build {dockerfile}: {last}", code="IMAGE_BUILD_FAILED",
                hint=f"{Path(engine).name} build --file {dockerfile} . in the project's folder shows the same",
            )  # fmt: skip
        return image

    def command(self, image: str, port: int, environment: dict[str, str], given: Sequence[str] = ()) -> str:
        inside = str(port) if port else "$PORT"
        words = [shlex.quote(self.engine()), "run", "--rm", "--init"]
        # Signals reach the program through the client; `--init` makes a first process that passes them on.
        words += ["--publish", f"127.0.0.1:$PORT:{inside}", "--env", f"PORT={inside}"]
        for name, value in sorted(environment.items()):
            if re.fullmatch(r"[A-Za-z_]\w*", name) and name != "PORT":
                words += ["--env", shlex.quote(f"{name}={value}")]
        for name in given:  # by name alone: the value is in the client's environment, not in its words
            words += ["--env", shlex.quote(name)]
        return " ".join(["exec", *words, shlex.quote(image)])


def _answers(program: str) -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - found on PATH; no shell
            [program, "info"], check=False, capture_output=True, timeout=PROBE_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
