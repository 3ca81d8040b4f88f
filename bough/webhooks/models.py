"""Webhooks as data."""

from __future__ import annotations

import msgspec

KIND = "webhook"  # of the loop's object
TESTED = "webhook.tested"  # tells the one webhook that it is about, whatever that wants to hear of


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """`events`: names, `*` for any part of one. `secret`: the secret of production that signs. `cursor`: the number of
    the last event that it has been told of or does not want; `tries` of the next one; `lost`: events that were given
    up; `said`: what came of the last try."""

    id: str
    project: str
    url: str
    events: list[str]
    secret: str
    by: str
    at: float
    cursor: int
    told: int = 0
    told_at: float = 0.0
    tries: int = 0
    lost: int = 0
    said: str = ""


class WebhookAdded(msgspec.Struct, frozen=True, kw_only=True):
    """`signing_secret` is shown here and nowhere else."""

    webhook: Webhook
    signing_secret: str
