"""The master key: one file, read at every use, so that a rotation or a wrong permission is seen at once.

    # a comment
    <id> <key in base64>     the present key
    <id> <key in base64>     older ones, that processes started before the last rotation still need

The file is `secrets.key` in Bough's home, or where BOUGH_SECRETS_KEY_FILE points (a mounted secret, a credential of
systemd). Not the key itself in a variable: /proc shows those, and programs print them.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bough.kernel.errors import Forbidden, NotFound, Problem
from bough.kernel.files import as_exhausted, write_whole
from bough.secrets import cipher, rules
from bough.secrets.models import Envelope, Sealed

FILE_NAME, VARIABLE = "secrets.key", "BOUGH_SECRETS_KEY_FILE"
_HEADER = (
    "# Bough's master key: whoever has it can open every secret, and without it none opens.\n"
    "# Keep a copy in another place than the copies of the database.\n"
)


class Vault:
    """Seals and opens. Safe to use from many threads and processes."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        chosen = environment.get(VARIABLE, "")
        self.path = Path(chosen) if chosen else home / FILE_NAME

    @property
    def exists(self) -> bool:
        return self.path.exists()

    def create(self) -> None:
        """Makes the file unless there is one; of two that do so at once, one wins."""
        if self.exists:
            return
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.{cipher.fresh_key().hex()[:8]}")
        write_whole(temporary, _text([cipher.fresh_key()]), mode=0o600)
        try:
            with as_exhausted(self.path), contextlib.suppress(FileExistsError):
                self.path.hardlink_to(temporary)
        finally:
            temporary.unlink(missing_ok=True)

    def seal(self, name: str, value: str, envelope: Envelope) -> Envelope:
        """`envelope` with its seals filled in."""
        (id, key), *_ = self._keys()
        bound = rules.bound_to(envelope.project, envelope.environment, name, envelope.version)
        wrapped, sealed = cipher.seal(key, value, bound)
        return msgspec.structs.replace(envelope, master=id, wrapped=wrapped, sealed=sealed)

    def open_(self, project: str, name: str, envelope: Envelope) -> str:
        """The value; raises `SealBroken` when the envelope was not sealed as this, or the key is not there."""
        bound = rules.bound_to(project, envelope.environment, name, envelope.version)
        return cipher.open_(self._key(envelope.master), envelope.wrapped, envelope.sealed, bound)

    def open_text(self, text: str) -> str:
        """The value of a `Sealed` as JSON."""
        sealed = msgspec.json.decode(text, type=Sealed)
        return self.open_(sealed.project, sealed.name, sealed.envelope)

    def rewrap(self, name: str, envelope: Envelope) -> Envelope:
        """The same version under the present master key."""
        (id, key), *_ = self._keys()
        bound = rules.bound_to(envelope.project, envelope.environment, name, envelope.version)
        wrapped = cipher.rewrap(self._key(envelope.master), key, envelope.wrapped, bound)
        return msgspec.structs.replace(envelope, master=id, wrapped=wrapped)

    def rotate(self, in_use: set[str]) -> tuple[str, list[str]]:
        """Puts a fresh key first and keeps the ones in `in_use`; the new id and the kept ones. The file is whole at any
        moment: before this the old one, after it both."""
        kept = [(id, key) for id, key in self._keys() if id in in_use]
        fresh = cipher.fresh_key()
        write_whole(self.path, _text([fresh, *(key for _, key in kept)]), mode=0o600)
        return _id(fresh), [id for id, _ in kept]

    def private_digest(self, content: bytes) -> str:
        """A digest that tells nothing to whoever has not the master key, however short the content."""
        (_, key), *_ = self._keys()
        return hmac.new(hmac.digest(key, b"bough digest", "sha256"), content, hashlib.sha256).hexdigest()

    def check(self) -> None:
        """Raises what is wrong with the file: `Forbidden` (SECRETS_KEY_EXPOSED), `NotFound` (SECRETS_KEY_MISSING)."""
        self._keys()

    def _key(self, id: str) -> bytes:
        for known, key in self._keys():
            if known == id:
                return key
        raise cipher.SealBroken(
            f"the secret was sealed under the master key {id}; {self.path} does not hold that one",
            code="SECRETS_KEY_UNKNOWN",
            hint=f"restore {self.path} from its copy, or set the secret again: bough secrets set NAME",
        )

    def _keys(self) -> list[tuple[str, bytes]]:
        """Present key first."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError as error:
            raise NotFound(
                f"the master key {self.path} is gone; no secret opens without it",
                code="SECRETS_KEY_MISSING", hint=f"restore {self.path} from its copy, mode 0600",
            ) from error  # fmt: skip
        except OSError as error:
            raise self._exposed(f"cannot be used: {error.strerror}") from error
        with os.fdopen(descriptor, "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode) or about.st_uid not in (os.geteuid(), 0):
                raise self._exposed("is not a plain file of the user that runs Bough")
            if about.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise self._exposed(f"can be read by others (mode {stat.S_IMODE(about.st_mode):04o})")
            return self._parse(file.read())

    def _parse(self, content: bytes) -> list[tuple[str, bytes]]:
        found = []
        for line in content.splitlines():
            if line.strip() and not line.startswith(b"#"):
                try:
                    key = base64.b64decode(line.split()[-1], validate=True)
                except binascii.Error:
                    key = b""
                if len(key) != cipher.KEY_BYTES:
                    raise Problem(
                        f"{self.path} is damaged; a line of it is no key",
                        code="SECRETS_KEY_DAMAGED", hint=f"restore {self.path} from its copy",
                    )  # fmt: skip
                found.append((_id(key), key))
        if not found:
            raise Problem(
                f"{self.path} holds no key", code="SECRETS_KEY_DAMAGED", hint=f"restore {self.path} from its copy"
            )
        return found

    def _exposed(self, what: str) -> Forbidden:
        return Forbidden(
            f"the master key {self.path} {what}; it is not used like that",
            code="SECRETS_KEY_EXPOSED",
            hint=f"chmod 600 {self.path}; if others may have read it: bough secrets rekey, then change the secrets",
        )


def _id(key: bytes) -> str:
    """Names a key without telling anything of it: it has 256 random bits."""
    return hashlib.sha256(b"bough master key" + key).hexdigest()[:12]


def _text(keys: list[bytes]) -> bytes:
    lines = "".join(f"{_id(key)} {base64.b64encode(key).decode()}\n" for key in keys)
    return (_HEADER + lines).encode()
