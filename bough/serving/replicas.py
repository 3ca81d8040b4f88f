"""Keeps a deployment's replicas as wanted: builds once, starts, restarts what crashed with growing pauses, stops."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from bough.adapters.engine import ASLEEP as UNIT_ASLEEP
from bough.adapters.engine import EXITED, Attempt, Engine
from bough.adapters.engine import READY as UNIT_READY
from bough.builds import loop as builds
from bough.builds.models import BuildRequest, BuildResult
from bough.data.views import Views
from bough.databases.disk import Databases
from bough.databases.giving import mark_of, under, variables_of
from bough.environments import references
from bough.environments import store as environments
from bough.environments.models import ServiceManifest
from bough.environments.references import Filled
from bough.kernel import catalog
from bough.kernel.clock import Waits, left_s
from bough.kernel.errors import Problem
from bough.kernel.events import Events
from bough.kernel.paying import Payer
from bough.kernel.platform import Home, Platform
from bough.kernel.reconcile import Handler, Turn
from bough.kernel.references import without
from bough.kernel.workloads import OWN_MODEL
from bough.registry.views import ModelViews
from bough.runtime.frames import Signature
from bough.runtime.spec import Failure, Limits, ModelSpec, RegisteredModel, UnitSpec, Usage
from bough.serving import rules, store
from bough.serving.models import ASLEEP, BUILDING, DRAINING, FAILED, READY, STARTING, STOPPED, Deployment
from bough.serving.rollout import on_deployment_changed

CHANGED = "deployment.changed"
VIEW = "BOUGH_DATA"  # the variable that says where a unit's datasets are
BUILD_CHECK_S = 0.25  # the engine's hints wake the deployment sooner; this bounds a lost hint
START_CHECK_S = 0.5
MEASURED_WITHIN_S = 3.0  # shims measure once a second
SHED_S = 1.0  # the gateway has read by then that a replica that is given up gets no more requests
WATCH_S = 30.0  # a ready deployment is looked at so often without a hint, of which the engine loses none
REST_S = 60.0  # and one that is asleep
REFRESH_S = 1.0  # between two views for one that is asleep: data that change all the time must not be laid out as often


class Replicas:
    """The handler for deployments."""

    def __init__(
        self, home: Home, platform: Platform, engine: Engine, events: Events, views: Views, models: ModelViews,
        databases: Databases,
    ) -> None:  # fmt: skip
        self._home, self._platform, self._engine, self._events = home, platform, engine, events
        self._views, self._models, self._databases = views, models, databases
        # Of sleeping deployments: up to which change they are to show data, from when on, and whether they do.
        self._shown: dict[str, tuple[int, float, bool]] = {}
        self._starts = Waits()

    def handle(self, turn: Turn) -> float | None:
        with turn.read() as tx:
            deployment = store.get(tx, turn.id)
        if deployment is None or (deployment.state == DRAINING and not deployment.drained):
            return None
        if deployment.state == BUILDING:
            return self._build(turn, deployment)
        return self._run(turn, deployment)

    def probe(self, turn: Turn, deployment: Deployment, unit: str) -> UnitSpec | None:
        """A replica beside those of a deployment, for whoever wants to ask one that nobody else asks. None while what
        it reads is laid out."""
        filled = self._variables(turn, deployment) if deployment.build is not None else None
        return unit_spec(deployment, unit, 1, filled) if filled is not None else None

    def _build(self, turn: Turn, deployment: Deployment) -> float | None:
        request = build_request(deployment)
        # A rollout that begins again after a failed build tries the build again, once.
        started = turn.step("build started", lambda: self._start_build(request, deployment.payer))
        outcome = builds.ensure(self._home, self._engine, request, deployment.payer) if started else None
        if outcome is None:
            return BUILD_CHECK_S
        if isinstance(outcome, Failure):
            return self._change(turn, deployment, state=FAILED, failure=msgspec.to_builtins(outcome))
        if deployment.settings.mock:
            return self._inspect(turn, deployment, outcome)
        if self._is_inherited(turn, deployment):
            return self._change(turn, deployment, state=ASLEEP, build=outcome, drained=True, then=0.0)
        return self._change(turn, deployment, state=STARTING, build=outcome, then=0.0)

    def _is_inherited(self, turn: Turn, deployment: Deployment) -> bool:
        """Built for a branch that lives already: no rollout waits for it to answer."""
        with turn.read() as tx:
            live = environments.live(tx, (deployment.project, deployment.environment))
        return deployment.sleeps_after_s > 0 and live is not None and live[0].number == deployment.release

    def _start_build(self, request: BuildRequest, payer: Payer) -> bool:
        builds.ensure(self._home, self._engine, request, payer, again=True)
        return True

    def _inspect(self, turn: Turn, deployment: Deployment, build: BuildResult) -> float | None:
        """A mock needs the types of the model and never the model: a short unit reads them from the code."""
        models = None
        if deployment.models:
            with turn.read() as tx:
                place = deployment.project, deployment.environment
                models = self._models.ensure(tx, place, deployment.models)
            if models is None:
                return BUILD_CHECK_S
        unit, reference = f"{deployment.id}-inspect", reference_of(deployment, models or {})
        command = [build.python, "-m", "bough.runtime.inspect", build.workdir, reference]
        attempt = self._engine.apply(
            UnitSpec(unit=unit, attempt=1, kind="job", argv=command, python=build.python, labels=_labels(deployment))
        )
        if attempt.state != EXITED:
            return BUILD_CHECK_S
        output = b"".join(chunk.data for chunk in self._engine.logs(unit, 1, 0, follow=False))
        self._engine.forget(unit)
        try:
            signature = msgspec.json.decode(output.strip().rpartition(b"\n")[2], type=Signature)
        except (msgspec.DecodeError, msgspec.ValidationError):
            failure = {"code": "INSPECT_FAILED", "message": output.decode(errors="replace")[-2000:]}
            return self._change(turn, deployment, state=FAILED, failure=failure)
        return self._change(turn, deployment, state=READY, build=build, signature=signature)

    def _run(self, turn: Turn, deployment: Deployment) -> float | None:
        now, attempts = turn.clock.now(), self._engine.snapshot()
        look = rules.look(deployment, attempts)
        shed = not left_s(deployment.scaled_at, SHED_S, now) or deployment.wanted == 0
        for unit, attempt in look.stop if shed else []:
            self._engine.stop(unit, attempt, deployment.settings.grace_s)
        for unit in look.forget:
            self._engine.forget(unit)
        if deployment.wanted == 0:
            return self._wind_down(turn, deployment, look)
        if deployment.state == ASLEEP:
            rest_s = self._rest(turn, deployment, look, attempts)
            return rest_s if shed else min(rest_s, SHED_S)
        if (
            look.failure
            and deployment.state == STARTING
            and (look.explained or deployment.crashes + 1 >= rules.START_TRIES)
        ):
            return self._change(turn, deployment, state=FAILED, failure=look.failure, then=0.0)
        if deployment.state != STARTING:
            self._starts.over(deployment.id)
        elif self._starts.seconds(turn.clock, deployment.id, deployment.changed_at) > _patience_s(deployment):
            failure = self._not_ready(deployment, attempts)
            return self._change(turn, deployment, state=FAILED, failure=failure, then=0.0)
        if look.start:
            return self._start(turn, deployment, look)
        if look.ready >= deployment.wanted:
            if deployment.state == STARTING and not self._within_memory(deployment, attempts, now):
                return BUILD_CHECK_S
            for old in rules.outdated(deployment, attempts, self._databases_of(turn, deployment))[:1]:
                self._engine.stop(old.unit, old.attempt, deployment.settings.grace_s)  # one by one: the others answer
                return START_CHECK_S
            return min(self._ready(turn, deployment, attempts), WATCH_S if shed else SHED_S)
        return START_CHECK_S

    def _within_memory(self, deployment: Deployment, attempts: list[Attempt], now: float) -> bool:
        """Whether each replica with a limit has been measured since it was ready: its shim ends one that is over, and
        a release must not go live just before that."""
        if not deployment.settings.resources.memory_mb:
            return True
        usage = self._engine.usage()
        mine = [each for each in attempts if each.unit.rsplit("-", 1)[0] == deployment.id and each.state == UNIT_READY]
        return all(
            now - each.ready_at > MEASURED_WITHIN_S
            or usage.get(f"{each.unit}/{each.attempt}", Usage()).memory_bytes > 0
            for each in mine
        )

    def _start(self, turn: Turn, deployment: Deployment, look: rules.Look) -> float | None:
        try:
            filled = self._variables(turn, deployment)
        except Problem as problem:
            if deployment.state != STARTING:
                raise
            return self._change(turn, deployment, state=FAILED, failure=msgspec.to_builtins(problem.detail()), then=0.0)
        if filled is None:
            return BUILD_CHECK_S
        if look.failure:  # else it begins, or wakes
            if left := left_s(deployment.changed_at, rules.pause_s(deployment.crashes), turn.clock.now()):
                return left
            with turn.apply(store.stands(deployment)) as tx:
                crashes = deployment.crashes + 1
                store.change(tx, deployment.id, turn.clock.now(), crashes=crashes)
                text = look.failure.get("message", "")
                self._events.emit(tx, "replica.restarted", deployment.id, service=deployment.service, why=text)
        for unit, attempt in look.start:
            self._engine.apply(unit_spec(deployment, unit, attempt, filled))
        return START_CHECK_S

    def _variables(self, turn: Turn, deployment: Deployment, until: int = catalog.LAST) -> Filled | None:
        """What its variables refer to, with secrets still sealed, and where units find their datasets as they were
        after the change `until`; None while those are being made."""
        place = deployment.project, deployment.environment
        with turn.read() as tx:
            view = None
            if deployment.settings.data:
                view = self._views.ensure(tx, place, deployment.id, deployment.settings.data, until)
                if view is None:
                    return None
            models = self._models.ensure(tx, place, deployment.models, self._reader(deployment, turn))
            if models is None:
                return None
            manifest = references.manifest_of(
                tx, place, deployment.service, deployment.digest, deployment.release
            ) or ServiceManifest(settings=deployment.settings, bundle=deployment.bundle, digest=deployment.digest)
            filled = references.fill(tx, place, manifest, self._platform, deployment.secrets)
            given = variables_of(tx, place, self._databases)
            if given is None:
                return None
        places = {variable_of(name): each.folder for name, each in models.items()}
        places |= {VIEW: str(view)} if view else {}
        filled = under(given, filled)
        return msgspec.structs.replace(filled, plain=filled.plain | places, models=models)

    def _databases_of(self, turn: Turn, deployment: Deployment) -> str:
        with turn.read() as tx:
            return mark_of(tx, (deployment.project, deployment.environment))

    def _reader(self, deployment: Deployment, turn: Turn) -> str:
        """A web service loads its models by itself: they are read for it before each start of its units."""
        return f"{deployment.id}/{deployment.changed_at}" if deployment.settings.is_web else ""

    def _rest(self, turn: Turn, deployment: Deployment, look: rules.Look, attempts: list[Attempt]) -> float:
        """Its units can be woken, by the gateway, without us; we only take notice of what has been, and of data that
        they are to see when they wake."""
        if deployment.models and (refused := self._refused(turn, deployment)):
            for number in range(deployment.wanted):
                self._engine.forget(deployment.unit(number))  # nothing wakes what would load it
            return self._say(turn, deployment, refused, REST_S)
        databases = self._databases_of(turn, deployment)
        for old in rules.outdated(deployment, attempts, databases):
            self._engine.stop(old.unit, old.attempt, deployment.settings.grace_s)
        anew = bool(rules.outdated(deployment, attempts, databases, UNIT_ASLEEP))
        left_s = 0.0 if look.register or anew else self._shows_for_s(turn, deployment)
        if left_s <= 0:
            try:
                is_registered = self._register(turn, deployment, look, anew=anew)
            except Problem as problem:  # what its variables refer to is gone: said, and tried again
                self._shown.pop(deployment.id, None)
                return self._say(turn, deployment, msgspec.to_builtins(problem.detail()), REST_S)
            if not is_registered:
                return BUILD_CHECK_S
        if look.ready and deployment.drained:
            self._ready(turn, deployment, attempts)
            return 0.0  # where one is awake, the others are to be
        then = min(REST_S, left_s) if left_s > 0 else REST_S
        return self._say(turn, deployment, look.failure, START_CHECK_S if look.awake else then)

    def _refused(self, turn: Turn, deployment: Deployment) -> dict[str, Any]:
        """What speaks against loading its models: a key was revoked, or is not trusted here any more."""
        try:
            with turn.read() as tx:
                self._models.check(tx, (deployment.project, deployment.environment), deployment.models)
        except Problem as problem:
            return msgspec.to_builtins(problem.detail())  # type: ignore[no-any-return]  # a struct becomes a dict
        return {}

    def _shows_for_s(self, turn: Turn, deployment: Deployment) -> float:
        """How long what its units would see may stay as it is; 0: data may have changed since that was looked up."""
        if not deployment.settings.data:
            return REST_S
        change, since, done = self._shown.get(deployment.id, (-1, 0.0, False))
        if not done:
            return 0.0
        with turn.read() as tx:
            newest = catalog.newest(tx)
        return REST_S if change == newest else left_s(since, REFRESH_S, turn.clock.now())

    def _register(self, turn: Turn, deployment: Deployment, look: rules.Look, *, anew: bool) -> bool:
        """What a wake starts, `anew` of all units; False while data are being laid out for it. They are those of the
        moment when that began: data that never stop changing would never be ready."""
        with turn.read() as tx:
            goal = catalog.newest(tx), turn.clock.now(), False
        change, since, done = self._shown.get(deployment.id, goal)
        if done:
            change, since, _ = goal
        self._shown[deployment.id] = change, since, False
        filled = self._variables(turn, deployment, change)
        if filled is None:
            return False
        view = filled.plain.get(VIEW)
        units = [deployment.unit(number) for number in range(deployment.wanted)] if view or anew else look.register
        made = [self._engine.register(unit_spec(deployment, unit, 1, filled)) for unit in units]
        self._shown[deployment.id] = change, since, True
        if view and all(each.state == UNIT_ASLEEP for each in made):  # else one may run in an earlier view
            self._views.keep(Path(view))
        return True

    def _say(self, turn: Turn, deployment: Deployment, failure: dict[str, Any], then: float) -> float:
        if failure and failure != deployment.failure:
            self._change(turn, deployment, failure=failure)
        return then

    def _ready(self, turn: Turn, deployment: Deployment, attempts: list[Attempt]) -> float:
        mine = [each for each in attempts if each.unit.rsplit("-", 1)[0] == deployment.id and each.state == UNIT_READY]
        raw = next((each.signature for each in mine if each.signature), None)
        signature = msgspec.convert(raw, Signature) if raw else deployment.signature
        if deployment.state != READY or signature != deployment.signature:
            self._change(turn, deployment, state=READY, signature=signature, failure={})
        elif deployment.crashes and turn.clock.now() - deployment.changed_at > rules.STABLE_S:
            self._change(turn, deployment, crashes=0)
        return WATCH_S

    def _wind_down(self, turn: Turn, deployment: Deployment, look: rules.Look) -> float | None:
        if look.stop:
            return START_CHECK_S
        if deployment.state == DRAINING:
            self._views.remove(deployment.id)
            self._shown.pop(deployment.id, None)
            self._change(turn, deployment, state=STOPPED)
            if deployment.models:
                with turn.read() as tx:
                    used = store.models(tx)
                self._models.sweep(used)
            return None
        return None

    def _change(
        self, turn: Turn, deployment: Deployment, *, then: float | None = None, **values: object
    ) -> float | None:
        with turn.apply(store.stands(deployment)) as tx:
            change(tx, self._events, deployment.id, turn.clock.now(), **values)
        return then

    def _not_ready(self, deployment: Deployment, attempts: list[Attempt]) -> dict[str, str]:
        settings = deployment.settings
        mine = [each for each in attempts if each.unit.rsplit("-", 1)[0] == deployment.id]
        if waits := next((each.waits for each in mine if each.waits), ""):
            return {
                "code": "DEVICES_BUSY",
                "message": f"{deployment.service} did not start within {settings.health_timeout_s:.0f} s: it {waits}",
                "hint": "end what holds them, or share one: resources = { gpus = 0.5 } in both",
            }
        asked = f"GET {settings.health} did not answer below 500" if settings.is_web else "load did not finish"
        return {
            "code": "NOT_READY_IN_TIME",
            "message": f"{deployment.service} was not ready within {settings.health_timeout_s:.0f} s: {asked}",
            "hint": f"bough logs {deployment.service}, or raise health_timeout_s",
        }


def _patience_s(deployment: Deployment) -> float:
    """For how long it may start: the engine says why it does not, if it does so a little later."""
    return deployment.settings.health_timeout_s + 5.0


def handler(
    home: Home, platform: Platform, engine: Engine, events: Events, views: Views, models: ModelViews,
    databases: Databases,
) -> Handler:  # fmt: skip
    return Replicas(home, platform, engine, events, views, models, databases).handle


def change(tx: sa.Connection, events: Events, id: str, now: float, **values: object) -> None:
    """Changes a deployment, says so, and wakes who waits for it."""
    store.change(tx, id, now, **values)
    changed = store.get(tx, id)
    if changed is not None:
        data = {"service": changed.service, "state": changed.state, "failure": changed.failure}
        events.emit(tx, CHANGED, changed.id, **data)
        on_deployment_changed(tx, changed)


def build_request(deployment: Deployment) -> BuildRequest:
    settings = deployment.settings
    return BuildRequest(
        service=deployment.service,
        bundle=deployment.bundle,
        model="" if OWN_MODEL in deployment.models else settings.model,
        file=settings.file,
        command=settings.command,
        dockerfile=settings.dockerfile,
        docker=settings.docker,
        requirements=settings.requirements,
        python=settings.python,
        environment=without(settings.env),
        given=sorted(settings.env.keys() - without(settings.env).keys()),
    )


def reference_of(deployment: Deployment, models: Mapping[str, RegisteredModel]) -> str:
    """What a zygote opens: a class, a file of the bundle, or the folder of a registered model."""
    if OWN_MODEL in models:
        return f"file:{models[OWN_MODEL].folder}"
    return deployment.settings.model or f"file:{deployment.settings.file}"


def variable_of(model: str) -> str:
    """Where a process finds the folder of a registered model: `BOUGH_MODEL` for its own, `BOUGH_MODEL_NAME`."""
    return "BOUGH_MODEL" if model == OWN_MODEL else f"BOUGH_MODEL_{model.upper().replace('-', '_')}"


def unit_spec(deployment: Deployment, unit: str, attempt: int, filled: Filled) -> UnitSpec:
    """How one replica runs; `filled` are the variables of its settings, and the models that it loads."""
    settings, build = deployment.settings, deployment.build
    assert build is not None  # noqa: S101 - nothing starts before it is built
    limits = Limits(memory_mb=settings.resources.memory_mb, cpus=settings.resources.cpus)
    if settings.is_web:
        kind, model = "web", None
        health = settings.health if settings.health != "/" else build.health_path or "/"
        argv = build.argv or ["/bin/sh", "-c", build.shell or settings.command]
    else:
        kind, argv, health = "replica", [], ""
        model = ModelSpec(
            reference=reference_of(deployment, filled.models),
            models=filled.models,
            folder=build.workdir,
            loader=settings.loader,
            preload=settings.preload,
            openai=settings.openai or None,
            max_batch=settings.batch.max_size,
            concurrency=settings.concurrency,
            trust=settings.trust,
            sample_per_s=settings.sample_per_s,
            direct=settings.direct,
            on_device=settings.resources.gpus > 0,
        )
    return UnitSpec(
        unit=unit,
        attempt=attempt,
        kind=kind,
        argv=argv,
        model=model,
        python=build.python,
        cwd=build.workdir,
        environment=build.environment | filled.plain,
        secrets=filled.secrets,
        labels=_labels(deployment) | ({rules.DATABASES: filled.databases} if filled.databases else {}),
        wants_port=settings.is_web,
        health_path=health,
        health_timeout_s=settings.health_timeout_s,
        grace_s=settings.grace_s,
        limits=limits,
        gpus=settings.resources.gpus,
    )


def _labels(deployment: Deployment) -> dict[str, str]:
    return {
        "project": deployment.project,
        "environment": deployment.environment,
        "service": deployment.service,
        "deployment": deployment.id,
    }
