"""Carries promotions forward. Each turn looks at what is and does one step, in one transaction.

Nothing is remembered but the row: which step, what was seen in it. So a promotion that waited for days, or whose server
was killed in the middle, goes on in whatever code is there then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from bough.adapters.blobs import Blobs
from bough.adapters.engine import Engine
from bough.environments import store as environments
from bough.environments.models import ENDED as RELEASES_ENDED
from bough.environments.models import Manifest, Release
from bough.gates import store as gates
from bough.gates.models import FAILED as GATES_FAILED
from bough.gates.models import RUNNING as GATES_RUNNING
from bough.gateway.models import GatewayState
from bough.kernel.errors import Forbidden, Problem
from bough.kernel.reconcile import Handler, Turn
from bough.promotions import rules, services, steps, store
from bough.promotions.models import (
    GATING,
    PREPARING,
    ROLLING,
    SHADOWING,
    VERIFYING,
    WAITING,
    Promotion,
    Watch,
)
from bough.registry import store as registry
from bough.registry import trusting
from bough.registry.rules import files_in
from bough.serving import models as deployments
from bough.serving import store as serving

AT_ONCE = 0.0
CHECK_S = 0.25  # while deployments of the candidate come up
GATES_CHECK_S = 5.0  # gates wake their promotion; this guards against a wake that was lost
_CAN_ANSWER = (deployments.READY, deployments.ASLEEP)


class Promotions:
    """The handler."""

    def __init__(
        self, blobs: Blobs, engine: Engine, finishing: steps.Steps, ask: Callable[[], GatewayState | None]
    ) -> None:
        self._blobs, self._engine, self._steps, self._ask = blobs, engine, finishing, ask
        self._turns: Mapping[str, Callable[[Turn, Promotion], float | None]] = {
            GATING: self._gate, WAITING: self._wait, VERIFYING: self._verify, PREPARING: self._prepare,
            SHADOWING: self._watch, ROLLING: self._watch,
        }  # fmt: skip

    def handle(self, turn: Turn) -> float | None:
        """As many steps as can be done now, each with a transaction of its own."""
        while True:
            with turn.read() as tx:
                promotion = store.get(tx, turn.id)
            step = self._turns.get(promotion.state)
            after = step(turn, promotion) if step is not None else None
            if after != AT_ONCE:
                return after

    def _gate(self, turn: Turn, promotion: Promotion) -> float | None:
        with turn.read() as tx:
            run = gates.get(tx, promotion.gate_run)
        if run.state == GATES_RUNNING:
            return GATES_CHECK_S
        with turn.apply(store.stands(promotion)) as tx:
            if run.state == GATES_FAILED:
                failed = [f"{each.gate}: {each.said}" for each in run.results if not each.passed]
                failure = {"code": "GATES_FAILED", "message": "; ".join(failed), "gate_run": run.id}
                self._steps.abort(tx, promotion, failure)
                return None
            self._steps.gated(tx, promotion, run)
        return AT_ONCE

    def _wait(self, turn: Turn, promotion: Promotion) -> float | None:
        """Until enough approvals hold; whoever gives one wakes it."""
        with turn.apply(store.stands(promotion)) as tx:
            given = rules.counting(promotion, store.approvals(tx, promotion.id), turn.clock.now())
            if len(given) < promotion.needed:
                return None
            self._steps.move(tx, promotion, VERIFYING)
        return AT_ONCE

    def _verify(self, turn: Turn, promotion: Promotion) -> float | None:
        """Who signed it, and that its list of files is the one that was signed. Replicas check every byte again."""
        with turn.read() as tx:
            version = registry.by_id(tx, promotion.version)
            try:
                files = files_in(self._blobs.read(version.digest))
                signed = trusting.check(tx, promotion.place, version, files, self._blobs)
                if signed is None and promotion.policy.signed:
                    raise Forbidden(f"{version.reference} is not signed", code="MODEL_NOT_SIGNED",
                                    hint=f"bough models sign {version.reference}")  # fmt: skip
            except Problem as problem:
                failure = msgspec.to_builtins(problem.detail())
                signed = None
            else:
                failure = {}
        with turn.apply(store.stands(promotion)) as tx:
            if failure:
                self._steps.abort(tx, promotion, failure)
                return None
            if self._steps.again_if_outdated(tx, promotion):
                return AT_ONCE
            signer = {"key": signed.key, "signer": signed.signer} if signed is not None else {}
            self._steps.verified(tx, promotion, signer)
        return AT_ONCE

    def _prepare(self, turn: Turn, promotion: Promotion) -> float | None:
        """Makes sure that the candidate's deployments are there, beside those of the live release."""
        state, spent = self._ask(), self._spent(promotion)
        with turn.apply(store.stands(promotion)) as tx:
            live, newest = environments.live(tx, promotion.place), environments.newest(tx, promotion.place)
            if newest is not None and newest[0].state not in RELEASES_ENDED:
                return CHECK_S  # another release is on its way: its end decides what there is to change
            wanted = services.with_version(live[1], promotion.pin) if live is not None else {}
            if live is None or not wanted:
                return self._finish(tx, promotion)
            if promotion.base != live[0].id:
                return self._begin(tx, promotion, live[0], wanted, turn.clock.now())
            champions = _champions(tx, promotion, live[1])
            mine = set(promotion.deployments.values())
            seen = rules.looked(Watch(), state, mine, champions, spent, turn.clock.now())
            return self._came_up(tx, msgspec.structs.replace(promotion, watch=seen))

    def _begin(self, tx: sa.Connection, promotion: Promotion, live: Release, wanted: Any, now: float) -> float:
        for name, service in wanted.items():
            serving.ensure(tx, live, name, service, now)
        found = {name: serving.of_service(tx, promotion.place, name, each.digest) for name, each in wanted.items()}
        ids = {name: each.id for name, each in found.items() if each is not None}
        promotion = store.change(tx, promotion.id, now, base=live.id, deployments=ids, step=0, watch=Watch())
        self._steps.divide(tx, promotion, 0.0)
        return CHECK_S

    def _came_up(self, tx: sa.Connection, promotion: Promotion) -> float | None:
        """What the deployments have answered before the first step does not count for it."""
        if (failure := _broken(tx, promotion)) is not None:
            self._steps.abort(tx, promotion, failure)
            return None
        if not all(each is not None and each.state in _CAN_ANSWER for each in _deployments(tx, promotion)):
            return CHECK_S
        if promotion.policy.shadow_s:
            self._steps.step(tx, promotion, SHADOWING, 0)
            return rules.LOOK_S
        return self._next(tx, promotion, 0)

    def _watch(self, turn: Turn, promotion: Promotion) -> float | None:
        state, spent, now = self._ask(), self._spent(promotion), turn.clock.now()
        policy, shadowing = promotion.policy, promotion.state == SHADOWING
        with turn.apply(store.stands(promotion)) as tx:
            live = environments.live(tx, promotion.place)
            if live is None or live[0].id != promotion.base:
                self._steps.move(tx, promotion, PREPARING)  # another release serves: begin again beside that one
                return AT_ONCE
            mine, champions = set(promotion.deployments.values()), _champions(tx, promotion, live[1])
            watch = rules.looked(promotion.watch, state, mine, champions, spent, now)
            failure = rules.beyond(policy, watch) or _broken(tx, promotion)
            promotion = store.change(tx, promotion.id, now, watch=watch)
            if failure:
                self._steps.abort(tx, promotion, failure)
                return None
            if watch.watched_s < (policy.shadow_s if shadowing else policy.watch_s):
                return rules.LOOK_S
            return self._next(tx, promotion, 0 if shadowing else promotion.step + 1)

    def _next(self, tx: sa.Connection, promotion: Promotion, step: int) -> float | None:
        policy = promotion.policy
        if not policy.watch_s or step >= len(policy.steps):
            return self._finish(tx, promotion)
        self._steps.step(tx, promotion, ROLLING, step)
        return rules.LOOK_S

    def _finish(self, tx: sa.Connection, promotion: Promotion) -> float | None:
        if self._steps.again_if_outdated(tx, promotion):
            return AT_ONCE
        self._steps.finish(tx, promotion)
        return None

    def _spent(self, promotion: Promotion) -> dict[str, float]:
        """Processor seconds of deployments; empty where nobody asks for them."""
        spent: dict[str, float] = {}
        for attempt, usage in (self._engine.usage() if promotion.policy.max_cost_ratio else {}).items():
            deployment = attempt.partition("/")[0].rpartition("-")[0]
            spent[deployment] = spent.get(deployment, 0.0) + usage.cpu_s
        return spent


def handler(blobs: Blobs, engine: Engine, made: steps.Steps, ask: Callable[[], GatewayState | None]) -> Handler:
    return Promotions(blobs, engine, made, ask).handle


def _deployments(tx: sa.Connection, promotion: Promotion) -> list[deployments.Deployment | None]:
    return [serving.get(tx, each) for each in promotion.deployments.values()]


def _broken(tx: sa.Connection, promotion: Promotion) -> dict[str, Any] | None:
    """Why the candidate cannot be served, if it cannot."""
    for service, id in promotion.deployments.items():
        found = serving.get(tx, id)
        if found is None or found.state in (deployments.FAILED, deployments.STOPPED):
            return {"code": "CANDIDATE_FAILED", "service": service, **(found.failure if found is not None else {})}
        if found.crashes >= rules.CRASHES:
            message = f"replicas of {service} with the candidate ended {found.crashes} times"
            return {"code": "CANDIDATE_CRASHES", "service": service, "message": message}
    return None


def _champions(tx: sa.Connection, promotion: Promotion, live: Manifest) -> set[str]:
    found = (
        serving.of_service(tx, promotion.place, name, live.services[name].digest)
        for name in promotion.deployments
        if name in live.services
    )
    return {each.id for each in found if each is not None}
