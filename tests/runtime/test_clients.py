"""The clients that people already have, unchanged, through the real gateway to real replicas."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import uvloop

from bough.gateway.models import Route, Table, Target
from bough.gateway.server import Gateway, Options
from bough.runtime.frames import Signature
from tests.lazily import Lazily
from tests.runtime.wire import Connection, Replica

openai, triton = Lazily("openai"), Lazily("tritonclient.http")

Start = Callable[..., tuple[Replica, Connection]]


class Front:
    """A gateway in a thread, with one route for each replica."""

    def __init__(self, home: Path, replicas: dict[str, Replica]) -> None:
        (home / "run").mkdir()
        routes = [self._route(name, process) for name, process in replicas.items()]
        (home / "run" / "routes.json").write_bytes(msgspec.json.encode(Table(generation=1, routes=routes)))
        self._home = home
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._up.wait(60)
        while not all(entry.ready for entry in self._gateway.routes.entries.values()):  # connecting takes some turns
            time.sleep(0.005)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(60)

    def _route(self, name: str, process: Replica) -> Route:
        signature = msgspec.json.decode((process.folder / "ready.json").read_bytes(), type=Signature)
        target = Target(unit=name, address=f"unix:{process.folder / 'replica.sock'}", attempt=1)
        return Route(
            project="p", environment="main", service=name, deployment=name, release=1, kind="model", targets=[target],
            signature=signature,
        )  # fmt: skip

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._gateway = gateway = Gateway(self._home, Options(access_log=False))
        await gateway.start("127.0.0.1", 0)
        self.port = gateway.addresses[0][1]
        self._up.set()
        await self._stopping.wait()
        await gateway.stop()


@pytest.fixture
def front(tmp_path: Path, replica: Start) -> Iterator[Callable[..., Front]]:
    started: list[Front] = []

    def start(name: str, reference: str, *options: str, **more: Any) -> Front:
        process, connection = replica(reference, "--name", name, *options, **more)
        connection.close()  # the gateway is the one that connects
        started.append(Front(tmp_path, {name: process}))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def iris(tmp_path: Path) -> tuple[Path, Any, Any]:
    import skops.io
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    x, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=500).fit(x, y)
    skops.io.dump(model, tmp_path / "iris.skops")
    return tmp_path / "iris.skops", model, x


def tensor(name: str, array: Any, kind: str, binary: bool = True) -> Any:
    given = triton.InferInput(name, list(array.shape), kind)
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def test_tritonclient_with_its_defaults(front: Callable[..., Front], iris: tuple[Path, Any, Any]) -> None:
    path, model, x = iris
    port = front("iris", f"file:{path.name}", files=[path]).port
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    try:
        assert client.is_server_live() and client.is_model_ready("iris")
        assert client.get_model_metadata("iris")["inputs"] == [{"name": "input", "datatype": "FP64", "shape": [-1, 4]}]
        result = client.infer("iris", [tensor("input", x, "FP64")], request_id="mine")
        assert result.as_numpy("label").tolist() == model.predict(x).tolist()
        assert np.allclose(result.as_numpy("probabilities"), model.predict_proba(x))
        assert result.get_response()["id"] == "mine"
        wanted = [triton.InferRequestedOutput("label", binary_data=False)]
        plain = client.infer("iris", [tensor("input", x[:2], "FP64", binary=False)], outputs=wanted)
        assert plain.as_numpy("label").tolist() == [0, 0] and plain.as_numpy("probabilities") is None
        with pytest.raises(triton.InferenceServerException, match="the model takes"):
            client.infer("iris", [tensor("input", x[:, :2].copy(), "FP64")])
        with pytest.raises(triton.InferenceServerException, match="no output 'nope'"):
            client.infer("iris", [tensor("input", x[:2], "FP64")], outputs=[triton.InferRequestedOutput("nope")])
    finally:
        client.close()


def test_tritonclient_with_texts(front: Callable[..., Front]) -> None:
    port = front("embed", "services:Embed").port
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    try:
        given = np.array(["a", "bcd", "häh"], dtype=object)
        for binary in (True, False):
            found = client.infer("embed", [tensor("texts", given, "BYTES", binary)]).as_numpy("output")
            assert found.tolist() == [[1.0, 0.5, -1.0], [3.0, 0.5, -1.0], [3.0, 0.5, -1.0]]
    finally:
        client.close()


@pytest.fixture
def client() -> Iterator[Callable[[int], Any]]:
    made: list[Any] = []

    def make(port: int) -> Any:
        made.append(openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_openai_chat(front: Callable[..., Front], client: Callable[[int], Any]) -> None:
    port = front("parrot", "services:Chat", "--openai", "chat").port
    chat = client(port).chat.completions
    messages: Any = [{"role": "user", "content": "hello"}]
    whole = chat.create(model="parrot", messages=messages, temperature=0.5)
    assert whole.choices[0].message.content == "You said: hello (0.5)"
    assert whole.usage is not None and whole.usage.completion_tokens == 5
    with chat.create(
        model="parrot", messages=messages, stream=True, max_tokens=3, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "You said: "
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 3
    assert chunks[-2].choices[0].finish_reason == "length"
    with pytest.raises(openai.BadRequestError, match="messages"):
        chat.create(model="parrot", messages=[])


def test_openai_embeddings(front: Callable[..., Front], client: Callable[[int], Any]) -> None:
    port = front("embed", "services:Embed", "--openai", "embeddings").port
    embeddings = client(port).embeddings
    found = embeddings.create(model="embed", input=["a", "bc", "def", "g", "hij k"])
    assert [entry.embedding for entry in found.data] == [[n, 0.5, -1.0] for n in (1.0, 2.0, 3.0, 1.0, 5.0)]
    assert embeddings.create(model="embed", input="ab", encoding_format="float").data[0].embedding == [2.0, 0.5, -1.0]
    with pytest.raises(openai.BadRequestError):
        embeddings.create(model="embed", input=[])
