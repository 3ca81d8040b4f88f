"""Signed heads as C2SP checkpoints (c2sp.org/tlog-checkpoint, c2sp.org/signed-note), which other tools read as well:

bough-ledger
42
<root, base64>

— bough-ledger <key id and Ed25519 signature, base64>
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bough.kernel.errors import Invalid

ORIGIN = "bough-ledger"
_ED25519 = b"\1"  # of signed notes
_DASH = "\u2014 "


def sign(key: Ed25519PrivateKey, size: int, root: bytes) -> str:
    """The checkpoint of a tree."""
    text = f"{ORIGIN}\n{size}\n{base64.b64encode(root).decode()}\n"
    public = key.public_key().public_bytes_raw()
    signature = base64.b64encode(_id(public) + key.sign(text.encode())).decode()
    return f"{text}\n{_DASH}{ORIGIN} {signature}\n"


def read(note: str, verifier: str) -> tuple[int, bytes]:
    """Size and root of a checkpoint, whose signature is checked against a verifier key. Raises `Invalid` (code
    HEAD_INVALID) for one that this key has not signed."""
    public = public_of(verifier)
    text, _, signatures = note.partition("\n\n")
    lines = f"{text}\n".split("\n")
    try:
        origin, size, root = lines[0], int(lines[1]), base64.b64decode(lines[2], validate=True)
    except (IndexError, ValueError) as error:
        raise _refused("is not a checkpoint") from error
    for line in signatures.splitlines():
        if origin == ORIGIN and line.startswith(f"{_DASH}{ORIGIN} ") and _holds(line, f"{text}\n", public):
            return size, root
    raise _refused(f"was not signed with the key {verifier}")


def verifier_key(public: bytes) -> str:
    """`bough-ledger+<id>+<key>`, as signed notes write a public key."""
    return f"{ORIGIN}+{_id(public).hex()}+{base64.b64encode(_ED25519 + public).decode()}"


def public_of(verifier: str) -> bytes:
    """The public key in a verifier key; raises `Invalid` (code KEY_INVALID)."""
    name, _, rest = verifier.partition("+")
    id, _, encoded = rest.partition("+")
    try:
        kind_and_key = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        kind_and_key = b""
    public = kind_and_key[1:]
    if name != ORIGIN or kind_and_key[:1] != _ED25519 or len(public) != 32 or id != _id(public).hex():
        raise Invalid(f"{verifier!r} is not a verifier key of a ledger", code="KEY_INVALID", hint="bough audit head")
    return public


def _holds(line: str, text: str, public: bytes) -> bool:
    try:
        signed = base64.b64decode(line.rpartition(" ")[2], validate=True)
        if signed[:4] != _id(public):
            return False
        Ed25519PublicKey.from_public_bytes(public).verify(signed[4:], text.encode())
    except (InvalidSignature, binascii.Error):
        return False
    return True


def _id(public: bytes) -> bytes:
    return hashlib.sha256(ORIGIN.encode() + b"\n" + _ED25519 + public).digest()[:4]


def _refused(what: str) -> Invalid:
    return Invalid(f"the head {what}", code="HEAD_INVALID", hint="bough audit head")
