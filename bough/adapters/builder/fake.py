"""A builder without uv and network, for tests: reads the same files, refuses the same things, installs nothing.

Its environments are folders whose interpreter is the one that runs Bough.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import msgspec

from bough.adapters.builder import BuiltEnvironment, EnvironmentRequest, Interpreter, Log, Step
from bough.adapters.builder.interpreters import matches, running
from bough.adapters.builder.requirements import find_requirements, logical_lines, read_inputs
from bough.kernel.errors import WorkloadFailed


class FakeBuilder:
    def __init__(self, home: Path) -> None:
        self._envs = home / "envs"
        self.unknown: set[str] = set()  # fault injection: packages that "do not exist"
        self.made: list[str] = []

    def build(self, request: EnvironmentRequest, log: Log) -> BuiltEnvironment:
        own = running()
        if not matches(own.version, request.python):
            raise WorkloadFailed(
                f"Python {request.python} is not installed", code="PYTHON_NOT_FOUND", hint="install it"
            )
        folder = Path(request.folder)
        names = request.requirements or (() if request.packages else find_requirements(folder))
        inputs = read_inputs(folder, names, request.packages, request.options)
        lines = [line for _, text in inputs.files for _, line in logical_lines(text)] + list(inputs.packages)
        for line in lines:
            if line in self.unknown:
                raise WorkloadFailed(
                    f"there is no package {line!r}", code="PACKAGE_NOT_FOUND", hint="check the spelling"
                )
        digest = hashlib.sha256(msgspec.json.encode([inputs.kind, inputs.files, inputs.packages])).hexdigest()
        target = self._envs / digest
        interpreter = target / "bin" / "python"
        cached = interpreter.exists()
        if not cached:
            interpreter.parent.mkdir(parents=True, exist_ok=True)
            interpreter.symlink_to(sys.executable)
            self.made.append(digest)
        log(f"environment: {len(lines)} packages{' (known)' if cached else ''}")
        return BuiltEnvironment(
            digest=digest,
            folder=str(target),
            python=str(interpreter),
            version=own.version,
            packages=len(lines),
            size=0,
            steps=(Step(name="environment", seconds=0.0, cached=cached),),
        )

    def compile(self, environment: BuiltEnvironment, log: Log) -> None:
        log("bytecode: nothing to compile")

    def interpreters(self) -> list[Interpreter]:
        return [running()]
