"""What forges' JSON has in common: texts, moments, and a clear complaint where something is missing."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec

from bough.kernel.errors import Invalid

GONE = "0" * 40  # the commit of a branch that was removed


def decoded(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise invalid(f"it is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise invalid("it is no JSON object")
    return found


def at(document: Any, *keys: str) -> Any:
    """What stands there; None where anything on the way is missing."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def text(document: Any, *keys: str) -> str:
    found = at(document, *keys)
    if not isinstance(found, str) or not found:
        raise invalid(f"{'.'.join(keys)} is missing")
    return found


def number(document: Any, *keys: str) -> int:
    found = at(document, *keys)
    if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found < 2**31:
        raise invalid(f"{'.'.join(keys)} is no number")
    return found


def moment(written: str) -> float:
    """ISO 8601, or `2026-05-01 10:00:00 UTC` as GitLab writes it in webhooks."""
    try:
        found = datetime.datetime.fromisoformat(written.replace(" UTC", "+00:00"))
    except ValueError as error:
        raise invalid(f"{written!r} is no time") from error
    return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp()


def invalid(why: str) -> Invalid:
    return Invalid(f"this webhook cannot be read; {why}", code="WEBHOOK_INVALID",
                   hint="choose JSON as its content type, and pull requests and pushes as its events")  # fmt: skip
