"""TLS: the certificate in use, read again when its files change. Connections that are open keep what they began with.

New files are tried in a context of their own first: a pair that does not fit together, or is half written, changes
nothing and is said once.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
import time
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
        try:
            self.check_time(time.time())
        except Invalid as problem:
            log.error("%s; it is in use all the same", problem.message)
        return True

    def load(self) -> None:
        """Raises `Invalid` (CERTIFICATE_INVALID)."""
        for path in (self._certificate, self._key):
            if path is not None and not path.is_file():
                raise _unusable(path, "there is no such file")
        try:
            for context in (_context(), self.context):
                context.load_cert_chain(self._certificate, self._key, _no_password)
        except (OSError, ssl.SSLError) as error:
            raise _unusable(self._certificate, str(error)) from error
        self.loaded = True

    def check_time(self, now: float) -> None:
        """Raises `Invalid` (CERTIFICATE_INVALID) for one that has ended, or has not begun."""
        from cryptography import x509  # slow to import, and most homes have no certificate

        try:
            found = x509.load_pem_x509_certificate(self._certificate.read_bytes())
        except (OSError, ValueError) as error:
            raise _unusable(self._certificate, str(error)) from error
        begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
        if now > ends.timestamp():
            raise _unusable(self._certificate, f"it ended at {ends:%Y-%m-%d %H:%M} UTC, and nobody trusts it any more")
        if now < begins.timestamp():
            raise _unusable(self._certificate, f"it begins at {begins:%Y-%m-%d %H:%M} UTC, and nobody trusts it yet")


def _no_password() -> str:
    """In place of OpenSSL's question for it, which a process in the background would wait for."""
    return ""


def _unusable(path: Path, why: str) -> Invalid:
    return Invalid(
        f"{path} cannot be used for TLS: {why}", code="CERTIFICATE_INVALID",
        hint="bough up --tls-certificate FILE --tls-key FILE, both PEM, without a password",
    )  # fmt: skip


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
