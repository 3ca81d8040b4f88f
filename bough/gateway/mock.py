"""Answers made from a service's types, without its model: equal requests get equal answers, in every protocol."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import struct
import time
from collections.abc import Callable
from typing import Any

import msgspec

from bough.gateway.call import Call
from bough.gateway.conforms import mismatch
from bough.gateway.models import LaneState, Route
from bough.gateway.telemetry.metrics import LaneStats
from bough.kernel.errors import Invalid
from bough.runtime.frames import CHAT, CHUNK, EMBED, END, INFER, Reply, Signature, Tensor

EMBEDDING_SIZE = 16
_SSE = b"Content-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
_WORDS = ("a", "mock", "answer", "made", "from", "types", "without", "its", "model")
_FORMATS: dict[str, Callable[[random.Random], str]] = {
    "date-time": lambda dice: f"2026-0{dice.randint(1, 9)}-1{dice.randint(0, 9)}T12:00:00Z",
    "date": lambda dice: f"2026-0{dice.randint(1, 9)}-1{dice.randint(0, 9)}",
    "time": lambda dice: f"1{dice.randint(0, 9)}:00:00Z",
    "uuid": lambda dice: f"{dice.getrandbits(32):08x}-0000-4000-8000-{dice.getrandbits(48):012x}",
    "email": lambda dice: f"user{dice.randint(1, 99)}@example.com",
    "uri": lambda dice: f"https://example.com/{dice.randint(1, 99)}",
    "byte": lambda dice: base64.b64encode(dice.randbytes(6)).decode(),
}
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class MockLane:
    """Implements `routes.AnyLane`; always ready, never full."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.stats = LaneStats(route)
        self.closed = False
        self.ready = True
        self._waiting: dict[Call, asyncio.TimerHandle] = {}

    def state(self) -> LaneState:
        return LaneState(deployment=self.route.deployment, queued=0, in_flight=len(self._waiting), links=1)

    def update(self, route: Route) -> None:
        self.route = route

    def drain(self) -> None:
        self.closed = not self._waiting

    def close(self) -> None:
        self.closed = True

    def tick(self) -> None:
        self.stats.tick(0)

    def submit(self, call: Call, verb: int, body: bytes, meta: str, now: float) -> None:
        """Answers after the route's latency; raises `Invalid` for a body that is not what the protocol asks for."""
        replies = answer(self.route, call.id, verb, body, meta)
        loop = asyncio.get_running_loop()
        self._waiting[call] = loop.call_later(self.route.mock_latency_ms / 1000.0, self._deliver, call, replies)

    def cancel(self, call: Call) -> None:
        if (timer := self._waiting.pop(call, None)) is not None:
            timer.cancel()

    def woken(self, unit: str, address: str, attempt: int) -> None:
        """Nothing sleeps here."""

    def progress(self, call: Call, now: float) -> None:
        """Nothing can be late here."""

    def _deliver(self, call: Call, replies: list[Reply]) -> None:
        del self._waiting[call]
        now = time.monotonic()
        if len(replies) == 1:
            call.client.answer(call, replies[0], now)
        else:
            call.client.stream(call, replies, now)


def answer(route: Route, number: int, verb: int, body: bytes, meta: str) -> list[Reply]:
    """One whole reply, or the parts of a stream."""
    dice = random.Random(hashlib.sha256(body).digest())  # noqa: S311 - repeatable, not secret
    signature = route.signature or Signature(mode="item")
    if verb == INFER:
        return [Reply(number, 200, _encode(_inference(signature, route, _request(body, meta), dice)))]
    if verb == EMBED:
        return [Reply(number, 200, _encode(_embeddings(route, _request(body), dice)))]
    if verb == CHAT:
        return _chat(route, number, _request(body), meta, dice)
    _check(route, signature, body)
    if signature.streams:
        parts = [Reply(number, 200, _encode(value(signature.output, dice)) + b"\n", CHUNK) for _ in range(3)]
        return [*parts, Reply(number, 200, b"", END)]
    return [Reply(number, 200, _encode(value(signature.output, dice)))]


