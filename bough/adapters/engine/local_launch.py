"""How an attempt's process comes to be: a shim executed for a command, or forked by the model's zygote."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from bough.adapters.engine import devices
from bough.adapters.engine.local_records import Record, point_link
from bough.adapters.engine.local_runtime import base_environment, unit_environment
from bough.adapters.engine.local_zygotes import Zygotes, key_of
from bough.kernel.errors import Exhausted
from bough.runtime.spec import SECRETS_VARIABLE, UnitSpec

# The shim without its packages' `__init__`, which may import what an isolated interpreter does not find.
_BOOT = """import sys
root = sys.argv.pop(1)
for name in ("bough", "bough.runtime"):
    package = sys.modules[name] = type(sys)(name)
    package.__path__ = [root + "/" + name.replace(".", "/")]
from bough.runtime.shim import main
main(sys.argv[1:])"""


class Launcher:
    """`unseal` opens the secrets of a unit. Their values go from here into the process, and nowhere else."""

    def __init__(
        self, runtime: Path, zygotes: Zygotes, inherited: Mapping[str, str], unseal: Callable[[str], str]
    ) -> None:
        self._runtime = runtime
        self._zygotes = zygotes
        self._inherited = dict(inherited)
        self._unseal = unseal

    def launch(self, record: Record) -> int:
        """The pid of the attempt's shim; 0 while its zygote (then `record.waits_for`) is not ready."""
        return self._fork_replica(record) if record.spec.model else self._spawn(record)

    def zygote_key(self, record: Record) -> str:
        return key_of(record.spec, self._base(record)) if record.spec.model else ""

    def _spawn(self, record: Record) -> int:
        spec, limits = record.spec, record.spec.limits
        environment = self._environment(record, self._base(record)) | self._secrets(spec)
        python: str = getattr(sys, "_base_executable", sys.executable)  # not the venv's link: saves a search
        plan = (
            record.folder, spec.cwd, spec.grace_s, spec.lease_s, limits.log_mb << 20, limits.memory_mb << 20,
            limits.files, limits.processes, int(spec.confine), limits.nice,
        )  # fmt: skip
        argv = [python, "-I", "-S", "-c", _BOOT, str(self._runtime), *map(str, plan), *spec.argv]
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, str(record.folder / "shim.err"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        ]
        try:
            # SIGTERM stays pending until the shim listens, so that an early stop is not its end.
            return os.posix_spawn(python, argv, environment, file_actions=actions, setsigmask=[signal.SIGTERM])
        except OSError as error:
            raise Exhausted(
                f"cannot start a process: {error.strerror}", code="SPAWN_FAILED", hint="ulimit -u; df -h"
            ) from error

    def _fork_replica(self, record: Record) -> int:
        base = self._base(record)
        record.zygote_tries += 1
        secrets = self._secrets(record.spec)
        zygote = self._zygotes.ensure(record.spec, base, secrets)
        record.waits_for = zygote.key
        if not zygote.is_ready():
            return 0
        point_link(record)
        environment = self._environment(record, base) | secrets
        return self._zygotes.fork(zygote, record.folder, environment)

    def _secrets(self, spec: UnitSpec) -> dict[str, str]:
        """The variables that hold secrets, and one that says which those are."""
        if not spec.secrets:
            return {}
        opened = {
            name: "".join(self._unseal(part) if at % 2 else part for at, part in enumerate(parts))
            for name, parts in spec.secrets.items()
        }
        texts = {name: parts[::2] for name, parts in spec.secrets.items()}
        return opened | {SECRETS_VARIABLE: msgspec.json.encode(texts).decode()}

    def _environment(self, record: Record, base: dict[str, str]) -> dict[str, str]:
        spec = record.spec
        given = devices.variables(spec, record.devices) if spec.gpus else {}
        return unit_environment(spec, base, record.folder, record.port) | given

    def _base(self, record: Record) -> dict[str, str]:
        """A zygote sees all accelerators if its replicas have some, each its own, and none otherwise."""
        base = base_environment(record.spec, self._runtime, self._inherited)
        return base if record.spec.gpus or record.spec.kind == "build" else base | devices.variables(record.spec, ())
