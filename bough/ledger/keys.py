"""The key that signs heads: the file `ledger.key` in the home, 0600, PEM (PKCS 8). And the newest head that was seen,
`ledger.head`, outside the database: who cuts the newest entries off and puts an older signed head in their place has to
find that too."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from bough.kernel.errors import Forbidden, NotFound, Problem
from bough.kernel.files import as_exhausted, write_whole
from bough.ledger import notes

FILE_NAME, SEEN_NAME = "ledger.key", "ledger.head"


class SigningKey:
    """Read once and kept: who can read this process's memory can read the file."""

    def __init__(self, home: Path) -> None:
        self.path = home / FILE_NAME
        self.seen = home / SEEN_NAME
        self._key: Ed25519PrivateKey | None = None

    def private(self, *, create: bool) -> Ed25519PrivateKey:
        """The key; made when there is none and `create`. Raises `NotFound` (LEDGER_KEY_MISSING), `Forbidden`
        (LEDGER_KEY_EXPOSED)."""
        if self._key is None:
            if create and not self.path.exists():
                self.renew()
            self._key = self._read()
        return self._key

    @property
    def verifier(self) -> str:
        return notes.verifier_key(self.private(create=False).public_key().public_bytes_raw())

    def renew(self) -> None:
        """Puts a fresh key in the place of the one that is there."""
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with as_exhausted(self.path):
            write_whole(self.path, pem, mode=0o600)
        self._key = None

    def witness(self, note: str) -> None:
        """Remembers that this head was there. Without a sync: losing it to a power cut leaves an older one, which is
        as true."""
        with as_exhausted(self.seen):
            write_whole(self.seen, note.encode(), synced=False)

    def witnessed(self) -> str:
        """The newest head that was seen; empty before the first."""
        try:
            return self.seen.read_text("utf-8")
        except FileNotFoundError:
            return ""

    def _read(self) -> Ed25519PrivateKey:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError as error:
            raise NotFound(
                f"the ledger's key {self.path} is gone; nothing can be added to the ledger without one",
                code="LEDGER_KEY_MISSING", hint=f"restore {self.path} from its copy, or: bough audit rekey",
            ) from error  # fmt: skip
        with os.fdopen(descriptor, "rb") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise Forbidden(
                    f"the ledger's key {self.path} can be read by others; it is not used like that",
                    code="LEDGER_KEY_EXPOSED", hint=f"chmod 600 {self.path}; then bough audit rekey",
                )  # fmt: skip
            content = file.read()
        try:
            key = load_pem_private_key(content, None)
        except ValueError:
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise Problem(
                f"{self.path} holds no Ed25519 key", code="LEDGER_KEY_DAMAGED",
                hint=f"restore {self.path} from its copy, or: bough audit rekey",
            )  # fmt: skip
        return key
