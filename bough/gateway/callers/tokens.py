"""Tokens (JWT) that callers bring: read with their issuer's public keys, which are kept here.

The keys are fetched where the issuer's OpenID Connect discovery says, ahead of need, and again when a token names one
that is not known: an issuer may change its keys at any time. Tokens that name keys of their own invention make nobody
ask it more often than ALLOWED times in a row, and once in AGAIN_S after that. The keys are kept in a file as well, so
that a gateway which starts while the issuer is away still knows its callers. No request waits for an issuer.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from bough.gateway.callers.keys import Caller
from bough.gateway.models import Route
from bough.kernel.errors import Problem, Unauthenticated, Unavailable
from bough.kernel.files import write_whole
from bough.kernel.traffic import TokenIssuer, may_be_asked

if TYPE_CHECKING:
    from jwt import PyJWK

ALGORITHMS = frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"))
_ASYMMETRIC = ("RSA", "EC", "OKP")  # a shared secret in a public list would be no secret
REFRESH_S = 600.0
AGAIN_S = 10.0  # between two fetches because of keys that are not known, in the long run; a miss holds for it
ALLOWED = 4  # such fetches that may come one right after the other
FETCH_S = 5.0
LEEWAY_S = 30.0  # that clocks may differ
_MAX_BYTES = 1 << 20
_REMEMBERED = 10_000  # tokens, and names of keys that were not there

log = logging.getLogger("bough.gateway")
Keys = list[dict[str, Any]]
Place = tuple[str, str]  # an issuer, and where its keys are


class TokenInvalid(Unauthenticated):
    """What a caller brought proves nothing here."""

    code = "TOKEN_INVALID"


class IssuerAway(Unavailable):
    """The keys of an issuer are not there yet."""

    code = "ISSUER_UNREACHABLE"


def fetch(place: Place) -> Keys:
    """The public keys of an issuer. Blocks for some seconds at most; raises `IssuerAway`."""
    issuer, where = place
    try:
        where = where or str(_get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")["jwks_uri"])
        found: Keys = [key for key in _get(where)["keys"] if key.get("kty") in _ASYMMETRIC]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IssuerAway(f"the keys of {issuer} cannot be fetched: {type(error).__name__}: {error}") from error
    return found


class Issuers:
    """Implements `keys.Tokens`. `changed` is called when callers may be others than before."""

    def __init__(self, file: Path, changed: Callable[[], None], again_s: float = AGAIN_S) -> None:
        self._file, self._changed, self._again_s = file, changed, again_s
        self._keys: dict[Place, Keys] = {}
        self._parsed: dict[tuple[str, str, str], PyJWK] = {}
        self._asked_at: dict[Place, float] = {}
        self._fetching: dict[Place, asyncio.Task[None]] = {}
        self._looked_at: dict[Place, float] = {}  # when the last fetch that was answered began
        self._missed: dict[tuple[Place, str], float] = {}  # keys that are not known: since when somebody names them
        self._spent_until: dict[Place, float] = {}  # fetches because of them, as a token bucket
        self._known: dict[tuple[bytes, str, str], Caller] = {}
        with contextlib.suppress(OSError, ValueError, TypeError):
            kept = json.loads(file.read_bytes())
            self._keys = {(issuer, where): keys for issuer, where, keys in kept}

    def use(self, routes: Iterable[Route]) -> None:
        """Fetches ahead what these routes will ask for. In the event loop."""
        for place in {_place(issuer) for route in routes for issuer in route.issuers}:
            if place not in self._asked_at:
                self._refresh(place)

    def tick(self) -> None:
        """Fetches what is old. Called once a second, in the event loop."""
        for place, at in list(self._asked_at.items()):
            if monotonic() - at > (REFRESH_S if place in self._keys else self._again_s):
                self._refresh(place)

    def caller(self, route: Route, token: bytes) -> Caller:
        """Whom a token proves; raises `TokenInvalid`, and `IssuerAway` while keys are fetched."""
        digest = hashlib.sha256(token).digest()
        for issuer in route.issuers:
            known = self._known.get((digest, issuer.issuer, issuer.audience))
            if known is not None and known.expires_at > time.time():
                return known
        issuer, claims = self._read(route, token)
        found = _caller(issuer, claims)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[digest, issuer.issuer, issuer.audience] = found
        return found

    def close(self) -> None:
        for task in list(self._fetching.values()):
            task.cancel()

    def _read(self, route: Route, token: bytes) -> tuple[TokenIssuer, dict[str, Any]]:
        import jwt  # loads `cryptography`: a gateway without tokens starts without it

        try:
            header = jwt.get_unverified_header(token)
            said = jwt.decode(token, options={"verify_signature": False}).get("iss")
        except jwt.PyJWTError as error:
            raise TokenInvalid(f"this is no token: {error}", hint="ask its issuer for a new one") from error
        issuer = next((each for each in route.issuers if each.issuer == said), None)
        if issuer is None:
            raise TokenInvalid(f"{route.service} takes no tokens of {str(said)[:200]!r}")
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            raise TokenInvalid(f"tokens signed with {str(algorithm)[:20]!r} are not taken")
        key = self._key(issuer, str(header.get("kid", "")), str(algorithm))
        try:
            claims: dict[str, Any] = jwt.decode(
                token, key, algorithms=[str(algorithm)], audience=issuer.audience, issuer=issuer.issuer,
                leeway=LEEWAY_S, options={"require": ["exp", "iss", "aud", "sub"]},
            )  # fmt: skip
        except jwt.PyJWTError as error:
            raise TokenInvalid(f"this token proves nothing: {error}", hint="ask its issuer for a new one") from error
        return issuer, claims

    def _key(self, issuer: TokenIssuer, kid: str, algorithm: str) -> PyJWK:
        from jwt import PyJWK, PyJWTError

        place = _place(issuer)
        if (parsed := self._parsed.get((issuer.issuer, kid, algorithm))) is not None:
            return parsed
        keys = self._keys.get(place, [])
        found = [key for key in keys if key.get("kid", "") == kid and key.get("use", "sig") == "sig"]
        if not found:
            self._look_for(place, kid)
            raise TokenInvalid(f"{issuer.issuer} has no key {kid[:100]!r}", hint="ask its issuer for a new one")
        try:
            if found[0].get("alg", algorithm) != algorithm:
                raise PyJWTError(f"the key is for {found[0]['alg']}")
            parsed = PyJWK(found[0], algorithm)
        except PyJWTError as error:
            raise TokenInvalid(f"the key {kid[:100]!r} of {issuer.issuer} does not fit: {error}") from error
        self._parsed[issuer.issuer, kid, algorithm] = parsed
        return parsed

    def _look_for(self, place: Place, kid: str) -> None:
        """A key that is not known may be a new one. Raises `IssuerAway` while nobody can tell: until its issuer has
        been asked since the key was first named."""
        now, looked_at = monotonic(), self._looked_at.get(place, 0.0)
        if len(self._missed) >= _REMEMBERED:
            self._missed.clear()
        if self._missed.setdefault((place, kid), now) <= looked_at:
            if now - looked_at < self._again_s:
                return
            self._missed[place, kid] = now  # it may have come since
        if place not in self._fetching and not self._may_ask(place, now):
            raise IssuerAway(
                f"the keys of {place[0]} have been fetched just now", hint="come back after Retry-After seconds",
                retry_after_s=self._again_s,
            )  # fmt: skip
        self._refresh(place)
        raise IssuerAway(f"the keys of {place[0]} are being fetched", hint="come back after Retry-After seconds")

    def _may_ask(self, place: Place, now: float) -> bool:
        spent_until = max(self._spent_until.get(place, now), now) + self._again_s
        if spent_until > now + ALLOWED * self._again_s:
            return False
        self._spent_until[place] = spent_until
        return True

    def _refresh(self, place: Place) -> None:
        if place not in self._fetching:
            self._asked_at[place] = monotonic()
            self._fetching[place] = asyncio.get_running_loop().create_task(self._take(place))

    async def _take(self, place: Place) -> None:
        began = monotonic()
        try:
            found = await asyncio.get_running_loop().run_in_executor(None, fetch, place)
            self._looked_at[place] = began
            if found != self._keys.get(place):
                self._keys[place] = found
                self._parsed.clear()
                self._known.clear()
                self._keep()
                self._changed()
        except Problem as problem:
            log.error("%s", problem.message)
        finally:
            del self._fetching[place]

    def _keep(self) -> None:
        with contextlib.suppress(OSError):  # they can be fetched again
            kept = [[issuer, where, keys] for (issuer, where), keys in self._keys.items()]
            write_whole(self._file, msgspec.json.encode(kept), mode=0o600)


def _place(issuer: TokenIssuer) -> Place:
    return issuer.issuer, issuer.jwks


def _caller(issuer: TokenIssuer, claims: dict[str, Any]) -> Caller:
    said = claims.get(issuer.scopes, "")
    scopes = said.split() if isinstance(said, str) else [str(each) for each in said] if isinstance(said, list) else []
    tenant = claims.get(issuer.tenant, "") if issuer.tenant else ""
    return Caller(
        id=str(claims["sub"]), tenant=str(tenant), scopes=frozenset(scopes), expires_at=float(claims["exp"]) + LEEWAY_S
    )


def _get(url: str) -> Any:
    if not may_be_asked(url):
        raise ValueError(f"{url} is no https address")
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - checked above
    with urllib.request.urlopen(request, timeout=FETCH_S) as answer:  # noqa: S310 - the same
        if not may_be_asked(answer.url):
            raise ValueError(f"{url} leads to {answer.url}, which is no https address")
        body = answer.read(_MAX_BYTES + 1)
    if len(body) > _MAX_BYTES:
        raise ValueError(f"{url} answers with more than {_MAX_BYTES} bytes")
    return json.loads(body)
