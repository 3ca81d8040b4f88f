"""What a service says of the requests that it takes: how many, from whom, to which version, from which pages.

Settings of the gateway alone: changing any of them restarts nothing.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Annotated

import msgspec

from bough.kernel.errors import Invalid

if TYPE_CHECKING:
    from bough.kernel.workloads import Service

HIGH, NORMAL, LOW = "high", "normal", "low"
PRIORITIES = (HIGH, NORMAL, LOW)
CORS_HEADERS = ["authorization", "content-type", "x-api-key", "x-request-id", "traceparent"]
STICKY = ("key", "request")  # what a split may go by, beside "header:NAME" and "cookie:NAME"
_BY_NAME = re.compile(r"(header:[A-Za-z0-9-]+|cookie:[A-Za-z0-9_.-]+)\Z")
_PERIODS_S = {"s": 1, "min": 60, "h": 3600, "day": 86_400}
_QUOTA = re.compile(r"\s*(\d{1,12})\s*/\s*(s|min|h|day)(?:\s+burst\s+(\d{1,12}))?\s*\Z")
_THIS_MACHINE = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/|\Z)")

Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]


class Quota(msgspec.Struct, frozen=True, omit_defaults=True):
    """`count` requests in `period_s` seconds, and up to `burst` at once."""

    count: int
    period_s: int
    burst: int


class _Traffic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class RateLimits(_Traffic, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Quotas such as `"100/s"`, `"600/min burst 50"`; empty: no limit."""

    route: str = ""  # all callers together
    key: str = ""  # each key, token's subject or, where neither is shown, address
    tenant: str = ""  # each tenant: whom keys and tokens belong to


class SplitRule(_Traffic, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests that another service answers: a share of them, those with a header, those of some keys."""

    to: str
    percent: Percent = 0.0
    header: str = ""  # its name …
    value: str = ""  # … and what it must say; empty: anything
    keys: list[str] = []  # ids of keys, or subjects of tokens
    copies: bool = False  # of each request a copy, whose answer nobody waits for; web services: of those that only read


class ResponseCache(_Traffic, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a service with `deterministic = true`."""

    size_mb: Annotated[float, msgspec.Meta(gt=0, le=65_536)] = 64.0
    age_s: Annotated[float, msgspec.Meta(ge=0, le=31_536_000)] = 0.0  # 0: until another deployment answers


class TokenIssuer(_Traffic, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who signs tokens (JWT) that a service takes."""

    issuer: str  # as tokens say it in `iss`
    audience: str  # that tokens must be meant for
    jwks: str = ""  # where its public keys are; empty: where its OpenID Connect discovery says
    scopes: str = "scope"  # the claim with scopes: a list, or words between blanks
    tenant: str = ""  # the claim that says whom a caller belongs to


class Cors(_Traffic, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which pages' scripts may call; without origins none may."""

    origins: list[str] = []  # such as https://app.example.com; "*" is every page
    headers: list[str] = []  # that requests may carry beside CORS_HEADERS
    credentials: bool = False
    age_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 600  # that a browser may remember the answer


class KeepRule(_Traffic, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests that are kept, to be replayed in a branch; without the fields that are named, at any depth."""

    requests: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0  # at least the last so many; 0: none
    days: Annotated[float, msgspec.Meta(gt=0, le=3650)] = 7.0
    drop: list[str] = []  # names of fields that are left out
    hash: list[str] = []  # names of fields whose texts become a keyed digest


def quota(text: str) -> Quota:
    """Raises `Invalid` (QUOTA_INVALID)."""
    found = _QUOTA.match(text)
    if found is None or not int(found[1]) or found[3] == "0":
        raise Invalid(
            f"{text!r} is no quota: it is a number of requests in a time", code="QUOTA_INVALID",
            hint='for example "100/s", "600/min burst 50", "10000/day"',
        )  # fmt: skip
    count = int(found[1])
    return Quota(count, _PERIODS_S[found[2]], int(found[3] or count))


def network(text: str) -> IPv4Network | IPv6Network:
    """An address, or a network such as 10.0.0.0/8. Raises `Invalid` (NETWORK_INVALID)."""
    try:
        return ip_network(text)
    except ValueError as error:
        said, hint = f"{text!r} is no address and no network: {error}", 'for example "10.0.0.0/8", "192.0.2.7"'
        raise Invalid(said, code="NETWORK_INVALID", hint=hint) from error


def may_be_asked(place: str) -> bool:
    """Whether keys from there can be believed: over TLS, or from this machine."""
    return (
        place.startswith("https://")
        or re.match(r"http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/|\Z)", place) is not None
    )


def mistakes(name: str, services: Mapping[str, Service]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """What does not fit together in the settings of a service: keys, what is wrong, what helps."""
    service = services[name]
    for what, text in msgspec.to_builtins(service.limits).items():
        try:
            quota(text or "1/s")
        except Invalid as problem:
            yield ("limits", what), problem.message, problem.hint
    for text in service.allow:
        try:
            network(text)
        except Invalid as problem:
            yield ("allow",), problem.message, problem.hint
    since, until = service.deprecated, service.sunset
    if until is not None and isinstance(since, datetime.date) and until < since:
        yield ("sunset",), f"is before {since}, when it becomes deprecated", ""
    if until is not None and since is False:
        yield ("sunset",), "only a deprecated API version goes away", f"deprecated = {until.year}-01-01"
    if service.sticky and service.sticky not in STICKY and not _BY_NAME.match(service.sticky):
        yield ("sticky",), f"{service.sticky!r} is not one of key, request, header:NAME, cookie:NAME", ""
    if service.access in ("jwt", "key-or-jwt") and not service.issuers:
        hint = 'issuers = [{ issuer = "https://login.example.com", audience = "shop" }]'
        yield ("access",), "nobody is named who signs tokens", hint
    for each in service.issuers:
        for place in filter(None, (each.issuer, each.jwks)):
            if not may_be_asked(place):
                yield ("issuers",), f"{place!r} is no https address", "plain http is for 127.0.0.1 and localhost only"
    if service.deterministic and service.is_web:
        yield ("deterministic",), "only answers of model services are kept", ""
    if service.keep.requests and service.is_web:
        yield ("keep",), "only requests to model services are kept", ""
    if service.cors.credentials and "*" in service.cors.origins:
        yield ("cors", "origins"), 'every page may not send credentials: name the pages instead of "*"', ""
    yield from _split_mistakes(name, services)


def _split_mistakes(name: str, services: Mapping[str, Service]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    service = services[name]
    for rule in service.split:
        other = services.get(rule.to)
        if other is None or rule.to == name:
            yield ("split",), f"there is no other service {rule.to!r}", f"add [services.{rule.to}]"
        elif other.is_web != service.is_web or other.split:
            why = "split itself" if other.split else "a web service" if other.is_web else "a model service"
            yield ("split",), f"{rule.to} is {why}: requests cannot be handed to it", ""
        if not (rule.percent or rule.header or rule.keys or rule.copies):
            yield ("split",), f"nothing says which requests {rule.to} gets", "add percent, header, keys or copies"
    if (whole := sum(rule.percent for rule in service.split)) > 100:
        yield ("split",), f"the shares add up to {whole:g} percent", ""
