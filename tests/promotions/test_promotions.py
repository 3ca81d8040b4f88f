"""From a candidate to a champion: gates, approvals, traffic step by step, and back."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bough.adapters.engine.fake import Behaviour
from bough.kernel.errors import Conflict, Forbidden
from bough.kernel.reconcile import wake
from tests.plane import ADMIN

from .conftest import ANN, BOB, EVE, SERVICE, STEPS, Shop

GATES = "\n[models.churn.gates.metrics.auc]\nmin = 0.8\nworse = 0.01\n"
PROMOTION = "\n[models.churn.promotion]\n"


def test_a_promotion_without_services_moves_the_alias_and_says_why(shop: Shop) -> None:
    shop.register(
        "one", metrics={"auc": 0.9}, inputs=[{"kind": "table", "name": "orders", "version": "#1"}], run="run_1"
    )
    made = shop.promote(why="better on June")
    shop.plane.let_pass(0.1)
    assert shop.show(made).state == "done" and shop.champion() == 1
    then = shop.plane.call("audit.at", project="shop", time="0s").models[0]
    assert (then.name, then.version, then.why, then.run) == ("churn", 1, "better on June", "run_1")
    assert then.trained_on == [{"kind": "table", "name": "orders", "version": "#1"}]
    assert then.promotion == made.id and then.digest == made.digest


def test_promotion_without_traffic_steps_takes_less_than_300_ms(shop: Shop) -> None:
    """The best of three, and without what others had of the machine meanwhile."""
    shop.first(GATES, service="")
    spent = []
    for number in (2, 3, 4):
        shop.register(str(number), metrics={"auc": 0.95})
        began = time.process_time()
        shop.promote()
        shop.plane.bough.loop.run_until_idle()
        spent.append(time.process_time() - began)
        assert shop.champion() == number
    assert min(spent) < 0.3, spent


def test_steps_are_watched_and_the_new_version_takes_over(shop: Shop) -> None:
    live = shop.first(PROMOTION + STEPS)
    shop.register("two")
    made = shop.promote()
    seen: list[float] = []
    for _ in range(45):
        shop.plane.let_pass(1)
        if (now := shop.show(made)).state == "rolling" and shop.route().variants:
            (variant,) = shop.route().variants
            assert variant.name == "v2" and variant.deployment == now.deployments["churn"]
            seen += [variant.percent] if variant.percent not in seen else []
            assert shop.champion() == 1 and shop.pinned() == 1
            shop.answered(variant.deployment, 20)
    assert shop.show(made).state == "done" and seen == [5, 25, 100]
    assert shop.champion() == 2 and shop.pinned() == 2
    assert shop.live().release.number == live.number + 1
    assert shop.route().variants == [] and shop.route().deployment == made_deployment(shop, made)
    assert [each.action for each in shop.ledger()] == [
        *("promotion.started", "promotion.verified"), *["promotion.step"] * 3, "promotion.done",
    ]  # fmt: skip
    assert [each.evidence["percent"] for each in shop.ledger("promotion.step")] == [5, 25, 100]
    assert shop.ledger("promotion.step")[1].evidence["before_it"]["candidate"]["requests"] > 0
    shop.plane.call("audit.verify")


def made_deployment(shop: Shop, made: Any) -> str:
    found: str = shop.show(made).deployments["churn"]
    return found


@pytest.mark.parametrize(
    ("how", "code"),
    [({"errors": 5}, "BEYOND_ERRORS"), ({"seconds": 0.5}, "BEYOND_LATENCY"), ({}, "")],
    ids=["errors", "latency", "well"],
)
def test_a_step_beyond_its_bounds_ends_the_promotion_and_the_champion_serves_all(
    shop: Shop, how: dict[str, Any], code: str
) -> None:
    shop.first(PROMOTION + STEPS)
    before = shop.route().deployment
    shop.answered(before, 1000, errors=900, seconds=9.0)  # long ago: not of this step
    shop.register("two")
    made = shop.promote()
    while shop.show(made).state != "rolling":
        shop.plane.let_pass(1)
    candidate = shop.show(made).deployments["churn"]
    shop.plane.let_pass(2)
    shop.answered(before, 100)
    shop.answered(candidate, 20, **how)
    shop.plane.let_pass(2)
    found = shop.show(made)
    assert found.failure.get("code", "") == code and found.state == ("aborted" if code else "rolling")
    if code:
        shop.plane.let_pass(5)
        assert shop.route().deployment == before and shop.route().variants == []
        assert shop.champion() == 1 and shop.pinned() == 1
        assert not [unit for unit in shop.plane.running() if unit.startswith(candidate)], "its replicas have stopped"
        assert shop.ledger()[-1].action == "promotion.aborted"
        assert shop.ledger()[-1].evidence["failure"]["candidate"]["requests"] == 20


@pytest.mark.parametrize("state", ["gating", "waiting", "verifying", "preparing", "shadowing", "rolling"])
def test_what_was_ended_at_any_moment_stays_ended_and_gets_no_request(shop: Shop, state: str) -> None:
    """Its loop has looked at it before, and must not write over what was decided since."""
    shop.first(GATES + PROMOTION + STEPS)
    shop.register("two", metrics={"auc": 0.95})
    made = shop.promote(shadow=3)

    def ends() -> bool:
        found, enough_s = shop.show(made), {"shadowing": 2.0, "rolling": 9.0}.get(state, 0.0)
        if found.state != state or found.watch.watched_s < enough_s:  # its next look is the last one of the step
            return False
        shop.plane.call("promotions.abort", id=made.id, by=BOB, why="we know better")
        return True

    shop.plane.before_writing("promotion", ends)
    for _ in range(30):
        shop.plane.let_pass(1)
        now = shop.show(made)
        if now.deployments and now.state in ("shadowing", "rolling"):
            shop.answered(now.deployments["churn"], 20)
    now = shop.show(made)
    assert (now.state, now.failure["message"]) == ("aborted", "we know better")
    assert shop.champion() == 1 and shop.pinned() == 1 and shop.route().variants == []
    assert len(shop.plane.running()) == 1


def test_a_release_that_goes_live_while_the_last_step_ends_is_what_the_candidate_is_put_beside(shop: Shop) -> None:
    shop.first(PROMOTION + "steps = [100]\nwatch_s = 10\nmin_requests = 10\n")
    shop.register("two")
    made = shop.promote()
    while shop.show(made).state != "rolling":
        shop.plane.let_pass(1)
    shop.answered(shop.show(made).deployments["churn"], 20)
    shop.plane.let_pass(9)
    assert shop.show(made).state == "rolling"
    shop.plane.before_writing("promotion", lambda: shop.deploy(PROMOTION + STEPS, content="new code"))
    shop.plane.let_pass(2)
    assert shop.show(made).state in ("preparing", "rolling") and shop.champion() == 1


def test_the_timeline_says_what_each_version_answered_in_each_stage(shop: Shop) -> None:
    shop.first(PROMOTION + STEPS)
    shop.register("two", metrics={"auc": 0.93})
    made = shop.promote(shadow=3)
    asked = 0
    while shop.show(made).state != "done":
        shop.plane.let_pass(1)
        now = shop.show(made)
        if now.state == "rolling":
            shop.answered(now.deployments["churn"], 20, seconds=0.004)
            asked += 20
            lasts = shop.plane.call("promotions.timeline", id=made.id).stages[-1]
            assert (lasts.state, lasts.ended_at) == ("rolling", 0.0)
            assert lasts.percent == now.policy.steps[now.step]
    found = shop.plane.call("promotions.timeline", id=made.id)
    states = [(each.state, each.percent) for each in found.stages]
    assert states == [
        *(("waiting", 0.0), ("verifying", 0.0), ("preparing", 0.0), ("shadowing", 0.0)),
        *(("rolling", 5.0), ("rolling", 25.0), ("rolling", 100.0), ("done", 100.0)),
    ]  # fmt: skip
    assert all(one.ended_at == other.began_at for one, other in zip(found.stages, found.stages[1:], strict=False))
    rolled = [each for each in found.stages if each.state == "rolling"]
    assert all(each.watched_s >= 10 and each.candidate.requests > 0 for each in rolled)
    candidate, champion = found.versions
    assert (candidate.number, candidate.percent, candidate.metrics) == (2, 100.0, {"auc": 0.93})
    assert (champion.number, champion.percent) == (1, 0.0)
    assert candidate.answered.requests == sum(each.candidate.requests for each in found.stages) <= asked
    assert candidate.answered.p95_ms == 5.0, "the end of the class in which 4 ms lie"


def test_the_timeline_of_a_promotion_that_was_ended_says_why_and_what_was_seen(shop: Shop) -> None:
    shop.first(PROMOTION + STEPS)
    shop.register("two")
    made = shop.promote()
    while shop.show(made).state != "rolling":
        shop.plane.let_pass(1)
    shop.answered(shop.show(made).deployments["churn"], 20, errors=5)
    shop.plane.let_pass(2)
    found = shop.plane.call("promotions.timeline", id=made.id)
    assert [each.state for each in found.stages][-2:] == ["rolling", "aborted"]
    assert (found.stages[-2].candidate.errors, found.stages[-2].candidate.error_rate) == (5, 0.25)
    assert found.why == shop.show(made).failure["message"] and found.versions[0].percent == 0.0


def test_shadow_first_sends_copies_and_no_share(shop: Shop) -> None:
    shop.first(PROMOTION + STEPS)
    shop.register("two")
    made = shop.promote(shadow=5)
    while shop.show(made).state != "shadowing":
        shop.plane.let_pass(1)
    shop.plane.let_pass(0.2)
    (variant,) = shop.route().variants
    assert variant.copies and variant.percent == 0
    shop.answered(variant.deployment, 50, errors=20)
    shop.plane.let_pass(3)
    assert shop.show(made).state == "aborted" and shop.show(made).failure["code"] == "BEYOND_ERRORS"


def test_a_web_service_gets_copies_as_well(shop: Shop) -> None:
    web = '[services.churn]\ncommand = "run"\nmodels = { weights = "models:/churn@champion" }\n'
    shop.first(PROMOTION + STEPS, service=web)
    shop.register("two")
    made = shop.promote(shadow=5)
    while shop.show(made).state != "shadowing":
        shop.plane.let_pass(1)
    shop.plane.let_pass(0.2)
    assert shop.route().kind == "web"
    assert [(each.copies, each.percent) for each in shop.route().variants] == [(True, 0)]


def test_a_candidate_that_does_not_start_changes_nothing(shop: Shop) -> None:
    shop.first(PROMOTION + STEPS)
    shop.register("two")
    shop.plane.behaviour["churn"] = Behaviour(ready_after_s=None, exit_after_s=0.1, code=1)
    made = shop.promote()
    shop.plane.let_pass(20)
    assert shop.show(made).state == "aborted" and shop.show(made).failure["code"], shop.show(made)
    assert shop.champion() == 1 and shop.route().variants == []


# --- gates


def test_a_failing_threshold_blocks_promote(shop: Shop) -> None:
    shop.first(GATES)
    shop.register("two", metrics={"auc": 0.7})
    made = shop.promote()
    shop.plane.let_pass(1)
    found = shop.show(made)
    assert found.state == "aborted" and found.failure["code"] == "GATES_FAILED"
    assert "below 0.8" in found.failure["message"] and "worse than the champion's 0.9" in found.failure["message"]
    assert shop.champion() == 1
    run = shop.plane.call("gates.show", id=found.gate_run)
    evidence = shop.plane.bough.blobs.read(run.results[0].evidence).decode()
    assert found.digest in evidence and '"value":0.7' in evidence


def test_a_gate_waits_for_its_replicas_as_long_as_has_passed_whoever_sets_the_clock(shop: Shop) -> None:
    shop.first("\n[models.churn.gates.load]\nrequests = 10\n", service=SERVICE + "health_timeout_s = 5\n")
    shop.register("two")
    never = Behaviour(ready_after_s=None)
    shop.plane.engine.script_by(lambda spec: never if spec.unit.endswith("-candidate") else None)
    made = shop.plane.call("gates.run", project="shop", model="churn@candidate")
    shop.plane.let_pass(3)
    shop.plane.set_clock(3 * 86_400.0)
    shop.plane.let_pass(3)
    assert shop.plane.call("gates.show", id=made.id).state == "running"
    shop.plane.let_pass(65)
    [result] = shop.plane.call("gates.show", id=made.id).results
    assert "did not come up" in result.said


def test_a_deploy_from_a_laptop_past_the_gates_is_refused(shop: Shop) -> None:
    shop.first(GATES)
    shop.register("two", metrics={"auc": 0.7})
    fixed = '[services.churn]\nmodel = "service:Churn"\nmodels = { weights = "models:/churn/2" }\n'
    with pytest.raises(Forbidden) as caught:
        shop.deploy(GATES, service=fixed)
    assert caught.value.own_code == "GATES_NOT_PASSED"
    assert caught.value.hint == "bough gates run churn/2 -e main, or bough promote churn/2 --to main"
    with pytest.raises(Forbidden, match="has not passed the gates"):  # nor without the gates in the file
        shop.deploy("", service=fixed)
    with pytest.raises(Forbidden, match="has not passed the gates"):  # nor by moving the alias by hand
        shop.plane.call("models.alias", project="shop", name="churn", alias="champion", version=2)
    assert shop.champion() == 1 and shop.pinned() == 1
    shop.register("three", metrics={"auc": 0.95})
    shop.plane.call("gates.run", project="shop", model="churn@candidate")
    shop.plane.let_pass(1)
    assert shop.deploy(GATES, service=fixed.replace("churn/2", "churn/3")).state == "live"


def test_a_preview_is_held_to_what_production_asks_of_previews_whatever_its_own_file_says(shop: Shop) -> None:
    """Lighter than production, and not to be lowered by a pull request."""
    light = "[models.churn.previews.gates.metrics.auc]\nmin = 0.5\n"
    shop.first(GATES + light)
    numbers = [shop.register(each, metrics={"auc": auc}).number for each, auc in (("bad", 0.4), ("fair", 0.6))]
    shop.plane.call("environments.create", project="shop", branch="trial")

    def deploy(number: int, environment: str, policy: str = "") -> Any:
        pinned = f'[services.churn]\nmodel = "service:Churn"\nmodels = {{ weights = "models:/churn/{number}" }}\n'
        return shop.plane.deploy(f'name = "shop"\n{pinned}{policy}', environment=environment)

    def run(number: int, environment: str) -> str:
        made = shop.plane.call("gates.run", project="shop", model=f"churn/{number}", environment=environment)
        shop.plane.let_pass(1)
        return str(shop.plane.call("gates.show", id=made.id).state)

    for _ in range(2):  # a release without gates of its own does not lower them for the next
        with pytest.raises(Forbidden) as refused:
            deploy(numbers[0], "trial")
        assert refused.value.own_code == "GATES_NOT_PASSED" and "-e trial" in str(refused.value.hint)
        assert deploy(1, "trial").state == "live", "what production runs may run here"
    assert run(numbers[0], "trial") == "failed"
    with pytest.raises(Forbidden):
        shop.plane.call("models.alias", project="shop", environment="trial", name="churn", alias="champion",
                        version=numbers[0])  # fmt: skip
    assert run(numbers[1], "trial") == "passed"
    assert deploy(numbers[1], "trial").state == "live", "lighter gates are enough"
    assert run(numbers[1], "main") == "failed"
    with pytest.raises(Forbidden, match="of shop/main"):
        deploy(numbers[1], "main", GATES + light)


def test_a_preview_asks_for_as_many_approvals_as_production_says(shop: Shop) -> None:
    shop.first("[models.churn.previews]\napprovals = 1\n")
    two = shop.register("two").number
    shop.plane.call("environments.create", project="shop", branch="trial")
    alias = {"project": "shop", "environment": "trial", "name": "churn", "alias": "champion", "version": two}
    with pytest.raises(Forbidden) as refused:
        shop.plane.call("models.alias", **alias)
    assert refused.value.own_code == "PROMOTION_NEEDED"
    made = shop.promote(f"churn/{two}", to="trial", by=BOB)
    shop.plane.let_pass(2)
    assert shop.show(made).state == "waiting"
    with pytest.raises(Forbidden):  # four eyes
        shop.plane.call("promotions.approve", by=BOB, id=made.id)
    shop.plane.call("promotions.approve", by=EVE, id=made.id)
    shop.plane.let_pass(5)
    assert shop.show(made).state == "done"


def test_previews_are_free_where_production_says_nothing_of_them(shop: Shop) -> None:
    shop.first(GATES)
    two = shop.register("two", metrics={"auc": 0.1}).number
    shop.plane.call("environments.create", project="shop", branch="trial")
    shop.plane.call("models.alias", project="shop", environment="trial", name="churn", alias="champion", version=two)


# --- approvals


def test_two_of_three_approvals_by_others_let_it_through(shop: Shop) -> None:
    shop.first(PROMOTION + 'approvals = 2\napprovers = ["bob", "eve", "ann"]\n')
    shop.register("two", by=ADMIN)
    made = shop.promote(by=ANN)
    shop.plane.let_pass(1)
    assert shop.show(made).state == "waiting"
    with pytest.raises(Forbidden) as caught:
        shop.plane.call("promotions.approve", by=ANN, id=made.id)
    assert caught.value.own_code == "ROLE_MISSING", "a developer has not the role"
    shop.plane.call("promotions.approve", by=BOB, id=made.id)
    shop.plane.call("promotions.approve", by=BOB, id=made.id)
    shop.plane.let_pass(1)
    assert shop.show(made).state == "waiting", "one person counts once"
    assert shop.plane.call("promotions.approve", by=EVE, id=made.id, why="looked at it").counting == 2
    shop.plane.let_pass(5)
    assert shop.show(made).state == "done" and shop.champion() == 2
    approved = shop.plane.call("audit.at", project="shop", time="0s").models[0].approved
    assert [(each.by, each.why) for each in approved if each.by == "eve"] == [("eve", "looked at it")]


@pytest.mark.parametrize("own", ["asked", "registered"])
def test_nobody_approves_their_own(shop: Shop, own: str) -> None:
    shop.first(PROMOTION + "approvals = 1\n")
    shop.register("two", by=BOB if own == "registered" else ANN)
    made = shop.promote(by=BOB if own == "asked" else ANN)
    shop.plane.let_pass(1)
    with pytest.raises(Forbidden) as caught:
        shop.plane.call("promotions.approve", by=BOB, id=made.id)
    assert caught.value.own_code == "APPROVAL_REFUSED"
    shop.plane.let_pass(2)
    assert shop.show(made).state == "waiting" and shop.champion() == 1


def test_an_approval_of_another_digest_is_refused(shop: Shop) -> None:
    shop.first(PROMOTION + "approvals = 1\n")
    shop.register("two")
    made = shop.promote()
    shop.plane.let_pass(1)
    with pytest.raises(Conflict) as caught:
        shop.plane.call("promotions.approve", by=BOB, id=made.id, digest="0" * 64)
    assert caught.value.own_code == "APPROVAL_OF_ANOTHER"
    shop.plane.call("promotions.approve", by=BOB, id=made.id, digest=made.digest)


def test_an_approval_expires(shop: Shop) -> None:
    shop.first(PROMOTION + "approvals = 2\nexpire_h = 24\n")
    shop.register("two")
    made = shop.promote()
    shop.plane.let_pass(1)
    shop.plane.call("promotions.approve", by=BOB, id=made.id)
    shop.plane.clock.advance(25 * 3600)
    assert shop.plane.call("promotions.approve", by=EVE, id=made.id).counting == 1
    shop.plane.let_pass(2)
    assert shop.show(made).state == "waiting"
    shop.plane.call("promotions.approve", by=BOB, id=made.id)
    shop.plane.let_pass(5)
    assert shop.show(made).state == "done"


def test_approvals_do_not_count_for_other_evidence(shop: Shop) -> None:
    """Approved, and then stricter gates are deployed: they run first, and are approved again."""
    shop.first(GATES + PROMOTION + "approvals = 2\n")
    shop.register("two", metrics={"auc": 0.95})
    made = shop.promote()
    shop.plane.let_pass(1)
    shop.plane.call("promotions.approve", by=BOB, id=made.id)
    stricter = GATES.replace("0.8", "0.85") + PROMOTION + "approvals = 2\n"
    assert shop.deploy(stricter).state == "live"
    shop.plane.call("promotions.approve", by=EVE, id=made.id)
    shop.plane.let_pass(3)
    found = shop.plane.call("promotions.show", id=made.id)
    assert found.promotion.state == "waiting" and found.counting == 0
    assert "promotion.outdated" in [each.action for each in shop.ledger()]
    for who in (BOB, EVE):
        shop.plane.call("promotions.approve", by=who, id=made.id)
    shop.plane.let_pass(5)
    assert shop.show(made).state == "done"


def test_a_champion_that_moved_meanwhile_is_compared_with_anew(shop: Shop) -> None:
    shop.first(GATES + PROMOTION + "approvals = 1\n")
    shop.register("two", metrics={"auc": 0.9})
    made = shop.promote()
    shop.plane.let_pass(1)
    better = shop.register("three", metrics={"auc": 0.99})
    second = None
    with pytest.raises(Conflict) as caught:
        second = shop.promote(f"churn/{better.number}", by=EVE)
    assert caught.value.own_code == "PROMOTION_UNDER_WAY" and second is None
    shop.plane.call("promotions.abort", by=BOB, id=made.id, why="a better one came")
    other = shop.promote(f"churn/{better.number}")
    shop.plane.let_pass(1)
    shop.plane.call("promotions.approve", by=BOB, id=other.id)
    shop.plane.let_pass(5)
    assert shop.champion() == 3
    again = shop.promote("churn/2")
    shop.plane.let_pass(1)
    assert (
        shop.show(again).state == "aborted" and "worse than the champion's 0.99" in shop.show(again).failure["message"]
    )


def test_only_its_owner_or_an_approver_aborts(shop: Shop) -> None:
    shop.first(PROMOTION + "approvals = 1\n")
    shop.register("two")
    made = shop.promote(by=BOB)
    with pytest.raises(Forbidden, match="began this promotion"):
        shop.plane.call("promotions.abort", by=ANN, id=made.id)
    shop.plane.call("promotions.abort", by=EVE, id=made.id)
    with pytest.raises(Conflict, match="aborted"):
        shop.plane.call("promotions.approve", by=EVE, id=made.id)


# --- clocks, deploys and rollbacks in between


@pytest.mark.parametrize("jump_s", [86_400.0, -86_400.0])
def test_a_clock_jump_neither_shortens_a_step_nor_stops_it(shop: Shop, jump_s: float) -> None:
    shop.first(PROMOTION + STEPS)
    shop.register("two")
    made = shop.promote()
    while shop.show(made).watch.watched_s < 1:  # two looks at the first step, whenever it began
        shop.plane.let_pass(0.1)
    assert shop.show(made).state == "rolling"
    shop.plane.clock.advance(jump_s)
    if jump_s < 0:  # the loop's own due times lie in the future now, until somebody calls
        with shop.plane.bough.database.write() as tx:
            wake(tx, "promotion", made.id)
    shop.plane.let_pass(2)
    assert shop.show(made).step == 0, "the step is not over because a clock says so"
    assert 2 <= shop.show(made).watch.watched_s <= 8


def test_a_deploy_in_the_middle_begins_the_steps_anew_beside_the_new_release(shop: Shop) -> None:
    shop.first(PROMOTION + STEPS)
    shop.register("two")
    made = shop.promote()
    while shop.show(made).step < 1:
        shop.plane.let_pass(1)
    before = shop.show(made).deployments["churn"]
    assert shop.deploy(PROMOTION + STEPS, content="new code").state == "live"
    shop.plane.let_pass(3)
    now = shop.show(made)
    assert now.state == "rolling" and now.step == 0 and now.deployments["churn"] != before
    shop.plane.let_pass(40)
    assert shop.show(made).state == "done" and shop.pinned() == 2


def test_a_rollback_takes_model_code_and_settings_back_together_and_the_manifest_is_the_same(shop: Shop) -> None:
    shop.plane.call("secrets.set", project="shop", values={"TOKEN": "one"}, deploy=False)
    secret = 'env = { TOKEN = "${secrets.TOKEN}" }\n'
    with_secret = SERVICE_WITH.format(secret=secret)
    first = shop.first(GATES, service=with_secret)  # its version came before there were gates
    manifest = shop.live().manifest
    shop.register("two", metrics={"auc": 0.95})
    made = shop.promote()
    shop.plane.let_pass(5)
    assert shop.show(made).state == "done" and shop.champion() == 2
    shop.plane.call("secrets.set", project="shop", values={"TOKEN": "two"})
    shop.plane.let_pass(3)
    shop.deploy(GATES, service=with_secret.replace("replicas = 1", "replicas = 2"), content="new code")
    assert shop.pinned() == 2
    shop.plane.call("releases.rollback", project="shop", to=first.number)
    shop.plane.let_pass(5)
    now = shop.live()
    assert now.release.digest == first.digest and now.manifest == manifest
    assert now.release.rolled_back_to == first.number
    assert shop.champion() == 1 and shop.pinned() == 1, "the alias went back with it"
    moved = shop.ledger("model.alias_set")[-1]
    assert (moved.by, moved.why) == ("admin", f"rolled back to release {first.number}")


def test_what_a_rollback_took_back_comes_again_by_a_promotion_alone(shop: Shop) -> None:
    """Else one person could put back what two have approved before it failed."""
    shop.first(PROMOTION + "approvals = 1\n")
    shop.register("two", by=ADMIN)
    made = shop.promote(by=ANN)
    shop.plane.let_pass(1)
    shop.plane.call("promotions.approve", by=BOB, id=made.id)
    shop.plane.let_pass(5)
    assert shop.champion() == 2
    alias = {"project": "shop", "name": "churn", "alias": "champion", "version": 2}
    shop.plane.call("models.alias", **alias)  # it serves
    shop.plane.call("releases.rollback", project="shop")
    shop.plane.let_pass(5)
    assert shop.champion() == 1
    with pytest.raises(Forbidden) as refused:
        shop.plane.call("models.alias", by=ANN, **alias)
    assert refused.value.own_code == "PROMOTION_NEEDED"
    shop.plane.call("releases.rollback", project="shop", to=2)
    shop.plane.let_pass(5)
    assert shop.champion() == 2, "a rollback of the rollback returns to what was in use"


SERVICE_WITH = (
    '[services.churn]\nmodel = "service:Churn"\nreplicas = 1\n{secret}'
    'models = {{ weights = "models:/churn@champion" }}\n'
)


def test_a_rollback_ends_a_promotion_that_is_under_way(shop: Shop) -> None:
    shop.first(PROMOTION + STEPS)
    shop.deploy(PROMOTION + STEPS, content="two")
    shop.register("two")
    made = shop.promote()
    while shop.show(made).state != "rolling":
        shop.plane.let_pass(1)
    shop.plane.call("releases.rollback", project="shop")
    shop.plane.let_pass(5)
    assert shop.show(made).failure["code"] == "ROLLED_BACK" and shop.champion() == 1
    assert shop.route().variants == []


def test_a_version_of_a_branch_is_promoted_to_production(shop: Shop) -> None:
    shop.first()
    shop.plane.call("environments.create", project="shop", branch="trial")
    blob = shop.plane.bough.blobs.put(b"two")
    files = [{"path": "weights.txt", "digest": blob, "size": 3}]
    shop.plane.call("models.register", project="shop", environment="trial", name="churn", files=files)
    made = shop.promote("churn/2", source="trial", to="production")
    shop.plane.let_pass(5)
    assert shop.show(made).state == "done" and shop.champion() == 2 and shop.pinned() == 2


def test_promoting_the_champion_is_refused(shop: Shop) -> None:
    shop.first()
    with pytest.raises(Conflict) as caught:
        shop.promote("churn/1")
    assert caught.value.own_code == "CHAMPION_ALREADY"
