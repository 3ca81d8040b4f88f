"""TLS: the certificate in use, read again when its files change. Connections that are open keep what they began with.

New files are tried in a context of their own first: a pair that does not fit together, or is half written, changes
nothing and is said once.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
from pathlib import Path

from bough.kernel.errors import Invalid

log = logging.getLogger("bough.gateway")


class Certificate:
    """`context` is for a listener; it stays the same object over renewals."""

    def __init__(self, certificate: Path, key: Path | None) -> None:
        self._certificate, self._key = certificate, key
        self._seen: object = None
        self.context = _context()
        self.loaded = False

    def look(self) -> bool:
        """Takes in what is new; says whether there was something that could be taken."""
        found = [_identity(path) for path in (self._certificate, self._key) if path is not None]
        if found == self._seen:
            return False
        self._seen = found
        if not self.loaded and not self._certificate.exists():
            log.info("there is no certificate at %s yet: nothing is answered over TLS", self._certificate)
            return False
        try:
            self.load()
        except Invalid as problem:
            still = "what was there before stays in use" if self.loaded else "nothing is answered over TLS yet"
            log.error("%s; %s", problem.message, still)
            return False
        return True

    def load(self) -> None:
        """Raises `Invalid` (CERTIFICATE_INVALID)."""
        try:
            _context().load_cert_chain(self._certificate, self._key)
            self.context.load_cert_chain(self._certificate, self._key)
        except (OSError, ssl.SSLError) as error:
            raise Invalid(
                f"the certificate {self._certificate} cannot be used: {error}", code="CERTIFICATE_INVALID",
                hint="bough up --tls-certificate FILE --tls-key FILE, both PEM, without a password",
            ) from error  # fmt: skip
        self.loaded = True


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _identity(path: Path) -> tuple[int, int, int]:
    with contextlib.suppress(OSError):
        stat = path.stat()
        return stat.st_mtime_ns, stat.st_ino, stat.st_size
    return 0, 0, 0
