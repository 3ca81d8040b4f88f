"""What the two OpenAI protocols share: how errors look, and how tokens are counted.

Usage is exact when the service has `count_tokens(text) -> int`. Without it, words are counted for what came in, and
pieces for what a generator yielded (words when it returned one text): an honest order of magnitude, no more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from bough.runtime.answers import encode_json
from bough.runtime.frames import Reply
from bough.runtime.service import Reject


def refuse(number: int, reject: Reject) -> Reply:
    kind = "invalid_request_error" if reject.status < 500 else "server_error"
    param = reject.fields.get("path")
    error = {"message": reject.message, "type": kind, "param": param, "code": reject.code}
    return Reply(number, reject.status, encode_json({"error": error}))


def parse(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        said = f"the body is not a JSON object: {error}" if body else "the body is empty; a JSON object is expected"
        raise invalid(said, "$") from error


def invalid(message: str, path: str) -> Reject:
    return Reject(message, status=400, code="INPUT_INVALID", path=path)


def counter(instance: Any) -> Callable[[str], int]:
    own = getattr(instance, "count_tokens", None)
    return own if callable(own) else count_words


def count_words(text: str) -> int:
    return len(text.split())
