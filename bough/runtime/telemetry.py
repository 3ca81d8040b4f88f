"""Which items are sampled, and when the numbers go to the gateway.

At most `per_s` items in a second, the first ones of each second: a service with less traffic is counted whole, one
with more pays for no more. An item is looked at after its answer has been sent, from the bytes that came and went, so
that counting changes no answer, sees no input that `predict` has altered, and delays nobody who is being answered. A
frame of which nothing is sampled costs one look at the clock.

Nothing in here may fail a request: whatever goes wrong while counting is swallowed and the item is not counted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Any, Optional

import msgspec

from bough.runtime.distributions import MAX_LEAVES, Distribution
from bough.runtime.frames import (
    CHAT,
    EMBED,
    INFER,
    MAX_STATS_BYTES,
    MAX_WORD,
    PREDICT,
    STATS,
    WHOLE,
    Observed,
    Reply,
    Request,
    encode_observed,
)
from bough.runtime.models import Model
from bough.runtime.protocols import tensors

WINDOW_S = 1.0
MAX_BODY = 1 << 18  # of larger bodies only the length is counted: reading them again would cost milliseconds
_WORDS = frozenset(("role", "finish_reason"))  # of OpenAI's protocols: no other text of theirs is ever a category
_REFUSED = (400, 404, 422)
_decode = msgspec.json.decode


class Telemetry:
    """One per replica. `wants` before a frame is answered, `note` after its answers have been sent, `report` then."""

    def __init__(
        self,
        per_s: int,
        name: str = "input",
        *,
        raw: bool = False,
        schemas: tuple[Any, Any] = ({}, {}),
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._per_s = per_s
        self._name = name  # of an input that is not an object
        self._raw = raw  # inputs are bytes
        self._now = now
        self.left = 0  # items that may be sampled before the second is over
        self._until = float("-inf") if per_s > 0 else float("inf")
        self._since: Optional[float] = None  # when the oldest item that has not been reported was noted
        self._input, self._output = Distribution(_encoded(schemas[0])), Distribution(_encoded(schemas[1]))
        self._words = _enumerated(schemas[0]), _enumerated(schemas[1])
        self._further = 0
        self._sampled = False  # something since the last report

    def further(self, items: int) -> None:
        """A request carried so many more than one; they are all counted, sampled or not."""
        self._further += items
        if self._since is None:
            self._since = self._now()

    def wants(self) -> bool:
        """Whether items may be sampled now."""
        if self.left:
            return True
        now = self._now()
        if now < self._until:
            return False
        self._until = now + WINDOW_S
        self.left = self._per_s
        return self.left > 0

    @property
    def patience_s(self) -> Optional[float]:
        """How long the replica may wait for requests before it should `report`; None: for ever."""
        if self._since is None:
            return None
        return max(0.0, self._since + WINDOW_S - self._now())

    def note(self, requests: Sequence[Request], replies: Sequence[Reply]) -> None:
        """Counts as many of `requests` as may be sampled, with those of `replies` that are whole answers to them."""
        if self.left <= 0 and not self.wants():
            return
        answers = {reply.id: reply for reply in replies if reply.flag == WHOLE}
        for request in requests[: self.left]:
            self.left -= 1
            self._sampled = True
            if self._since is None:
                self._since = self._now()
            try:
                self._observe(request, answers.get(request.id))
            except Exception:  # noqa: S112 - any bytes may come; what cannot be read is not counted and never fails
                continue

    def report(self) -> Optional[Reply]:
        """What is to be sent now, if anything: at once when no more may be sampled in this second, so that a busy
        replica has nothing left to wait for, else a second after the first item that was noted."""
        if self._since is None or ((self.left or not self._sampled) and self._now() < self._since + WINDOW_S):
            return None
        self._since, self._sampled = None, False
        further, self._further = self._further, 0
        found = Observed(input=self._input.increments(), output=self._output.increments(), further=further)
        if not found.input.items and not further:
            return None
        body = encode_observed(found)
        return Reply(0, 0, body, STATS) if len(body) <= MAX_STATS_BYTES else None

    # --- private: from bytes to values

    def _observe(self, request: Request, reply: Optional[Reply]) -> None:
        verb = request.verb
        answer = reply if reply is not None and reply.status < 400 else None
        if reply is not None and reply.status in _REFUSED:  # it never reached the model
            return
        if verb == INFER:
            self._input.take_tensors(_flat(tensors.parse(request.body, request.meta).inputs))
            if answer is not None:
                self._output.take_tensors(_flat(tensors.answered(answer.body, answer.headers)))
        elif verb == PREDICT:
            raw = self._raw or len(request.body) > MAX_BODY
            self._input.take(self._name, request.body if raw else _decode(request.body), self._words[0])
            if answer is not None:
                raw = bool(answer.headers) or len(answer.body) > MAX_BODY
                self._output.take("output", answer.body if raw else _decode(answer.body), self._words[1])
        elif verb in (CHAT, EMBED):
            asked = _decode(request.body)
            asked.pop("model", None)
            self._input.take(self._name, asked, _WORDS)
            if answer is not None:
                self._output.take("output", _openai(_decode(answer.body)), _WORDS)


def telemetry_of(model: Model) -> Telemetry:
    """What counts for `model`; counts nothing when its spec says so."""
    contract = model.contract
    name = contract.parameters[0].name if contract.single else "input"
    schemas = contract.input_schema, contract.output_schema
    return Telemetry(model.spec.sample_per_s, name, raw=contract.raw, schemas=schemas)


def _flat(found: list[tensors.Input]) -> dict[str, tuple[list[Any], bool]]:
    """The first elements of each tensor, and whether they are elements of rows."""
    share = MAX_LEAVES // max(1, len(found))
    flat: dict[str, tuple[list[Any], bool]] = {}
    for tensor in found:
        data = tensor.data
        leaves = data.ravel()[:share].tolist() if hasattr(data, "ravel") else list(_leaves(data, share))
        flat[tensor.name] = [_text(entry) for entry in leaves], len(tensor.shape) > 1
    return flat


def _leaves(data: Any, most: int) -> list[Any]:
    if not isinstance(data, list):
        return [data]
    found: list[Any] = []
    for entry in data:
        found += _leaves(entry, most - len(found))
        if len(found) >= most:
            break
    return found


def _text(value: Any) -> Any:
    if isinstance(value, bytes) and len(value) <= MAX_WORD:
        with contextlib.suppress(UnicodeDecodeError):
            return value.decode()
    return value


def _openai(answer: dict[str, Any]) -> dict[str, Any]:
    """What the model said, without the envelope."""
    if "data" in answer:
        return {"embedding": [entry["embedding"] for entry in answer["data"]]}
    return {"choices": answer.get("choices"), "usage": answer.get("usage")}


def _encoded(schema: Any) -> frozenset[str]:
    """Names of properties whose text is bytes in disguise (base64)."""
    found: set[str] = set()
    for name, entry in _properties(schema):
        if b"contentEncoding" in msgspec.json.encode(entry):
            found.add(name)
    return frozenset(found)


def _enumerated(schema: Any) -> Optional[frozenset[str]]:
    """Keys whose texts the author has listed (Literal, Enum): no other text ever leaves by value, for it may be
    somebody's name. None when the whole item is such a text."""
    shared = schema.get("$defs", {}) if isinstance(schema, dict) else {}
    if _is_listed(schema, shared):
        return None
    return frozenset(name for name, entry in _properties(schema) if _is_listed(entry, shared))


def _is_listed(entry: Any, shared: dict[str, Any]) -> bool:
    if not isinstance(entry, dict):
        return False
    if "enum" in entry or "const" in entry:
        return True
    target = shared.get(str(entry.get("$ref", "")).rpartition("/")[2])
    inner = [target, entry.get("items"), *entry.get("anyOf", ())]
    return any(isinstance(each, dict) and ("enum" in each or "const" in each) for each in inner)


def _properties(schema: Any, nested: bool = True) -> Iterator[tuple[str, Any]]:
    """Every property that is declared anywhere in a schema; without `nested`, not those within another one."""
    inner: list[Any] = []
    if isinstance(schema, dict):
        declared = schema.get("properties")
        if isinstance(declared, dict):
            yield from declared.items()
        inner = [entry for key, entry in schema.items() if nested or key != "properties"]
    elif isinstance(schema, list):
        inner = schema
    for entry in inner:
        yield from _properties(entry, nested)
