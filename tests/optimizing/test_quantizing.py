"""From a registered ONNX model to a smaller one: real models, real processes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from bough.kernel.context import Principal, Role
from bough.kernel.errors import Forbidden, Invalid, NotFound
from tests.optimizing import digits
from tests.optimizing.conftest import Bench

DATA = {"data": "images/test.npz", "label": "digit"}


def quantize(bench: Bench, model: str = "digits@champion", **fields: Any) -> Any:
    return bench.run(bench.call("optimize.quantize", model=model, **(DATA | fields)))


def by_name(found: Any) -> dict[str, Any]:
    return {each.name: each for each in found.contenders}


def test_the_better_of_two_ways_becomes_a_signed_candidate_with_an_edge_to_its_parent(bench: Bench) -> None:
    bench.call("signers.create", name="ci")
    found = quantize(bench, calibration="images/train.npz", core_hour=0.05)
    assert found.state == "done", found.said
    rows = by_name(found)
    assert set(rows) == {"before", "dynamic", "static"}
    best = rows[found.chosen]
    assert best.passed and best.bytes < 0.35 * rows["before"].bytes
    assert rows["before"].score > 0.9 and best.score >= rows["before"].score - 0.01 and best.worst <= 0.01
    assert all(0 < each.p50_ms <= each.p95_ms and each.core_s > 0 and each.cost > 0 for each in found.contenders)
    assert best.cost == pytest.approx(best.core_s / 3600 * 0.05)

    version = bench.call("models.resolve", model="digits@candidate")
    assert (version.number, version.facts.parent, found.version) == (2, "digits/1", 2)
    assert version.bytes == best.bytes and version.facts.metrics["accuracy"] == best.score
    assert [each.signer for each in version.signed] == ["ci"]
    assert bench.call("models.verify", model="digits/2").state == "signed"
    roles = {each.role: (each.name, each.version[:1]) for each in version.facts.inputs}
    assert roles == {"evaluation": ("images", "#"), "calibration": ("images", "#")}
    arrows = bench.call("lineage.show", of="digits/2", up=True).arrows
    assert "trained on from" in {each.how for each in arrows}


def test_the_new_version_answers_as_was_measured(bench: Bench) -> None:
    found = quantize(bench, method="static", calibration="images/train.npz")
    (file,) = bench.call("models.files", model=f"digits/{found.version}")
    assert file.path == "model.onnx"
    content = bench.plane.bough.blobs.read(file.digest)
    kinds = {each.data_type for each in onnx.load_from_string(content).graph.initializer}
    assert onnx.TensorProto.INT8 in kinds
    _, _, test, labels = digits.split()
    (scores,) = onnxruntime.InferenceSession(content).run(None, {"pixels": test})
    assert (scores.argmax(1) == labels).mean() == pytest.approx(by_name(found)["static"].score)


def test_what_may_lose_more_than_is_allowed_is_not_registered(bench: Bench) -> None:
    wrong = io.BytesIO()  # ranges from nothing: all activations are cut off
    np.savez(wrong, pixels=np.zeros((50, 64), np.float32))
    bench.put("images/wrong.npz", wrong.getvalue())
    found = quantize(bench, method="static", calibration="images/wrong.npz")
    assert found.state == "refused" and found.version == 0 and found.chosen == ""
    assert "may lose" in found.said and "0.01 is allowed" in found.said
    assert found.contenders[1].loss > 0.01
    assert bench.call("models.show", name="digits").newest == 1
    assert bench.units() == [] and not list((bench.home / "optimizing").iterdir())


def test_without_labels_the_answers_of_the_version_before_are_right(bench: Bench) -> None:
    bench.put("images/only.npz", digits.calibration(300))
    found = quantize(bench, data="images/only.npz", label="", **{"max_loss": 0.05})
    rows = by_name(found)
    assert rows["before"].score == 1.0 and rows["dynamic"].score == pytest.approx(1 - rows["dynamic"].loss)


def test_rows_of_a_table_of_text_are_the_input_in_their_order(bench: Bench) -> None:
    bench.put("images/test.csv", digits.csv(400))
    found = quantize(bench, data="images/test.csv", method="dynamic")
    _, _, test, labels = digits.split()
    right = (digits.network().predict(test[:400]) == labels[:400]).mean()
    assert found.contenders[0].score == pytest.approx(right, abs=0.005)  # printed with six digits


def test_other_files_of_the_version_stay(bench: Bench) -> None:
    bench.register(digits.as_onnx(), name="folder", path="weights/net.onnx", **{"labels.txt": b"0 1 2"})
    found = quantize(bench, "folder@champion", becomes="small")
    files = bench.call("models.files", model=f"small/{found.version}")
    assert sorted(each.path for each in files) == ["labels.txt", "weights/net.onnx"]


def test_a_file_that_is_no_model_fails_with_a_reason(bench: Bench) -> None:
    bench.register(b"no graph at all", name="odd", path="net.onnx")
    found = quantize(bench, "odd@champion")
    assert found.state == "failed" and "net.onnx" in found.said and found.version == 0


def test_a_model_of_another_kind_says_what_to_do(bench: Bench) -> None:
    bench.register(b"x", name="odd", path="net.skops")
    found = quantize(bench, "odd@champion")
    assert found.state == "failed" and "is no ONNX model" in found.said


def test_data_without_the_column_says_which_there_are(bench: Bench) -> None:
    found = quantize(bench, label="number")
    assert found.state == "failed" and "no column 'number'; it has pixels, digit" in found.said


def test_what_cannot_be_begun_is_refused_at_once(bench: Bench) -> None:
    with pytest.raises(NotFound, match=r"no data 'images/none\.npz'"):
        bench.call("optimize.quantize", model="digits@champion", data="images/none.npz")
    with pytest.raises(Invalid, match="takes its ranges from data"):
        bench.call("optimize.quantize", model="digits@champion", data="images/test.npz", method="static")
    with pytest.raises(Invalid, match="'int4' is no method"):
        bench.call("optimize.quantize", model="digits@champion", data="images/test.npz", method="int4")
    with pytest.raises(NotFound):
        bench.call("optimize.quantize", model="digits@none", data="images/test.npz")
    ann = Principal(id="pri_ann", name="ann", role=Role.VIEWER)
    with pytest.raises(Forbidden):
        bench.call("optimize.quantize", model="digits@champion", data="images/test.npz", by=ann)
