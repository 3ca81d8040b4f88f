"""Which technology is behind each interface: the one file that chooses among them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from bough.adapters.accelerators import Accelerators
from bough.adapters.accelerators.chosen import accelerators as accelerators_here
from bough.adapters.blobs.directory import DirectoryBlobs
from bough.adapters.capacity import ON_DEMAND, Offer, Provider, availability
from bough.adapters.capacity.local import LocalProvider
from bough.adapters.capacity.replay import ReplayProvider
from bough.adapters.certificates import Authority
from bough.adapters.connectors import Connectors, Objects
from bough.adapters.connectors.outside import Outside
from bough.adapters.connectors.s3 import S3
from bough.adapters.database.migrate import bring_up_to_date
from bough.adapters.database.sqlite import SqliteDatabase
from bough.adapters.engine import Engine
from bough.adapters.engine.remote import RemoteEngine
from bough.adapters.forges import Forge
from bough.adapters.forges.github import Gitea, GitHub
from bough.adapters.forges.gitlab import GitLab
from bough.adapters.lineage import Receiver
from bough.adapters.lineage.http import from_environment
from bough.adapters.queue.sqlite import SqliteQueues
from bough.adapters.repositories.git import GitRepositories
from bough.adapters.sql import POSTGRES, POSTGRES_SERVER, REDIS, SQLITE, SqlEngine
from bough.adapters.sql.postgres import Postgres
from bough.adapters.sql.postgres_own import OwnServers
from bough.adapters.sql.redis import Redis
from bough.adapters.sql.sqlite import Sqlite
from bough.adapters.tables import Tables
from bough.adapters.tables.duckdb import DuckTables
from bough.capacity.market import LOCAL, offers_of
from bough.databases.disk import Databases
from bough.forges.models import GITEA, GITHUB, GITLAB, ForgeLink
from bough.gateway.models import GatewayState, Heard, Silence
from bough.kernel.clock import Clock, SystemClock
from bough.kernel.errors import Unavailable
from bough.kernel.platform import Home, Platform
from bough.tracking import schema as tracking_schema


class Instead(TypedDict, total=False):
    """What tests put in the place of a technology; whatever is absent or None is the real one."""

    engine: Engine | None
    clock: Clock | None
    tables: Tables | None
    receiver: Receiver | None
    accelerators: Accelerators | None
    connectors: Connectors | None
    objects: Objects | None
    ask_gateway: Callable[[], GatewayState | None] | None
    hear_gateway: Callable[[Silence], Heard | None] | None


class Technologies:
    """Those of one home, opened. `durable`: what is committed outlives a power cut, not only a kill."""

    def __init__(self, home: Home, platform: Platform, instead: Instead, *, durable: bool) -> None:
        self.clock: Clock = instead.get("clock") or SystemClock()
        self.database = SqliteDatabase(home.database, durable=durable)
        bring_up_to_date(self.database)
        self.tracking = SqliteDatabase(home.tracking, durable=False)
        tracking_schema.prepare(self.tracking)
        self.queues = SqliteQueues(home.queues)
        self.blobs = DirectoryBlobs(home.blobs)
        self.repositories = GitRepositories(home.repositories)
        self.engine: Engine = instead.get("engine") or RemoteEngine(home.node_socket)
        self.tables: Tables = instead.get("tables") or DuckTables(home.tables)
        self.accelerators: Accelerators = instead.get("accelerators") or accelerators_here()
        self.connectors: Connectors = instead.get("connectors") or Outside()
        self.objects: Objects = instead.get("objects") or S3()
        self.receiver: Receiver | None = instead.get("receiver") or from_environment(os.environ)
        self.providers = _providers(home, platform, self.clock)

    def sweep(self) -> None:
        """Takes away what killed processes have left half done."""
        self.blobs.sweep()
        self.repositories.sweep()
        self.tables.sweep()

    def close(self) -> None:
        self.database.close()
        self.tracking.close()
        self.queues.close()


def databases(home: Home, secret_text: Callable[[str], str], sealed: Callable[[str, str, str], str]) -> Databases:
    """Of environments. `secret_text` opens a reference to a secret, `sealed` seals one on its way to a node."""
    sqlite = Sqlite(home.databases / SQLITE)
    own = (POSTGRES_SERVER, OwnServers(home.databases / POSTGRES_SERVER, secret_text))
    engines: dict[str, SqlEngine] = {
        SQLITE: sqlite, POSTGRES: Postgres(home.databases / POSTGRES), REDIS: Redis(home.databases / REDIS),
    }  # fmt: skip
    return Databases(home.databases, engines, sqlite.given, own, sealed=sealed)


def forge_of(link: ForgeLink) -> Forge:
    kinds: dict[str, Callable[[str, str], Forge]] = {GITHUB: GitHub, GITLAB: GitLab, GITEA: Gitea}
    return kinds[link.kind](link.repository, link.url)


def authority(home: Home, platform: Platform) -> Authority:
    """Who gives certificates. Raises `Unavailable` (ACME_MISSING)."""
    try:
        from bough.adapters.certificates.acme import AcmeAuthority
    except ImportError as error:
        raise Unavailable(
            f"what speaks ACME is not installed: {error}", code="ACME_MISSING", hint="pip install 'bough[acme]'"
        ) from error
    return AcmeAuthority(platform.acme_directory, platform.acme_email, home.acme_account, platform.acme_trust)


def _providers(home: Home, platform: Platform, clock: Clock) -> dict[str, Provider]:
    """Where jobs can run: what the settings say, and this machine."""
    here = Offer(pool=LOCAL, zone="here", kind=ON_DEMAND)
    found: dict[str, Provider] = {LOCAL: LocalProvider(home.capacity / LOCAL, clock, [here])}
    for name, pool in platform.pools.items():
        folder, offers = home.capacity / name, offers_of(name, pool, platform.pools)
        if pool.provider == "local":
            found[name] = LocalProvider(folder, clock, offers)
            continue
        zones = {zone: availability.made_up(f"{name}/{zone}", pool.seed) for zone in pool.zones}
        if pool.trace:
            zones = availability.for_zones(pool.zones, availability.read(Path(pool.trace)))
        found[name] = ReplayProvider(folder, clock, offers, zones)
    return found
