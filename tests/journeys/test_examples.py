"""Every example deploys from a clean copy through the command line, and answers through the gateway."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from bough.adapters.sql.postgres_server import Programs
from bough.adapters.sql.redis_server import Program
from tests.journeys.machine import Machine
from tests.lazily import Lazily

openai = Lazily("openai")

EXAMPLES = Path(__file__).parents[2] / "examples"

WHY_NOT = Programs().why_not
needs_postgres = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "-")
needs_redis = pytest.mark.skipif(bool(Program().why_not), reason=Program().why_not or "-")


class Running:
    """The shared platform, and which examples it has."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.port = machine, machine.gateway_port
        self.deployed: set[str] = set()

    def deploy(self, example: str, *first: tuple[str, ...]) -> None:
        """`first`: commands that its README has before `bough deploy`."""
        if example not in self.deployed:
            copy = self.machine.home.parent / example
            shutil.copytree(EXAMPLES / example, copy, ignore=shutil.ignore_patterns("__pycache__"))
            for words in first:
                self.machine.bough(*words, cwd=copy)
            self.machine.deploy(copy)
            self.deployed.add(example)

    def client(self) -> Any:
        return openai.OpenAI(base_url=f"{self.machine.gateway}/v1", api_key="-", max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def running(machine: Machine) -> Running:
    return Running(machine)


def test_credit_risk_decides_and_refuses_by_name(running: Running) -> None:
    running.deploy("credit-risk")
    body = (EXAMPLES / "credit-risk" / "example.json").read_bytes()
    status, answer = running.machine.ask("/v1/credit/predict", body)
    assert status == 200, answer
    decision = json.loads(answer)
    assert 0.5 < decision["risk"] < 1
    assert decision["approved"] is False
    assert decision["reasons"]
    status, answer = running.machine.ask("/v1/credit/predict", body.replace(b'"rent"', b'"tent"'))
    assert status == 422
    assert b"housing" in answer


def test_credit_risk_answers_many_at_once_without_mixing_them(running: Running) -> None:
    running.deploy("credit-risk")
    application = json.loads((EXAMPLES / "credit-risk" / "example.json").read_bytes())

    def risk(months: int) -> float:
        return float(running.machine.predict("credit", application | {"duration_months": months})["risk"])

    months = list(range(4, 68))
    with ThreadPoolExecutor(16) as threads:
        risks = list(threads.map(risk, months))
    assert risks == sorted(risks), "a longer credit is a higher risk in this model"
    assert len(set(risks)) == len(risks)


def test_documents_are_classified_through_their_queue_and_put_once(running: Running) -> None:
    """As its README says: one, a file of them twice with one key, and what has no words in it looked at."""
    running.deploy("documents")
    machine, queue = running.machine, "/queues/incoming"
    status, answer = machine.ask(queue, {"text": "Please pay the amount due of invoice 17."})
    assert status == 202
    status, answer = machine.ask(f"{queue}/{json.loads(answer)['id']}?wait=30")
    found = json.loads(answer)
    assert (status, found["state"], found["result"]["label"]) == (200, "done", "invoice")
    lines = (EXAMPLES / "documents" / "documents.ndjson").read_bytes()
    headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": "monday"}
    first, again = (json.loads(machine.ask(queue, lines, **headers)[1]) for _ in range(2))
    assert (first["new"], again["new"], first["ids"]) == (5, 0, again["ids"])
    ends = [json.loads(machine.ask(f"{queue}/{id}?wait=30")[1]) for id in first["ids"]]
    labels = [each["result"]["label"] if each["state"] == "done" else each["state"] for each in ends]
    assert labels == ["invoice", "complaint", "order", "application", "dead"]
    dead = machine.bough("queues", "peek", "incoming", "--state", "dead", "--project", "documents")
    assert [each["error"] for each in dead] == ["REJECTED: there are no words in it"]
    [counted] = machine.bough("queues", "list", "--project", "documents")
    assert (counted["waiting"], counted["running"], counted["dead"]) == (0, 0, 1)


def test_file_type_takes_raw_bytes(running: Running) -> None:
    running.deploy("file-type")
    program = Path(sys.executable).resolve().read_bytes()[:2_000_000]
    for content, mime_type in (
        (Path(__file__).read_bytes(), "text/x-python"),
        (program, "application/x-executable-elf"),
    ):
        raw = {"Content-Type": "application/octet-stream"}
        status, answer = running.machine.ask("/v1/detect/predict", content, **raw)
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


def test_electricity_answers_from_rows_that_branch(running: Running) -> None:
    running.deploy("electricity", ("db", "add", "readings"), ("db", "migrate", "readings", "migrations"))
    reading = {"day": 28, "half_hour": 16, "weekday": 7, "demand": 0.21}
    said = running.machine.predict("forecast.electricity", reading)
    assert said["days"] == 7 and 0.0 < said["demand"] < 0.5
    status, answer = running.machine.ask("/v1/forecast.electricity/predict", reading | {"half_hour": 47})
    assert status == 422, answer

    copy = running.machine.home.parent / "electricity"
    running.machine.bough("branch", "create", "holiday", cwd=copy)
    weekend = ("db", "shell", "readings", "-e", "holiday", "-c", "DELETE FROM demand WHERE weekday > 5")
    assert running.machine.run(*weekend, cwd=copy).returncode == 0
    assert running.machine.predict("forecast--holiday.electricity", reading)["days"] == 5
    assert running.machine.predict("forecast.electricity", reading) == said


@needs_postgres
def test_credit_book_compares_and_keeps_in_postgres(running: Running) -> None:
    running.deploy(
        "credit-book", ("db", "add", "credits", "--engine", "postgres"), ("db", "migrate", "credits", "migrations")
    )
    credit = json.loads((EXAMPLES / "credit-book" / "example.json").read_bytes())
    said = running.machine.predict("book.credit-book", credit)
    assert (said["id"], said["compared_with"]) == (1001, 50)
    assert 0.3 < said["ended_badly"] < 1, "worse than the 30 % of all"
    assert running.machine.predict("book.credit-book", credit)["id"] == 1002
    sound = credit | {"checking_account": "none", "credit_history": "critical"}
    better = running.machine.predict("book.credit-book", sound)
    assert better["ended_badly"] < said["ended_badly"]

    copy = running.machine.home.parent / "credit-book"
    running.machine.bough("branch", "create", "audit", cwd=copy)
    audited = running.machine.predict("book--audit.credit-book", credit)
    assert audited["id"] > 1003, "numbers may be skipped, and are not used twice"
    assert running.machine.predict("book.credit-book", credit)["id"] == 1004


@needs_redis
def test_rate_limit_counts_in_redis_and_each_environment_for_itself(running: Running) -> None:
    running.deploy("rate-limit", ("db", "add", "counts", "--engine", "redis"))
    copy = running.machine.home.parent / "rate-limit"

    def counted(environment: str) -> int:
        words = ("db", "shell", "counts", "-e", environment, "-c")
        keys = running.machine.bough(*words, "KEYS caller:ada:*", cwd=copy)
        return sum(int(running.machine.bough(*words, f"GET {key}", cwd=copy)[0] or 0) for key in keys)

    caller = {"caller": "ada", "limit": 3}
    said = [running.machine.predict("limit.rate-limit", caller) for _ in range(2)]
    assert [each["allowed"] for each in said] == [True, True] and counted("main") == 2
    running.machine.bough("branch", "create", "trial", cwd=copy)
    for _ in range(8):
        last = running.machine.predict("limit--trial.rate-limit", caller)
    assert last["left"] < 3 and counted("trial") == 10, "the branch has begun with the counts of its parent"
    assert counted("main") == 2
    assert running.machine.ask("/v1/limit.rate-limit/predict", caller | {"limit": 0})[0] == 422


def test_the_writer_streams_as_many_tokens_as_were_asked_for(running: Running) -> None:
    running.deploy("token-work")
    asked: dict[str, Any] = {"model": "writer", "messages": [{"role": "user", "content": "How much?"}]}
    with running.client() as client:
        stream = client.chat.completions.create(**asked, max_tokens=25, stream=True)
        pieces = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
        usage = client.chat.completions.create(**asked, max_tokens=25).usage
    assert len([piece for piece in pieces if piece]) == 25
    assert usage is not None and (usage.prompt_tokens, usage.completion_tokens) == (3, 25)


@pytest.mark.parametrize("by_host", [True, False])
def test_the_web_app_is_unchanged_behind_the_gateway(running: Running, by_host: bool) -> None:
    running.deploy("fastapi-app")
    host = {"Host": f"web.fastapi-app.localhost:{running.port}"} if by_host else {}
    base = "" if by_host else "/web/web"
    status, answer = running.machine.ask(f"{base}/predict?q=x", **host)
    assert (status, json.loads(answer)) == (200, {"prediction": "dummy", "q": "x"})
    assert running.machine.ask(f"{base}/predict", **host)[0] == 422
    assert running.machine.ask(f"{base}/count?to=3", **host) == (200, b"1\n2\n3\n")
    url = f"ws://{host.get('Host', f'127.0.0.1:{running.port}')}{base}/echo"
    with socket.create_connection(("127.0.0.1", running.port)) as link, connect(url, sock=link) as web_socket:
        web_socket.send("hello")
        assert web_socket.recv(timeout=20) == "hello"
        web_socket.send(b"\x00\x01")
        assert web_socket.recv(timeout=20) == b"\x00\x01"


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
