"""OpenAI's chat completions and embeddings, in the shapes that its clients expect."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import bough
from bough.runtime.frames import CHAT, EMBED, Request
from bough.runtime.items import SignatureUnsupported
from bough.runtime.protocols.chat import Chunks, Collected
from bough.runtime.protocols.work import Work
from tests.runtime.wire import ask, content, serving

HELLO = [{"role": "user", "content": "hello there"}]


class Plain:
    def predict(self, messages: list[dict[str, Any]], temperature: float = 1.0) -> str:
        return f"{messages[-1]['content']} at {temperature:g}"


class Pieces:
    def predict(self, messages: list[dict[str, Any]], max_tokens: int = 8) -> Iterator[Any]:
        yield from ["a", "b", "c"][:max_tokens]
        return "content_filter" if messages[0]["content"] == "stop" else None


class Tools:
    def predict(self, messages: list[dict[str, Any]]) -> Iterator[Any]:
        yield {
            "tool_calls": [{"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
        }


def chat(service: Any, **asked: Any) -> Any:
    """The work of one request, brought to its end as the loop of generators would."""
    answering = serving(service, openai="chat")
    work = answering.expand(
        Request(5, CHAT, msgspec.json.encode({"model": "m", "messages": HELLO, **asked}), "chatcmpl-x")
    )
    assert isinstance(work, Work) and isinstance(work.stream, (Collected, Chunks))
    parts, pieces = [], answering.contract.call(work.items[0])
    while True:
        try:
            parts.append(work.stream.piece(next(pieces)))
        except StopIteration as done:
            parts.append(work.stream.finish(done.value))
            return b"".join(parts)


def events(data: bytes) -> list[Any]:
    lines = [line.removeprefix(b"data: ") for line in data.split(b"\n\n") if line]
    assert lines.pop() == b"[DONE]"
    return [msgspec.json.decode(line) for line in lines]


def test_a_text_is_a_completion() -> None:
    asked = {"model": "mine", "messages": HELLO, "temperature": 0.5, "top_p": 0.1, "user": "u"}
    found = content(ask(serving(Plain(), openai="chat"), asked, verb=CHAT, meta="chatcmpl-1")[0])
    assert (found["id"], found["object"], found["model"]) == ("chatcmpl-1", "chat.completion", "mine")
    assert found["choices"][0]["message"] == {"role": "assistant", "content": "hello there at 0.5"}
    assert found["choices"][0]["finish_reason"] == "stop"
    assert found["usage"] == {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}


def test_a_text_is_streamed_when_asked() -> None:
    asked = {"messages": HELLO, "stream": True}
    first, last = ask(serving(Plain(), openai="chat"), asked, verb=CHAT)
    assert (first.flag, last.flag) == (1, 2) and b"text/event-stream" in first.headers
    assert events(first.body)[1]["choices"][0]["delta"] == {"content": "hello there at 1"}


def test_pieces_become_chunks_with_the_role_first_and_the_reason_last() -> None:
    found = events(chat(Pieces(), stream=True))
    deltas = [event["choices"][0]["delta"] for event in found]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "a"}, {"content": "b"}, {"content": "c"}, {}]
    assert [event["choices"][0]["finish_reason"] for event in found] == [None] * 4 + ["stop"]
    assert {event["id"] for event in found} == {"chatcmpl-x"}
    assert all("usage" not in event for event in found)


def test_usage_comes_last_when_asked_for() -> None:
    found = events(chat(Pieces(), stream=True, stream_options={"include_usage": True}))
    assert found[-1]["choices"] == []
    assert found[-1]["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    assert all(event["usage"] is None for event in found[:-1])


@pytest.mark.parametrize(
    ("asked", "reason"),
    [({}, "stop"), ({"max_tokens": 2}, "length"), ({"max_completion_tokens": 2}, "length"),
     ({"messages": [{"role": "user", "content": "stop"}]}, "content_filter")],
)  # fmt: skip
def test_why_it_ended(asked: dict[str, Any], reason: str) -> None:
    assert msgspec.json.decode(chat(Pieces(), **asked))["choices"][0]["finish_reason"] == reason
    assert events(chat(Pieces(), stream=True, **asked))[-1]["choices"][0]["finish_reason"] == reason


def test_tool_calls_pass_as_they_are() -> None:
    found = msgspec.json.decode(chat(Tools()))["choices"][0]
    assert found["finish_reason"] == "tool_calls" and found["message"]["tool_calls"][0]["id"] == "1"


def test_the_service_may_count_tokens_itself() -> None:
    class Counting(Plain):
        def count_tokens(self, text: str) -> int:
            return len(text)

    found = content(ask(serving(Counting(), openai="chat"), {"messages": HELLO}, verb=CHAT)[0])
    assert found["usage"] == {"prompt_tokens": 11, "completion_tokens": 16, "total_tokens": 27}


@pytest.mark.parametrize(
    ("asked", "param"),
    [({"messages": []}, "messages"), ({}, "messages"), ({"messages": HELLO, "n": 2}, "n"),
     ({"messages": HELLO, "temperature": "hot"}, "$.temperature"), ([], "$")],
)  # fmt: skip
def test_bad_chat_requests_are_400_in_openais_shape(asked: Any, param: str) -> None:
    [reply] = ask(serving(Plain(), openai="chat"), asked, verb=CHAT)
    assert reply.status == 400
    error = content(reply)["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


def test_failures_are_500_in_openais_shape() -> None:
    class Bad:
        def predict(self, messages: list[Any]) -> str:
            raise RuntimeError("no")

    class Number:
        def predict(self, messages: list[Any]) -> Any:
            return 7

    replies = [ask(serving(kind(), openai="chat"), {"messages": HELLO}, verb=CHAT)[0] for kind in (Bad, Number)]
    assert [(r.status, content(r)["error"]["code"]) for r in replies] == [
        (500, "PREDICT_FAILED"),
        (500, "OUTPUT_INVALID"),
    ]


class Vectors:
    def __init__(self) -> None:
        self.calls: list[int] = []

    @bough.batch(max_size=8)
    def predict(self, texts: list[str]) -> list[list[float]]:
        self.calls.append(len(texts))
        return [[float(len(text)), 0.5] for text in texts]


class Tokens:
    def predict(self, tokens: list[int]) -> list[float]:
        return [float(sum(tokens))]


def test_every_text_is_an_item_and_requests_share_a_call() -> None:
    service = serving(Vectors(), openai="embeddings")
    replies = ask(service, {"input": "ab", "model": "m"}, {"input": ["a", "abc d"]}, verb=EMBED)
    assert [[entry["embedding"] for entry in content(reply)["data"]] for reply in replies] == [
        [[2.0, 0.5]], [[1.0, 0.5], [5.0, 0.5]]
    ]  # fmt: skip
    assert [entry["index"] for entry in content(replies[1])["data"]] == [0, 1]
    assert content(replies[0])["model"] == "m"
    assert content(replies[1])["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert service.model.instance.calls == [3]


def test_base64_holds_the_same_numbers() -> None:
    [reply] = ask(serving(Vectors(), openai="embeddings"), {"input": "ab", "encoding_format": "base64"}, verb=EMBED)
    assert struct.unpack("<2f", base64.b64decode(content(reply)["data"][0]["embedding"])) == (2.0, 0.5)


def test_token_numbers_reach_a_model_that_takes_them() -> None:
    replies = ask(serving(Tokens(), openai="embeddings"), {"input": [1, 2]}, {"input": [[1], [5]]}, verb=EMBED)
    assert [[entry["embedding"] for entry in content(reply)["data"]] for reply in replies] == [[[3.0]], [[1.0], [5.0]]]
    assert content(replies[0])["usage"]["prompt_tokens"] == 2
    [refused] = ask(serving(Vectors(), openai="embeddings"), {"input": [1, 2]}, verb=EMBED)
    assert refused.status == 400 and "token numbers" in content(refused)["error"]["message"]


@pytest.mark.parametrize(
    "asked",
    [{}, {"input": []}, {"input": [True]}, {"input": ["a", 1]}, {"input": [[]]},
     {"input": "a", "encoding_format": "hex"}, {"input": "a", "dimensions": 3}],
)  # fmt: skip
def test_bad_embedding_requests_are_400(asked: Any) -> None:
    [reply] = ask(serving(Vectors(), openai="embeddings"), asked, verb=EMBED)
    assert (reply.status, content(reply)["error"]["type"]) == (400, "invalid_request_error")


def test_what_openai_cannot_be_served_with_is_told() -> None:
    with pytest.raises(SignatureUnsupported, match="one conversation"):
        serving(Vectors(), openai="chat")
    with pytest.raises(SignatureUnsupported, match="cannot stream"):
        serving(Pieces(), openai="embeddings")
