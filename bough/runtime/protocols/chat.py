"""OpenAI chat completions, plain and streamed, over a `predict(self, messages, ...)` that returns or yields text.

Of the client's parameters `predict` gets those that it declares (`max_completion_tokens` also under its older name
`max_tokens`); the others are ignored, as this API's servers do. A piece may also be a dict: then it is the delta as it
stands (tool calls). `finish_reason` is what a generator returns (`return "length"`), else "length" when as many pieces
came as `max_tokens` allows, else "stop".
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Optional

from bough.runtime.answers import OutputInvalid, encode_json
from bough.runtime.frames import CHUNK, END, Reply, Request
from bough.runtime.items import Contract
from bough.runtime.protocols import openai
from bough.runtime.protocols.work import Stream, Work
from bough.runtime.service import Reject

refuse = openai.refuse


class Chat:
    def __init__(self, contract: Contract, instance: Any, model: str) -> None:
        self._contract = contract
        self._count = openai.counter(instance)
        self._model = model
        self._names = [parameter.name for parameter in contract.parameters]

    def expand(self, request: Request) -> Work:
        asked = openai.parse(request.body)
        if not isinstance(asked.get("messages"), list) or not asked["messages"]:
            raise openai.invalid("messages must be a list of at least one message", "messages")
        if asked.get("n") not in (None, 1):
            raise openai.invalid("n: one completion for each request is offered", "n")
        if "max_tokens" not in asked and "max_completion_tokens" in asked:
            asked["max_tokens"] = asked["max_completion_tokens"]
        item = self._item({name: asked[name] for name in self._names if asked.get(name) is not None})
        completion = _Completion(
            request.meta or f"chatcmpl-{request.id}", str(asked.get("model") or self._model), asked, self._count
        )
        stream: Stream = Chunks(completion) if asked.get("stream") else Collected(completion)

        def finish(results: list[Any]) -> list[Reply]:
            if isinstance(results[0], Reject):
                raise results[0]
            body = stream.piece(results[0]) + stream.finish(None)
            if isinstance(stream, Collected):
                return [Reply(request.id, 200, body)]
            return [Reply(request.id, 200, body, CHUNK, stream.headers), Reply(request.id, 200, b"", END)]

        return Work(request.id, [item], finish, refuse, stream)

    def _item(self, fields: dict[str, Any]) -> Any:
        try:
            return self._contract.from_fields(fields)
        except Reject as error:
            raise openai.invalid(error.message, str(error.fields.get("path", ""))) from error


class _Completion:
    """One completion while it grows."""

    def __init__(self, number: str, model: str, asked: dict[str, Any], count: Callable[[str], int]) -> None:
        self.id, self.model, self.created, self.count = number, model, int(time.time()), count
        self.limit: Optional[int] = asked.get("max_tokens")
        self.messages = asked["messages"]
        self.include_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        self.exact = count is not openai.count_words
        self.pieces: list[Any] = []

    def take(self, piece: Any) -> None:
        if not isinstance(piece, (str, dict)):
            raise OutputInvalid(f"predict must give pieces of text, not {type(piece).__name__}")
        self.pieces.append(piece)

    def text(self) -> str:
        return "".join(piece if isinstance(piece, str) else str(piece.get("content") or "") for piece in self.pieces)

    def reason(self, returned: Any) -> str:
        if isinstance(returned, str):
            return returned
        if any(isinstance(piece, dict) and piece.get("tool_calls") for piece in self.pieces):
            return "tool_calls"
        return "length" if self.limit and len(self.pieces) >= self.limit > 1 else "stop"

    def usage(self) -> dict[str, int]:
        prompt = sum(self.count(text) for message in self.messages for text in _texts(message))
        many = len(self.pieces) > 1 and not self.exact
        answer = len(self.pieces) if many else self.count(self.text())
        return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}

    def head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


class Collected:
    """`stream: false`: one JSON object at the end."""

    headers = b""

    def __init__(self, completion: _Completion) -> None:
        self._completion = completion

    def piece(self, value: Any) -> bytes:
        self._completion.take(value)
        return b""

    def finish(self, returned: Any) -> bytes:
        completion = self._completion
        message: dict[str, Any] = {"role": "assistant", "content": completion.text()}
        for piece in completion.pieces:
            if isinstance(piece, dict):
                message |= {key: value for key, value in piece.items() if key != "content"}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": completion.reason(returned)}
        return encode_json({**completion.head("chat.completion"), "choices": [choice], "usage": completion.usage()})

    def fail(self, reject: Reject) -> bytes:
        return openai.refuse(0, reject).body


class Chunks:
    """`stream: true`: one event for each piece, then the reason, the usage if asked for, and [DONE]."""

    headers = b"Content-Type: text/event-stream\r\nCache-Control: no-cache\r\n"

    def __init__(self, completion: _Completion) -> None:
        self._completion = completion
        head = encode_json(completion.head("chat.completion.chunk"))[:-1]
        self._before = b"data: " + head + b',"choices":[{"index":0,"delta":'
        self._after = b',"finish_reason":null}]' + (b',"usage":null}' if completion.include_usage else b"}") + b"\n\n"

    def piece(self, value: Any) -> bytes:
        completion = self._completion
        role = b"" if completion.pieces else self._event(b'{"role":"assistant","content":""}')
        completion.take(value)
        delta = encode_json(value)
        return role + self._event(delta if isinstance(value, dict) else b'{"content":%b}' % delta)

    def finish(self, returned: Any) -> bytes:
        completion = self._completion
        last = {"index": 0, "delta": {}, "finish_reason": completion.reason(returned)}
        head = completion.head("chat.completion.chunk")
        events = [{**head, "choices": [last]}]
        if completion.include_usage:
            events[0]["usage"] = None
            events.append({**head, "choices": [], "usage": completion.usage()})
        return b"".join(b"data: %b\n\n" % encode_json(event) for event in events) + b"data: [DONE]\n\n"

    def fail(self, reject: Reject) -> bytes:
        return b"data: %b\n\n" % openai.refuse(0, reject).body

    def _event(self, delta: bytes) -> bytes:
        return self._before + delta + self._after


def _texts(message: Any) -> list[str]:
    """The text of a message, whose content may be a string or a list of parts."""
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        return [str(part.get("text", "")) for part in content if isinstance(part, dict)]
    return [content] if isinstance(content, str) else []
