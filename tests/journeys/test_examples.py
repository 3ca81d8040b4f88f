"""Every example deploys from a clean copy through the command line, and answers through the gateway."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import openai
import pytest
from websockets.sync.client import connect

EXAMPLES = Path(__file__).parents[2] / "examples"
JSON = "application/json"

pytest.importorskip("bough.entrypoints.cli.main", reason="the command line is not there yet")
pytestmark = pytest.mark.timeout(400)  # the first deploy of all may have to download 200 MB of packages


class Running:
    """A platform of its own, in a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.gateway = folder, free_port()
        # Short: the sockets below it must fit into 107 bytes. HOME: gunicorn keeps a control socket there.
        self.environment = os.environ | {"BOUGH_HOME": str(folder / "home"), "HOME": str(folder)}
        self.environment.setdefault("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv"))
        self.deployed: set[str] = set()

    def bough(self, *words: str, cwd: Path | None = None) -> dict[str, Any]:
        command = [sys.executable, "-m", "bough.entrypoints.cli.main", *words, "--json"]
        done = subprocess.run(
            command, cwd=cwd or self.folder, env=self.environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"bough {' '.join(words)}\n{done.stdout}\n{done.stderr}"
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return answer

    def deploy(self, example: str) -> None:
        if example not in self.deployed:
            copy = self.folder / example
            shutil.copytree(EXAMPLES / example, copy, ignore=shutil.ignore_patterns("__pycache__"))
            self.bough("deploy", cwd=copy)
            self.deployed.add(example)

    def ask(
        self, method: str, path: str, body: bytes | None = None, kind: str = JSON, host: str = ""
    ) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.gateway, timeout=60)
        headers = {"Content-Type": kind} if body is not None else {}
        try:
            connection.request(method, path, body, headers | ({"Host": host} if host else {}))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"http://127.0.0.1:{self.gateway}/v1", api_key="-", max_retries=0, timeout=60)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    folder = Path(tempfile.mkdtemp(prefix="ex", dir="/tmp"))
    platform = Running(folder)
    try:
        platform.bough("up", "--gateway-port", str(platform.gateway), "--api-port", str(free_port()))
        yield platform
    finally:
        try:
            platform.bough("down", "--all")
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def test_credit_risk_decides_and_refuses_by_name(running: Running) -> None:
    running.deploy("credit-risk")
    body = (EXAMPLES / "credit-risk" / "example.json").read_bytes()
    status, answer = running.ask("POST", "/v1/credit/predict", body)
    assert status == 200, answer
    decision = json.loads(answer)
    assert 0.5 < decision["risk"] < 1
    assert decision["approved"] is False
    assert decision["reasons"]
    status, answer = running.ask("POST", "/v1/credit/predict", body.replace(b'"rent"', b'"tent"'))
    assert status == 422
    assert b"housing" in answer


def test_credit_risk_answers_many_at_once_without_mixing_them(running: Running) -> None:
    running.deploy("credit-risk")
    application = json.loads((EXAMPLES / "credit-risk" / "example.json").read_bytes())

    def risk(months: int) -> float:
        body = json.dumps(application | {"duration_months": months}).encode()
        status, answer = running.ask("POST", "/v1/credit/predict", body)
        assert status == 200, answer
        return float(json.loads(answer)["risk"])

    months = list(range(4, 68))
    with ThreadPoolExecutor(16) as threads:
        risks = list(threads.map(risk, months))
    assert risks == sorted(risks), "a longer credit is a higher risk in this model"
    assert len(set(risks)) == len(risks)


def test_file_type_takes_raw_bytes(running: Running) -> None:
    running.deploy("file-type")
    program = Path(sys.executable).resolve().read_bytes()[:2_000_000]
    for content, mime_type in (
        (Path(__file__).read_bytes(), "text/x-python"),
        (program, "application/x-executable-elf"),
    ):
        status, answer = running.ask("POST", "/v1/detect/predict", content, "application/octet-stream")
        assert status == 200, answer
        assert json.loads(answer)["mime_type"] == mime_type


def test_embeddings_serve_the_openai_client(running: Running) -> None:
    running.deploy("embeddings")
    with running.client() as client:
        found = client.embeddings.create(model="embed", input=["A cat sleeps.", "A kitten is napping.", "An invoice."])
        assert "embed" in {model.id for model in client.models.list()}
    cat, kitten, invoice = (entry.embedding for entry in found.data)
    assert len(cat) == 384
    assert dot(cat, kitten) > 0.6 > 0.3 > dot(cat, invoice)
    assert found.usage.prompt_tokens > 0


def test_chat_streams_to_the_openai_client_what_it_says_whole(running: Running) -> None:
    running.deploy("chat-stream")
    asked: dict[str, Any] = {"model": "orchard", "messages": [{"role": "user", "content": "the fox"}], "max_tokens": 20}
    with running.client() as client:
        whole = client.chat.completions.create(**asked).choices[0].message.content
        stream = client.chat.completions.create(**asked, stream=True)
        pieces = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
    assert whole
    assert "".join(piece or "" for piece in pieces) == whole
    assert len([piece for piece in pieces if piece]) > 1


@pytest.mark.parametrize("by_host", [True, False])
def test_the_web_app_is_unchanged_behind_the_gateway(running: Running, by_host: bool) -> None:
    running.deploy("fastapi-app")
    host = f"web.fastapi-app.localhost:{running.gateway}" if by_host else ""
    base = "" if by_host else "/web/web"
    status, answer = running.ask("GET", f"{base}/predict?q=x", host=host)
    assert (status, json.loads(answer)) == (200, {"prediction": "dummy", "q": "x"})
    assert running.ask("GET", f"{base}/predict", host=host)[0] == 422
    assert running.ask("GET", f"{base}/count?to=3", host=host) == (200, b"1\n2\n3\n")
    url = f"ws://{host or f'127.0.0.1:{running.gateway}'}{base}/echo"
    with socket.create_connection(("127.0.0.1", running.gateway)) as link, connect(url, sock=link) as web_socket:
        web_socket.send("hello")
        assert web_socket.recv(timeout=20) == "hello"
        web_socket.send(b"\x00\x01")
        assert web_socket.recv(timeout=20) == b"\x00\x01"


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
