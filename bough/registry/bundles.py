"""Signed versions as OpenSSF Model Signing has them: any verifier of it can check ours, and we theirs.

A Sigstore bundle v0.3 holds a DSSE envelope; its payload is an in-toto statement whose predicate lists every file with
its SHA-256, and whose subject is the SHA-256 over all of these digests in the order of the list. So what is signed are
digests that the store knows: signing and verifying a version read none of its files.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from bough.data.models import File
from bough.kernel.errors import Invalid

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
CURVES = {"secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512()}

SignDigest = Callable[[bytes], bytes]
"""From a digest, made with the hash that belongs to the key's curve, to a signature in DER."""


class _PublicKey(msgspec.Struct, frozen=True):
    hint: str = ""


class _Material(msgspec.Struct, frozen=True, rename="camel"):
    public_key: _PublicKey | None = None


class _Signature(msgspec.Struct, frozen=True):
    sig: str


class _Envelope(msgspec.Struct, frozen=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: list[_Signature]


class _Bundle(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope


class _Subject(msgspec.Struct, frozen=True):
    name: str
    digest: dict[str, str]


class _Resource(msgspec.Struct, frozen=True):
    name: str
    digest: str
    algorithm: str


class _Predicate(msgspec.Struct, frozen=True):
    serialization: dict[str, Any]
    resources: list[_Resource]


class _Statement(msgspec.Struct, frozen=True, rename="camel"):
    subject: list[_Subject]
    predicate_type: str
    predicate: _Predicate
    type: str = msgspec.field(name="_type")


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle says, before anybody has looked whether it is true. `key`: the id of the key that is to have
    signed; empty where the bundle does not say."""

    key: str
    payload: bytes
    signature: bytes
    digests: dict[str, str]  # by path


def sign(name: str, files: Sequence[File], public_key: str, sign_digest: SignDigest) -> bytes:
    """The bundle for a version of the model `name`; `public_key` (PEM) belongs to what `sign_digest` signs with."""
    key = load(public_key)
    payload = statement(name, files)
    signature = sign_digest(_hashed(key, _enveloped(payload)))
    bundle = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": key_id(key)}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return msgspec.json.encode(bundle)


def statement(name: str, files: Sequence[File]) -> bytes:
    """What is signed. Files are in the order of their paths' parts, which is how other tools list them."""
    listed = sorted(files, key=lambda file: file.path.split("/"))
    whole = hashlib.sha256(b"".join(bytes.fromhex(file.digest) for file in listed)).hexdigest()
    return msgspec.json.encode(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": whole}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "serialization": {
                    "method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": [],
                },
                "resources": [
                    {"name": file.path, "digest": file.digest, "algorithm": "sha256"} for file in listed
                ],
            },
        }
    )  # fmt: skip


def read(bundle: bytes) -> Signed:
    """Raises `Invalid` (MODEL_BUNDLE_INVALID)."""
    try:
        found = msgspec.json.decode(bundle, type=_Bundle)
        envelope = found.dsse_envelope
        payload = base64.b64decode(envelope.payload, validate=True)
        said = msgspec.json.decode(payload, type=_Statement)
        signature = base64.b64decode(envelope.signatures[0].sig, validate=True)
    except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error, IndexError) as error:
        raise _unread(f"it cannot be read: {error}") from error
    if (found.media_type, envelope.payload_type) != (MEDIA_TYPE, PAYLOAD_TYPE):
        raise _unread(f"it is {found.media_type} with {envelope.payload_type}")
    if (said.type, said.predicate_type) != (STATEMENT_TYPE, PREDICATE_TYPE) or len(said.subject) != 1:
        raise _unread(f"it states {said.predicate_type}")
    if said.predicate.serialization.get("method") != "files":
        raise _unread("it lists parts of files; sign whole files: without shards")
    if wrong := [each.algorithm for each in said.predicate.resources if each.algorithm != "sha256"]:
        raise _unread(f"its files are hashed with {wrong[0]}, not SHA-256")
    digests = {each.name: each.digest for each in said.predicate.resources}
    try:
        whole = hashlib.sha256(b"".join(bytes.fromhex(each.digest) for each in said.predicate.resources)).hexdigest()
    except ValueError as error:
        raise _unread(f"a digest is none: {error}") from error
    if len(digests) != len(said.predicate.resources) or said.subject[0].digest.get("sha256") != whole:
        raise _unread("its list of files and the digest over it differ")
    key = found.verification_material.public_key
    return Signed(key=key.hint if key else "", payload=payload, signature=signature, digests=digests)


def verify(signed: Signed, public_key: str) -> None:
    """Raises `Invalid` (MODEL_SIGNATURE_WRONG) unless this key has signed it."""
    key = load(public_key)
    hashed = _hashed(key, _enveloped(signed.payload))
    try:
        key.verify(signed.signature, hashed, ec.ECDSA(Prehashed(CURVES[key.curve.name])))
    except InvalidSignature:
        raise Invalid(
            f"the key {key_id(key)[:12]} has not signed this",
            code="MODEL_SIGNATURE_WRONG", hint="ask for the bundle again, and for the key: bough signers list",
        ) from None  # fmt: skip


def compare(signed: Signed, files: Sequence[File], what: str) -> None:
    """Raises `Invalid` (MODEL_TAMPERED), with the first file that differs, is missing or was not signed."""
    there = {file.path: file.digest for file in files}
    for path in sorted(there.keys() | signed.digests.keys()):
        if path not in there:
            raise tampered(what, path, "is missing")
        if path not in signed.digests:
            raise tampered(what, path, "was not there when it was signed")
        if there[path] != signed.digests[path].lower():
            raise tampered(what, path, "is not the file that was signed")


def tampered(what: str, path: str, why: str) -> Invalid:
    return Invalid(
        f"{path} of {what} {why}",
        code="MODEL_TAMPERED", hint=f"bough models verify {what}; then register it again, or heal: bough data verify",
        path=path,
    )  # fmt: skip


def load(public_key: str) -> ec.EllipticCurvePublicKey:
    """Raises `Invalid` (SIGNER_KEY_INVALID)."""
    try:
        found = serialization.load_pem_public_key(public_key.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _no_key(f"it is not a public key in PEM: {error}") from error
    if not isinstance(found, ec.EllipticCurvePublicKey) or found.curve.name not in CURVES:
        raise _no_key("it is not on the curves P-256, P-384 or P-521")
    return found


def pem(key: ec.EllipticCurvePublicKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form).decode()


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of the key in PEM, which is how bundles name it."""
    return hashlib.sha256(pem(key).encode()).hexdigest()


def _enveloped(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _hashed(key: ec.EllipticCurvePublicKey, content: bytes) -> bytes:
    hasher = hashes.Hash(CURVES[key.curve.name])
    hasher.update(content)
    return hasher.finalize()


def _unread(why: str) -> Invalid:
    return Invalid(
        f"the bundle is not a signed model; {why}",
        code="MODEL_BUNDLE_INVALID", hint="model_signing sign key FOLDER --private_key KEY --signature FILE",
    )  # fmt: skip


def _no_key(why: str) -> Invalid:
    return Invalid(
        f"the key cannot be used; {why}",
        code="SIGNER_KEY_INVALID", hint="openssl ecparam -name prime256v1 -genkey -noout -out signer.key",
    )  # fmt: skip
