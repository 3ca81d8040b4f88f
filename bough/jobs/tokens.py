"""The token that a program reports with: for its own run, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from bough.access import rules
from bough.access import store as access
from bough.jobs.models import JobRun
from bough.kernel.context import Role, Scope
from bough.kernel.errors import NotFound
from bough.secrets.models import Envelope, Sealed
from bough.secrets.vault import Vault

OWNER = "jobs"  # the service account that all of them belong to
VARIABLE = "BOUGH_TOKEN"
READS = (
    *("runs.show", "runs.list", "runs.metrics", "artifacts.list", "artifacts.show", "files.history"),
    *("tables.history", "blobs.missing", "blobs.uploading", "whoami"),
)
OF_ITS_RUN = ("runs.update", "runs.log", "runs.inputs", "artifacts.check", "artifacts.put")


class RunTokens:
    """Nobody keeps a token: it is made from the master key and the attempt, and is sealed on its way to the node."""

    def __init__(self, vault: Vault, private_digest: Callable[[bytes], str]) -> None:
        self._vault, self._digest = vault, private_digest

    def issue(self, tx: sa.Connection, run: JobRun, now: float) -> str:
        """Makes the token of its present attempt valid; its id. The one before is not any more."""
        if run.token:
            access.remove_token(tx, run.token)
        hash = rules.digest(self._secret(run))
        scope = Scope(project=run.project, operations=READS, own_only=OF_ITS_RUN, own=(run.run,))
        return access.add_token(tx, _owner(tx, now), hash, f"job run {run.id}", now, 0.0, scope)

    def withdraw(self, tx: sa.Connection, run: JobRun) -> None:
        access.remove_token(tx, run.token)

    def sealed(self, run: JobRun, now: float) -> list[str]:
        """The value of the variable, as a unit's secrets are written."""
        empty = Envelope(
            project=run.project, environment=run.environment, version=run.attempt, at=now, by=OWNER,
            master="", wrapped="", sealed="",
        )  # fmt: skip
        envelope = self._vault.seal(VARIABLE, self._secret(run), empty)
        sealed = Sealed(project=run.project, name=VARIABLE, envelope=envelope)
        return ["", msgspec.json.encode(sealed).decode(), ""]

    def _secret(self, run: JobRun) -> str:
        return rules.TOKEN_PREFIX + self._digest(f"job run {run.id}/{run.attempt}".encode())


def _owner(tx: sa.Connection, now: float) -> str:
    try:
        return access.find_principal(tx, OWNER).id
    except NotFound:
        return access.add_principal(tx, OWNER, Role.DEVELOPER, now).id
