"""Verbs of forges and previews."""

from __future__ import annotations

import secrets as chance
from typing import Annotated, Literal

import msgspec

from bough.forges import store
from bough.forges.models import ASK, GITEA, GITHUB, WAITING, ForgeAdded, ForgeDelivery, ForgeLink, Preview
from bough.forges.receiving import KIND
from bough.kernel import catalog
from bough.kernel.context import Context, Role
from bough.kernel.errors import Conflict, Invalid, NotFound
from bough.kernel.names import new_id
from bough.kernel.operations import Nothing, operation
from bough.kernel.platform import Platform
from bough.kernel.project import PRODUCTION
from bough.kernel.reconcile import wake
from bough.secrets import operations as secret_operations
from bough.secrets import store as secrets

HOOKS = "/api/v1/hooks/"


class AddForge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    repository: Annotated[str, msgspec.Meta(min_length=3, max_length=300, description="OWNER/NAME at the forge")]
    kind: Annotated[Literal["github", "gitlab", "gitea"], msgspec.Meta(description="what the forge runs")] = "github"
    forge_url: Annotated[str, msgspec.Meta(description="of the forge's pages; github.com or gitlab.com without it")] = (
        ""
    )
    token_secret: Annotated[
        str, msgspec.Meta(description="secret of production with a token: for comments, and for private repositories")
    ] = ""
    forks: Annotated[
        Literal["ask", "sealed", "never"],
        msgspec.Meta(description="pull requests from forks: built when somebody allows it, always, or never"),
    ] = "ask"
    branches: Annotated[list[str], msgspec.Meta(description="deploy this branch at every push; may be repeated")] = []


class OfForges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str = ""


class OneForge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str


class ListDeliveries(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20


class ListPreviews(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    closed: Annotated[bool, msgspec.Meta(description="also those that are closed")] = False
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50


class OnePreview(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    number: Annotated[int, msgspec.Meta(ge=1, le=2_147_483_647, description="of the pull request")]


@operation("forges.add", role=Role.ADMIN, writes=True, secret=True)
def add(context: Context, request: AddForge) -> ForgeAdded:
    """Links a project with its repository at GitHub, GitLab or Gitea, and says which webhook to make there.

    From then on pull requests open, update and close environments. The webhook's secret is a secret of production."""
    tx, now = context.tx, context.clock.now()
    if request.kind == GITEA and not request.forge_url:
        raise Invalid("Gitea runs somewhere of its own; where is missing", code="FORGE_URL_INVALID",
                      hint="--forge-url https://HOST")  # fmt: skip
    if "/" not in request.repository.strip("/") or " " in request.repository:
        raise Invalid(f"{request.repository!r} is not OWNER/NAME", code="FORGE_REPOSITORY_INVALID",
                      hint="bough forges add OWNER/NAME")  # fmt: skip
    for each in store.links(tx, request.project):
        if (each.kind, each.repository, each.url) == (request.kind, request.repository, request.forge_url):
            raise Conflict(f"{request.project} is linked with {request.repository} already", code="FORGE_LINKED",
                           hint=f"bough forges remove {each.id}")  # fmt: skip
    catalog.layer_of(tx, request.project, PRODUCTION)
    if request.token_secret:
        secrets.find(tx, (request.project, PRODUCTION), request.token_secret)
    id, fresh = new_id("frg"), chance.token_urlsafe(32)
    name = f"FORGE_WEBHOOK_{id.rpartition('_')[2].upper()}"
    wanted = secret_operations.SetSecrets(project=request.project, values={name: fresh}, deploy=False)
    secret_operations.set_.function(context, wanted)
    link = ForgeLink(
        id=id, project=request.project, kind=request.kind, repository=request.repository, url=request.forge_url,
        secret=name, token=request.token_secret, forks=request.forks, branches=request.branches,
        by=context.principal.name, at=now,
    )  # fmt: skip
    store.add(tx, link)
    context.emit("forge.linked", id, project=link.project, kind=link.kind, repository=link.repository)
    return ForgeAdded(link=link, webhook_url=context.part(Platform).api_url + HOOKS + id, webhook_secret=fresh)


@operation("forges.list", role=Role.VIEWER)
def list_(context: Context, request: OfForges) -> list[ForgeLink]:
    """Lists the repositories that projects are linked with."""
    return store.links(context.tx, request.project)


@operation("forges.remove", role=Role.ADMIN, writes=True)
def remove(context: Context, request: OneForge) -> Nothing:
    """Unlinks a repository. Environments of open pull requests stay, and are discarded by hand."""
    link = _link(context, request.id)
    layer = catalog.writable_layer(context.tx, link.project, PRODUCTION, context.principal)
    now, by = context.clock.now(), context.principal.name
    secrets.write(context.tx, layer, {link.secret: None}, at=now, by=by, why=f"{link.repository} is unlinked")
    store.remove(context.tx, link.id)
    context.emit("forge.unlinked", link.id, project=link.project, kind=link.kind, repository=link.repository)
    return Nothing()


@operation("forges.deliveries", role=Role.VIEWER)
def deliveries(context: Context, request: ListDeliveries) -> list[ForgeDelivery]:
    """Lists calls of a webhook, newest first, and what each changed."""
    return store.deliveries(context.tx, _link(context, request.id).id, request.limit)


@operation("previews.list", role=Role.VIEWER)
def list_previews(context: Context, request: ListPreviews) -> list[Preview]:
    """Lists pull requests and branches that have, or wait for, an environment."""
    return store.previews(context.tx, request.project, request.limit, closed=request.closed)


@operation("previews.allow", role=Role.APPROVER, writes=True)
def allow(context: Context, request: OnePreview) -> Preview:
    """Lets the present commit of a pull request from a fork be built and run here, without any secret.

    The next commit needs a word of its own."""
    found = store.numbered(context.tx, request.project, request.number)
    link = _link(context, found.link)
    if link.forks != ASK or not found.fork or not found.open:
        raise Conflict(
            f"pull request {found.number} waits for nobody; it is {found.state}", code="PREVIEW_NOT_WAITING",
            hint="bough previews list",
        )  # fmt: skip
    store.change(context.tx, found.id, allowed=found.commit, changed_at=context.clock.now())
    wake(context.tx, KIND, found.id)
    context.emit("preview.allowed", found.id, project=found.project, number=found.number, commit=found.commit,
                 by=context.principal.name)  # fmt: skip
    return store.numbered(context.tx, request.project, request.number)


@operation("previews.retry", role=Role.DEVELOPER, writes=True)
def retry(context: Context, request: OnePreview) -> Preview:
    """Deploys the present commit of a pull request once more."""
    found = store.numbered(context.tx, request.project, request.number)
    if found.state != WAITING:
        store.change(context.tx, found.id, deployed="", failures=0, changed_at=context.clock.now())
        wake(context.tx, KIND, found.id)
    return store.numbered(context.tx, request.project, request.number)


def _link(context: Context, id: str) -> ForgeLink:
    found = store.link(context.tx, id)
    if found is None:
        raise NotFound(f"there is no link {id!r} with a forge", code="FORGE_NOT_FOUND", hint="bough forges list")
    return found


__all__ = ["GITHUB", "HOOKS"]
