"""Webhooks in the form that the forges document, cut to what identifies them; and how each forge signs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from typing import Any

Sent = tuple[dict[str, str], bytes]


def github_pull(
    number: int, action: str, commit: str, *, branch: str = "feature/x", at: str = "2026-05-01T10:00:00Z",
    head: str | None = "ada/shop", base: str = "main", repository: str = "ada/shop",
) -> dict[str, Any]:  # fmt: skip
    """docs.github.com/webhooks: pull_request. Gitea sends the same fields."""
    return {
        "action": action,
        "number": number,
        "pull_request": {
            "number": number,
            "state": "closed" if action == "closed" else "open",
            "title": "Better <!-- @everyone --> prices",
            "html_url": f"https://forge/{repository}/pull/{number}",
            "user": {"login": "eve"},
            "updated_at": at,
            "head": {"ref": branch, "sha": commit, "repo": {"full_name": head} if head else None},
            "base": {"ref": base, "sha": "0" * 40, "repo": {"full_name": repository}},
        },
        "repository": {"full_name": repository},
        "sender": {"login": "eve"},
    }


def gitlab_merge(
    number: int, action: str, commit: str, *, branch: str = "feature/x", at: str = "2026-05-01 10:00:00 UTC",
    fork: bool = False, base: str = "main", repository: str = "ada/shop",
) -> dict[str, Any]:  # fmt: skip
    """docs.gitlab.com/user/project/integrations/webhook_events: merge request events."""
    return {
        "object_kind": "merge_request",
        "event_type": "merge_request",
        "user": {"username": "eve"},
        "project": {"id": 1, "path_with_namespace": repository},
        "object_attributes": {
            "iid": number,
            "state": {"close": "closed", "merge": "merged"}.get(action, "opened"),
            "action": action,
            "title": "Better prices",
            "source_branch": branch,
            "target_branch": base,
            "source_project_id": 2 if fork else 1,
            "target_project_id": 1,
            "last_commit": {"id": commit},
            "url": f"https://forge/{repository}/-/merge_requests/{number}",
            "updated_at": at,
        },
    }


def push(branch: str, commit: str, repository: str = "ada/shop") -> dict[str, Any]:
    """The same in all three, but for the name of the repository."""
    return {
        "object_kind": "push", "ref": f"refs/heads/{branch}", "before": "1" * 40, "after": commit,
        "repository": {"full_name": repository}, "project": {"path_with_namespace": repository},
    }  # fmt: skip


def signed_github(event: str, payload: Any, secret: str, delivery: str = "") -> Sent:
    body = json.dumps(payload).encode()
    return {
        "x-github-event": event, "x-github-delivery": delivery or str(uuid.uuid4()),
        "x-hub-signature-256": "sha256=" + _hex(secret, body),
    }, body  # fmt: skip


def signed_gitea(event: str, payload: Any, secret: str, delivery: str = "") -> Sent:
    body = json.dumps(payload).encode()
    return {
        "x-gitea-event": event, "x-gitea-delivery": delivery or str(uuid.uuid4()),
        "x-gitea-signature": _hex(secret, body),
    }, body  # fmt: skip


def with_gitlab_token(payload: Any, secret: str, delivery: str = "") -> Sent:
    return {
        "x-gitlab-event": "Merge Request Hook", "x-gitlab-token": secret,
        "x-gitlab-event-uuid": delivery or str(uuid.uuid4()),
    }, json.dumps(payload).encode()  # fmt: skip


def signed_gitlab(payload: Any, secret: str, now: float, delivery: str = "") -> Sent:
    """Standard Webhooks."""
    body, id, at = json.dumps(payload).encode(), delivery or str(uuid.uuid4()), str(int(now))
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    mark = hmac.new(key, f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": id, "webhook-timestamp": at, "webhook-signature": "v1," + base64.b64encode(mark).decode()
    }, body  # fmt: skip


def _hex(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
