"""Manifests, digests and plans."""

from __future__ import annotations

import msgspec
import pytest

from bough.environments import rules
from bough.environments.models import Manifest, Release, ServiceManifest
from bough.kernel.names import check_name
from bough.kernel.platform import Platform
from bough.kernel.project import resolve
from bough.kernel.queue import Queue
from bough.kernel.settings import Document
from bough.kernel.workloads import DEFAULTS

FILE = """
name = "shop"
[services.churn]
model = "service:Churn"
[services.api]
command = "python app.py"
path = "api"
[jobs.nightly]
command = "python job.py"
[jobs.fit]
kind = "train"
command = "python fit.py"
[jobs.adapt]
kind = "finetune"
command = "python adapt.py"
[jobs.load]
kind = "etl"
command = "python load.py"
"""
BUNDLES = {".": "a" * 64, "api": "b" * 64}


def manifest(file: str = FILE, **bundles: str) -> Manifest:
    return rules.manifest(resolve(Document(file)), BUNDLES | bundles)


def test_equal_files_and_settings_have_equal_digests() -> None:
    assert rules.digest(manifest()) == rules.digest(manifest(FILE + "\n# a comment\n"))


def test_a_whole_number_of_gpus_is_the_same_however_it_is_written_and_what_it_was_before_there_were_shares() -> None:
    def of(gpus: str) -> ServiceManifest:
        churn = 'model = "service:Churn"'
        return manifest(FILE.replace(churn, f"{churn}\nresources = {{ gpus = {gpus} }}")).services["churn"]

    assert of("1").digest == of("1.0").digest != of("0.5").digest
    for made, written in ((of("1.0"), b'"gpus":1,'), (of("0.5"), b'"gpus":0.5,'), (of("0.0"), b'"gpus":0,')):
        assert written in (kept := msgspec.json.encode(made))
        assert msgspec.json.decode(kept, type=ServiceManifest) == made
    assert manifest().services["churn"].digest == of("0").digest == of("0.0").digest


def test_a_change_in_one_folder_touches_only_the_services_of_that_folder() -> None:
    old, new = manifest(), manifest(**{"api": "c" * 64})
    assert old.services["churn"].digest == new.services["churn"].digest
    assert old.services["api"].digest != new.services["api"].digest
    plan = rules.plan("shop", "main", old, new)
    assert {change.name: change.action for change in plan.changes if change.what == "service"} == {
        "churn": "same",
        "api": "change",
    }


@pytest.mark.parametrize(
    ("setting", "restarts"), [("replicas = 3", False), ("timeout_s = 5", False), ('env = {A = "1"}', True)]
)
def test_only_what_a_process_depends_on_restarts_it(setting: str, restarts: bool) -> None:
    new = manifest(FILE.replace('model = "service:Churn"', f'model = "service:Churn"\n{setting}'))
    change = next(each for each in rules.plan("shop", "main", manifest(), new).changes if each.name == "churn")
    assert (change.action, change.restarts) == ("change", restarts)
    assert list(change.keys) == [setting.split(" =")[0]]


def test_a_plan_names_what_comes_and_goes() -> None:
    smaller = manifest(FILE.replace('[services.api]\ncommand = "python app.py"\npath = "api"\n', ""))
    actions = {each.name: each.action for each in rules.plan("shop", "main", manifest(), smaller).changes}
    assert actions["api"] == "remove"
    assert rules.plan("shop", "main", manifest(), manifest()).same
    assert all(each.action == "add" for each in rules.plan("shop", "main", None, manifest()).changes)


def test_every_kind_of_workload_has_a_policy_of_its_own() -> None:
    plan = rules.plan("shop", "main", None, manifest())
    shown = {each.name: each.policy for each in plan.changes}
    kinds = {"churn": "service", "nightly": "job", "fit": "train", "adapt": "finetune", "load": "etl"}
    assert {name: shown[name]["kind"] for name in kinds} == kinds
    assert set(kinds.values()) == set(DEFAULTS)
    without = [{key: each for key, each in shown[name].items() if key != "kind"} for name in kinds]
    assert all(without.count(each) == 1 for each in without)
    assert shown["churn"]["scale"] == "no"
    cores = {name: shown[name]["resources"] for name in kinds}
    assert cores == {
        **{"churn": {"cpus": 1.0}, "nightly": "no limits", "fit": {"cpus": 1.0}, "adapt": {"cpus": 1.0}},
        "load": {"cpus": 0.5},
    }
    scaled = manifest(FILE.replace('"service:Churn"', '"service:Churn"\nscale = { max = 8 }'))
    assert rules.policy(scaled.services["churn"].settings)["scale"] == "1 to 8 replicas"
    assert shown["fit"]["capacity"] == shown["adapt"]["capacity"] == "auto"
    assert shown["adapt"]["cost_center"] == "fine-tuning"
    assert shown["load"]["retries"] == 2


@pytest.mark.parametrize(
    ("branch", "name"),
    [("dev", "dev"), ("feature/login", "feature-login"), ("main", "main"), ("master", "main"), ("v1.2", "v1-2"),
     ("Fix.Ünïcode", "fix-unicode"), ("a__b--c", "a-b-c")],
)  # fmt: skip
def test_a_git_branch_becomes_a_dns_label_that_reads_like_it(branch: str, name: str) -> None:
    assert rules.environment_name(branch, {}) == name


@pytest.mark.parametrize("branch", ["..", "../../etc/passwd", "日本語", "///", "x" * 200, "-", "a/../b", "MAIN"])
def test_any_git_branch_has_a_valid_name_that_is_stable(branch: str) -> None:
    name = rules.environment_name(branch, {})
    assert check_name(name, "environment") == name
    assert len(name) <= rules.LONGEST_ENVIRONMENT
    assert rules.environment_name(branch, {name: branch}) == name
    assert name != "main"


def test_two_git_branches_that_read_alike_have_two_environments() -> None:
    first = rules.environment_name("feature/x", {})
    second = rules.environment_name("feature-x", {first: "feature/x"})
    assert first != second
    assert rules.environment_name("feature/x", {first: "feature/x", second: "feature-x"}) == first


def test_where_items_are_put_is_said_in_words_that_mean_this_queue_and_no_other() -> None:
    def live(project: str, environment: str, *queues: str) -> tuple[Release, Manifest]:
        release = Release(
            id=f"{project}/{environment}", project=project, environment=environment, number=1, digest="d",
            state="live", created_at=0.0, created_by="ada",
        )  # fmt: skip
        return release, Manifest(
            project=project, services={}, queues={name: Queue(handler="work:do") for name in queues}
        )

    every = [live("shop", "main", "orders"), live("press", "main", "orders", "letters"), live("shop", "try", "orders")]
    platform = Platform()

    def said(place: int) -> list[str]:
        release = every[place][0]
        found = rules.queue_addresses(platform, (release.project, release.environment), every)
        return [each.removeprefix(f"{platform.gateway_url}/queues/") for each in found.values()]

    assert [said(place) for place in range(3)] == [["orders"], ["letters", "orders.press"], ["orders--try.shop"]]
