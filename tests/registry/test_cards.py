"""What a card says, which packages a version has and what is known against them, and where answers come from."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version as PackageVersion

from bough.gates import loop as gates_loop
from bough.gates import trying
from bough.gates.models import GateRun, Subject
from bough.kernel.errors import Invalid, Problem
from bough.kernel.policy import DataGate, Gates
from bough.registry import explaining
from bough.registry.sbom import OsvFolder, _in_range, _Range
from tests.plane import Plane
from tests.registry.conftest import Official

FACTS = {
    "metrics": {"auc": 0.91},
    "parameters": {"depth": "3"},
    "inputs": [{"kind": "table", "name": "orders", "version": "#17", "role": "training"}],
    "packages": {"Requests": "2.19.0", "numpy": "2.4.1"},
}
ADVISORY = {
    "id": "PYSEC-2018-28",
    "summary": "sends credentials to another host",
    "aliases": ["CVE-2018-18074"],
    "affected": [
        {
            "package": {"name": "requests", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.20.0"}]}],
        }
    ],
}


@pytest.fixture
def plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plane:
    folder = tmp_path / "advisories"
    folder.mkdir()
    (folder / "PYSEC-2018-28.json").write_text(json.dumps(ADVISORY))
    monkeypatch.setenv("BOUGH_OSV_DIR", str(folder))
    made = Plane(tmp_path)
    made.call("projects.create", name="shop")
    return made


def register(plane: Plane, files: dict[str, str], **fields: Any) -> Any:
    listed = [
        {"path": path, "digest": plane.bough.blobs.put(text.encode()), "size": len(text.encode())}
        for path, text in files.items()
    ]
    return plane.call("models.register", project="shop", name="churn", files=listed, **fields)


def card(plane: Plane, **fields: Any) -> Any:
    return plane.call("models.card", project="shop", model="churn/1", **fields)


def test_a_card_says_all_that_is_known(plane: Plane) -> None:
    plane.call("signers.create", project="shop", name="ci")
    types = {"inputs": [{"name": "age", "datatype": "FP32", "shape": [-1, 4]}], "outputs": []}
    register(
        plane, {"model.onnx": "x", "README.md": "Who *leaves*"}, facts=FACTS, signature=types, aliases=["champion"]
    )
    importances = [{"input": "age", "mean": 0.4, "spread": 0.01}]
    explanation = {
        "method": "permutation",
        "score": "accuracy",
        "baseline": 0.9,
        "rows": 10,
        "importances": importances,
    }
    plane.call("models.explained", project="shop", model="churn/1", explanation=explanation)
    with plane.bough.database.write() as tx:
        said = {"project": "shop", "environment": "main", "name": "churn", "version": 1, "by": "ci"}
        plane.bough.events.emit(tx, "gates.ran", "run_1", **said, why="passed", state="passed")
        evidence = {"scan": "a" * 64, "load": "b" * 64}
        plane.bough.events.emit(tx, "gates.ran", "run_3", **said, why="passed", evidence=evidence, policy="c" * 64)
        plane.bough.events.emit(tx, "promotion.approved", "pro_1", **said, why="looks good", expires_at=1_800_000_000.5)
        plane.bough.events.emit(tx, "promotion.step", "pro_1", **said, percent=25.0)
        plane.bough.events.emit(tx, "drift.measured", "drift_1", **said, psi=0.31)
        plane.bough.events.emit(tx, "gates.ran", "run_2", **said | {"version": 2}, why="of another version")
    page = card(plane)
    for line in (
        "| Aliases | champion |", "| Trust | signed by ci |", "| auc | 0.91 |", "| depth | 3 |",
        "| table | orders | #17 | training |", "| input | age | FP32 | any by 4 |", "| age | 0.4 | ± 0.01 |",
        "gates.ran | ci | passed |", "gates.ran | ci | passed; evidence scan load, policy cccccccccccc |",
        "promotion.approved | ci | looks good; expires 2027-01-15 08:00 UTC |", "promotion.step | ci | percent 25 |",
        "psi 0.31", "Who *leaves*",
        "| PYSEC-2018-28 | Requests 2.19.0 | 2.20.0 | sends credentials to another host |",
    ):  # fmt: skip
        assert line in page.text, line
    assert "of another version" not in page.text
    found = page.card
    assert [each.what for each in found.happened] == ["model.alias_set", "model.registered"]
    assert (len(found.gates), len(found.approvals), len(found.promotions), len(found.drift)) == (2, 1, 1, 1)
    shown = card(plane, form="html").text
    assert shown.startswith("<!doctype html>") and "<td>champion</td>" in shown


def test_a_card_tells_who_is_not_trusted_and_shows_nothing_as_markup(plane: Plane) -> None:
    key = plane.call("signers.create", project="shop", name="ci").key
    register(plane, {"model.onnx": "x"}, description="<script>alert(1)</script>", tags={"a|b": "c\nd"})
    plane.call("signers.revoke", project="shop", key=key)
    assert "refused: MODEL_SIGNER_REVOKED" in card(plane).text
    assert "| Tags | a\\|b=c d |" in card(plane).text
    assert "<script>" not in card(plane, form="html").text


@pytest.mark.parametrize(
    ("files", "packages"),
    [
        (
            {"requirements.txt": "requests[socks]==2.19.0 ; python_version > '3'\nnumpy>=2\n# x==1\n"},
            {"requests": "2.19.0"},
        ),
        ({"pylock.toml": '[[packages]]\nname = "numpy"\nversion = "2.4.1"\n'}, {"numpy": "2.4.1"}),
        ({"env/requirements.txt": "a==1\n"}, {"a": "1"}),
        ({"pylock.toml": "not toml ="}, {}),
        ({}, {}),
    ],
)
def test_packages_are_found_among_the_files(plane: Plane, files: dict[str, str], packages: dict[str, str]) -> None:
    register(plane, {"model.onnx": "x", **files})
    assert plane.call("models.sbom", project="shop", model="churn/1").packages == packages


def test_the_bill_of_materials_is_cyclonedx(plane: Plane, cyclonedx: Official) -> None:
    register(plane, {"model.onnx": "x", "é/b.txt": ""}, facts=FACTS)
    bill = plane.call("models.sbom", project="shop", model="churn/1")
    done = cyclonedx(json.dumps(bill.document))
    assert done.returncode == 0, done.stderr
    assert [each["ref"] for each in bill.document["vulnerabilities"][0]["affects"]] == ["pkg:pypi/requests@2.19.0"]
    assert bill == plane.call("models.sbom", project="shop", model="churn/1")
    broken = bill.document | {"components": [{"name": "x"}]}
    assert cyclonedx(json.dumps(broken)).returncode != 0


@given(st.lists(st.integers(0, 30), min_size=2, max_size=6, unique=True), st.integers(0, 31), st.booleans())
def test_a_version_is_affected_between_introduced_and_fixed(bounds: list[int], mine: int, last: bool) -> None:
    """Pairs of bounds are ranges; the last one may have no end."""
    bounds = sorted(bounds)
    kinds = ["introduced", "last_affected" if last else "fixed"]
    events = [{kinds[at % 2]: f"1.{bound}"} for at, bound in enumerate(bounds)]
    expected = any(
        low <= mine and (at + 1 >= len(bounds) or (mine <= bounds[at + 1] if last else mine < bounds[at + 1]))
        for at, low in enumerate(bounds)
        if at % 2 == 0
    )
    assert _in_range(_Range(type="ECOSYSTEM", events=events), PackageVersion(f"1.{mine}")) is expected


def test_withdrawn_and_foreign_advisories_do_not_count_and_broken_ones_are_said(tmp_path: Path) -> None:
    listed = {"package": {"name": "Foo_Bar", "ecosystem": "PyPI"}, "versions": ["1.0"]}
    (tmp_path / "a.json").write_text(json.dumps({"id": "A", "affected": [listed]}))
    (tmp_path / "b.json").write_text(json.dumps({"id": "B", "affected": [listed], "withdrawn": "2024-01-01T00:00:00Z"}))
    npm = {"package": {"name": "foo-bar", "ecosystem": "npm"}, "versions": ["1.0"]}
    (tmp_path / "c.json").write_text(json.dumps({"id": "C", "affected": [npm]}))
    assert [each.id for each in OsvFolder(tmp_path).known({"foo.bar": "1.0", "else": "1"})] == ["A"]
    assert OsvFolder(tmp_path).known({"foo.bar": "1.1"}) == []
    (tmp_path / "d.json").write_text("[]")
    with pytest.raises(Problem) as caught:
        OsvFolder(tmp_path).known({"foo.bar": "1.0"})
    assert caught.value.own_code == "OSV_INVALID"


# --- explanations


@pytest.fixture(scope="module")
def uncompiled() -> Iterator[None]:
    """SHAP as plain Python: to compile it takes longer than all that is asked of it here. How it is compiled explains a
    model in tests/journeys/test_models.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_DISABLE_JIT", "1")
        with warnings.catch_warnings(action="ignore"):  # of its own dependencies
            importlib.import_module("shap")
        yield


