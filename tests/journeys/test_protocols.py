"""Real clients of other platforms, unchanged, against services deployed with the command line."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import numpy as np
import pytest

from tests.journeys.machine import Machine, wait_until
from tests.lazily import Lazily

openai, triton = Lazily("openai"), Lazily("tritonclient.http")

LINEAR = """
import bough
import numpy as np

class Linear:
    def load(self):
        self.weights = np.arange(1.0, 5.0)

    @bough.batch(max_size=32)
    def predict(self, rows: list[list[float]]) -> list[float]:
        return (np.asarray(rows) @ self.weights).tolist()
"""
CHAT = """
from collections.abc import Iterator

class Parrot:
    def predict(self, messages: list[dict], max_tokens: int = 16) -> Iterator[str]:
        for word in messages[-1]["content"].split()[:max_tokens]:
            yield word + " "
"""
EMBED = """
import bough

class Lengths:
    @bough.batch(max_size=32)
    def predict(self, texts: list[str]) -> list[list[float]]:
        return [[float(len(text)), float(text.count("a"))] for text in texts]
"""
STREAM = """
from collections.abc import Iterator

class Count:
    def predict(self, n: int) -> Iterator[dict]:
        for number in range(n):
            yield {"number": number}
"""
TYPED = """
from dataclasses import dataclass

@dataclass
class Customer:
    age: int
    income: float

@dataclass
class Answer:
    risk: float
    label: str

class Risk:
    def load(self):
        raise RuntimeError("a mock never loads its model")

    def predict(self, customer: Customer) -> Answer:
        return Answer(0.5, "x")
"""


@pytest.fixture(scope="module")
def zoo(machine: Machine) -> Machine:
    """Services of every shape, in one project."""
    toml = """
[services.linear]
model = "linear:Linear"
[services.parrot]
model = "parrot:Parrot"
openai = "chat"
[services.lengths]
model = "lengths:Lengths"
openai = "embeddings"
[services.count]
model = "count:Count"
[services.imagined]
model = "typed:Risk"
mock = true
[services.linear-two]
model = "linear:Linear"
route = "linear"
api = "v2"
"""
    project = machine.project(
        "zoo", toml, linear_py=LINEAR, parrot_py=CHAT, lengths_py=EMBED, count_py=STREAM, typed_py=TYPED,
        requirements_txt="numpy\n",
    )  # fmt: skip
    machine.deploy(project)
    return machine


def test_tritonclient_with_its_defaults(zoo: Machine) -> None:
    client = triton.InferenceServerClient(zoo.gateway.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("linear")
    metadata = client.get_model_metadata("linear")
    rows = np.array([[1, 2, 3, 4], [0, 0, 0, 1]], dtype=np.float64)
    asked = triton.InferInput(metadata["inputs"][0]["name"], list(rows.shape), "FP64")
    asked.set_data_from_numpy(rows)
    answer = client.infer("linear", [asked])
    assert answer.as_numpy(metadata["outputs"][0]["name"]).ravel().tolist() == [30.0, 4.0]
    assert client.get_inference_statistics("linear")["model_stats"]


def test_open_inference_protocol_in_plain_json(zoo: Machine) -> None:
    body = {"inputs": [{"name": "rows", "shape": [1, 4], "datatype": "FP64", "data": [1, 1, 1, 1]}]}
    status, answer = zoo.ask("/v2/models/linear/infer", body)
    assert (status, json.loads(answer)["outputs"][0]["data"]) == (200, [10.0])


def test_openai_chat_plain_and_streamed(zoo: Machine) -> None:
    client = openai.OpenAI(base_url=f"{zoo.gateway}/v1", api_key="none", max_retries=0)
    messages: Any = [{"role": "user", "content": "one two three"}]
    whole = client.chat.completions.create(model="parrot", messages=messages)
    assert whole.choices[0].message.content == "one two three "
    assert whole.choices[0].finish_reason == "stop"
    pieces = client.chat.completions.create(model="parrot", messages=messages, stream=True)
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == "one two three "
    assert {"parrot", "lengths"} <= {model.id for model in client.models.list()}


def test_openai_embeddings(zoo: Machine) -> None:
    client = openai.OpenAI(base_url=f"{zoo.gateway}/v1", api_key="none", max_retries=0)
    answer = client.embeddings.create(model="lengths", input=["banana", "kiwi"])
    assert [each.embedding for each in answer.data] == [[6.0, 3.0], [4.0, 0.0]]
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="nothing", input="x")


def test_a_generator_streams_server_sent_events(zoo: Machine) -> None:
    status, answer = zoo.ask("/v1/count/predict", 3)
    events = [json.loads(line[6:]) for line in answer.decode().splitlines() if line.startswith("data: {")]
    assert (status, events) == (200, [{"number": 0}, {"number": 1}, {"number": 2}])


def test_two_versions_of_one_api_answer_side_by_side(zoo: Machine) -> None:
    assert zoo.ask("/v1/linear/predict", [1, 0, 0, 0]) == (200, b"1.0")
    assert zoo.ask("/v2/linear/predict", [0, 1, 0, 0]) == (200, b"2.0")


def test_wrong_input_is_refused_with_where_and_why(zoo: Machine) -> None:
    status, answer = zoo.ask("/v1/linear/predict", ["a"])
    error = json.loads(answer)["error"]
    assert (status, error["code"]) == (422, "INPUT_INVALID")


def test_a_mock_answers_by_its_types_without_the_model(zoo: Machine) -> None:
    first, second = (zoo.predict("imagined", {"age": 3, "income": 4.0}) for _ in range(2))
    assert first == second
    assert isinstance(first["risk"], int | float)
    assert isinstance(first["label"], str)


def test_metrics_say_why_batches_were_released(zoo: Machine) -> None:
    zoo.predict("linear", [1, 0, 0, 0])
    text = zoo.ask("/metrics")[1].decode()
    assert 'service="linear"' in text
    assert "idle" in text


def test_request_ids_and_trace_context_come_back(zoo: Machine) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    asked = urllib.request.Request(
        f"{zoo.gateway}/v1/linear/predict", b"[1,0,0,0]", {"traceparent": trace, "Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked) as answer:
        assert answer.headers["X-Request-Id"]


def test_keys_guard_a_service_that_asks_for_one(machine: Machine) -> None:
    toml = '[services.guarded]\nmodel = "count:Count"\naccess = "key"\n'
    machine.deploy(machine.project("guarded", toml, count_py=STREAM))
    assert machine.ask("/v1/guarded/predict", 1)[0] == 401
    made = machine.bough("keys", "create", "--project", "guarded")
    key = {"Authorization": f"Bearer {made['secret']}"}
    wait_until(lambda: machine.ask("/v1/guarded/predict", 1, **key)[0] == 200, "the key lets one in")
    machine.bough("keys", "revoke", made["id"])
    wait_until(lambda: machine.ask("/v1/guarded/predict", 1, **key)[0] in (401, 403), "and then no more")
