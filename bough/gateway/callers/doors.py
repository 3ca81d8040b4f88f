"""From where a service may be asked: `allow` and `tls` of its settings.

A head says nothing of the connection that it came over, and plans belong to heads: so a door is asked about every
request, and remembers what it said of an address. Of a request that a proxy on this machine hands on, the address that
the proxy added to `X-Forwarded-For` counts, and the `X-Forwarded-Proto` that it says; nobody else is believed.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from bough.gateway.head import LOCAL_PEERS
from bough.gateway.models import Route
from bough.kernel.errors import Forbidden
from bough.kernel.traffic import network

MOST_KNOWN = 4096  # addresses whose verdict is remembered; beyond it they are looked at anew


class AddressRefused(Forbidden):
    """The caller's address is not among those that may call."""

    code = "ADDRESS_REFUSED"


class TlsRequired(Forbidden):
    """The service does not answer over plain HTTP."""

    code = "TLS_REQUIRED"


class Door:
    """Of one route, for requests with one head: `forwarded` and `encrypted` are what that says of a proxy's client."""

    __slots__ = ("_encrypted", "_forwarded", "_known", "_networks", "_service", "_tls_required")

    def __init__(self, route: Route, forwarded: bytes, encrypted: bool) -> None:
        self._service, self._tls_required = route.service, route.tls_required
        self._networks = [network(each) for each in route.allow]
        self._forwarded, self._encrypted = forwarded, encrypted
        self._known: dict[bytes, bool] = {}

    def check(self, peer: bytes, secure: bool) -> None:
        """Raises `AddressRefused` or `TlsRequired`."""
        local = peer in LOCAL_PEERS
        if self._networks and not self._may_call(self._forwarded if local and self._forwarded else peer):
            raise AddressRefused(
                f"{self._service} is not for callers from here", hint="see allow of the service in bough.toml"
            )
        if self._tls_required and not secure and not (local and self._encrypted):
            raise TlsRequired(f"{self._service} answers over TLS only", hint="use https://")

    def _may_call(self, address: bytes) -> bool:
        verdict = self._known.get(address)
        if verdict is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            verdict = self._known[address] = self._is_inside(address)
        return verdict

    def _is_inside(self, address: bytes) -> bool:
        try:
            found = ip_address("127.0.0.1" if address == b"unix" else address.decode("latin-1"))
        except ValueError:  # what a proxy says may be anything
            return False
        if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in each for each in self._networks)
