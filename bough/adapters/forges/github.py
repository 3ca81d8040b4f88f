"""GitHub, and Gitea (with Forgejo), which has taken over the form of its webhooks and most of its API.

Signatures: HMAC-SHA256 over the body, `X-Hub-Signature-256: sha256=HEX` and `X-Gitea-Signature: HEX`
(docs.github.com/webhooks, docs.gitea.com/usage/webhooks). They cover no time: what is sent again is known by its
delivery, and what is old by `updated_at`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from bough.adapters.forges import CLOSED, OPEN, OTHER, PULL, PUSH, Forged, Hook, Pull
from bough.adapters.forges.calls import Calls, basic
from bough.adapters.forges.payloads import GONE, at, decoded, moment, number, text
from bough.kernel.errors import NotFound

_BRANCHES = "refs/heads/"


class GitHub:
    """`url` is that of the web pages; for github.com the API has a host of its own."""

    def __init__(self, repository: str, url: str = "") -> None:
        web = (url or "https://github.com").rstrip("/")
        api = "https://api.github.com" if web == "https://github.com" else f"{web}/api/v3"
        self._calls = Calls(api, {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"})
        self._repository, self.clone_url = f"/repos/{quote(repository)}", f"{web}/{quote(repository)}.git"

    def verify(self, headers: Mapping[str, str], body: bytes, secret: str, now: float) -> None:
        check_hmac(headers.get("x-hub-signature-256", "").removeprefix("sha256="), body, secret)

    def read(self, headers: Mapping[str, str], body: bytes) -> Hook:
        return hook_of(headers.get("x-github-event", ""), headers.get("x-github-delivery", ""), body)

    def ref_of(self, number: int) -> str:
        return f"refs/pull/{number}/head"

    def credentials(self, token: str) -> str:
        return basic("x-access-token", token)

    def pull(self, number: int, token: str) -> Pull:
        try:
            return pull_of(self._calls.send("GET", f"{self._repository}/pulls/{number}", self._as(token)))
        except NotFound as gone:
            raise NotFound(f"there is no pull request {number}", code="PULL_NOT_FOUND") from gone

    def comment(self, number: int, text: str, token: str, known: str = "") -> str:
        body = {"body": text}
        if known:
            try:
                self._calls.send("PATCH", f"{self._repository}/issues/comments/{quote(known)}", self._as(token), body)
                return known
            except NotFound:  # somebody has removed it
                pass
        made = self._calls.send("POST", f"{self._repository}/issues/{number}/comments", self._as(token), body)
        return str(at(made, "id") or "")

    def status(self, commit: str, state: str, about: str, url: str, token: str) -> None:
        said = {"state": state, "description": about, "context": "bough"} | ({"target_url": url} if url else {})
        self._calls.send("POST", f"{self._repository}/statuses/{quote(commit)}", self._as(token), said)

    def _as(self, token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"}


class Gitea(GitHub):
    def __init__(self, repository: str, url: str) -> None:
        super().__init__(repository, url)
        self._calls = Calls(f"{url.rstrip('/')}/api/v1", {})

    def verify(self, headers: Mapping[str, str], body: bytes, secret: str, now: float) -> None:
        check_hmac(headers.get("x-gitea-signature", ""), body, secret)

    def read(self, headers: Mapping[str, str], body: bytes) -> Hook:
        return hook_of(headers.get("x-gitea-event", ""), headers.get("x-gitea-delivery", ""), body)

    def credentials(self, token: str) -> str:
        return basic(token, "x-oauth-basic")

    def _as(self, token: str) -> dict[str, str]:
        return {"Authorization": f"token {token}"}


def check_hmac(given: str, body: bytes, secret: str) -> None:
    """Raises `Forged` unless `given` is the HMAC-SHA256 of `body` in hexadecimal."""
    if not given:
        raise Forged("it carries no signature")
    if not hmac.compare_digest(given.encode(), hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().encode()):
        raise Forged("its signature is not that of the secret")


def hook_of(event: str, delivery: str, body: bytes) -> Hook:
    document = decoded(body)
    repository = str(at(document, "repository", "full_name") or "")
    if event in ("pull_request", "pull_request_sync"):  # Gitea tells new commits apart
        return Hook(delivery=delivery, kind=PULL, repository=repository, pull=pull_of(at(document, "pull_request")))
    if event == "push" and text(document, "ref").startswith(_BRANCHES):
        commit = text(document, "after")
        return Hook(
            delivery=delivery, kind=PUSH, repository=repository, branch=text(document, "ref").removeprefix(_BRANCHES),
            commit="" if commit == GONE else commit,
        )  # fmt: skip
    return Hook(delivery=delivery, kind=OTHER, repository=repository)


def pull_of(document: Any) -> Pull:
    """A head without a repository is one of a fork that is gone."""
    head, base = at(document, "head", "repo", "full_name"), text(document, "base", "repo", "full_name")
    return Pull(
        number=number(document, "number"), state=OPEN if text(document, "state") == "open" else CLOSED,
        branch=text(document, "head", "ref"), commit=text(document, "head", "sha"), base=text(document, "base", "ref"),
        fork=head != base, title=str(at(document, "title") or ""), author=str(at(document, "user", "login") or ""),
        url=str(at(document, "html_url") or ""), updated_at=moment(text(document, "updated_at")),
    )  # fmt: skip
