"""Git repositories that Bough keeps: one bare repository per project, into which people push.

Promises: a repository is whole or absent; nothing of the machine's or a person's git configuration has an effect, and
no hook ever runs; objects are checked as they arrive; a push that breaks off changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import msgspec

FETCH, PUSH = "git-upload-pack", "git-receive-pack"  # the two services of git's protocol, as its URLs call them
BRANCHES = "refs/heads/"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One path of a commit's tree. `kind` is file, link or submodule."""

    path: str
    kind: str
    id: str
    size: int


class Repositories(Protocol):
    def ensure(self, name: str) -> None:
        """Makes an empty repository unless there is one. Raises `Exhausted`."""

    def exists(self, name: str) -> bool: ...

    async def advertise(self, name: str, service: str, protocol: str) -> bytes:
        """What the server says first: its refs. `protocol` is what the client sent as Git-Protocol."""

    def exchange(self, name: str, service: str, protocol: str, sent: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Runs one request of a service: bytes in, bytes out, both as they come. Closing it early ends the program,
        and a push of which not everything had arrived has changed nothing."""

    def refs(self, name: str, prefix: str = "") -> Mapping[str, str]:
        """Commits by full name of the ref."""

    def move(self, name: str, ref: str, *, to: str, was: str) -> bool:
        """Sets a ref, or removes it (`to` empty), if it still is `was` (empty: absent); whether it did."""

    def fetch(self, name: str, url: str, ref: str, into: str, credentials: str = "") -> str:
        """Brings the commit that `ref` of another repository points to, and sets the ref `into` to it; the commit.
        `credentials`: the value of the Authorization header, sent to that host only. Raises `Unavailable`
        (REPOSITORY_AWAY)."""

    def tree(self, name: str, commit: str) -> Sequence[Item]:
        """All paths of a commit."""

    def read(self, name: str, id: str) -> bytes:
        """The bytes of a file by its id."""

    def subject(self, name: str, commit: str) -> str:
        """The first line of the commit's message."""

    def exported(self, name: str, commit: str) -> AbstractContextManager[Path]:
        """The files of a commit in a folder that is gone afterwards; submodules are empty folders, links stay links.
        Raises `Exhausted`."""

    def tidy(self, name: str) -> None:
        """Packs what has piled up, when it is worth it. May block for seconds."""
