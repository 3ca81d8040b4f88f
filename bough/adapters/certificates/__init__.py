"""Authorities that certify the names under which a gateway is reached.

An authority wants to see that whoever asks holds a name: its challenge is a text that it must find there, over plain
HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bough.kernel.errors import Invalid

Show = Callable[[str, str], None]
"""Makes a text appear at `http://NAME/.well-known/acme-challenge/TOKEN`, for all names; called with token and text."""


class CertificateRefused(Invalid):
    """The authority will not certify these names as things are: asking again at once is no use."""

    code = "CERTIFICATE_REFUSED"


class Authority(Protocol):
    def certify(self, names: list[str], show: Show) -> bytes:
        """A fresh private key and the chain of certificates for all of `names`, as PEM. Blocks for up to two minutes.
        Raises `CertificateRefused`, and `Unavailable` when the authority does not answer."""
