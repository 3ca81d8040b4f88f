"""Calls of other servers over HTTP."""

from __future__ import annotations

import http.client
import ssl
from urllib.parse import SplitResult


def connection_to(url: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    """To the server of a URL that has a host, opened with the first request: over TLS where it says https, which only a
    certificate of that host that this machine trusts ends well. `timeout_s`: between two signs of life."""
    host = url.hostname or ""
    if url.scheme == "https":
        return http.client.HTTPSConnection(host, url.port, timeout=timeout_s, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, url.port, timeout=timeout_s)
