"""API keys: who may call a route with access `key`."""

from __future__ import annotations

import hashlib
import hmac
import time

from bough.gateway.call import Head
from bough.gateway.models import Key, Route, Table
from bough.kernel.errors import Forbidden, Unauthenticated


class Keyring:
    """All keys of a table. Only hashes are kept; they are looked up by their first digits and compared whole in
    constant time."""

    def __init__(self, table: Table) -> None:
        self._keys: dict[str, list[Key]] = {}
        for key in table.keys:
            self._keys.setdefault(key.hash[:8], []).append(key)

    def check(self, route: Route, head: Head) -> float:
        """When this admission ends (epoch seconds; 0: never). Raises `Unauthenticated` or `Forbidden`."""
        if route.access != "key":
            return 0.0
        text = presented(head)
        if not text:
            raise Unauthenticated(
                f"{route.service} asks for an API key", code="KEY_MISSING",
                hint="send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
            )  # fmt: skip
        key = self._find(text)
        if key is None or (key.expires_at and key.expires_at <= time.time()):
            what = "is not known" if key is None else "has expired"
            raise Unauthenticated(f"this API key {what}", code="KEY_UNKNOWN", hint="ask for a new one")
        if key.project != route.project or (key.services and route.service not in key.services):
            raise Forbidden(
                f"this API key ({key.id}) does not open {route.service} of project {route.project}", code="KEY_SCOPE"
            )
        return key.expires_at

    def opens(self, route: Route, head: Head) -> bool:
        """Whether `check` would admit."""
        try:
            self.check(route, head)
        except (Unauthenticated, Forbidden):
            return False
        return True

    def _find(self, text: bytes) -> Key | None:
        digest = hashlib.sha256(text).hexdigest()
        found = None
        for key in self._keys.get(digest[:8], ()):
            if hmac.compare_digest(key.hash, digest):
                found = key
        return found


def presented(head: Head) -> bytes:
    """The key as the client wrote it; empty when there is none."""
    scheme, _, token = head.authorization.partition(b" ")
    if token and scheme.lower() == b"bearer":
        return token.strip()
    return head.key
