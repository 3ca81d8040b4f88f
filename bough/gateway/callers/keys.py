"""Who calls: API keys, and tokens (JWT) that an issuer has signed."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Protocol

import msgspec

from bough.gateway.call import Head
from bough.gateway.models import ANY_KEY, ANY_TOKEN, Key, Route, Table
from bough.kernel.errors import Forbidden, Problem, Unauthenticated
from bough.kernel.traffic import Quota


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever calls, as far as it is known. Empty `id`: nobody in particular."""

    id: str = ""  # of a key, or the subject of a token
    tenant: str = ""
    scopes: frozenset[str] = frozenset()
    priority: str = ""
    quota: Quota | None = None
    expires_at: float = 0.0  # when this stops to hold, epoch seconds; 0: never


class ScopeMissing(Forbidden):
    """The caller is known, and may not do this."""

    code = "SCOPE_MISSING"


class Tokens(Protocol):
    """Who reads tokens."""

    def caller(self, route: Route, token: bytes) -> Caller:
        """Whom a token proves; raises `Unauthenticated`, and `Unavailable` while its issuer's keys are fetched."""


NOBODY = Caller()


class Keyring:
    """All keys of a table. Only hashes are kept; they are looked up by their first digits and compared whole in
    constant time."""

    def __init__(self, table: Table, tokens: Tokens | None = None) -> None:
        self._tokens = tokens
        self._keys: dict[str, list[Key]] = {}
        for key in table.keys:
            self._keys.setdefault(key.hash[:8], []).append(key)

    def check(self, route: Route, head: Head) -> Caller:
        """Who is admitted. Raises `Unauthenticated` or `Forbidden`. A public route asks for nothing, but a key that it
        is shown counts: its quota and its priority are the caller's own."""
        text = presented(head)
        if route.access == "public":
            return self._volunteered(route, text)
        if not text:
            raise _missing(route)
        if route.access == ANY_TOKEN or (route.access != ANY_KEY and text.count(b".") == 2):
            found = self._read(route, text)
        else:
            found = self._opened(route, text)
        if lacking := [scope for scope in route.scopes if scope not in found.scopes]:
            raise ScopeMissing(
                f"{route.service} asks for the scopes {' '.join(route.scopes)}, and {found.id} lacks "
                f"{' '.join(lacking)}",
                hint="ask for a key or token that has them", scopes=route.scopes,
            )  # fmt: skip
        return found

    def opens(self, route: Route, head: Head) -> bool:
        """Whether `check` would admit."""
        try:
            self.check(route, head)
        except Problem:
            return False
        return True

    def _volunteered(self, route: Route, text: bytes) -> Caller:
        key = self._find(text) if text else None
        if key is None or key.project != route.project or _is_over(key):
            return NOBODY
        return _caller(key)

    def _read(self, route: Route, text: bytes) -> Caller:
        if self._tokens is None:
            raise Unauthenticated(f"no issuer of tokens is known to {route.service}", code="TOKEN_INVALID")
        return self._tokens.caller(route, text)

    def _opened(self, route: Route, text: bytes) -> Caller:
        key = self._find(text)
        if key is None or _is_over(key):
            what = "is not known" if key is None else "has expired"
            raise Unauthenticated(f"this API key {what}", code="KEY_UNKNOWN", hint="ask for a new one")
        if not _opens(key, route):
            raise Forbidden(
                f"this API key ({key.id}) does not open {route.service} of {route.project}/{route.environment}",
                code="KEY_SCOPE",
            )
        return _caller(key)

    def _find(self, text: bytes) -> Key | None:
        digest = hashlib.sha256(text).hexdigest()
        found = None
        for key in self._keys.get(digest[:8], ()):
            if hmac.compare_digest(key.hash, digest):
                found = key
        return found


def presented(head: Head) -> bytes:
    """The key or token as the client wrote it; empty when there is none."""
    scheme, _, token = head.authorization.partition(b" ")
    if token and scheme.lower() == b"bearer":
        return token.strip()
    return head.key


def _opens(key: Key, route: Route) -> bool:
    return (
        key.project == route.project
        and (not key.services or route.service in key.services)
        and (not key.environments or route.environment in key.environments)
    )


def _is_over(key: Key) -> bool:
    return bool(key.expires_at and key.expires_at <= time.time())


def _caller(key: Key) -> Caller:
    return Caller(
        id=key.id, tenant=key.tenant, scopes=frozenset(key.scopes), priority=key.priority, quota=key.quota,
        expires_at=key.expires_at,
    )  # fmt: skip


def _missing(route: Route) -> Unauthenticated:
    if route.access == ANY_TOKEN:
        return Unauthenticated(
            f"{route.service} asks for a token", code="TOKEN_MISSING", hint="send it as 'Authorization: Bearer TOKEN'"
        )
    return Unauthenticated(
        f"{route.service} asks for an API key", code="KEY_MISSING",
        hint="send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
    )  # fmt: skip
