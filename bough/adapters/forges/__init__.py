"""Forges: where a project's git repository is hosted, and where its pull requests are.

A webhook is a hint with a signature: `verify` says whether the forge has sent it, `read` what it is about. What is true
is asked of the forge itself (`pull`), where a token allows that. Methods that talk to the forge block for TIMEOUT_S at
most, raise `Unavailable` (FORGE_AWAY) when it does not answer and `Forbidden` (FORGE_REFUSED) when the token does not
reach; they follow no redirect, so that the token goes to nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from bough.kernel.errors import Unauthenticated

PULL, PUSH, OTHER = "pull", "push", "other"  # what a webhook is about
OPEN, CLOSED = "open", "closed"
TIMEOUT_S = 10.0


class Pull(msgspec.Struct, frozen=True, kw_only=True):
    """A pull request (GitLab: merge request), as it was at `updated_at`."""

    number: int
    state: str  # open, closed
    branch: str  # its head
    commit: str
    base: str
    fork: bool  # its head is in another repository
    title: str
    author: str
    url: str
    updated_at: float


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """`delivery` is the forge's own name of this call, the same when it is sent again. `branch` and `commit` of a push:
    where it points now; no commit: it is gone."""

    delivery: str
    kind: str
    repository: str = ""
    pull: Pull | None = None
    branch: str = ""
    commit: str = ""


class Forge(Protocol):
    """One repository at one forge."""

    clone_url: str

    def verify(self, headers: Mapping[str, str], body: bytes, secret: str, now: float) -> None:
        """Raises `Forged`. `headers` have lower-case names."""

    def read(self, headers: Mapping[str, str], body: bytes) -> Hook:
        """Raises `Invalid` (WEBHOOK_INVALID)."""

    def ref_of(self, number: int) -> str:
        """The ref under which the repository holds the head of a pull request, also of one from a fork."""

    def credentials(self, token: str) -> str:
        """The value of git's Authorization header."""

    def pull(self, number: int, token: str) -> Pull:
        """As it is now. Raises `NotFound` (PULL_NOT_FOUND)."""

    def comment(self, number: int, text: str, token: str, known: str = "") -> str:
        """Writes a comment, or puts `text` in the place of the one called `known` if that is still there; its name."""

    def status(self, commit: str, state: str, about: str, url: str, token: str) -> None:
        """Marks a commit; `state` is pending, success or failure."""


class Forged(Unauthenticated):
    code = "WEBHOOK_FORGED"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"this is not a call of the forge; {why}",
            hint="the secret there and the one here must be the same: bough forges list",
        )
