"""Verbs that show all that is known of a version."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import sqlalchemy as sa

import bough
from bough.adapters.blobs import Blobs
from bough.environments import store as environments
from bough.kernel.context import Context, Role
from bough.kernel.errors import Problem
from bough.kernel.operations import operation
from bough.kernel.project import PRODUCTION
from bough.kernel.tables import event as event_table
from bough.registry import cards, rules, sbom, store, trusting, writing
from bough.registry.cards import Card, Happened
from bough.registry.explaining import Importances
from bough.registry.models import Place, Version
from bough.registry.operations import Environment, OneVersion, Reference
from bough.registry.sbom import Vulnerabilities, Vulnerability

EXPLANATION = "explanation"
SHOWN = 200  # events on a card, the newest
APPROVED = "promotion.approved"


class KeepExplanation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    model: Reference
    explanation: Importances
    environment: Environment = PRODUCTION


class ShowCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    model: Reference
    environment: Environment = PRODUCTION
    form: Annotated[str, msgspec.Meta(description="of `text`: markdown or html")] = "markdown"


class CardPage(msgspec.Struct, frozen=True, kw_only=True):
    card: Card
    text: str


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """`document` is CycloneDX; `vulnerabilities` also stand in it."""

    packages: dict[str, str]
    vulnerabilities: list[Vulnerability]
    document: dict[str, Any]


@operation("models.card", role=Role.VIEWER)
def card(context: Context, request: ShowCard) -> CardPage:
    """Shows all that is known of a version: data, metrics, trust, gates, approvals, drift, what it looks at."""
    place, tx = (request.project, request.environment), context.tx
    found = store.resolve(tx, place, request.model)
    blobs = context.part(Blobs)
    files = rules.files_in(blobs.read(found.digest))
    trust, trusted_by = "unsigned", ""
    try:
        if (signed := trusting.check(tx, place, found, files, blobs)) is not None:
            trust, trusted_by = "signed", signed.signer
    except Problem as problem:
        trust = problem.own_code
    packages = sbom.packages_of(found, files, blobs)
    happened = _happened(tx, place, found)
    made = Card(
        version=found, trust=trust, trusted_by=trusted_by, serves=_serves(tx, found),
        happened=[each for each in happened if not each.what.startswith(("gates.", "promotion.", "drift."))],
        gates=[each for each in happened if each.what.startswith("gates.")],
        approvals=[each for each in happened if each.what == APPROVED],
        promotions=[each for each in happened if each.what.startswith("promotion.") and each.what != APPROVED],
        drift=[each for each in happened if each.what.startswith("drift.")],
        explanation=store.attached(tx, found.id, EXPLANATION), packages=len(packages),
        vulnerabilities=context.part(Vulnerabilities).known(packages),
    )  # fmt: skip
    return CardPage(card=made, text=cards.as_html(made) if request.form == "html" else cards.markdown(made))


@operation("models.sbom", role=Role.VIEWER)
def bill(context: Context, request: OneVersion) -> Bill:
    """Lists the Python packages of a version as CycloneDX, with what is known against them."""
    found = store.resolve(context.tx, (request.project, request.environment), request.model)
    blobs = context.part(Blobs)
    files = rules.files_in(blobs.read(found.digest))
    packages = sbom.packages_of(found, files, blobs)
    known = context.part(Vulnerabilities).known(packages)
    document = sbom.cyclonedx(found, files, packages, known, bough.__version__)
    return Bill(packages=packages, vulnerabilities=known, document=document)


@operation("models.explained", role=Role.DEVELOPER, writes=True)
def explained(context: Context, request: KeepExplanation) -> Version:
    """Keeps an explanation with a version, in place of an earlier one, for its card."""
    found = store.resolve(context.tx, (request.project, request.environment), request.model)
    content = request.explanation
    writing.attach(
        context.tx, found.id, EXPLANATION, content, at=context.clock.now(), by=context.principal.name
    )  # fmt: skip
    return found


def _serves(tx: sa.Connection, version: Version) -> list[str]:
    return [
        f"{release.environment}/{name} (release {release.number})"
        for release, manifest in environments.all_live(tx)
        for name, service in manifest.services.items()
        if any(pin.id == version.id for pin in service.models.values())
    ]


def _happened(tx: sa.Connection, place: Place, version: Version) -> list[Happened]:
    """Events of every capability that name the version: they agree on `project`, `environment`, `name`, `version`."""
    data, apart = event_table.c.data, ("project", "environment", "name", "version", "by", "why", "id", "digest")
    said = [sa.func.json_extract(data, f"$.{key}") for key in ("project", "environment", "name", "version")]
    wanted = (place[0], place[1], version.name, version.number)
    query = event_table.select().where(*(one == value for one, value in zip(said, wanted, strict=True)))
    rows = tx.execute(query.order_by(event_table.c.seq.desc()).limit(SHOWN))
    found = []
    for row in rows:
        told = msgspec.json.decode(row.data)
        more = {key: value for key, value in told.items() if key not in apart and value}
        by, why = str(told.get("by", "")), str(told.get("why", ""))
        found.append(Happened(at=row.at, what=row.name, by=by, why=why, data=more))
    return found
