"""Quotas: how many requests a route, a caller, a tenant may make. Token buckets, exact.

One process counts, so nothing is counted twice; and it counts in whole numbers, so that a quota of 100 is a hundred
requests and never ninety-nine: a bucket is the moment at which it will be full again (generic cell rate algorithm),
kept in nanoseconds times its count, in which a request costs its period and time gives its count.

A request that one bucket refuses takes nothing from the others, and one that nobody has room for takes nothing at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from bough.gateway.callers.doors import Door
from bough.gateway.head import LOCAL_PEERS
from bough.gateway.models import KEY, ROUTE, TENANT
from bough.kernel.errors import Busy
from bough.kernel.traffic import Quota

_NS = 1_000_000_000
NO_ROOM = frozenset(("QUEUE_FULL", "QUEUE_BUSY", "DISK_FULL"))  # refusals that cost their callers nothing
SWEEP_AT = 10_000  # buckets; then those that are full are forgotten: a new one would be the same
_WHOSE = {ROUTE: "all callers together", KEY: "one key", TENANT: "one tenant"}


class RateLimited(Busy):
    """A quota is used up."""

    code = "RATE_LIMITED"


class Bucket:
    """`what` is limited: ROUTE, KEY or TENANT."""

    __slots__ = ("_capacity", "_cost", "_count", "_full_at", "policy", "quota", "what")

    def __init__(self, what: str, quota: Quota) -> None:
        self.what, self.quota = what, quota
        self._count, self._cost = quota.count, quota.period_s * _NS
        self._capacity = quota.burst * self._cost
        self._full_at = 0
        burst = f";burst={quota.burst}" if quota.burst != quota.count else ""
        self.policy = f'"{what}";q={quota.count};w={quota.period_s}{burst}'.encode()

    def has(self, now: float) -> bool:
        """Room for one more."""
        at = int(now * _NS) * self._count
        return max(self._full_at, at) + self._cost - at <= self._capacity

    def take(self, now: float) -> None:
        self._full_at = max(self._full_at, int(now * _NS) * self._count) + self._cost

    def give_back(self) -> None:
        """The last one was not worth its price."""
        self._full_at -= self._cost

    def left(self, now: float) -> int:
        missing = max(0, self._full_at - int(now * _NS) * self._count)
        return (self._capacity - missing) // self._cost

    def full_in_s(self, now: float) -> int:
        """Whole seconds; 0: it is full."""
        missing = max(0, self._full_at - int(now * _NS) * self._count)
        return -(-missing // (self._count * _NS))

    def room_in_s(self, now: float) -> float:
        at = int(now * _NS) * self._count
        return max(0, self._full_at + self._cost - self._capacity - at) / (self._count * _NS)


class Guard:
    """What requests with one head go through: the service's door, where it has one, then buckets. Of a caller that
    shows nothing the address decides, which belongs to a connection: `by_address` finds its bucket."""

    __slots__ = ("_address", "_buckets", "_by_address", "_door", "_policy", "_service")

    def __init__(
        self, service: str, buckets: list[Bucket], by_address: Callable[[bytes], Bucket] | None = None,
        address: bytes = b"", door: Door | None = None,
    ) -> None:  # fmt: skip
        self._service, self._buckets = service, tuple(buckets)
        self._by_address, self._address = by_address, address
        self._door = door
        self._policy = b""

    def admit(self, peer: bytes, secure: bool) -> None:
        """Counts nothing; raises `AddressRefused` or `TlsRequired`."""
        if self._door is not None:
            self._door.check(peer, secure)

    def take(self, now: float, peer: bytes, secure: bool) -> None:
        """Counts a request; raises `RateLimited`, `AddressRefused` or `TlsRequired`, and then counts nothing."""
        self.admit(peer, secure)
        buckets = self._all(peer)
        for bucket in buckets:
            if not bucket.has(now):
                raise self._refusal(bucket, now)
        for bucket in buckets:
            bucket.take(now)

    def give_back(self, peer: bytes) -> None:
        """A request that was counted, and refused for want of room: its caller has had nothing."""
        for bucket in self._all(peer):
            bucket.give_back()

    def headers(self, now: float, peer: bytes) -> bytes:
        """Lines as the IETF's draft on RateLimit header fields has them, each beginning with CRLF."""
        if not (buckets := self._all(peer)):
            return b""
        if not self._policy:
            self._policy = b", ".join(bucket.policy for bucket in buckets)
        left = b", ".join(
            b'"%b";r=%d;t=%d' % (bucket.what.encode(), bucket.left(now), bucket.full_in_s(now)) for bucket in buckets
        )
        return b"\r\nRateLimit-Policy: %b\r\nRateLimit: %b" % (self._policy, left)

    def _all(self, peer: bytes) -> tuple[Bucket, ...]:
        if self._by_address is None:
            return self._buckets
        return (*self._buckets, self._by_address(self._address if self._address and peer in LOCAL_PEERS else peer))

    def _refusal(self, bucket: Bucket, now: float) -> RateLimited:
        quota = bucket.quota
        return RateLimited(
            f"{self._service} takes {quota.count} requests in {quota.period_s} s from {_WHOSE[bucket.what]}, "
            "and they have been made",
            hint="come back after Retry-After seconds", limited=bucket.what,
            retry_after_s=float(math.ceil(bucket.room_in_s(now))),
        )  # fmt: skip


class Limiter:
    """All buckets, by what they limit and whom. They outlive tables: a deploy gives nobody a fresh quota."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, ...], Bucket] = {}

    def bucket(self, what: str, quota: Quota, *whom: str) -> Bucket:
        found = self._buckets.get((what, *whom))
        if found is None or found.quota != quota:
            found = self._buckets[(what, *whom)] = Bucket(what, quota)
        return found

    def sweep(self, now: float) -> bool:
        """Forgets full buckets once there are many; says whether it did: then nobody may keep one."""
        if len(self._buckets) < SWEEP_AT:
            return False
        self._buckets = {name: each for name, each in self._buckets.items() if each.full_in_s(now)}
        return True
