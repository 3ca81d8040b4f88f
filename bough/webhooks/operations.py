"""Verbs of webhooks."""

from __future__ import annotations

import base64
import secrets as chance
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from bough.kernel import catalog, events
from bough.kernel.context import Context, Role
from bough.kernel.errors import Invalid
from bough.kernel.names import new_id
from bough.kernel.operations import Nothing, operation
from bough.kernel.project import PRODUCTION
from bough.kernel.reconcile import wake
from bough.secrets import operations as secret_operations
from bough.secrets import store as secrets
from bough.webhooks import store
from bough.webhooks.models import KIND, TESTED, Webhook, WebhookAdded

KEY_BYTES = 24  # as the Standard Webhooks specification recommends


class AddWebhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    address: Annotated[str, msgspec.Meta(max_length=2000, description="who is told, http or https")]
    events: Annotated[
        list[str], msgspec.Meta(description='what it is told of, such as "release.*"; everything without it')
    ] = []


class OfWebhooks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str = ""


class OneWebhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    id: str


class RetryWebhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    id: str
    since: Annotated[
        int,
        msgspec.Meta(ge=0, le=2**53, description="number of an event: it and all after it are told again"),
    ] = 0


@operation("webhooks.add", role=Role.ADMIN, writes=True, secret=True)
def add(context: Context, request: AddWebhook) -> WebhookAdded:
    """Tells an address what happens in a project from now on, and says once with which secret that is signed.

    Each event comes as a POST with the headers webhook-id, webhook-timestamp and webhook-signature of the Standard
    Webhooks specification. Names of events: bough events."""
    split = urlsplit(request.address)
    if split.scheme not in ("http", "https") or not split.hostname:
        raise Invalid(f"{request.address!r} is no http or https address", code="URL_INVALID",
                      hint="bough webhooks add https://HOST/PATH")  # fmt: skip
    tx, id = context.tx, new_id("whk")
    catalog.layer_of(tx, request.project, PRODUCTION)
    key, name = "whsec_" + base64.b64encode(chance.token_bytes(KEY_BYTES)).decode(), _secret_of(id)
    wanted = secret_operations.SetSecrets(project=request.project, values={name: key}, deploy=False)
    secret_operations.set_.function(context, wanted)
    made = Webhook(
        id=id, project=request.project, url=request.address, events=request.events or ["*"], secret=name,
        by=context.principal.name, at=context.clock.now(), cursor=events.newest(tx),
    )  # fmt: skip
    store.add(tx, made)
    context.emit("webhook.added", id, project=made.project, url=made.url)
    return WebhookAdded(webhook=made, signing_secret=key)


@operation("webhooks.list", role=Role.VIEWER)
def list_(context: Context, request: OfWebhooks) -> list[Webhook]:
    """Lists webhooks, how many events each was told of, and what came of the last try."""
    return store.every(context.tx, request.project)


@operation("webhooks.test", role=Role.DEVELOPER, writes=True)
def test(context: Context, request: OneWebhook) -> Webhook:
    """Tells a webhook of an event that means nothing; `bough webhooks list` says what came of it."""
    found = store.of_project(context.tx, request.project, request.id)
    context.emit(TESTED, found.id, project=found.project)
    return found


@operation("webhooks.retry", role=Role.DEVELOPER, writes=True)
def retry(context: Context, request: RetryWebhook) -> Webhook:
    """Tells a webhook of the event that waits for it now, instead of after its pause; it has all its tries once more.

    With `since` it is told again of that event and of all that it wants to hear of since, such as what was given up: in
    order, under the same ids, so that a receiver knows what it has had. No further back than it was added. The number
    of an event is its `seq`; bough events lists them."""
    found = store.of_project(context.tx, request.project, request.id)
    cursor = found.cursor
    if request.since:
        first = events.read(context.tx, subject=found.id, limit=1)  # of itself: that it was added
        cursor = min(cursor, max(request.since, first[0].seq if first else 1) - 1)
    store.change(context.tx, found.id, cursor=cursor, tries=0)
    wake(context.tx, KIND, found.id)
    context.emit("webhook.retried", found.id, project=found.project, since=request.since)
    return store.of_project(context.tx, request.project, request.id)


@operation("webhooks.remove", role=Role.ADMIN, writes=True)
def remove(context: Context, request: OneWebhook) -> Nothing:
    """Takes a webhook away, and the secret that signed for it."""
    found = store.of_project(context.tx, request.project, request.id)
    layer = catalog.writable_layer(context.tx, found.project, PRODUCTION, context.principal)
    now, by = context.clock.now(), context.principal.name
    secrets.write(context.tx, layer, {found.secret: None}, at=now, by=by, why=f"webhook {found.id} is gone")
    store.remove(context.tx, found.id)
    context.emit("webhook.removed", found.id, project=found.project, url=found.url)
    return Nothing()


def _secret_of(id: str) -> str:
    return f"WEBHOOK_{id.rpartition('_')[2].upper()}"
