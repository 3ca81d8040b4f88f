"""Signing files that the store has."""

from __future__ import annotations

from collections.abc import Sequence

from bough.adapters.blobs import Blobs
from bough.data.models import File
from bough.kernel.errors import Conflict, Invalid, NotFound
from bough.registry import bundles, keys, trusting
from bough.registry.keys import Keyring
from bough.registry.models import Signer


def sign_files(blobs: Blobs, keyring: Keyring, by: Signer, name: str, files: Sequence[File]) -> str:
    """The digest of the bundle in which `by` vouches for these files. Asks the provider of its key: not for a
    transaction. Raises `Conflict` (SIGNER_ENDED, SIGNER_CANNOT_SIGN)."""
    if by.state != trusting.ACTIVE:
        raise Conflict(
            f"the key {by.key[:12]} of {by.name} is {by.state}",
            code="SIGNER_ENDED",
            hint=f"bough signers rotate {by.name}",
        )
    if by.provider == keys.PUBLIC:
        raise Conflict(
            f"of {by.name} only the public key is known",
            code="SIGNER_CANNOT_SIGN", hint="its owner signs: bough models register NAME FOLDER --signed FILE",
        )  # fmt: skip
    provider = keyring.provider(by.provider)
    if provider.public_key(by.reference) != by.public_key:
        raise Conflict(
            f"the key of {by.name} was changed where it is kept",
            code="SIGNER_CANNOT_SIGN", hint=f"bough signers rotate {by.name}",
        )  # fmt: skip
    return blobs.put(bundles.sign(name, files, by.public_key, lambda digest: provider.sign(by.reference, digest)))


def check_brought(bundle: str, key: str, known: Sequence[Signer], files: Sequence[File], name: str) -> tuple[str, str]:
    """The key that has signed a version which comes with a bundle, and its signer's name ("" for one that nobody
    trusts yet). `key`: the public key in PEM; empty: one of the project's signers. Raises `Invalid`
    (MODEL_SIGNATURE_WRONG, MODEL_TAMPERED, MODEL_BUNDLE_INVALID), `NotFound` (SIGNER_NOT_FOUND)."""
    signed = bundles.read(bundle.encode())
    by_key = {each.key: each for each in known}
    if key:
        public = bundles.pem(bundles.load(key))
    elif signed.key in by_key:
        public = by_key[signed.key].public_key
    else:
        raise NotFound(
            f"the version is signed with the key {signed.key[:12] or 'of nobody'}, which no signer has",
            code="SIGNER_NOT_FOUND", hint="bough signers add NAME --file @KEY.pem, or say which: --key KEY.pem",
        )  # fmt: skip
    id = bundles.key_id(bundles.load(public))
    if signed.key and signed.key != id:
        raise Invalid(
            f"the version is signed with the key {signed.key[:12]}, not with {id[:12]}",
            code="MODEL_SIGNATURE_WRONG", hint="ask its owner for the key that belongs to the bundle",
        )  # fmt: skip
    bundles.verify(signed, public)
    bundles.compare(signed, files, name)
    return id, by_key[id].name if id in by_key else ""
