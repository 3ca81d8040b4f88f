"""What others are told of an item's end: a webhook as the Standard Webhooks specification has it (id, timestamp and
signature in headers, HMAC-SHA256), and the values of a row."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
from typing import Any

import msgspec

from bough.adapters.queue import DONE, Kept


def body(item: Kept) -> bytes:
    data: dict[str, Any] = {"id": item.id, "queue": item.place[2], "state": item.state, "attempts": item.attempts}
    data |= {name: value for name in ("key", "dedup", "error") if (value := getattr(item, name))}
    if item.state == DONE:
        data["result"] = _value(item.result)
    return json_of({"type": f"item.{item.state}", "timestamp": item.ended_at, "data": data})


def headers(id: str, content: bytes, timestamp: int, secret: str) -> dict[str, str]:
    """The same `webhook-id` however often it is sent: a receiver knows it again."""
    found = {
        "Content-Type": "application/json", "User-Agent": "bough", "webhook-id": id, "webhook-timestamp": str(timestamp)
    }  # fmt: skip
    if secret:
        found["webhook-signature"] = signature(id, content, timestamp, secret)
    return found


def signature(id: str, content: bytes, timestamp: int, secret: str) -> str:
    """A secret that begins with `whsec_` is base64, any other the key itself."""
    key = secret.encode()
    if secret.startswith("whsec_"):
        with contextlib.suppress(binascii.Error):
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    signed = hmac.digest(key, b"%b.%d.%b" % (id.encode(), timestamp, content), "sha256")
    return "v1," + base64.b64encode(signed).decode()


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
