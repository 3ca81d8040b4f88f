"""Where keys that sign are, and how they are asked: a file of the home, a variable, or a program that asks a KMS.

    file         <home>/signing/<key id>.pem, mode 0600, made by Bough
    environment  the variable BOUGH_SIGNING_KEY: a private key in PEM, or BOUGH_SIGNING_KEY_FILE: where it lies
    command      the program BOUGH_SIGNING_COMMAND, called as `PROGRAM public-key NAME` (prints the public key in PEM)
                 and `PROGRAM sign NAME HASH` (reads a digest in hexadecimal, prints a signature, DER in base64)

The program is chosen by who runs Bough, never by a request; a request chooses only the key's name.
"""

from __future__ import annotations

import base64
import binascii
import os
import shlex
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from bough.kernel.errors import Forbidden, Invalid, NotFound, Problem, Unavailable
from bough.kernel.files import as_exhausted, write_whole
from bough.registry.bundles import CURVES, key_id, load, pem

FILE, ENVIRONMENT, COMMAND, PUBLIC = "file", "environment", "command", "public"
KEY_VARIABLE, FILE_VARIABLE, COMMAND_VARIABLE = (
    "BOUGH_SIGNING_KEY",
    "BOUGH_SIGNING_KEY_FILE",
    "BOUGH_SIGNING_COMMAND",
)
COMMAND_S = 30.0  # a KMS that does not answer by then is away


class Provider(Protocol):
    """Keeps private keys and never shows them. May block; never called in a transaction."""

    def public_key(self, reference: str) -> str:
        """In PEM. Raises `NotFound`, `Forbidden`, `Unavailable`."""

    def sign(self, reference: str, digest: bytes) -> bytes:
        """An ECDSA signature in DER over a digest that was made with the hash of the key's curve."""


class Keyring:
    """The providers of one home, by name."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self.files = FileKeys(home / "signing")
        self._providers: dict[str, Provider] = {
            FILE: self.files,
            ENVIRONMENT: EnvironmentKey(environment),
            COMMAND: CommandKeys(environment.get(COMMAND_VARIABLE, "")),
        }

    def provider(self, name: str) -> Provider:
        if name not in self._providers:
            raise Invalid(
                f"there is no provider of keys {name!r}",
                code="SIGNER_PROVIDER_UNKNOWN", hint=f"one of {', '.join(self._providers)}",
            )  # fmt: skip
        return self._providers[name]


class FileKeys:
    """The reference is the key's id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self) -> str:
        """Makes a key; its public half."""
        key = ec.generate_private_key(ec.SECP256R1())
        with as_exhausted(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        public = key.public_key()
        write_whole(self._path(key_id(public)), _private_pem(key), mode=0o600)
        return pem(public)

    def public_key(self, reference: str) -> str:
        return pem(read_private(self._path(reference)).public_key())

    def sign(self, reference: str, digest: bytes) -> bytes:
        return _sign(read_private(self._path(reference)), digest)

    def _path(self, reference: str) -> Path:
        if len(reference) != 64 or not reference.isalnum():
            raise _missing(f"the key {reference[:80]!r}")
        return self.folder / f"{reference}.pem"


class EnvironmentKey:
    """One key, given to the server when it starts."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._text, self._path = environment.get(KEY_VARIABLE, ""), environment.get(FILE_VARIABLE, "")

    def public_key(self, reference: str) -> str:
        return pem(self._key().public_key())

    def sign(self, reference: str, digest: bytes) -> bytes:
        return _sign(self._key(), digest)

    def _key(self) -> ec.EllipticCurvePrivateKey:
        if self._text:
            return _parsed(self._text.encode(), f"${KEY_VARIABLE}")
        if self._path:
            return read_private(Path(self._path))
        raise _missing(f"${KEY_VARIABLE} or ${FILE_VARIABLE}")


class CommandKeys:
    """Keys that never leave a KMS; the program does what its vendor's tool does."""

    def __init__(self, command: str) -> None:
        self._command = shlex.split(command)

    def public_key(self, reference: str) -> str:
        return pem(load(self._ask(["public-key", reference], b"").decode("utf-8", "replace")))

    def sign(self, reference: str, digest: bytes) -> bytes:
        name = next(name for name, size in (("sha256", 32), ("sha384", 48), ("sha512", 64)) if size == len(digest))
        answer = self._ask(["sign", reference, name], digest.hex().encode())
        try:
            return base64.b64decode(answer.strip(), validate=True)
        except binascii.Error as error:
            raise self._away("did not print a signature in base64") from error

    def _ask(self, words: list[str], given: bytes) -> bytes:
        if not self._command:
            raise _missing(f"${COMMAND_VARIABLE}")
        if words[1].startswith("-"):
            raise _missing(f"the key {words[1]!r}")
        try:
            done = subprocess.run(  # noqa: S603 - the program that whoever runs Bough has chosen
                [*self._command, *words], input=given, capture_output=True, timeout=COMMAND_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise self._away(str(error)) from error
        if done.returncode != 0:
            raise self._away(done.stderr.decode("utf-8", "replace").strip()[-500:] or f"ended with {done.returncode}")
        return done.stdout

    def _away(self, why: str) -> Unavailable:
        return Unavailable(
            f"{self._command[0]} does not sign; {why}", code="SIGNER_UNAVAILABLE", hint=f"check ${COMMAND_VARIABLE}"
        )


def read_private(path: Path) -> ec.EllipticCurvePrivateKey:
    """A private key that nobody else can read. Raises `NotFound` (SIGNER_KEY_MISSING), `Forbidden`
    (SIGNER_KEY_EXPOSED), `Problem` (SIGNER_KEY_DAMAGED)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError as error:
        raise _missing(str(path)) from error
    except OSError as error:
        raise _exposed(path, f"cannot be used: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode) or about.st_uid not in (os.geteuid(), 0):
            raise _exposed(path, "is not a plain file of the user that runs Bough")
        if about.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise _exposed(path, f"can be read by others (mode {stat.S_IMODE(about.st_mode):04o})")
        return _parsed(file.read(), str(path))


def _sign(key: ec.EllipticCurvePrivateKey, digest: bytes) -> bytes:
    return key.sign(digest, ec.ECDSA(Prehashed(CURVES[key.curve.name])))


def _parsed(content: bytes, where: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # its message could repeat what it read
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in CURVES:
        raise Problem(
            f"{where} is no private key in PEM on the curves P-256, P-384 or P-521, without a password",
            code="SIGNER_KEY_DAMAGED", hint="restore it from its copy, or bough signers rotate NAME",
        )  # fmt: skip
    return key


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain)


def _missing(what: str) -> NotFound:
    return NotFound(
        f"{what} is not there; nothing can be signed with it",
        code="SIGNER_KEY_MISSING", hint="restore it from its copy, or bough signers rotate NAME",
    )  # fmt: skip


def _exposed(path: Path, what: str) -> Forbidden:
    return Forbidden(
        f"the key {path} {what}; it is not used like that",
        code="SIGNER_KEY_EXPOSED", hint=f"chmod 600 {path}; if others may have read it: bough signers rotate NAME",
    )  # fmt: skip
