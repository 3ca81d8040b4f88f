"""Traffic, exposure, webhooks and merges on a terminal: the answers of operations, in few lines."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from bough.client import Record
from bough.entrypoints.cli import (
    branching,
    pictures,
    plan,
    plan_train,
    promoting,
    promotions_timeline,
    releasesaying,
    runsaying,
    scale_show,
    scalesaying,
    trafficsaying,
    webhooksaying,
)
from bough.entrypoints.cli.session import Session
from bough.environments import rules
from bough.kernel.errors import Conflict
from bough.kernel.platform import Platform
from bough.kernel.project import resolve
from bough.kernel.scale import Scale
from bough.kernel.settings import Document
from tests.gateway.telemetry.test_traffic import SEEN, told
from tests.plane import Plane

FILE = 'name = "shop"\n[services.churn]\nmodel = "service:Churn"\nallow = ["10.0.0.0/8"]\n'


def plain(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def test_traffic_says_the_objective_the_starts_and_what_a_thousand_requests_cost() -> None:
    said = trafficsaying.traffic(Session(), plain(told(SEEN, scale=Scale(max=4, latency=0.25))))
    assert "200, 4 a second now, 3 replicas, 2 in a batch" in said
    assert "99 % of answers within 250 ms: missed (96.7 %)" in said
    assert "4 pool (20 ms), 1 cold (3000 ms)" in said
    assert "1 per 1,000 requests (10800 replica-seconds of 1 core)" in said
    assert "6 (gone)" in said and "7/v8" in said and "22.5 %" in said
    assert "no pool of settings.toml says" in trafficsaying.traffic(Session(), plain(told(SEEN, Platform())))


def test_exposure_says_who_may_come_from_where(tmp_path: Path) -> None:
    plane = Plane(tmp_path, platform=Platform(gateway_host="0.0.0.0", public_services=False))
    plane.deploy(FILE)
    said = trafficsaying.exposure(Session(), plain(plane.call("services.exposure")))
    assert "0.0.0.0:7400" in said and "the network" in said and "10.0.0.0/8" in said
    assert "services are never public: all ask for a key or a token" in said


def test_a_webhooks_secret_is_said_once(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    plane.deploy(FILE)
    added = plane.call("webhooks.add", project="shop", address="https://example.com/x", events=["release.*"])
    said = webhooksaying.added(Session(), plain(added))
    assert "https://example.com/x is told of release.* in shop" in said and added.signing_secret in said
    listed = webhooksaying.listed(Session(), plain(plane.call("webhooks.list")))
    assert added.webhook.id in listed and added.webhook.secret not in listed
    assert added.webhook.url in webhooksaying.tested(Session(), plain(added.webhook))


class Merging(Session):
    """Of a branch that changes databases: what it asks is kept in `asked`."""

    def __init__(self, plan: dict[str, Any] | Conflict, *, json: bool = False) -> None:
        super().__init__()
        self.json, self.plan, self.asked = json, plan, list[dict[str, Any]]()

    def client(self) -> Any:
        return SimpleNamespace(environments=SimpleNamespace(diff=lambda **_: {"changes": [1]}), call=self._call)

    def _call(self, name: str, **fields: Any) -> Any:
        self.asked.append(fields)
        if isinstance(self.plan, Conflict):
            raise self.plan
        return self.plan


def test_what_a_merge_runs_on_databases_is_said_before_it_does(capfd: pytest.CaptureFixture[str]) -> None:
    fields = {"project": "shop", "branch": "b", "theirs": True}
    plan = {"merged": {"database": 1}, "into": "main", "fast_forward": False, "dry_run": True,
            "migrations": {"orders": ["002.sql"]}}  # fmt: skip
    session = Merging(plan)
    branching.planned(session, fields)
    assert session.asked == [fields | {"dry_run": True}]
    assert "would run on orders of main, tried on a fresh branch of it: 002.sql" in capfd.readouterr().err
    for silent, asked in (
        (Merging(plan, json=True), fields),
        (Merging(plan), fields | {"dry_run": True}),
        (Merging(Conflict("both changed orders", code="MERGE_CONFLICT", hint="")), fields),
    ):
        branching.planned(silent, asked)
        assert capfd.readouterr() == ("", "")


def test_the_timeline_of_a_promotion_is_said_and_drawn() -> None:
    nothing = {
        "requests": 0,
        "errors": 0,
        "error_rate": 0.0,
        "p50_ms": 0.0,
        "p95_ms": 0.0,
        "p99_ms": 0.0,
        "cpu_ms": 0.0,
    }
    asked = nothing | {"requests": 40, "errors": 10, "error_rate": 0.25, "p95_ms": 5.0}
    stage = {"percent": 0.0, "watched_s": 0.0, "candidate": nothing, "champion": nothing}
    of = {
        "promotion": "pro_1", "project": "shop", "environment": "main", "name": "churn", "state": "rolling",
        "why": "<slow>", "now": 100.0, "gates": [{"gate": "size", "passed": False, "said": "too large"}],
        "versions": [
            {"side": "candidate", "number": 2, "percent": 25.0, "metrics": {"auc": 0.93}, "answered": asked},
            {"side": "champion", "number": 1, "percent": 75.0, "metrics": {}, "answered": nothing},
        ],
        "stages": [
            stage | {"state": "preparing", "began_at": 0.0, "ended_at": 75.0},
            stage | {"state": "rolling", "percent": 25.0, "began_at": 75.0, "ended_at": 0.0, "candidate": asked},
        ],
    }  # fmt: skip
    lines = promotions_timeline.text(Session(), of).splitlines()
    candidate = next(line for line in lines if line.startswith("candidate"))
    assert candidate.split() == ["candidate", "churn/2", "25", "%", "40", "10", "0", "5", "0", "0.93"]
    preparing, rolling = (next(line for line in lines if line.startswith(word)) for word in ("preparing", "rolling"))
    assert "█" * 18 + "·" * 6 in preparing and "·" * 18 + "█" * 6 in rolling
    assert "candidate 40, 25 % errors, p95 5 ms" in rolling and "25.0 …" in rolling
    assert "gates: 0 of 1 passed" in lines and "  size: too large" in lines
    drawn = promotions_timeline.drawn(of)
    assert 'x="130.0" width="390.0"' in drawn and 'x="520.0" width="130.0"' in drawn, "three quarters and the last"
    assert "&lt;slow&gt;" in drawn and "rolling 25 %" in drawn
    room = int(drawn.partition('width="')[2].partition('"')[0]) - 130
    assert room > 6 * len("candidate 40, 25 % errors, p95 5 ms"), "what was answered is not cut off"
    assert "preparing" in promotions_timeline.text(Session(), of | {"versions": []})
    assert promotions_timeline.drawn(of | {"stages": []}).startswith("<svg")


def test_a_ledger_that_holds_and_a_branch_that_has_not_moved_say_so() -> None:
    answer = {"entries": 26, "root": "r", "key": "k", "seconds": 0.004}
    assert promoting.verified(Session(), answer).startswith("26 entries: nothing was edited, removed, reordered")
    still = {"environment": "trial", "against": "main", "parent_moved": True, "changes": []}
    assert branching.compared(Session(), still) == "trial has changed nothing; main has moved since"
    assert branching.compared(Session(), still | {"parent_moved": False}) == "trial and main do not differ"
    change = {"kind": "service", "name": "churn", "action": "change", "fields": {
        "bundle": ("a" * 64, "b" * 64), "replicas": (None, 2)}}  # fmt: skip
    said = branching.compared(Session(), still | {"changes": [change], "counts": {"service": {"change": 1}}})
    assert said.startswith("~ service churn  bundle aaaaaaaaaaaa -> bbbbbbbbbbbb; replicas - -> 2\n")


def test_runs_and_versions_say_how_good_they_are() -> None:
    run = {
        "id": "run_1", "name": "first", "experiment": "depth", "status": "finished", "by": "ann", "started_at": 1.0,
        "seconds": 2.5, "source": {"commit": "c" * 40, "hardware": {"cpus": 2}},
        "params": {f"p{n}": "x" for n in range(9)},
        "metrics": [{"key": "auc", "value": 0.97809, "step": 3}, {"key": "loss", "value": "NaN", "step": 3}],
    }  # fmt: skip
    head, line, *more = runsaying.runs(Session(), {"runs": [run], "next_page": "20"}).splitlines()
    assert head.split()[-2:] == ["METRICS", "PARAMS"] and "auc=0.97809 loss=NaN" in line and line.endswith("p5=x …")
    assert more == ["", "more: --page 20"]
    version = {
        "name": "churn", "number": 7, "aliases": ["champion"], "digest": "d" * 64, "bytes": 1200, "created_at": 1.0,
        "by": "ann", "signed": [{"signer": "ci"}], "card": "two\nlines", "facts": {"metrics": {"auc": 0.9}},
    }  # fmt: skip
    said = runsaying.versions(Session(), [version, version | {"number": 6, "signed": [], "facts": {}, "aliases": []}])
    assert len(said.splitlines()) == 3
    assert said.splitlines()[1].startswith("churn/7  champion") and said.endswith("ann  no")
    assert said.splitlines()[1].endswith("ann  ci      auc=0.9")


def test_a_plan_shows_what_each_kind_of_workload_gets_by_default() -> None:
    """Resources, retries, scaling and cost centre of training, fine-tuning, serving and ETL, from one file."""
    jobs = "".join(f'[jobs.{kind}]\nkind = "{kind}"\ncommand = "x"\n' for kind in ("train", "finetune", "etl"))
    toml = 'name = "shop"\n[services.serve]\nmodel = "service:Churn"\n' + jobs
    made = rules.plan("shop", "main", None, rules.manifest(resolve(Document(toml)), {".": "a" * 64}))
    said = plan._text(Session(), json.loads(msgspec.json.encode(made), object_hook=Record))
    shown: dict[str, list[str]] = {}
    for line in said.splitlines()[1:]:
        if "policy" not in line:
            shown[line.split()[3].rstrip(",")] = policy = []
        else:
            policy.append(line.strip().removeprefix("policy "))
    assert list(shown) == ["serve", "etl", "finetune", "train"]
    for name, *lines in (
        ("serve", "scale: no", "resources: cpus=1", "cost_center: inference"),
        ("train", "retries: 3", "capacity: auto", "resources: cpus=1", "cost_center: training"),
        ("finetune", "retries: 2", "priority: 1", "resources: cpus=1", "cost_center: fine-tuning"),
        ("etl", "retries: 2", "capacity: on-demand", "resources: cpus=0.5", "cost_center: data"),
    ):
        assert set(lines) <= set(shown[name]), shown[name]


def test_an_approval_that_holds_no_more_says_so() -> None:
    given = {"by": "bob", "at": 1.0, "digest": "d", "evidence": "e", "why": ""}
    of = {"digest": "d", "evidence": "e"}
    for approval, said in (
        (given | {"expires_at": 2.0}, "no, expired"),
        (given | {"expires_at": 9e9, "evidence": "older"}, "no, for other evidence"),
        (given | {"expires_at": 9e9}, "yes"),
    ):
        assert promoting._holds(of, approval) == said


def test_a_plan_says_what_changes_and_only_counts_what_stays() -> None:
    toml = 'name = "shop"\n' + "".join(f'[services.{each}]\nmodel = "service:M"\n' for each in ("a", "b"))
    before, after = (rules.manifest(resolve(Document(text)), {".": "a" * 64}) for text in (toml, toml + "replicas = 2"))
    made = json.loads(msgspec.json.encode(rules.plan("shop", "main", before, after)), object_hook=Record)
    said = plan._text(Session(), made)
    assert said.splitlines()[1:] == [
        "  ~ change service b",
        "      replicas: 1 -> 2",
        "  and 1 more as before (--all)",
    ]
    whole = plan._text(Session(), made, everything=True)
    assert "same service a" in whole and "policy replicas: 1" in whole


def test_releases_say_why_in_one_line_each_and_what_each_service_runs() -> None:
    release = {
        "id": "rel_1", "project": "shop", "environment": "main", "number": 2, "digest": "d" * 64, "state": "failed",
        "created_at": 1.0, "created_by": "ann", "finished_at": 3.5,
        "failure": {"service": "churn", "code": "LOAD_FAILED", "message": "it\nbroke", "hint": "mend it",
                    "traceback": "Traceback:\n  a line"},
    }  # fmt: skip
    live = release | {"number": 1, "state": "live", "failure": {}, "message": "first"}
    head, *lines = releasesaying.listed(Session(), [release, live]).splitlines()
    assert head.split() == ["NUMBER", "STATE", "CREATED", "BY", "SECONDS", "DIGEST", "WHY"]
    assert lines[0].endswith("ann  2.5      dddddddddddd  churn: it broke") and lines[1].endswith("first")
    assert "  staging  " in releasesaying.listed(Session(), [release, live | {"environment": "staging"}])
    services = {"churn": {"settings": {"model": "", "file": "m.onnx"}, "bundle": "b" * 64, "digest": "e" * 64}}
    said = releasesaying.shown(Session(), {"release": release, "manifest": {"services": services, "jobs": {}}})
    assert "why it failed  churn: it broke\ntry            mend it\nTraceback:\n  a line\n\nservices\n" in said
    assert said.endswith("churn  m.onnx  bbbbbbbbbbbb  eeeeeeeeeeee")


def test_the_picture_of_a_plan_shows_where_the_job_is_and_how_long_a_zone_has_been_there() -> None:
    made = Record(
        across_h=2.0,
        up_h=1.6,
        work_h=0.5,
        age_h=0.005,
        cost=1.0,
        on_demand_cost=2.0,
        available=["ss", "s.", "..", " ."],
        away=[" ."] * 4,
    )
    [there, *_], away = plan_train._maps(made)
    assert there == "while a zone is available, for 18 s so far" and away[0] == "while none is"
    sides = [row.partition("▏")[0].strip() for row in plan_train._map(Session(), made, made.available)]
    assert sides[:4] == ["1.6 h", "", "30 min →", "0"], "of 1.6 h at the top, 0.5 h are in the third row"
    rows = plan_train._map(Session(), Record({**made, "work_h": 0.001}), made.available)
    assert [row.partition("▏")[0].strip() for row in rows][2:4] == ["3.6 s →", "0"], "the scale is seen all the same"
    drawn = plan_train.picture("fit", made)
    assert drawn.count("30 min →") == 2 and drawn.count("for 18 s so far") == 1


def test_a_service_that_sleeps_is_not_said_to_answer() -> None:
    shown = {"service": "churn", "active": 0, "pool": 0, "least": 0, "most": 4, "awake_s": 0.0, "decisions": []}
    assert scale_show._text(Record(shown)).startswith("churn: asleep")
    assert scale_show._text(Record(shown | {"active": 2})).startswith("churn: 2 answer")


def test_advice_says_its_units() -> None:
    proposal = {"min": 1, "max": 4, "warm": -1, "late_cost": 0.0, "cost": 0.0488, "late": 0.116, "replicas": 3}
    advice = {
        "service": "churn",
        "requests": 404,
        "hours": 0.5,
        "looked_at": 0.5,
        "tolerated": 0.01,
        "service_s": 0.053,
    }
    advice["setting"] = "scale = { max = 4 }"
    text = scalesaying.advised(Session(), advice | {"proposals": [proposal | {"chosen": True}]})
    assert "404 requests in 0.5 hours" in text and "scale = { max = 4 }" in text
    assert "in the busiest 6 of 71 hours" in scalesaying.advised(
        Session(), advice | {"hours": 6.0, "looked_at": 71.0, "proposals": [proposal | {"chosen": True}]}
    )
    assert "more than 1 % are late with each of these" in text
    heading, row = text.splitlines()[-2:]
    assert heading.split("  ")[-1] == "PROPOSED" and "REPLICA-HOURS" in heading
    assert "learnt" in row and "11.60 %" in row and row.endswith("yes")


@pytest.mark.parametrize(("begin", "said"), [(0.0, ("0 s", "600 s", "1200 s")), (1.79e9, ("2026-09-2",) * 3)])
def test_curves_say_when_and_how_many(begin: float, said: tuple[str, ...]) -> None:
    points = [SimpleNamespace(at=begin + 60.0 * at, active=at, pool=2, requests=at, late_cost=0.0) for at in range(21)]
    text, picture = pictures.curve(points), pictures.svg("churn", points)
    assert text.splitlines()[-1].split()[0].startswith(said[0][:1]) and said[2] in text.splitlines()[-1]
    assert all(f">{each}" in picture for each in said)
    assert ">20</text>" in picture and ">10</text>" in picture, "replicas, at the top and half way"
