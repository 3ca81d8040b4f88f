"""What a promotion does, one transaction each: whoever calls holds it, and everything here is part of it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from bough.environments import rules as release_rules
from bough.environments import store as environments
from bough.gates import rules as gate_rules
from bough.gates import store as gates
from bough.gates.models import GateRun
from bough.kernel.clock import Clock
from bough.kernel.context import SYSTEM, Context, Parts, Principal, Role
from bough.kernel.events import Events
from bough.kernel.operations import Store
from bough.promotions import rules, services, store
from bough.promotions.models import (
    ABORTED,
    CHAMPION,
    DONE,
    GATING,
    PREPARING,
    ROLLING,
    SHADOWING,
    WAITING,
    Promotion,
)
from bough.registry import store as registry
from bough.registry import writing
from bough.registry.models import Version
from bough.serving import rollout
from bough.serving import store as serving
from bough.serving.models import Share


class Steps:
    def __init__(self, events: Events, clock: Clock, kept: Store) -> None:
        self._events, self._clock, self._kept = events, clock, kept

    def move(self, tx: sa.Connection, promotion: Promotion, state: str, **values: Any) -> Promotion:
        return store.change(tx, promotion.id, self._clock.now(), state=state, **values)

    def gated(self, tx: sa.Connection, promotion: Promotion, run: GateRun) -> None:
        """Its gates have passed: from here on approvals count."""
        evidence = gate_rules.summary(run.results)
        self.move(tx, promotion, WAITING, evidence=evidence)
        self._say(tx, promotion, "gated", evidence=evidence, gates={each.gate: each.evidence for each in run.results},
                  gate_run=run.id)  # fmt: skip

    def again_if_outdated(self, tx: sa.Connection, promotion: Promotion) -> bool:
        """Gates that were declared anew, or a champion that moved, ask for another gate run; approvals given for the
        old evidence do not count for the new."""
        wanted = gates.policy_of(tx, promotion.place, promotion.name).gates
        champion = self._champion(tx, promotion)
        number = champion.number if champion is not None else 0
        held = gates.get(tx, promotion.gate_run) if promotion.gate_run else None
        same = held.policy == gate_rules.policy_digest(wanted) if held is not None else wanted.empty
        if same and number == promotion.before:
            return False
        now = self._clock.now()
        version = registry.by_id(tx, promotion.version)
        run = "" if wanted.empty else gates.add(
            tx, promotion.place, version, champion, wanted, by=promotion.by, now=now
        ).id  # fmt: skip
        state = WAITING if wanted.empty else GATING
        evidence = gate_rules.summary([]) if wanted.empty else ""
        why = "the champion moved" if same else "the gates were declared anew"
        self._undivide(tx, promotion)
        anew: dict[str, Any] = {"gate_run": run, "evidence": evidence, "before": number, "base": "", "deployments": {}}
        changed = self.move(tx, promotion, state, **anew)
        self._say(tx, changed, "outdated", why=why)
        return True

    def verified(self, tx: sa.Connection, promotion: Promotion, signer: dict[str, str]) -> None:
        self.move(tx, promotion, PREPARING)
        self._say(tx, promotion, "verified", signer=signer)

    def step(self, tx: sa.Connection, promotion: Promotion, state: str, step: int) -> None:
        """Gives the candidate its share, or copies, and begins to watch."""
        percent = promotion.policy.steps[step] if state == ROLLING else 0.0
        last = rules.figures(promotion.watch) if promotion.watch.watched_s else {}
        promotion = self.move(tx, promotion, state, step=step, watch=rules.begun(promotion.watch))
        self.divide(tx, promotion, percent)
        self._say(tx, promotion, "step", percent=percent, copies=state == SHADOWING, before_it=last)

    def divide(self, tx: sa.Connection, promotion: Promotion, percent: float) -> None:
        copies = promotion.state == SHADOWING
        shares = [
            Share(deployment=id, service=service, name=promotion.label, percent=percent, copies=copies,
                  sticky=promotion.policy.sticky)
            for service, id in promotion.deployments.items()
        ]  # fmt: skip
        serving.divide(tx, promotion.place, promotion.deployments, shares)
        self._events.emit(tx, serving.DIVIDED, promotion.id)

    def finish(self, tx: sa.Connection, promotion: Promotion) -> None:
        """The champion is another one from here on: alias, release, shares and ledger change together."""
        now, context = self._clock.now(), self._context(tx, promotion)
        version = registry.by_id(tx, promotion.version)
        approvals = rules.counting(promotion, store.approvals(tx, promotion.id), now)
        done = self.move(tx, promotion, DONE)
        source = promotion.project, promotion.source
        writing.adopt(context, promotion.place, promotion.name, promotion.number, source)
        why = promotion.why or f"promoted ({promotion.id})"
        writing.set_alias(context, promotion.place, promotion.name, CHAMPION, promotion.number, why)
        release = self._release(tx, promotion, now)
        gate_run = gates.get(tx, promotion.gate_run) if promotion.gate_run else None
        results = gate_run.results if gate_run is not None else []
        self._say(
            tx, done, "done", evidence=promotion.evidence, before=promotion.before, release=release,
            gates={each.gate: each.evidence for each in results}, run=version.facts.run,
            approved=[{"by": each.by, "at": each.at} for each in approvals],
            last_step=rules.figures(promotion.watch) if promotion.watch.looked_at else {},
        )  # fmt: skip

    def abort(self, tx: sa.Connection, promotion: Promotion, failure: dict[str, Any], by: str = "") -> None:
        """What served before serves all of it again."""
        self._undivide(tx, promotion)
        aborted = self.move(tx, promotion, ABORTED, failure=failure)
        self._say(tx, aborted, "aborted", why=str(failure.get("message", "")), by=by or promotion.by, failure=failure)

    def _release(self, tx: sa.Connection, promotion: Promotion, now: float) -> int:
        """A release that pins the new version, live at once: its deployments answer already. 0: no service uses it."""
        live = environments.live(tx, promotion.place)
        self._undivide(tx, promotion, keep=True)
        if live is None or not promotion.deployments:
            return 0
        wanted = services.with_version(live[1], promotion.pin)
        manifest = services.changed(live[1], wanted)
        made = environments.add_release(
            tx, promotion.place, manifest, release_rules.digest(manifest), by=promotion.by, now=now,
            message=f"{promotion.name}/{promotion.number} promoted", commit=live[0].commit,
        )  # fmt: skip
        for name, service in wanted.items():
            serving.ensure(tx, made, name, service, now)
        environments.set_live(tx, made, now)
        rollout.release_unused(tx, promotion.place, now)
        self._events.emit(tx, "release.live", made.id, number=made.number, seconds=0.0)
        return made.number

    def _undivide(self, tx: sa.Connection, promotion: Promotion, *, keep: bool = False) -> None:
        if promotion.deployments:
            serving.divide(tx, promotion.place, promotion.deployments, [])
            self._events.emit(tx, serving.DIVIDED, promotion.id)
            if not keep:
                rollout.release_unused(tx, promotion.place, self._clock.now())

    def _champion(self, tx: sa.Connection, promotion: Promotion) -> Version | None:
        number = registry.aliases(tx, promotion.place, promotion.name).get(CHAMPION)
        return registry.version(tx, promotion.place, promotion.name, number) if number else None

    def _context(self, tx: sa.Connection, promotion: Promotion) -> Context:
        """Acts for who asked, with the right that the approvals have given."""
        who = Principal(id=SYSTEM.id, name=promotion.by, role=Role.ADMIN)
        return Context(who, tx, self._clock, self._events, Parts({}), self._kept)

    def _say(self, tx: sa.Connection, promotion: Promotion, what: str, **data: Any) -> None:
        said = {
            "project": promotion.project, "environment": promotion.environment, "by": promotion.by,
            "why": promotion.why, "name": promotion.name, "version": promotion.number, "digest": promotion.digest,
        }  # fmt: skip
        self._events.emit(tx, f"promotion.{what}", promotion.id, **said | data)