def linear(rows: list[list[Any]]) -> list[Any]:
    return [3.0 * row[0] - 1.0 * row[1] + 0.0 * row[2] for row in rows]


def classes(rows: list[list[Any]]) -> list[Any]:
    return [
        {"label": "yes" if row[0] > 0 else "no", "probabilities": [float(row[0] <= 0), float(row[0] > 0)]}
        for row in rows
    ]


def rows(count: int = 60) -> list[list[float]]:
    return [[float(each) for each in row] for row in np.random.default_rng(7).normal(size=(count, 3))]


def test_importances_follow_what_the_model_looks_at() -> None:
    table = rows()
    found = explaining.importances(linear, table, linear(table), ["a", "b", "c"])
    assert [each.input for each in found.importances] == ["a", "b", "c"]
    assert (found.score, round(found.baseline, 6), found.rows) == ("r2", 1.0, 60)
    assert abs(found.importances[2].mean) < 1e-9
    labels = [each["label"] for each in classes(table)]
    found = explaining.importances(classes, table, labels, ["a", "b", "c"])
    assert (found.score, found.baseline, found.importances[0].input) == ("accuracy", 1.0, "a")


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.filterwarnings("ignore")
def test_attributions_of_a_linear_model_are_its_terms_and_add_up() -> None:
    table = rows()
    means = np.mean(table, axis=0)
    for each in explaining.attributions(linear, table[:3], table, ["a", "b", "c"]):
        terms = {"a": 3.0 * (table[each.row][0] - means[0]), "b": -(table[each.row][1] - means[1]), "c": 0.0}
        assert each.values == pytest.approx(terms, abs=1e-6)
        assert each.base + sum(each.values.values()) == pytest.approx(each.answer)
    [one] = explaining.attributions(classes, table[:1], table, ["a", "b", "c"])
    assert abs(one.values["a"]) > 0.1 and one.values["b"] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.usefixtures("uncompiled")
