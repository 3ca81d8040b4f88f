"""What a model file would run is named, however it is packed; what models are made of passes."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bough.gates.scanning import scan


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("echo you should never see this",)


def found(name: str, content: bytes, *allow: str) -> list[str]:
    return [f"{place}: {what}" for place, what in scan(name, io.BytesIO(content), list(allow))]


@pytest.fixture(scope="module")
def models() -> list[Any]:
    x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 2
    return [
        LogisticRegression().fit(x, y), RandomForestClassifier(n_estimators=5).fit(x, y),
        make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y),
    ]  # fmt: skip


@pytest.mark.parametrize("protocol", range(6))
def test_real_models_pass_as_pickles(models: list[Any], protocol: int) -> None:
    for model in models:
        assert found("model.pkl", pickle.dumps(model, protocol)) == []


@pytest.mark.parametrize("compress", [0, 3, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
def test_real_models_pass_as_joblib_files(models: list[Any], tmp_path: Path, compress: Any) -> None:
    for model in models:
        joblib.dump(model, tmp_path / "model.joblib", compress=compress)
        assert found("model.joblib", (tmp_path / "model.joblib").read_bytes()) == []


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_runs_a_program_is_named_with_what_it_asks_for(protocol: int) -> None:
    (finding,) = found("model.pkl", pickle.dumps({"a": [Evil()]}, protocol))
    assert finding.startswith(f"model.pkl: asks for {os.system.__module__}.system (")
    assert ("GLOBAL at byte" if protocol < 4 else "STACK_GLOBAL after byte") in finding


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("xz", 3)])
def test_it_is_found_behind_arrays_in_joblib_files(tmp_path: Path, compress: Any) -> None:
    """The bytes of the array stand in the stream: whoever reads opcodes only loses the thread there."""
    for order in ([np.arange(5000.0), Evil()], [np.array(["a", "bc"]), np.zeros((3, 2), "i4"), Evil()]):
        joblib.dump(order, tmp_path / "model.joblib", compress=compress)
        assert any("posix.system" in each for each in found("model.joblib", (tmp_path / "model.joblib").read_bytes()))


def test_it_is_found_whatever_the_file_is_called_and_however_it_is_wrapped() -> None:
    evil = pickle.dumps(Evil())
    assert found("README.md", evil)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("archive/data.pkl", evil)
        made.writestr("archive/data/0", b"\0" * 64)
    (finding,) = found("model.pt", archive.getvalue())
    assert finding.startswith("model.pt!archive/data.pkl: asks for posix.system")
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("inner.zip", archive.getvalue())
    assert "model.zip!inner.zip!archive/data.pkl" in found("model.zip", outer.getvalue())[0]
    assert found("model.pkl", zlib.compress(evil)) and found("model.joblib", zlib.compress(evil))


def test_numpy_files_are_looked_into() -> None:
    plain, objects = io.BytesIO(), io.BytesIO()
    np.save(plain, np.arange(5))
    np.save(objects, np.array([Evil()], dtype=object), allow_pickle=True)
    assert found("x.npy", plain.getvalue()) == []
    assert "posix.system" in found("x.npy", objects.getvalue())[0]
    several = io.BytesIO()
    np.savez(several, a=np.arange(3), b=np.array([Evil()], dtype=object))
    assert "x.npz!b.npy: asks for posix.system" in found("x.npz", several.getvalue())[0]


def test_computed_and_hidden_names_are_found() -> None:
    """Names that come from the memo, from a reduced string, or from an opcode that others do not read."""
    memo = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x30\x30h\x00h\x01\x93\x8c\x02ls\x85R."
    assert "posix.system" in found("m.pkl", memo)[0]
    inst = b"(S'ls'\niposix\nsystem\n."
    assert "posix.system" in found("m.pkl", inst)[0]
    extension = b"\x80\x02\x82\x01."
    assert "extension 1" in found("m.pkl", extension)[0]
    dotted = b"\x80\x04\x8c\x0dsklearn.utils\x8c\x09os.system\x93\x8c\x02ls\x85R."
    assert "sklearn.utils.os.system" in found("m.pkl", dotted)[0]
    lower = b"\x80\x04\x8c\x15sklearn.utils._testing\x8c\x06system\x93.".replace(b"\x15", b"\x16")
    assert "sklearn.utils._testing.system" in found("m.pkl", lower)[0]


def test_what_cannot_be_followed_is_refused() -> None:
    for broken in (b"\x80\x04garbage", pickle.dumps([1, 2])[:-3], b"\x80\x05\x95" + struct.pack("<Q", 1 << 40)):
        assert any("cannot be followed" in each for each in found("m.pkl", broken))
    assert any("cannot be unpacked" in each for each in found("m.zip", b"PK\3\4 and no more"))


def test_files_that_are_no_programs_pass() -> None:
    for name, content in {
        "config.json": b"{}", "model.onnx": b"\x08\x07\x12\x07skl2onnx", "weights.safetensors": b"\x10\0\0\0\0\0\0\0{}",
        "vocabulary.txt": b"a\nb\n", "empty.txt": b"", "data.bin": os.urandom(64).replace(b"\x80", b"\0"),
    }.items():  # fmt: skip
        assert found(name, b"\0" + content[1:] if name == "data.bin" else content) == []


def test_further_names_can_be_allowed() -> None:
    evil = pickle.dumps(Evil())
    assert found("m.pkl", evil, "posix.system") == []
    assert found("m.pkl", evil, "posix.*"), "a star stands for classes"


def test_nothing_is_imported_or_run_by_looking(tmp_path: Path) -> None:
    class Touches:
        def __reduce__(self) -> Any:
            return eval, (f"open({str(tmp_path / 'touched')!r}, 'w')",)

    content = pickle.dumps(Touches())
    pickletools.dis(content, io.StringIO())
    assert "builtins.eval" in found("m.pkl", content)[0]
    assert not (tmp_path / "touched").exists()
