"""What a route says of every request: who may call, how often, how urgent it is, and what each answer carries.

All of it is decided from the head, once for each distinct head: what is found goes into the plan, and requests with
the same head pay for it no more. Only quotas count every request.
"""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING

from bough.gateway.call import Head
from bough.gateway.callers.doors import Door
from bough.gateway.callers.keys import Caller
from bough.gateway.callers.limits import Bucket, Guard, Limiter
from bough.gateway.models import KEY, ROUTE, TENANT, CorsRule, Route
from bough.gateway.routing.routes import Entry, Routes
from bough.kernel.errors import Problem
from bough.kernel.traffic import HIGH, LOW, NORMAL

if TYPE_CHECKING:
    from bough.gateway.routing.plan import Plan

RANKS = {HIGH: 1, NORMAL: 0, LOW: -1}
_PREFLIGHT = (b"origin", b"access-control-request-method")
EXPOSED = b"RateLimit, RateLimit-Policy, Retry-After, X-Request-Id, Deprecation, Sunset"


class Admission:
    def __init__(self, routes: Routes, limiter: Limiter) -> None:
        self._routes, self._limiter = routes, limiter

    def admit(self, plan: Plan, entry: Entry, head: Head) -> bool:
        """Fills in the plan; False: it has become a refusal."""
        route = entry.route
        plan.entry = entry
        plan.extra = self._versions(entry) + (shared_with(route.cors, head) if route.cors is not None else b"")
        try:
            caller = self._routes.keys.check(route, head)
        except Problem as problem:
            plan.refuse(problem)
            return False
        plan.expires_at, plan.caller = caller.expires_at, caller.id
        plan.rank = rank(route, caller, head)
        plan.guard = self._guard(route, caller, head)
        return True

    def _versions(self, entry: Entry) -> bytes:
        """Deprecation (RFC 9745), Sunset (RFC 8594), and where to go."""
        route, lines = entry.route, b""
        if route.deprecated:
            lines += b"Deprecation: @%d\r\n" % route.deprecated_at if route.deprecated_at else b"Deprecation: true\r\n"
        if route.sunset_at:
            lines += b"Sunset: " + formatdate(route.sunset_at, usegmt=True).encode() + b"\r\n"
        if lines and (successor := self._routes.successor(entry)):
            lines += f'Link: </{successor}/{route.service}/predict>; rel="successor-version"\r\n'.encode("latin-1")
        return lines

    def _guard(self, route: Route, caller: Caller, head: Head) -> Guard | None:
        limits, place = route.limits, (route.project, route.environment, route.service, route.api)
        buckets: list[Bucket] = []
        by_address = None
        if caller.quota is not None:
            buckets.append(self._limiter.bucket(KEY, caller.quota, caller.id))
        elif KEY in limits and caller.id:
            buckets.append(self._limiter.bucket(KEY, limits[KEY], *place, caller.id))
        elif KEY in limits:

            def by_address(address: bytes) -> Bucket:
                return self._limiter.bucket(KEY, limits[KEY], *place, "address", address.decode("latin-1"))

        if TENANT in limits and caller.tenant:
            buckets.append(self._limiter.bucket(TENANT, limits[TENANT], *place, caller.tenant))
        if ROUTE in limits:
            buckets.append(self._limiter.bucket(ROUTE, limits[ROUTE], *place))
        if not (buckets or by_address is not None or route.allow or route.tls_required):
            return None
        forwarded = _forwarded(head)
        shut = route.allow or route.tls_required
        door = Door(route, forwarded, _encrypted(head)) if shut else None
        return Guard(route.service, buckets, by_address, forwarded, door)


def rank(route: Route, caller: Caller, head: Head) -> int:
    """1, 0 or -1: of the key, else of the route. A client may say that a request matters less, never more: with
    `Priority: u=6` (RFC 9218; 7 is the least, 3 the default)."""
    found = RANKS.get(caller.priority or route.priority, 0)
    said = next((value for name, value in head.headers if name == b"priority"), b"")
    for part in said.split(b","):
        name, _, value = part.strip().partition(b"=")
        if name == b"u" and value.isdigit() and int(value) > 4:
            return min(found, -1)
    return found


def is_preflight(head: Head) -> bool:
    """A browser asks, before it sends a request, whether it may."""
    return head.method == b"OPTIONS" and sum(name in _PREFLIGHT for name, _ in head.headers) == len(_PREFLIGHT)


def allowed(rule: CorsRule, head: Head) -> bytes:
    """Header lines of the answer to a preflight, beside `shared_with`; empty when its page may not call."""
    if not shared_with(rule, head).startswith(b"Access-Control"):
        return b""
    names = ", ".join(rule.headers).encode("latin-1")
    return (
        b"Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE\r\n"
        b"Access-Control-Allow-Headers: %b\r\nAccess-Control-Max-Age: %d\r\n" % (names, rule.age_s)
    )


def shared_with(rule: CorsRule, head: Head) -> bytes:
    """Header lines that let a page's script read the answer."""
    origin = next((value for name, value in head.headers if name == b"origin"), b"")
    everybody = "*" in rule.origins
    lines = b"" if everybody and not rule.credentials else b"Vary: Origin\r\n"
    if not origin or not (everybody or origin.decode("latin-1") in rule.origins):
        return lines
    shown = origin if rule.credentials or not everybody else b"*"
    credentials = b"Access-Control-Allow-Credentials: true\r\n" if rule.credentials else b""
    return (
        b"Access-Control-Allow-Origin: %b\r\n%bAccess-Control-Expose-Headers: %b\r\n" % (shown, credentials, EXPOSED)
    ) + lines


def _encrypted(head: Head) -> bool:
    """What a proxy on this machine says of its client's connection."""
    return next((value for name, value in head.headers if name == b"x-forwarded-proto"), b"").strip() == b"https"


def _forwarded(head: Head) -> bytes:
    """Whom a proxy on this machine asks for: the address that it has added itself."""
    said = next((value for name, value in reversed(head.headers) if name == b"x-forwarded-for"), b"")
    return said.rpartition(b",")[2].strip()