def value(schema: dict[str, Any], dice: random.Random, root: dict[str, Any] | None = None, depth: int = 0) -> Any:
    """An instance of a JSON Schema (2020-12: the part that types produce)."""
    root = schema if root is None else root
    if depth > 16:  # a type that contains itself
        return None
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return value(root.get("$defs", {}).get(name, {}), dice, root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return dice.choice(schema["enum"])
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            choices = schema[key] if depth < 8 else sorted(schema[key], key=lambda one: one.get("type") != "null")[:1]
            return value(dice.choice(choices), dice, root, depth + 1)
    if schema.get("allOf"):
        merged = {k: v for part in schema["allOf"] for k, v in part.items()}
        return value(merged, dice, root, depth + 1)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    match kind:
        case "object":
            return {k: value(v, dice, root, depth + 1) for k, v in schema.get("properties", {}).items()}
        case "array":
            return _array(schema, dice, root, depth)
        case "string":
            return _string(schema, dice)
        case "integer" | "number":
            return _number(schema, dice, whole=kind == "integer")
        case "boolean":
            return dice.random() < 0.5
        case "null":
            return None
    return {"mock": True}


def _array(schema: dict[str, Any], dice: random.Random, root: dict[str, Any], depth: int) -> list[Any]:
    first = [value(part, dice, root, depth + 1) for part in schema.get("prefixItems", [])]
    items = schema.get("items")
    least = int(schema.get("minItems", 0))
    length = min(max(least, 2), int(schema.get("maxItems", 1 << 20)))
    rest = range(len(first), length) if isinstance(items, dict) and items else ()
    return first + [value(items, dice, root, depth + 1) for _ in rest if isinstance(items, dict)]


def _string(schema: dict[str, Any], dice: random.Random) -> str:
    make = _FORMATS.get(str(schema.get("format", "")))
    text = make(dice) if make else f"{dice.choice(_WORDS)}-{dice.randint(0, 999)}"
    least = int(schema.get("minLength", 0))
    return text.ljust(least, "x")[: int(schema.get("maxLength", 1 << 20))]


def _number(schema: dict[str, Any], dice: random.Random, *, whole: bool) -> float | int:
    step = 1 if whole else 0.001
    low = schema.get("minimum", schema["exclusiveMinimum"] + step if "exclusiveMinimum" in schema else None)
    high = schema.get("maximum", schema["exclusiveMaximum"] - step if "exclusiveMaximum" in schema else None)
    if low is None:
        low = 0 if high is None else min(0, high) - (100 if whole else 1)
    if high is None:
        high = low + (100 if whole else 1)
    if whole:
        return dice.randint(int(low), int(max(low, high)))
    return round(dice.uniform(low, high), 6)


def _check(route: Route, signature: Signature, body: bytes) -> None:
    """Refuses the item that the service itself would. Where texts are taken, a body may be one without being JSON."""
    if not signature.input or signature.input.get("type") == "string":
        return
    try:
        said = mismatch(signature.input, msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        said = f"the body is not valid JSON: {error}" if body else "the body is empty; JSON is expected"
    if said:
        hint = f"GET /v2/models/{route.service} shows the names and types that the service takes"
        raise Invalid(said, code="INPUT_INVALID", hint=hint)


def _request(body: bytes, meta: str = "") -> dict[str, Any]:
    try:
        return _decode(body[: int(meta)] if meta else body)
    except (msgspec.DecodeError, ValueError) as error:
        said = f"the body is not a JSON object: {error}" if body else "the body is empty; a JSON object is expected"
        raise Invalid(said, code="INVALID_BODY") from error


def _inference(signature: Signature, route: Route, request: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    inputs = request.get("inputs") or [{}]
    shape = inputs[0].get("shape") or [1] if isinstance(inputs[0], dict) else [1]
    outputs = signature.outputs or [Tensor(name="output", datatype="FP32", shape=[-1, 1])]
    made = {
        "model_name": route.service, "model_version": route.api.removeprefix("v"),
        "outputs": [_output(tensor, shape, dice) for tensor in outputs],
    }  # fmt: skip
    return {"id": request["id"], **made} if "id" in request else made


def _output(tensor: Tensor, asked: list[int], dice: random.Random) -> dict[str, Any]:
    shape = [(asked[0] if at == 0 else 1) if size < 0 else size for at, size in enumerate(tensor.shape)]
    count = 1
    for size in shape:
        count *= size
    if count > 1 << 20:
        raise Invalid(f"an output of shape {shape} is too large to make up", code="MOCK_TOO_LARGE")
    kind = tensor.datatype
    one: Callable[[], Any]
    if kind == "BOOL":
        one = lambda: dice.random() < 0.5  # noqa: E731 - one expression per datatype reads best as a table
    elif kind == "BYTES":
        one = lambda: dice.choice(_WORDS)  # noqa: E731 - as above
    elif kind.startswith(("INT", "UINT")):
        one = lambda: dice.randint(0, 100)  # noqa: E731 - as above
    else:
        one = lambda: round(dice.random(), 6)  # noqa: E731 - as above
    return {"name": tensor.name, "datatype": kind, "shape": shape, "data": [one() for _ in range(count)]}


def _embeddings(route: Route, request: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    given = request.get("input", "")
    texts = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    data = []
    for index, text in enumerate(texts):
        own = random.Random(hashlib.sha256(repr(text).encode()).digest())  # noqa: S311 - repeatable, not secret
        vector: Any = [own.uniform(-1, 1) for _ in range(int(request.get("dimensions") or EMBEDDING_SIZE))]
        if request.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    used = sum(len(str(text).split()) for text in texts)
    usage = {"prompt_tokens": used, "total_tokens": used}
    return {"object": "list", "model": request.get("model", route.service), "data": data, "usage": usage}


def _chat(route: Route, number: int, request: dict[str, Any], meta: str, dice: random.Random) -> list[Reply]:
    words = [dice.choice(_WORDS) for _ in range(8)]
    common = {"id": meta, "created": 0, "model": request.get("model", route.service)}
    if not request.get("stream"):
        message = {"role": "assistant", "content": " ".join(words)}
        usage = {"prompt_tokens": 1, "completion_tokens": len(words), "total_tokens": 1 + len(words)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = {**common, "object": "chat.completion", "choices": [choice], "usage": usage}
        return [Reply(number, 200, _encode(body))]
    deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": word if at == 0 else f" {word}"}, None) for at, word in enumerate(words)]
    deltas += [({}, "stop")]
    parts = []
    for delta, finish in deltas:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        event = {**common, "object": "chat.completion.chunk", "choices": [choice]}
        parts.append(Reply(number, 200, b"data: " + _encode(event) + b"\n\n", CHUNK, _SSE))
    return [*parts, Reply(number, 200, b"data: [DONE]\n\n", END)]
