"""Sealing: AES-256-GCM under a fresh data key for every version; the data key wrapped by the master key.

Both seals are bound to the same path (`rules.bound_to`), so neither part of an envelope is of use elsewhere. Nonces
are random: a data key seals once, and a master key may wrap 2^32 data keys before a nonce is likely to come twice.
"""

from __future__ import annotations

import base64
import binascii
import os
from typing import Any

from bough.kernel.errors import Problem

KEY_BYTES = 32
_NONCE_BYTES = 12


class SealBroken(Problem):
    """The envelope, its place or the master key is not what it was when it was sealed."""

    code = "SECRET_SEAL_BROKEN"


def fresh_key() -> bytes:
    return os.urandom(KEY_BYTES)


def seal(master: bytes, value: str, bound: bytes) -> tuple[str, str]:
    """The wrapped data key, and the sealed value."""
    key = fresh_key()
    return _encrypt(master, key, bound), _encrypt(key, value.encode(), bound)


def open_(master: bytes, wrapped: str, sealed: str, bound: bytes) -> str:
    """Raises `SealBroken`."""
    return _decrypt(_decrypt(master, wrapped, bound), sealed, bound).decode()


def rewrap(old: bytes, new: bytes, wrapped: str, bound: bytes) -> str:
    """The data key under another master key; the value is not touched and not seen."""
    return _encrypt(new, _decrypt(old, wrapped, bound), bound)


def _encrypt(key: bytes, content: bytes, bound: bytes) -> str:
    nonce = os.urandom(_NONCE_BYTES)
    return base64.b64encode(nonce + _gcm(key).encrypt(nonce, content, bound)).decode()


def _decrypt(key: bytes, text: str, bound: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag  # as below

    try:
        raw = base64.b64decode(text, validate=True)
        opened: bytes = _gcm(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], bound)
    except (InvalidTag, ValueError, binascii.Error) as error:
        raise SealBroken(
            "a secret does not open; its envelope was changed or moved, or the master key is another one",
            hint="restore secrets.key from its copy, or set the secret again: bough secrets set NAME",
        ) from error
    return opened


def _gcm(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 20 ms that most nodes and commands never need

    return AESGCM(key)
