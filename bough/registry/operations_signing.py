"""Verbs of signers, and of signing and verifying versions."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec

from bough.adapters.blobs import Blobs
from bough.kernel.context import Context, Role
from bough.kernel.errors import Conflict, Invalid
from bough.kernel.names import check_name
from bough.kernel.operations import Commit, operation
from bough.kernel.project import PRODUCTION
from bough.registry import bundles, keys, rules, store, trusting, writing
from bough.registry.checking import check_bytes
from bough.registry.keys import Keyring
from bough.registry.models import SignedBy, Signer, Trust, Verification, Version
from bough.registry.operations import Environment, OneVersion, Reference
from bough.registry.signing import sign_files

CREATED, ROTATED, REVOKED, TRUSTED = "signer.created", "signer.rotated", "signer.revoked", "signer.trusted"
SIGNED = "model.signed"

SignerName = Annotated[str, msgspec.Meta(description="name of the signer")]
_Key = Annotated[str, msgspec.Meta(description="name of the signer, or the beginning of a key's id")]


class CreateSigner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: SignerName
    provider: Annotated[str, msgspec.Meta(description="where the key is: file, environment or command")] = keys.FILE
    reference: Annotated[str, msgspec.Meta(description="what the provider calls the key")] = ""
    automatic: Annotated[bool, msgspec.Meta(description="sign whatever is registered from now on")] = True


class AddSigner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: SignerName
    file: Annotated[str, msgspec.Meta(description="the public key in PEM")]


class OfProject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str


class RotateSigner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: SignerName
    reference: Annotated[str, msgspec.Meta(description="what the provider calls the new key")] = ""


class RevokeSigner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    key: _Key
    why: Annotated[str, msgspec.Meta(description="said whenever a version is refused for it")] = ""


class SetTrust(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    environment: Annotated[str, msgspec.Meta(description="empty: every environment without a rule of its own")] = ""
    signers: Annotated[list[str], msgspec.Meta(description="name of a signer; none: all of the project")] = []
    required: Annotated[bool, msgspec.Meta(description="refuse versions that nobody signed")] = True


class TrustedIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    environment: Environment = PRODUCTION


class SignVersion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    model: Reference
    signer: Annotated[str, msgspec.Meta(description="name of the signer; empty: the automatic one")] = ""
    environment: Environment = PRODUCTION


@operation("signers.create", role=Role.APPROVER, writes=True, slow=True)
def create(context: Context, request: CreateSigner) -> Commit[Signer]:
    """Makes a key that signs model versions, or takes one that a variable or a KMS holds."""
    name, public = check_name(request.name, "signer"), _public_key(context, request.provider, request.reference)
    with context.read() as tx:
        first = not any(each.automatic for each in trusting.signers(tx, request.project))
        _check_free(trusting.signers(tx, request.project), name)
    chosen = request.automatic and first

    def commit(inside: Context) -> Signer:
        _check_free(trusting.signers(inside.tx, request.project), name)
        reference = request.reference or bundles.key_id(bundles.load(public))
        return _add(inside, request.project, name, request.provider, reference, public, automatic=chosen)

    return commit


@operation("signers.add", role=Role.APPROVER, writes=True)
def add(context: Context, request: AddSigner) -> Signer:
    """Trusts a key of somebody else: versions that come signed with it are accepted."""
    name, public = check_name(request.name, "signer"), bundles.pem(bundles.load(request.file))
    return _add(context, request.project, name, keys.PUBLIC, "", public, automatic=False)


@operation("signers.list", role=Role.VIEWER)
def list_(context: Context, request: OfProject) -> list[Signer]:
    """Lists signers with their public keys, newest first; private ones are never shown."""
    return trusting.signers(context.tx, request.project)


@operation("signers.rotate", role=Role.APPROVER, writes=True, slow=True)
def rotate(context: Context, request: RotateSigner) -> Commit[Signer]:
    """Gives a signer a fresh key; what the old one signed holds until that is revoked."""
    with context.read() as tx:
        old = trusting.find(tx, request.project, request.name)
    if old.provider == keys.PUBLIC:
        raise Invalid(
            f"{old.name} is known by its public key alone",
            code="SIGNER_PROVIDER_UNKNOWN", hint=f"bough signers add {old.name}-2 --file @FILE",
        )  # fmt: skip
    public = _public_key(context, old.provider, request.reference or old.reference)
    reference = request.reference or bundles.key_id(bundles.load(public))

    def commit(inside: Context) -> Signer:
        _end(inside, old, trusting.RETIRED, "rotated")
        made = _add(inside, request.project, old.name, old.provider, reference, public, automatic=old.automatic)
        inside.emit(ROTATED, f"{made.project}/{made.name}", project=made.project, signer=made.name, before=old.key)
        return made

    return commit


@operation("signers.revoke", role=Role.APPROVER, writes=True)
def revoke(context: Context, request: RevokeSigner) -> Signer:
    """Takes trust from a key: every version that only it has signed is refused from now on, until signed again."""
    found = trusting.find(context.tx, request.project, request.key)
    _end(context, found, trusting.REVOKED, request.why)
    context.emit(
        REVOKED, f"{found.project}/{found.name}", project=found.project, signer=found.name, key=found.key,
        by=context.principal.name, why=request.why,
    )  # fmt: skip
    return trusting.find(context.tx, request.project, found.key)


@operation("signers.trust", role=Role.APPROVER, writes=True)
def set_trust(context: Context, request: SetTrust) -> Trust:
    """Says which signers an environment accepts, and whether versions must be signed there."""
    for name in request.signers:
        trusting.find(context.tx, request.project, name)
    table = trusting.signer_trust
    where = {"project": request.project, "environment": request.environment}
    context.tx.execute(table.delete().where(*(table.c[name] == value for name, value in where.items())))
    signers = msgspec.json.encode(sorted(set(request.signers))).decode()
    context.tx.execute(table.insert().values(**where, signers=signers, required=request.required))
    context.emit(TRUSTED, request.project, **where, signers=request.signers, by=context.principal.name)
    return trusting.trust(context.tx, (request.project, request.environment))


@operation("signers.trusted", role=Role.VIEWER)
def trusted(context: Context, request: TrustedIn) -> Trust:
    """Shows which signers an environment accepts."""
    return trusting.trust(context.tx, (request.project, request.environment))


@operation("models.sign", role=Role.DEVELOPER, writes=True, slow=True)
def sign(context: Context, request: SignVersion) -> Commit[Version]:
    """Signs a version; its files are not read, for the store knows their digests."""
    place, blobs = (request.project, request.environment), context.part(Blobs)
    with context.read() as tx:
        found = store.resolve(tx, place, request.model)
        by = trusting.find(tx, place[0], request.signer) if request.signer else trusting.automatic(tx, place[0])
    if by is None:
        raise Conflict(f"{place[0]} has no signer", code="SIGNER_MISSING", hint="bough signers create NAME")
    files = rules.files_in(blobs.read(found.digest))
    bundle = sign_files(blobs, context.part(Keyring), by, found.name, files)

    def commit(inside: Context) -> Version:
        made = SignedBy(
            key=by.key, signer=by.name, at=inside.clock.now(), by=inside.principal.name, bundle=bundle
        )  # fmt: skip
        blobs.missing([bundle])
        writing.add_signed(inside.tx, found.id, made)
        data = {"project": place[0], "environment": place[1], "name": found.name, "version": found.number}
        inside.emit(SIGNED, writing.subject(place, found.name), **data, signer=by.name, key=by.key, by=made.by)
        return store.version(inside.tx, place, found.name, found.number)

    return commit


@operation("models.verify", role=Role.VIEWER, slow=True)
def verify(context: Context, request: OneVersion) -> Verification:
    """Reads every file of a version and checks it, its list and who signed it, as an environment trusts them."""
    began, place, blobs = time.perf_counter(), (request.project, request.environment), context.part(Blobs)
    with context.read() as tx:
        found = store.resolve(tx, place, request.model)
        files = rules.files_in(blobs.read(found.digest))
        signed = trusting.check(tx, place, found, files, blobs)
    check_bytes(blobs, files, found.reference)
    return Verification(
        model=found.reference, digest=found.digest, state="signed" if signed else "unsigned", files=found.files,
        bytes=found.bytes, seconds=round(time.perf_counter() - began, 3), signer=signed.signer if signed else "",
        key=signed.key if signed else "", signed_at=signed.at if signed else 0.0,
    )  # fmt: skip


@operation("models.bundle", role=Role.VIEWER)
def bundle(context: Context, request: OneVersion) -> list[str]:
    """Gives the Sigstore bundles of a version as JSON texts, newest first, for other verifiers."""
    found = store.resolve(context.tx, (request.project, request.environment), request.model)
    return [context.part(Blobs).read(each.bundle).decode() for each in reversed(found.signed)]


def _public_key(context: Context, provider: str, reference: str) -> str:
    keyring = context.part(Keyring)
    if provider == keys.FILE:
        return keyring.files.create()
    return keyring.provider(provider).public_key(reference)


def _check_free(known: list[Signer], name: str) -> None:
    if any(each.name == name and each.state == trusting.ACTIVE for each in known):
        raise Conflict(f"there is a signer {name!r} already", code="SIGNER_EXISTS", hint=f"bough signers rotate {name}")


def _add(
    context: Context, project: str, name: str, provider: str, reference: str, public: str, *, automatic: bool
) -> Signer:
    key = bundles.key_id(bundles.load(public))
    if any(each.key == key for each in trusting.signers(context.tx, project)):
        raise Conflict(f"{project} knows the key {key[:12]} already", code="SIGNER_EXISTS", hint="bough signers list")
    made = Signer(
        project=project, key=key, name=name, provider=provider, reference=reference, public_key=public,
        state=trusting.ACTIVE, automatic=automatic, created_at=context.clock.now(), by=context.principal.name,
        ended_at=0.0, why="",
    )  # fmt: skip
    context.tx.execute(trusting.signer.insert().values(**msgspec.structs.asdict(made)))
    context.emit(CREATED, f"{project}/{name}", project=project, signer=name, key=key, by=made.by, provider=provider)
    return made


def _end(context: Context, found: Signer, state: str, why: str) -> None:
    table, now = trusting.signer, context.clock.now()
    same = table.c.project == found.project, table.c.key == found.key
    context.tx.execute(table.update().where(*same).values(state=state, ended_at=now, why=why))
