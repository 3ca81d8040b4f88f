"""Headers of a webhook as the Standard Webhooks specification has them: id, timestamp, and an HMAC-SHA256 over both and
the body."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac


def headers(id: str, content: bytes, timestamp: int, secret: str) -> dict[str, str]:
    """The same `webhook-id` however often it is sent: a receiver knows it again. Without a secret nothing is signed."""
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
