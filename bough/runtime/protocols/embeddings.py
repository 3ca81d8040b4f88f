"""OpenAI embeddings: every text of the request is an item of `predict`, which answers with a vector."""

from __future__ import annotations

import base64
import sys
from array import array
from typing import Any

from bough.runtime.answers import OutputInvalid, encode_json
from bough.runtime.frames import Reply, Request
from bough.runtime.items import Contract
from bough.runtime.protocols import openai
from bough.runtime.protocols.work import Work
from bough.runtime.service import Reject

refuse = openai.refuse


class Embeddings:
    def __init__(self, contract: Contract, instance: Any, model: str) -> None:
        self._contract = contract
        self._count = openai.counter(instance)
        self._model = model

    def expand(self, request: Request) -> Work:
        asked = openai.parse(request.body)
        entries = _entries(asked.get("input"))
        form = asked.get("encoding_format") or "float"
        if form not in ("float", "base64"):
            raise openai.invalid("encoding_format must be float or base64", "encoding_format")
        if asked.get("dimensions") is not None and not self._takes("dimensions"):
            raise openai.invalid("this model has a fixed number of dimensions", "dimensions")
        items = [self._item(entry, asked, index) for index, entry in enumerate(entries)]
        tokens = sum(self._count(entry) if isinstance(entry, str) else len(entry) for entry in entries)
        model = str(asked.get("model") or self._model)

        def finish(results: list[Any]) -> list[Reply]:
            vectors = [_vector(result, form) for result in results]
            data = [{"object": "embedding", "index": n, "embedding": vector} for n, vector in enumerate(vectors)]
            usage = {"prompt_tokens": tokens, "total_tokens": tokens}
            answer = {"object": "list", "data": data, "model": model, "usage": usage}
            return [Reply(request.id, 200, encode_json(answer))]

        return Work(request.id, items, finish, refuse)

    def _takes(self, name: str) -> bool:
        return any(parameter.name == name for parameter in self._contract.parameters)

    def _item(self, entry: Any, asked: dict[str, Any], index: int) -> Any:
        fields = {self._contract.parameters[0].name: entry}
        if self._takes("dimensions") and asked.get("dimensions") is not None:
            fields["dimensions"] = asked["dimensions"]
        try:
            return self._contract.from_fields(fields)
        except Reject as error:
            kind = "token numbers" if isinstance(entry, list) else "text"
            raise openai.invalid(f"this model does not take {kind}: {error.message}", f"input[{index}]") from error


def _entries(given: Any) -> list[Any]:
    """What to embed: a text, a list of texts, a list of token numbers, or a list of such lists."""
    if isinstance(given, str):
        given = [given]
    if isinstance(given, list) and given:
        if all(_is_token(entry) for entry in given):
            return [given]
        if all(isinstance(entry, str) for entry in given):
            return given
        if all(isinstance(entry, list) and entry and all(map(_is_token, entry)) for entry in given):
            return given
    raise openai.invalid("input must be a text, a list of texts, or token numbers, and not empty", "input")


def _is_token(entry: Any) -> bool:
    return isinstance(entry, int) and not isinstance(entry, bool)


def _vector(result: Any, form: str) -> Any:
    if isinstance(result, Reject):
        raise result
    if form == "float":
        return result
    try:
        floats = array("f", result.tolist() if hasattr(result, "tolist") else result)
    except TypeError as error:
        raise OutputInvalid(f"predict must return list[float], not {type(result).__name__}") from error
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode()
