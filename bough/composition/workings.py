"""The objects of capabilities that live as long as Bough does, and what operations ask for by its interface."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bough.access.models import Opened
from bough.adapters.blobs import Blobs
from bough.adapters.engine import Engine
from bough.adapters.queue import Queues
from bough.adapters.tables import Tables
from bough.capacity.models import Capacity
from bough.capacity.pools import Pools
from bough.capacity.rules import Market
from bough.composition import listeners
from bough.composition.technologies import Technologies, databases
from bough.costs.budgets import Budgets
from bough.costs.loop import ReadToTheEnd
from bough.costs.models import Prices
from bough.costs.rules import device_hour
from bough.data import erasure, garbage
from bough.data.tables.folders import TableFolders
from bough.data.tables.merging import TableMerger
from bough.data.tables.store import TableFiles
from bough.data.trees import Trees
from bough.data.views import Views
from bough.databases import metering as databases_metering
from bough.databases.cutting import Cutting
from bough.databases.disk import Databases
from bough.databases.migrating import DatabaseMerger, Migrating
from bough.environments import operations as environments
from bough.environments import store as environment_store
from bough.environments.models import Migrations, RegisteredModels
from bough.environments.references import KeyTargets, SecretUsers
from bough.environments.service_merger import ServiceMerger
from bough.kernel.catalog import DATABASE, MODEL, SERVICE, TABLE
from bough.kernel.context import Parts
from bough.kernel.errors import Unavailable
from bough.kernel.merging import Merger, Mergers
from bough.kernel.paying import Meter
from bough.kernel.platform import Home, Platform
from bough.kernel.subjects import Reach
from bough.ledger.keys import SigningKey
from bough.ledger.recording import Recorder
from bough.ledger.store import Ledger
from bough.lineage import loop as lineage_loop
from bough.lineage.runs import TrackedRuns
from bough.promotions.guarding import Guard
from bough.promotions.steps import Steps
from bough.registry.candidates import Candidates
from bough.registry.keys import Keyring
from bough.registry.merging import ModelMerger
from bough.registry.sbom import NoVulnerabilities, OsvFolder, Vulnerabilities
from bough.registry.using import Registered
from bough.registry.views import ModelViews
from bough.secrets.models import Dependents
from bough.secrets.own import OwnSecrets
from bough.secrets.vault import Vault

if TYPE_CHECKING:
    from bough.capacity.planning import Plan


class Workings:
    """Of one home, over its technologies."""

    def __init__(self, home: Home, platform: Platform, technologies: Technologies) -> None:
        self.home, self.platform, self.technologies = home, platform, technologies
        clock, database, blobs = technologies.clock, technologies.database, technologies.blobs
        self.vault = Vault(home.path, os.environ)
        self.secrets = OwnSecrets(self.vault, database.read, clock)
        self.ledger = Ledger(SigningKey(home.path), clock)
        self.events = listeners.events(clock, Recorder(self.ledger))
        self.read_to_the_end = ReadToTheEnd(technologies.engine)
        self.tracked = TrackedRuns(technologies.tracking.read)
        self.trees = Trees(home.trees, blobs)
        self.table_files = TableFiles(blobs, home.tables / "copies")
        self.views = Views(home.views, blobs, TableFolders(self.table_files, technologies.tables))
        self.databases = databases(home, self.secrets.text, self.secrets.sealed)
        self.cutting = Cutting(self.databases)
        self.pools = Pools(technologies.providers, home.capacity / "seen.json", clock, _planning)
        self.budgets = Budgets(environment_store.budgets, self.events)
        self.steps = Steps(self.events, clock, database)
        self.models = ModelViews(home.models, blobs)
        self.keyring = Keyring(home.path, os.environ)
        self.candidates = Candidates(blobs, self.keyring, self.events, clock, database)
        Guard(self.events, clock, database, self.steps).listen()
        self.cutting.listen(self.events)
        if technologies.receiver is not None:
            lineage_loop.listen(self.events)

    def parts(self, collector: garbage.Collector, reaches: list[Reach]) -> Parts:
        """What operations ask for. `reaches`: what erasures reach beside the catalog."""
        technologies = self.technologies
        mergers: dict[str, Merger] = {
            SERVICE: ServiceMerger(),
            TABLE: TableMerger(self.table_files, technologies.tables),
            MODEL: ModelMerger(),
            DATABASE: DatabaseMerger(),
        }
        return Parts(
            {
                Engine: technologies.engine,
                Blobs: technologies.blobs,
                Tables: technologies.tables,
                Queues: technologies.queues,
                Home: self.home,
                Platform: self.platform,
                Budgets: self.budgets,
                Capacity: self.pools,
                Pools: self.pools,
                Mergers: Mergers(mergers),
                garbage.Collector: collector,
                erasure.Elsewhere: erasure.Elsewhere(reaches),
                Databases: self.databases,
                Cutting: self.cutting,
                Migrations: Migrating(),
                TableFiles: self.table_files,
                Vault: self.vault,
                Keyring: self.keyring,
                Vulnerabilities: self._vulnerabilities(),
                Ledger: self.ledger,
                TrackedRuns: self.tracked,
                Dependents: SecretUsers(environments.make_release),
                Opened: KeyTargets(),
                RegisteredModels: Registered(),
                Steps: self.steps,
            }
        )

    def prices(self) -> Prices:
        def of_device() -> float:
            kinds = {each.kind for each in self.technologies.accelerators.devices()}
            return device_hour(self.platform.pools.values(), kinds)

        return Prices(core_hour=self.platform.core_hour, device_hour=cache(of_device))

    def database_meters(self) -> list[Meter]:
        with self.technologies.database.read() as tx:
            return databases_metering.meters(tx, self.databases)

    def _vulnerabilities(self) -> Vulnerabilities:
        advisories = Path(os.environ.get("BOUGH_OSV_DIR") or self.home.path / "osv")
        return OsvFolder(advisories) if advisories.is_dir() else NoVulnerabilities()


def _planning(market: Market, time_h: float, slack_h: float) -> Plan:
    """Loads numpy with the first plan, not when the server starts. Raises `Unavailable` (PLANNER_MISSING)."""
    try:
        from bough.capacity.planning import plan
    except ModuleNotFoundError as error:
        if error.name != "numpy":
            raise
        raise Unavailable(
            "what weighs spot against on-demand needs numpy, which is not installed",
            code="PLANNER_MISSING",
            hint="pip install 'bough[spot]', then bough down and bough up",
        ) from error
    return plan(market, time_h, slack_h)
