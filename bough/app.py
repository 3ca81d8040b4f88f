"""Composition: settings become a running Bough. The only file that names particular technologies."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

import msgspec
import sqlalchemy as sa

from bough.access import operations as access
from bough.access.callers import Callers
from bough.adapters.accelerators import Accelerators
from bough.adapters.accelerators.chosen import accelerators as accelerators_here
from bough.adapters.blobs import Blobs
from bough.adapters.blobs.directory import DirectoryBlobs
from bough.adapters.capacity import ON_DEMAND, Offer, Provider, availability
from bough.adapters.capacity.local import LocalProvider
from bough.adapters.capacity.replay import ReplayProvider
from bough.adapters.certificates import Authority
from bough.adapters.connectors import Connectors, Objects
from bough.adapters.connectors.outside import Outside
from bough.adapters.connectors.s3 import S3
from bough.adapters.database.migrate import upgrade
from bough.adapters.database.sqlite import SqliteDatabase
from bough.adapters.engine import Engine
from bough.adapters.engine.remote import RemoteEngine
from bough.adapters.forges import Forge
from bough.adapters.forges.github import Gitea, GitHub
from bough.adapters.forges.gitlab import GitLab
from bough.adapters.lineage import Receiver
from bough.adapters.lineage.http import from_environment
from bough.adapters.queue import Queues
from bough.adapters.queue.sqlite import SqliteQueues
from bough.adapters.repositories.git import GitRepositories
from bough.adapters.sql import POSTGRES, POSTGRES_SERVER, REDIS, SQLITE, SqlEngine
from bough.adapters.sql.postgres import Postgres
from bough.adapters.sql.postgres_own import OwnServers
from bough.adapters.sql.redis import Redis
from bough.adapters.sql.sqlite import Sqlite
from bough.adapters.tables import Tables
from bough.adapters.tables.duckdb import DuckTables
from bough.builds.bundle import used_by
from bough.capacity import loop as capacity_loop
from bough.capacity import operations as capacity
from bough.capacity import store as capacity_store
from bough.capacity.market import LOCAL, offers_of
from bough.capacity.models import Capacity
from bough.capacity.pools import Pools
from bough.capacity.rules import Market
from bough.costs import loop as costs_loop
from bough.costs import operations as costs
from bough.costs import store as costs_store
from bough.costs.budgets import Budgets
from bough.costs.loop import ReadToTheEnd
from bough.costs.models import Prices
from bough.costs.rules import device_hour
from bough.data import erasure, forgetting, garbage, retention, upkeep
from bough.data import operations as data
from bough.data import space as data_space
from bough.data.tables import erasing as table_erasing
from bough.data.tables import loop as tables_loop
from bough.data.tables import operations as tables
from bough.data.tables import operations_query as table_queries
from bough.data.tables import operations_schema as table_schemas
from bough.data.tables.folders import TableFolders
from bough.data.tables.merging import TableMerger
from bough.data.tables.store import TableFiles
from bough.data.trees import Trees
from bough.data.views import Views
from bough.databases import cutting
from bough.databases import loop as databases_loop
from bough.databases import metering as databases_metering
from bough.databases import operations as databases
from bough.databases import operations_states as database_states
from bough.databases import store as database_store
from bough.databases.cutting import Cutting
from bough.databases.disk import Databases
from bough.databases.migrating import DatabaseMerger, Migrating
from bough.environments import branches, branching
from bough.environments import loop as environments_loop
from bough.environments import operations as environments
from bough.environments import store as environment_store
from bough.environments.models import Migrations, RegisteredModels
from bough.environments.references import SecretUsers
from bough.environments.service_merger import ServiceMerger
from bough.forges import loop as previews_loop
from bough.forges import operations as forge_operations
from bough.forges import store as previews
from bough.forges.bringing import Bringing
from bough.forges.linking import Keys
from bough.forges.models import GITEA, GITHUB, GITLAB, ForgeLink
from bough.forges.receiving import Webhooks
from bough.gates import loop as gates_loop
from bough.gates import operations as gate_operations
from bough.gates import store as gates
from bough.gates.checks import Checks
from bough.gates.needs import Probes
from bough.gates.units import GateUnits
from bough.gateway import erasing as kept_requests
from bough.gateway import loop as gateway
from bough.gateway import operations as traffic
from bough.gateway import sleeping
from bough.gateway.models import GatewayState, Heard, Silence
from bough.gateway.renewal import Renewal
from bough.jobs import assembly as jobs
from bough.jobs import erasing as job_erasing
from bough.jobs import loop as jobs_loop
from bough.jobs import operations as job_operations
from bough.jobs import store as job_runs
from bough.jobs.models import GAVE_BACK, UNDER_WAY, USED
from bough.jobs.models import PREFIX as JOB_PREFIX
from bough.jobs.units import Places
from bough.kernel.catalog import DATABASE, MODEL, SERVICE, TABLE
from bough.kernel.clock import Clock, SystemClock
from bough.kernel.context import Parts, Principal
from bough.kernel.errors import Problem, Unavailable
from bough.kernel.events import Events
from bough.kernel.learning import learn_all
from bough.kernel.merging import Merger, Mergers
from bough.kernel.operations import Operations
from bough.kernel.paying import Meter, Payer
from bough.kernel.platform import Home, Platform
from bough.kernel.reconcile import Handler, Loop, wake
from bough.kernel.subjects import Reach
from bough.ledger import operations as ledger_operations
from bough.ledger.keys import SigningKey
from bough.ledger.recording import Recorder
from bough.ledger.store import Ledger
from bough.lineage import loop as lineage_loop
from bough.lineage import operations as lineage
from bough.lineage.runs import TrackedRuns
from bough.mirrors import baselines
from bough.mirrors import loop as mirrors_loop
from bough.mirrors import operations as mirror_operations
from bough.mirrors import store as replays
from bough.optimizing import loop as optimizing_loop
from bough.optimizing import operations as optimizing_operations
from bough.optimizing import store as optimizations
from bough.optimizing.units import OptimizingUnits
from bough.platform import operations as platform_operations
from bough.promotions import loop as promotions_loop
from bough.promotions import operations as promotion_operations
from bough.promotions import store as promotions
from bough.promotions.guarding import Guard
from bough.promotions.steps import Steps
from bough.pushes import operations as pushes
from bough.pushes.deploying import Deploying
from bough.pushes.receiving import Receiving
from bough.queues import erasing as queue_erasing
from bough.queues import operations as queue_operations
from bough.queues.outside import OutsideWork
from bough.registry import erasing as model_erasing
from bough.registry import operations as models
from bough.registry import operations_cards as model_cards
from bough.registry import operations_signing as model_signing
from bough.registry import using as model_use
from bough.registry.candidates import Candidates
from bough.registry.keys import Keyring
from bough.registry.merging import ModelMerger
from bough.registry.sbom import NoVulnerabilities, OsvFolder, Vulnerabilities
from bough.registry.using import Registered
from bough.registry.views import ModelViews
from bough.scaling import idleness
from bough.scaling import loop as scaling_loop
from bough.scaling import operations as scaling
from bough.scaling import showing as scaling_views
from bough.scaling.listening import Listening
from bough.secrets import operations as secret_operations
from bough.secrets import store as secrets
from bough.secrets.models import Dependents, Envelope, Sealed
from bough.secrets.opening import open_with
from bough.secrets.vault import Vault
from bough.serving import branching as inheriting
from bough.serving import data as served_data
from bough.serving import exposure, replicas, rollout
from bough.serving import operations as serving
from bough.serving import store as deployments
from bough.tracking import erasing as run_erasing
from bough.tracking import operations as runs
from bough.tracking import operations_artifacts as run_artifacts
from bough.tracking import operations_experiments as experiments
from bough.tracking import operations_traces as run_traces
from bough.tracking import schema as tracking_schema
from bough.tracking.artifacts import references as artifact_references
from bough.training import loop as training_loop
from bough.webhooks import loop as webhooks_loop
from bough.webhooks import operations as webhooks

if TYPE_CHECKING:
    from bough.capacity.planning import Plan

OPERATION_MODULES: list[ModuleType] = [
    *(access, secret_operations, environments, branches, data, data_space, upkeep, erasure, forgetting, retention),
    *(tables, table_schemas, table_queries, table_erasing),
    *(gate_operations, promotion_operations, optimizing_operations, job_operations),
    *(scaling, scaling_views),
    *(models, model_signing, model_cards, serving, exposure, traffic, pushes, forge_operations),
    *(mirror_operations, baselines, ledger_operations, lineage, platform_operations),
    *(runs, run_artifacts, run_traces, experiments, queue_operations),
    *(databases, database_states),
    *(capacity, costs, webhooks),
]

# What uses blobs beside the entries of the catalog.
REFERENCES: dict[str, garbage.References] = {
    "releases": lambda tx, blobs: used_by(environment_store.bundles(tx), blobs),
    "deployments": lambda tx, blobs: used_by(deployments.bundles(tx), blobs),
    "models": lambda tx, blobs: model_use.used_by_versions(
        tx, blobs, {*environment_store.models(tx), *deployments.models(tx)}
    ),
    "gates": lambda tx, blobs: gates.evidence(tx),
    "students": lambda tx, blobs: model_use.used_by_lists(optimizations.students(tx), blobs),
    "jobs": lambda tx, blobs: used_by(job_runs.bundles(tx), blobs),
}

# Whose units these are, by the beginning of their names; all others are replicas.
_OWNERS = {"gat": gates.KIND, "opt": optimizations.KIND, "rep": replays.KIND}

WATCH_S = 20.0  # how long one call to the engine waits for hints
RETRY_S = 0.5  # before asking an engine again that did not answer


class Bough:
    """The control plane of one home. `engine`, `clock`, `tables`, `ask_gateway`, `hear_gateway`, `receiver`,
    `accelerators`, `connectors` and `objects` are replaced in tests. `durable`: what is committed outlives a power cut,
    not only a kill."""

    def __init__(
        self,
        home: Path,
        platform: Platform,
        *,
        engine: Engine | None = None,
        clock: Clock | None = None,
        tables: Tables | None = None,
        ask_gateway: Callable[[], GatewayState | None] | None = None,
        hear_gateway: Callable[[Silence], Heard | None] | None = None,
        receiver: Receiver | None = None,
        accelerators: Accelerators | None = None,
        connectors: Connectors | None = None,
        objects: Objects | None = None,
        durable: bool = True,
    ) -> None:
        learn_all()
        self.home, self.platform, self.clock = Home(home), platform, clock or SystemClock()
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        upgrade(self.home.database, durable=durable)
        self.database = SqliteDatabase(self.home.database, durable=durable)
        self._tracking = SqliteDatabase(self.home.tracking, durable=False)
        tracking_schema.prepare(self._tracking)
        self._queues = SqliteQueues(self.home.queues)
        self._tracked = TrackedRuns(self._tracking.read)
        self._blobs = DirectoryBlobs(self.home.blobs)
        self.blobs: Blobs = self._blobs
        self._trees = Trees(self.home.trees, self.blobs)
        self._databases = _databases(self.home, self._secret_text, self._sealed_text)
        self._cutting = Cutting(self._databases)
        self.engine: Engine = engine or RemoteEngine(self.home.node_socket)
        self.read_to_the_end = ReadToTheEnd(self.engine)
        self._pools = Pools(
            *(_providers(self.home, platform, self.clock), self.home.capacity / "seen.json", self.clock, _planning),
        )
        self.capacity: Capacity = self._pools
        self.accelerators: Accelerators = accelerators or accelerators_here()
        self.ledger = Ledger(SigningKey(home), self.clock)
        self._receiver = receiver or from_environment(os.environ)
        self.events = _events(self.clock, Recorder(self.ledger))
        self._budgets = Budgets(environment_store.budgets, self.events)
        self._steps = Steps(self.events, self.clock, self.database)
        Guard(self.events, self.clock, self.database, self._steps).listen()
        self._cutting.listen(self.events)
        if self._receiver is not None:
            lineage_loop.listen(self.events)
        collector = garbage.Collector(
            *(self.database, self.blobs, self.clock, REFERENCES | {"artifacts": self._artifacts}),
            self.home.run / "gc.lock",
            pinned=lambda tx: environment_store.pinned(tx) | job_runs.pinned(tx),
            sweep=self._sweep,
        )
        self._garbage = garbage.Schedule(collector, self.clock, logging.getLogger("bough.garbage").info)
        self._renewal = Renewal(
            *(self.home, platform.domains, self._authority, self.clock),
            say=logging.getLogger("bough.certificates").info,
        )
        self._tables: Tables = tables or DuckTables(self.home.tables)
        self._table_files = TableFiles(self.blobs, self.home.tables / "copies")
        self._vault = Vault(home, os.environ)
        self._connectors = connectors or Outside()
        self._objects = objects or S3()
        self._models = ModelViews(self.home.models, self.blobs)
        self._keyring = Keyring(self.home.path, os.environ)
        self._candidates = Candidates(self.blobs, self._keyring, self.events, self.clock, self.database)
        self.operations = Operations(
            *(OPERATION_MODULES, self.database, self.events, self.clock, self._parts(collector), self._private_digest),
            telemetry=self._tracking,
        )
        self._repositories = GitRepositories(self.home.repositories)
        deploying = Deploying(self._repositories, self.operations, self.blobs)
        self.pushes = Receiving(self._repositories, self.operations, deploying, self.database, self.events)
        keys = Keys(self._vault)
        self.webhooks = Webhooks(self.database, self.clock, keys, _forge_of)
        self._bringing = Bringing(self._repositories, self.operations, deploying, self.database, keys, _forge_of)
        ask = ask_gateway or partial(gateway.state_of, self.home.gateway_socket)
        hear = hear_gateway or partial(gateway.heard_at, self.home.gateway_socket)
        self.listening = Listening(hear, self._stirred)
        self.loop = Loop(self.database, self.clock, self._handlers(ask))
        self.database.on_commit(self.loop.poke)
        self._callers = Callers(self.database.read, self.clock)
        self.database.on_commit(self._callers.forget, lasting=True)
        self.database.on_commit(partial(self.ledger.remember, self.database.read), lasting=True)
        self.outside = OutsideWork(
            self._queues,
            self.database.read,
            self._connectors,
            open_with(self._vault),
            self.clock,
            objects=self._objects,
        )
        self.database.on_commit(self.outside.poke, lasting=True)
        self._stopping = threading.Event()

    def authenticate(self, token: str) -> Principal:
        return self._callers.authenticate(token)

    def start(self) -> None:
        """Makes sure that there is an admin, looks at everything once, and starts the loops."""
        self._blobs.sweep()
        self._repositories.sweep()
        self._tables.sweep()
        self._trees.sweep()
        with self.database.write() as tx:
            access.bootstrap(tx, self.home.token, self.clock.now())
            environment_store.give_heads(tx, self.clock.now())
            self._models.sweep(deployments.models(tx))
            for deployment in deployments.in_state(tx, "building", "starting", "ready", "asleep", "failed", "draining"):
                wake(tx, deployments.KIND, deployment.id)
            gateway.changed(tx)
            sleeping.changed(tx)
            scaling_loop.changed(tx)
            idleness.changed(tx)
            lineage_loop.begin(tx)
            wake(tx, mirrors_loop.KEPT, mirrors_loop.ALL)
            capacity_loop.begin(tx)
            costs_loop.changed(tx)
            for preview in previews.unfinished(tx):
                wake(tx, previews_loop.KIND, preview)
            jobs_loop.begin(tx)
            webhooks_loop.begin(tx)
            databases_loop.begin(tx)
        self.loop.start()
        self._garbage.start()
        if self.platform.domains and not self.platform.tls_certificate:
            self._renewal.start()
        self.outside.start()
        self.listening.start()
        threading.Thread(target=self._watch, name="engine-hints", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()
        self.outside.stop()
        self.listening.stop()
        self._garbage.stop()
        self._renewal.stop()
        self._bringing.stop()
        self.loop.stop()
        self.database.close()
        self._tracking.close()
        self._queues.close()

    def wake_units(self, units: set[str]) -> None:
        """Something happened to these units: whoever owns them looks again."""
        jobs_too = False
        if all(unit.startswith(JOB_PREFIX) for unit in units):
            with self.database.read() as tx:
                if jobs_loop.expects_hints(tx, self.clock.now()):
                    return
        with self.database.write(lasting=False) as tx:  # a start looks at everything anyway
            for unit in units:
                owner = unit.rsplit("-", 1)[0]
                kind = _OWNERS.get(owner.partition("_")[0])
                if owner == "build":
                    for deployment in deployments.in_state(tx, "building"):
                        wake(tx, deployments.KIND, deployment.id)
                    jobs_too = True
                elif owner.startswith(JOB_PREFIX):
                    jobs_too = True
                elif kind is not None:
                    wake(tx, kind, owner)
                elif _exists(tx, owner):
                    wake(tx, deployments.KIND, owner)
                    gateway.changed(tx)
            if not all(unit.startswith(JOB_PREFIX) for unit in units):
                costs_loop.happened(tx, self.clock)
            if jobs_too:  # once, however many of their units it was
                jobs_loop.hinted(tx, self.clock.now())

    def _stirred(self) -> None:
        """Somebody asks again: for every second that this is late, the rule looks a second later."""
        with self.database.write(lasting=False) as tx:
            scaling_loop.changed(tx)

    def _parts(self, collector: garbage.Collector) -> Parts:
        """What operations ask for by its interface."""
        tables = TableMerger(self._table_files, self._tables)
        mergers: dict[str, Merger] = {
            SERVICE: ServiceMerger(), TABLE: tables, MODEL: ModelMerger(), DATABASE: DatabaseMerger(),
        }  # fmt: skip
        return Parts(
            {
                Engine: self.engine,
                Budgets: self._budgets,
                Capacity: self.capacity,
                Pools: self._pools,
                Blobs: self.blobs,
                Platform: self.platform,
                Home: self.home,
                Mergers: Mergers(mergers),
                garbage.Collector: collector,
                erasure.Elsewhere: erasure.Elsewhere(self._reaches()),
                Tables: self._tables,
                Databases: self._databases,
                Cutting: self._cutting,
                Migrations: Migrating(),
                TableFiles: self._table_files,
                Vault: self._vault,
                Keyring: self._keyring,
                Vulnerabilities: OsvFolder(osv) if (osv := self._advisories()).is_dir() else NoVulnerabilities(),
                Ledger: self.ledger,
                TrackedRuns: self._tracked,
                Dependents: SecretUsers(environments.make_release),
                RegisteredModels: Registered(),
                Steps: self._steps,
                Queues: self._queues,
            }
        )

    def _reaches(self) -> list[Reach]:
        """What erasures ask for beside the catalog."""
        return [
            lambda tx, subject: run_erasing.reach(self._tracking.write, subject),
            lambda tx, subject: queue_erasing.reach(self._queues, subject),
            lambda tx, subject: kept_requests.reach(self.home.traffic, subject),
            lambda tx, subject: model_erasing.reach(tx, self.blobs, subject),
            lambda tx, subject: job_erasing.reach(tx, Places(self.home), subject),
        ]

    def _handlers(self, ask_gateway: Callable[[], GatewayState | None]) -> dict[str, Handler]:
        """Who looks after what."""
        home, events = self.home, self.events
        engine = cast(Engine, self.read_to_the_end)
        views = Views(home.views, self.blobs, TableFolders(self._table_files, self._tables))
        keeper = replicas.Replicas(home, self.platform, engine, events, views, self._models, self._databases)
        return {
            branching.KIND: environments_loop.handler(self.database, events, self.clock),
            environments.RELEASE: rollout.handler(events, self.platform),
            deployments.KIND: keeper.handle,
            gateway.KIND: gateway.handler(home, self.platform, engine, events),
            scaling_loop.KIND: scaling_loop.handler(ask_gateway, engine, self.listening, self._budgets.reached),
            idleness.KIND: idleness.handler(ask_gateway, events),
            sleeping.KIND: sleeping.handler(ask_gateway, engine, events),
            gates.KIND: gates_loop.handler(
                *(self.blobs, events, GateUnits(home, engine)),
                *(Probes(keeper, engine), Checks(home, engine, self._models)),
            ),
            training_loop.KIND: training_loop.handler(
                self.blobs, events, self._candidates, self._tracking.read, self.platform.core_hour
            ),
            optimizations.KIND: optimizing_loop.handler(
                self.blobs, events, OptimizingUnits(home, engine), self._candidates
            ),
            promotions.KIND: promotions_loop.handler(self.blobs, engine, self._steps, ask_gateway),
            mirror_operations.MIRROR: mirrors_loop.mirror_handler(engine),
            mirrors_loop.KEPT: mirrors_loop.kept_handler(home),
            replays.KIND: mirrors_loop.replay_handler(home, engine, events),
            previews_loop.KIND: previews_loop.handler(self._bringing, events),
            capacity_loop.KIND: capacity_loop.handler(self._pools),
            costs_loop.KIND: costs_loop.handler(
                self.read_to_the_end, _payers, self._database_meters, self._prices(), self._budgets
            ),
            lineage_loop.KIND: lineage_loop.handler(self._receiver, self._tracked),
            webhooks_loop.KIND: webhooks_loop.handler(self._connectors, open_with(self._vault)),
            **databases_loop.handlers(self._databases, events),
            tables_loop.KIND: tables_loop.handler(self._table_files, self._tables, events),
            **jobs.handlers(self._around_jobs(views)),
        }

    def _around_jobs(self, views: Views) -> jobs.Outside:
        return jobs.Outside(
            home=self.home, platform=self.platform, engine=self.engine, events=self.events, capacity=self.capacity,
            accelerators=self.accelerators, blobs=self.blobs, views=views, vault=self._vault,
            private_digest=self._private_digest, read_runs=self._tracking.read, write_runs=self._tracking.write,
            machine=jobs.this_machine(), weights=self.platform.job_queues, databases=self._databases,
            objects=self._objects,
            holding=lambda tx, now: {place: each.said for place, each in self._budgets.reached(tx, now).items()},
        )  # fmt: skip

    def _prices(self) -> Prices:
        def of_device() -> float:
            return device_hour(self.platform.pools.values(), {each.kind for each in self.accelerators.devices()})

        return Prices(core_hour=self.platform.core_hour, device_hour=cache(of_device))

    def _database_meters(self) -> list[Meter]:
        with self.database.read() as tx:
            return databases_metering.meters(tx, self._databases)

    def _sweep(self) -> None:
        """What killed programs have left, files that are too old, and databases that nothing names any more."""
        retention.expire(self.database, self.events, self.clock, self.home.views)
        self._trees.sweep()
        with self.database.read() as tx:
            live = database_store.live_handles(tx)
        self._databases.sweep(live, garbage.GRACE_S)

    def _artifacts(self, tx: sa.Connection, blobs: Blobs) -> Iterator[str]:
        with self._tracking.read() as tracking:
            yield from artifact_references(tracking)

    def _authority(self) -> Authority:
        try:
            from bough.adapters.certificates.acme import AcmeAuthority
        except ImportError as error:
            raise Unavailable(
                f"what speaks ACME is not installed: {error}", code="ACME_MISSING", hint="pip install 'bough[acme]'"
            ) from error
        said = self.platform
        return AcmeAuthority(said.acme_directory, said.acme_email, self.home.acme_account, said.acme_trust)

    def _advisories(self) -> Path:
        return Path(os.environ.get("BOUGH_OSV_DIR") or self.home.path / "osv")

    def _secret_text(self, reference: str) -> str:
        """Of PROJECT/ENVIRONMENT/NAME."""
        project, environment, name = reference.split("/")
        with self.database.read() as tx:
            found = secrets.find(tx, (project, environment), name)
        return self._vault.open_(project, name, msgspec.convert(found.value, Envelope))

    def _sealed_text(self, project: str, name: str, text: str) -> str:
        """What nobody keeps, sealed on its way to a node."""
        empty = Envelope(project=project, environment=name, version=0, at=self.clock.now(), by="bough",
                         master="", wrapped="", sealed="")  # fmt: skip
        sealed = Sealed(project=project, name=name, envelope=self._present_vault().seal(name, text, empty))
        return msgspec.json.encode(sealed).decode()

    def _private_digest(self, content: bytes) -> str:
        return self._present_vault().private_digest(content)

    def _present_vault(self) -> Vault:
        if not self._vault.exists:
            with self.database.read() as tx:
                if not secrets.any_at_all(tx):  # else it is gone, which must be said
                    self._vault.create()
        return self._vault

    def _watch(self) -> None:
        """Turns the engine's hints into wakes. A hint that is missed costs seconds, never truth: every object that is
        unfinished also asks to be called again."""
        cursor = 0
        while not self._stopping.is_set():
            try:
                hints = self.engine.watch(cursor, WATCH_S)
                cursor = max([cursor, *(hint.cursor for hint in hints)])
                if hints:
                    self.wake_units({hint.unit for hint in hints})
            except Problem:
                self._stopping.wait(RETRY_S)
                cursor = 0


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


def _planning(market: Market, time_h: float, slack_h: float) -> Plan:
    """Loads numpy with the first plan, not when the server starts."""
    from bough.capacity.planning import plan

    return plan(market, time_h, slack_h)


def _forge_of(link: ForgeLink) -> Forge:
    kinds: dict[str, Callable[[str, str], Forge]] = {GITHUB: GitHub, GITLAB: GitLab, GITEA: Gitea}
    return kinds[link.kind](link.repository, link.url)


def _databases(home: Home, secret_text: Callable[[str], str], sealed: Callable[[str, str, str], str]) -> Databases:
    sqlite = Sqlite(home.databases / SQLITE)
    own = (POSTGRES_SERVER, OwnServers(home.databases / POSTGRES_SERVER, secret_text))
    engines: dict[str, SqlEngine] = {
        SQLITE: sqlite, POSTGRES: Postgres(home.databases / POSTGRES), REDIS: Redis(home.databases / REDIS),
    }  # fmt: skip
    return Databases(home.databases, engines, sqlite.given, own, sealed=sealed)


def _exists(tx: sa.Connection, deployment: str) -> bool:
    return deployments.get(tx, deployment) is not None


def _payers(tx: sa.Connection) -> dict[str, Payer]:
    """Of deployments: what their settings say now."""
    return {
        each.id: each.payer
        for each in deployments.in_state(tx, "building", "starting", "ready", "asleep", "failed", "draining")
    }


def _events(clock: Clock, recorder: Recorder) -> Events:
    """Who hears of what."""
    events = Events(clock)
    recorder.listen(events)
    divided = deployments.DIVIDED
    for name in (access.KEYS_CHANGED, "release.live", branching.DISCARDED, replicas.CHANGED, divided):
        events.on(name, gateway.changed)
        events.on(name, sleeping.changed)
        events.on(name, scaling_loop.changed)
        events.on(name, costs_loop.changed)
        events.on(name, idleness.changed)
    events.on(branching.BRANCHED, gateway.changed)  # its services sleep already
    events.on(tables_loop.CHANGED, tables_loop.on_changed)
    events.on("environment.merged", model_use.on_merged(events))
    for name in (model_signing.REVOKED, model_signing.TRUSTED, model_signing.SIGNED):
        events.on(name, inheriting.on_trust_changed)
    for name in (data.CHANGED, tables_loop.CHANGED, "environment.merged", branching.RESET):
        events.on(name, served_data.on_changed)
    events.on(cutting.CHANGED, served_data.on_databases)
    jobs.listen(events)
    events.on(UNDER_WAY, capacity_store.on_under_way)
    events.on(GAVE_BACK, costs_store.on_gave_back)
    events.on(USED, costs_store.on_used)
    for name in (GAVE_BACK, cutting.CHANGED, branching.BUDGET):
        events.on(name, costs_loop.changed)
    events.on_all(webhooks_loop.on_event)
    training_loop.listen(events)
    events.on(branching.BRANCHED, inheriting.on_branched)
    events.on(branching.DISCARDED, inheriting.on_discarded)
    return events