def test_a_number_under_a_name_is_explained_and_no_row_is_asked_for_twice() -> None:
    asked: list[tuple[float, ...]] = []

    def named(given: list[list[float]]) -> list[dict[str, float]]:
        asked.extend(tuple(row) for row in given)
        return [{"price": 3.0 * row[0] + row[1]} for row in given]

    table = [[float(n % 4), float(n % 3)] for n in range(12)]
    found = explaining.importances(named, table, [3.0 * a + b for a, b in table], ["a", "b"])
    assert (found.score, found.baseline, found.importances[0].input) == ("r2", 1.0, "a")
    asked.clear()
    [one] = explaining.attributions(named, table[:1], table, ["a", "b"])
    assert one.values["a"] == pytest.approx(-4.5) and one.values["b"] == pytest.approx(-1.0)
    assert len(asked) == len(set(asked)) <= 12


def test_what_cannot_be_explained_is_said() -> None:
    with pytest.raises(Invalid, match="the column b has 'south'"):
        explaining.attributions(lambda given: [0.0] * len(given), [[1.0, "south"]], [[1.0, "north"]], ["a", "b"])  # type: ignore[list-item]
    with pytest.raises(Invalid) as caught:
        explaining.importances(linear, [[1.0]], [1.0], ["a", "b"])
    assert caught.value.own_code == "EXPLAIN_DATA_INVALID"
    with pytest.raises(Invalid) as caught:
        explaining.importances(lambda given: [{"x": 1, "y": 2}] * len(given), [[1.0]] * 3, [1.0] * 3, ["a"])


def test_a_card_shows_how_far_the_training_data_is_from_the_champions(plane: Plane) -> None:
    def rows(shift: float) -> dict[str, list[dict[str, Any]]]:
        return {"orders": [{"n": number % 50 + shift} for number in range(500)]}

    versions = [register(plane, {"weights.txt": text}) for text in ("one", "two")]
    subjects = [Subject(name="churn", number=each.number, digest=each.digest, id=each.id) for each in versions]
    run = GateRun(
        id="gat_1", project="shop", environment="main", name="churn", number=2, digest=versions[1].digest,
        version=versions[1].id, gates=Gates(), policy="", state="running", by="ann", started_at=1.0,
        against=subjects[0],
    )  # fmt: skip
    measured = trying.compare(DataGate(), rows(0.0), rows(20.0))
    with plane.bough.database.write() as tx:
        gates_loop.finish(tx, plane.bough.events, run, [measured], 2.0)
    page = plane.call("models.card", project="shop", model="churn/2")
    [drift] = page.card.drift
    assert (drift.by, drift.data["against"], drift.why) == ("ann", "churn/1", measured.said)
    assert "psi" in measured.said and "## Drift" in page.text and measured.said in page.text
    assert plane.call("models.card", project="shop", model="churn/1").card.drift == []
