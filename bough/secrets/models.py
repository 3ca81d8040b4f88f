"""Secrets as data; none of it holds a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from bough.kernel.context import Context

ALGORITHM = "AES-256-GCM"
Place = tuple[str, str]  # project, environment


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """One version, as it stands in the catalog. `project`, `environment` and `version` say where and as what it was
    sealed, which it keeps when a merge brings it elsewhere; `master` names the master key that wrapped its data key.
    Binary parts are base64: a nonce, then what it sealed."""

    project: str
    environment: str
    version: int
    at: float
    by: str
    master: str
    wrapped: str
    sealed: str
    algorithm: str = ALGORITHM

    @property
    def pin(self) -> str:
        """How a release names it: `main@17`."""
        return f"{self.environment}@{self.version}"


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """An envelope with all that opening it takes but the master key: what travels to a node."""

    project: str
    name: str
    envelope: Envelope


class SecretView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`environment` is where the version was set; `source` is own, inherited, or merged."""

    name: str
    version: int
    environment: str
    source: str
    at: float
    by: str
    services: list[str] = []  # live ones that use it; queues as queues.NAME, jobs as jobs.NAME, buckets of theirs below


class SecretVersion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change of a secret, newest first; `removed` when that was its end."""

    version: int
    environment: str
    at: float
    by: str
    removed: bool = False


class SecretsSet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`services` use what was set; `release` and `release_id` name the release that gives them the new versions, and
    jobs (jobs.NAME) those of their runs that are asked for from then on. Queues among them (queues.NAME) and buckets of
    jobs (jobs.NAME.source, jobs.NAME.target) have them at once."""

    project: str
    environment: str
    secrets: list[SecretView]
    services: list[str] = []
    release: int = 0
    release_id: str = ""


class Sealing(msgspec.Struct, frozen=True, kw_only=True):
    project: str
    environment: str
    sealed: bool
    secrets: list[SecretView]


class Rekeyed(msgspec.Struct, frozen=True, kw_only=True):
    """`kept` names older master keys that stay in the file: processes that were started before still need them.
    `broken` are envelopes that did not open, and were left as they are."""

    master: str
    envelopes: int
    kept: list[str]
    broken: list[str]


class Dependents(Protocol):
    """Who uses secrets. Implemented by `environments`, which secrets must not know."""

    def begin(self, context: Context, place: Place) -> None:
        """Makes the production environment of a project that has none yet, so that secrets can come before the first
        release; does nothing for any other."""

    def using(self, context: Context, place: Place) -> dict[str, list[str]]:
        """Secret -> the live services that use it; queues as queues.NAME, jobs as jobs.NAME, and where those look it up
        themselves, as jobs.NAME.source or jobs.NAME.target."""

    def redeploy(self, context: Context, place: Place, names: Sequence[str]) -> tuple[str, int] | None:
        """Sets off a release that is the present one with the newest versions of `names`; its id and number. None when
        nothing live uses them."""
