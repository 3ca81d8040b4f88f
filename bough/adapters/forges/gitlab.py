"""GitLab. A webhook has a signing token (Standard Webhooks: HMAC-SHA256 over id, time and body, in base64), or, in
older servers, the secret itself in X-Gitlab-Token (docs.gitlab.com/user/project/integrations/webhooks)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from bough.adapters.forges import CLOSED, OPEN, OTHER, PULL, PUSH, Forged, Hook, Pull
from bough.adapters.forges.calls import Calls, basic
from bough.adapters.forges.payloads import GONE, at, decoded, moment, number, text
from bough.kernel.errors import NotFound

OLDEST_S = 300.0  # of a signed call: Standard Webhooks' own tolerance
_BRANCHES, _SIGNING = "refs/heads/", "whsec_"
_STATES = {"pending": "running", "success": "success", "failure": "failed"}


class GitLab:
    def __init__(self, repository: str, url: str = "") -> None:
        web = (url or "https://gitlab.com").rstrip("/")
        self._calls = Calls(f"{web}/api/v4", {})
        self._project = f"/projects/{quote(repository, safe='')}"
        self.clone_url = f"{web}/{quote(repository)}.git"

    def verify(self, headers: Mapping[str, str], body: bytes, secret: str, now: float) -> None:
        if signature := headers.get("webhook-signature", ""):
            self._check_signed(headers, body, secret, now, signature)
        elif not hmac.compare_digest(headers.get("x-gitlab-token", "").encode(), secret.encode()):
            raise Forged("its X-Gitlab-Token is not the secret")

    def read(self, headers: Mapping[str, str], body: bytes) -> Hook:
        document = decoded(body)
        delivery = headers.get("webhook-id") or headers.get("idempotency-key") or headers.get("x-gitlab-event-uuid", "")
        repository, kind = str(at(document, "project", "path_with_namespace") or ""), at(document, "object_kind")
        if kind == "merge_request":
            pull = _pull_of(at(document, "object_attributes"), str(at(document, "user", "username") or ""))
            return Hook(delivery=delivery, kind=PULL, repository=repository, pull=pull)
        if kind == "push" and text(document, "ref").startswith(_BRANCHES):
            branch, commit = text(document, "ref").removeprefix(_BRANCHES), text(document, "after")
            commit = "" if commit == GONE else commit
            return Hook(delivery=delivery, kind=PUSH, repository=repository, branch=branch, commit=commit)
        return Hook(delivery=delivery, kind=OTHER, repository=repository)

    def ref_of(self, number: int) -> str:
        return f"refs/merge-requests/{number}/head"

    def credentials(self, token: str) -> str:
        return basic("oauth2", token)

    def pull(self, number: int, token: str) -> Pull:
        try:
            found = self._calls.send("GET", f"{self._project}/merge_requests/{number}", self._as(token))
        except NotFound as gone:
            raise NotFound(f"there is no merge request {number}", code="PULL_NOT_FOUND") from gone
        return _pull_of(found, str(at(found, "author", "username") or ""))

    def comment(self, number: int, text: str, token: str, known: str = "") -> str:
        notes, body = f"{self._project}/merge_requests/{number}/notes", {"body": text}
        if known:
            try:
                self._calls.send("PUT", f"{notes}/{quote(known)}", self._as(token), body)
                return known
            except NotFound:  # somebody has removed it
                pass
        return str(at(self._calls.send("POST", notes, self._as(token), body), "id") or "")

    def status(self, commit: str, state: str, about: str, url: str, token: str) -> None:
        said = {"state": _STATES[state], "description": about, "name": "bough"} | ({"target_url": url} if url else {})
        self._calls.send("POST", f"{self._project}/statuses/{quote(commit)}", self._as(token), said)

    def _as(self, token: str) -> dict[str, str]:
        return {"PRIVATE-TOKEN": token}

    def _check_signed(self, headers: Mapping[str, str], body: bytes, secret: str, now: float, signature: str) -> None:
        id, at_text = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not at_text.isascii() or not at_text.isdecimal() or abs(now - int(at_text)) > OLDEST_S:
            raise Forged(f"it was signed at {at_text!r}, which is not now")
        signed = b".".join((id.encode(), at_text.encode(), body))
        wanted = base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest()).decode()
        given = [each.removeprefix("v1,") for each in signature.split() if each.startswith("v1,")]
        if not any(hmac.compare_digest(each.encode(), wanted.encode()) for each in given):
            raise Forged("its signature is not that of the signing token")


def _key(secret: str) -> bytes:
    """Standard Webhooks writes keys as whsec_ and base64."""
    if secret.startswith(_SIGNING):
        try:
            return base64.b64decode(secret.removeprefix(_SIGNING), validate=True)
        except binascii.Error:
            pass
    return secret.encode()


def _pull_of(document: Any, author: str) -> Pull:
    """Of a webhook's attributes, and of the API's answer, which writes the head's commit elsewhere."""
    source = at(document, "source_project_id")
    commit = at(document, "last_commit", "id") or text(document, "sha")
    return Pull(
        number=number(document, "iid"), state=OPEN if text(document, "state") == "opened" else CLOSED,
        branch=text(document, "source_branch"), commit=commit, base=text(document, "target_branch"),
        fork=source is None or source != at(document, "target_project_id"), title=str(at(document, "title") or ""),
        author=author, url=str(at(document, "url") or at(document, "web_url") or ""),
        updated_at=moment(text(document, "updated_at")),
    )  # fmt: skip
