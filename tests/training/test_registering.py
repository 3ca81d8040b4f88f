"""From a job run to a candidate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bough.jobs import store
from bough.jobs.models import RUNNING
from bough.jobs.units import Places
from bough.kernel.context import Principal, Role
from bough.kernel.errors import Invalid
from bough.kernel.reconcile import wake
from tests.optimizing import digits
from tests.optimizing.conftest import run_units
from tests.plane import Plane

FILE = 'name = "lab"\n[jobs.fit]\nkind = "train"\ncommand = "python fit.py"\nregister = "digits"\n'


class Lab(Plane):
    """Jobs that leave `files` behind."""

    def __init__(self, folder: Path, *, fresh: bool = True) -> None:
        super().__init__(folder)
        self.takes_s = 0.5
        self.files: dict[str, bytes] = {"model.onnx": b"weights"}
        if fresh:
            self.call("projects.create", name="lab")

    def fit(self, file: str = FILE, **fields: Any) -> Any:
        """Asks for the job, and lets it end."""
        made = self.call(
            "jobs.run", project="lab", job="fit", file=file, bundles={".": self.bundle({"fit.py": "1"})}, **fields
        )
        self.let_pass(4)
        return made

    def timeline(self, made: Any) -> dict[str, str]:
        return {each.what: each.said for each in self.call("jobs.show", id=made.id).timeline}

    def version(self, reference: str) -> Any:
        return self.call("models.resolve", project="lab", model=reference)

    def versions(self) -> list[int]:
        found = self.call("models.list", project="lab")
        return [each.newest for each in found]

    def _script_replicas(self) -> None:
        super()._script_replicas()
        with self.bough.database.read() as tx:
            for run in store.runs(tx, ("lab", "main"), inner=True, limit=100):
                if run.state == RUNNING and not run.children and self.clock.now() - run.attempt_at >= self.takes_s:
                    for name, content in self.files.items():
                        place = Places(self.bough.home).output(run.id) / name
                        place.parent.mkdir(parents=True, exist_ok=True)
                        place.write_bytes(content)
                    self.engine.crash(run.unit(0), code=0)
        run_units(self)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_the_output_of_a_run_is_a_signed_candidate_that_says_where_it_comes_from(lab: Lab) -> None:
    lab.call("signers.create", project="lab", name="ci")
    lab.files = {"model.onnx": b"weights", "more/labels.txt": b"0 1"}
    made = lab.fit(params={"depth": "3"})
    version = lab.version("digits@candidate")
    assert (version.number, version.by, [each.signer for each in version.signed]) == (1, "admin", ["ci"])
    files = lab.call("models.files", project="lab", model="digits/1")
    assert {each.path: each.size for each in files} == {"model.onnx": 7, "more/labels.txt": 3}
    job = lab.call("jobs.show", id=made.id).run
    facts = version.facts
    assert facts.run == job.run and facts.parameters == {"depth": "3"} and len(facts.bundle) == 64
    assert facts.more["job_run"] == made.id and facts.more["seconds"] == job.seconds > 0
    assert facts.more["cost"] == pytest.approx(job.cost)
    assert lab.timeline(made)["registered"] == "its output is digits/1, digits@candidate, signed by ci"
    things = lab.call("lineage.show", project="lab", of="digits/1", up=True).things
    assert job.run in {each.details.get("run") for each in things}


def test_what_a_run_has_measured_is_what_the_version_was(lab: Lab) -> None:
    lab.takes_s = 3.0
    made = lab.call("jobs.run", project="lab", job="fit", file=FILE, bundles={".": lab.bundle({"fit.py": "1"})})
    lab.let_pass(1)
    run = lab.call("jobs.show", id=made.id).run.run
    points = [{"key": "auc", "value": 0.5, "step": 1}, {"key": "auc", "value": 0.9, "step": 2}]
    points.append({"key": "odd", "value": "NaN", "step": 2})
    lab.call("runs.log", project="lab", id=run, metrics=points, tags={"bough.parent": "digits/7"})
    lab.let_pass(4)
    facts = lab.version("digits@candidate").facts
    assert facts.metrics == {"auc": 0.9} and facts.parent == "digits/7"


def test_the_same_run_makes_one_version_however_often_the_server_looks(lab: Lab) -> None:
    made = lab.fit()
    with lab.bough.database.write() as tx:
        wake(tx, "registration", made.id)
    lab.let_pass(1)
    assert lab.versions() == [1]
    lab.fit()
    assert lab.versions() == [2] and lab.version("digits@candidate").number == 2


def test_a_run_without_files_says_so_and_makes_none(lab: Lab) -> None:
    lab.files = {}
    made = lab.fit()
    assert lab.call("jobs.show", id=made.id).run.state == "succeeded"
    assert "left no file in $BOUGH_OUTPUT" in lab.timeline(made)["not_registered"]
    assert lab.versions() == []


SWEEP = FILE + "[jobs.fit.sweep]\ngrid = { lr = [1, 2] }\n"


def test_several_runs_without_a_metric_make_no_version_and_are_refused_before_they_run(lab: Lab) -> None:
    with pytest.raises(Invalid, match="nothing says which of them becomes a version of digits") as raised:
        lab.fit(SWEEP)
    assert "metric = " in raised.value.hint
    for several in (SWEEP.replace('register = "digits"\n', ""), FILE.replace('register = "digits"', "array = 2")):
        with pytest.raises(Invalid, match="fit is 2 runs, and nothing says which of them becomes a version of other"):
            lab.fit(several, register="other")
    assert lab.call("jobs.list", project="lab") == []


def test_a_sweep_of_which_no_run_has_logged_the_metric_says_that_nothing_is_registered(lab: Lab) -> None:
    made = lab.fit(SWEEP + 'metric = "loss"\n')
    assert lab.call("jobs.show", id=made.id).run.state == "succeeded" and lab.versions() == []
    assert lab.timeline(made)["not_registered"].endswith("none of its runs has logged loss")


def test_a_model_is_named_when_it_is_asked_for_as_well(lab: Lab) -> None:
    lab.fit(FILE.replace('register = "digits"\n', ""), register="other")
    assert lab.version("other@candidate").number == 1
    lab.fit(FILE.replace('register = "digits"\n', ""))
    assert lab.versions() == [1]


def test_where_only_approvers_write_a_developers_run_registers_nothing(lab: Lab) -> None:
    ann = Principal(id="pri_ann", name="ann", role=Role.DEVELOPER)
    lab.call("environments.protect", project="lab", branch="main")
    made = lab.fit(by=ann)
    assert "is protected, and ann is a developer" in lab.timeline(made)["not_registered"]
    assert lab.versions() == []


def distilled(max_loss: float) -> str:
    return FILE.replace('"digits"', '"small"') + (
        'distill = { teacher = "digits@champion", data = "images/test.npz", label = "digit",'
        f" max_loss = {max_loss} }}\n"
    )


def teach(lab: Lab) -> None:
    for path, content, verb in (
        ("model.onnx", digits.as_onnx(), "models.register"),
        ("test.npz", digits.npz(300), "files.commit"),
    ):
        file = {"path": path, "digest": lab.bough.blobs.put(content), "size": len(content)}
        named = {"name": "digits", "aliases": ["champion"]} if verb == "models.register" else {"dataset": "images"}
        lab.call(verb, project="lab", files=[file], **named)


def test_a_student_that_is_good_enough_comes_from_its_teacher(lab: Lab) -> None:
    teach(lab)
    lab.files = {"model.onnx": digits.as_onnx(32)}
    made = lab.fit(distilled(0.5))
    version = lab.version("small@candidate")
    assert version.facts.parent == "digits/1" and version.facts.run
    (found,) = lab.call("optimize.list", project="lab")
    assert (found.kind, found.state, found.version) == ("distill", "done", 1)
    assert [each.name for each in found.contenders] == ["before", "after"]
    assert found.contenders[1].bytes < found.contenders[0].bytes / 5
    assert "small/1 from digits/1: " in lab.timeline(made)["registered"]


def test_a_student_that_loses_too_much_is_not_registered(lab: Lab) -> None:
    teach(lab)
    lab.files = {"model.onnx": digits.as_onnx(2)}
    made = lab.fit(distilled(0.01))
    assert "may lose" in lab.timeline(made)["not_registered"]
    assert [each.name for each in lab.call("models.list", project="lab")] == ["digits"]


def test_a_candidate_that_nobody_signed_says_so_and_what_would_sign_the_next_one(lab: Lab) -> None:
    lab.files = {"model.onnx": b"weights"}
    made = lab.fit()
    said = "its output is digits/1, digits@candidate, not signed: bough signers create NAME"
    assert lab.timeline(made)["registered"] == said
