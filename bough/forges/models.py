"""Links, previews and deliveries as data."""

from __future__ import annotations

import msgspec

GITHUB, GITLAB, GITEA = "github", "gitlab", "gitea"
KINDS = (GITHUB, GITLAB, GITEA)
ASK, SEALED, NEVER = "ask", "sealed", "never"  # what happens to pull requests from forks
FORKS = (ASK, SEALED, NEVER)

# waiting (for a word on a fork's commit), deploying ──> live, failed; closed when nothing is left of it
WAITING, DEPLOYING, LIVE, FAILED, CLOSED = "waiting", "deploying", "live", "failed", "closed"


class ForgeLink(msgspec.Struct, frozen=True, kw_only=True):
    """`secret` and `token` name secrets of production: what webhooks are signed with, and what the forge's API knows
    Bough by (none: no comments, and only public repositories). `branches` are deployed at every push."""

    id: str
    project: str
    kind: str
    repository: str
    url: str
    secret: str
    token: str
    forks: str
    branches: list[str]
    by: str
    at: float


class ForgeAdded(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be written at the forge. `webhook_secret` is shown this once; empty when the secret was there."""

    link: ForgeLink
    webhook_url: str
    webhook_secret: str


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """`number` is 0 for a branch that is followed. `seen_at`: the forge's own time of what is known. `allowed`: the
    commit of a fork that somebody has allowed. `shown`: what the comment says now, as a digest."""

    id: str
    link: str
    project: str
    number: int
    branch: str
    commit: str
    base: str
    fork: bool
    title: str
    author: str
    url: str
    open: bool
    seen_at: float
    changed_at: float
    state: str = DEPLOYING
    environment: str = ""
    deployed: str = ""  # commit
    release: int = 0
    why: str = ""
    allowed: str = ""
    comment: str = ""
    shown: str = ""
    failures: int = 0  # in a row, of reaching the forge


class ForgeDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """`outcome`: taken, repeated, old, ignored."""

    link: str
    delivery: str
    kind: str
    about: str
    outcome: str
    at: float
