"""What others are told of an item's end: the body of a webhook, and the values of a row."""

from __future__ import annotations

import base64
import contextlib
from typing import Any

import msgspec

from bough.adapters.queue import DONE, Kept


def body(item: Kept) -> bytes:
    data: dict[str, Any] = {"id": item.id, "queue": item.place[2], "state": item.state, "attempts": item.attempts}
    data |= {name: value for name in ("key", "dedup", "error") if (value := getattr(item, name))}
    if item.state == DONE:
        data["result"] = readable(item.result, item.result_kind)
    return json_of({"type": f"item.{item.state}", "timestamp": item.ended_at, "data": data})


def readable(content: bytes, kind: str) -> Any:
    """A result in JSON: as such where it is that, a text as a text, else in base64 with its content type."""
    if not content:
        return None
    if not kind or kind.startswith("application/json"):
        return msgspec.Raw(content)
    if kind.startswith("text/") or "ndjson" in kind:
        with contextlib.suppress(UnicodeDecodeError):
            return content.decode()
    return {"content_type": kind, "base64": base64.b64encode(content).decode()}


def columns(item: Kept) -> dict[str, Any]:
    """What a statement may name."""
    value = _value(item.result)
    fields = value if isinstance(value, dict) else {}
    named = {key: each if _plain(each) else json_of(each).decode() for key, each in fields.items()}
    result = item.result.decode("utf-8", "replace")
    return {**named, "id": item.id, "key": item.key, "dedup": item.dedup, "result": result}


def json_of(value: Any) -> bytes:
    """Whatever a database gives: what JSON has no word for becomes text."""
    return msgspec.json.encode(value, enc_hook=str)


def _value(content: bytes) -> Any:
    with contextlib.suppress(msgspec.DecodeError):
        return msgspec.json.decode(content) if content else None
    return content.decode("utf-8", "replace")


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
