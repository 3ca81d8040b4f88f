"""Signed versions: made and checked without reading files, by us and by the official tool alike."""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from bough.data.models import File
from bough.kernel.context import Principal, Role
from bough.kernel.errors import Conflict, Forbidden, Invalid, NotFound, Problem, Unavailable
from bough.registry import bundles
from bough.registry.keys import CommandKeys, EnvironmentKey, FileKeys, Keyring
from tests.plane import Plane
from tests.registry.conftest import Official

CONTENTS = {"model.onnx": "weights", "config/labels.txt": "a\nb\n", "config-2.json": "{}", "é/ü.bin": "x" * 5000}


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    made = Plane(tmp_path)
    made.call("projects.create", name="shop")
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    for path, text in CONTENTS.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def sent(plane: Plane, root: Path) -> list[dict[str, Any]]:
    return [
        {
            "path": path.relative_to(root).as_posix(),
            "digest": plane.bough.blobs.put(path.read_bytes()),
            "size": path.stat().st_size,
        }
        for path in root.rglob("*")
        if path.is_file()
    ]


def register(plane: Plane, root: Path, **fields: Any) -> Any:
    return plane.call("models.register", project="shop", name="churn", files=sent(plane, root), **fields)


def signer(plane: Plane, name: str = "ci", **fields: Any) -> Any:
    return plane.call("signers.create", project="shop", name=name, **fields)


def verify(plane: Plane, model: str = "churn/1", environment: str = "main") -> Any:
    return plane.call("models.verify", project="shop", model=model, environment=environment)


def refused(code: str, work: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        work()
    assert caught.value.own_code == code, caught.value.message
    return caught.value


def key_pair(folder: Path, curve: ec.EllipticCurve, name: str = "key") -> tuple[Path, Path]:
    key = ec.generate_private_key(curve)
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    plain = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    private.chmod(0o600)
    public.write_text(bundles.pem(key.public_key()))
    return private, public


# --- with the official tool


def test_the_official_tool_verifies_what_we_signed(
    plane: Plane, folder: Path, tmp_path: Path, official: Official
) -> None:
    made = signer(plane)
    register(plane, folder)
    [bundle] = plane.call("models.bundle", project="shop", model="churn/1")
    (tmp_path / "churn.sig").write_text(bundle)
    (tmp_path / "ci.pub").write_text(made.public_key)
    brought = ("--signature", str(tmp_path / "churn.sig"), "--public_key", str(tmp_path / "ci.pub"))
    words = ("verify", "key", str(folder), *brought)
    done = official(*words)
    assert (done.returncode, "succeeded" in done.stdout) == (0, True), done.stderr
    (folder / "model.onnx").write_text("weightz")
    assert official(*words).returncode != 0


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_we_verify_what_the_official_tool_signed(
    plane: Plane, folder: Path, tmp_path: Path, official: Official, curve: ec.EllipticCurve
) -> None:
    private, public = key_pair(tmp_path, curve)
    bundle = tmp_path / "their.sig"
    done = official("sign", "key", str(folder), "--private_key", str(private), "--signature", str(bundle))
    assert done.returncode == 0, done.stderr
    plane.call("signers.add", project="shop", name="training", file=public.read_text())
    made = register(plane, folder, signed=bundle.read_text())
    assert [each.signer for each in made.signed] == ["training"]
    found = verify(plane)
    assert (found.state, found.signer, found.files) == ("signed", "training", len(CONTENTS))
    (folder / "extra.txt").write_text("nobody signed this")
    gone = refused("MODEL_TAMPERED", lambda: register(plane, folder, signed=bundle.read_text()))
    assert gone.fields["path"] == "extra.txt"


# --- what is refused


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda root: (root / "model.onnx").write_text("Weights"), "model.onnx"),
        (lambda root: (root / "config/labels.txt").unlink(), "config/labels.txt"),
        (lambda root: (root / "new.bin").write_text(""), "new.bin"),
        (lambda root: (root / "config-2.json").rename(root / "config-3.json"), "config-2.json"),
    ],
    ids=["byte", "missing", "extra", "renamed"],
)
def test_what_comes_signed_is_registered_only_as_it_was_signed(
    plane: Plane, folder: Path, change: Any, path: str
) -> None:
    signer(plane)
    register(plane, folder)
    [bundle] = plane.call("models.bundle", project="shop", model="churn/1")
    change(folder)
    gone = refused("MODEL_TAMPERED", lambda: register(plane, folder, signed=bundle))
    assert gone.fields["path"] == path and path in gone.message
    assert [each.number for each in plane.call("models.versions", project="shop", name="churn")] == [1]


def test_a_key_that_is_named_is_checked_and_trusted_only_once_somebody_adds_it(
    plane: Plane, folder: Path, tmp_path: Path
) -> None:
    private, public = key_pair(tmp_path, ec.SECP256R1())
    ring = EnvironmentKey({"BOUGH_SIGNING_KEY": private.read_text()})
    files = [File(**each) for each in sent(plane, folder)]
    bundle = bundles.sign("churn", files, public.read_text(), lambda digest: ring.sign("", digest)).decode()
    refused("SIGNER_NOT_FOUND", lambda: register(plane, folder, signed=bundle))
    _, other = key_pair(tmp_path, ec.SECP256R1(), "other")
    refused("MODEL_SIGNATURE_WRONG", lambda: register(plane, folder, signed=bundle, key=other.read_text()))
    register(plane, folder, signed=bundle, key=public.read_text())
    refused("MODEL_SIGNER_UNTRUSTED", lambda: verify(plane))
    plane.call("signers.add", project="shop", name="training", file=public.read_text())
    assert verify(plane).signer == "training"


def test_a_flipped_byte_on_disk_is_found_with_the_files_name(plane: Plane, folder: Path) -> None:
    signer(plane)
    register(plane, folder)
    for path in CONTENTS:
        digest = next(e.digest for e in plane.call("models.files", project="shop", model="churn/1") if e.path == path)
        place = plane.bough.blobs.local_path(digest)
        assert place is not None
        whole = place.read_bytes()
        place.chmod(0o600)
        place.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        assert refused("MODEL_TAMPERED", lambda: verify(plane)).fields["path"] == path
        place.write_bytes(whole)
        verify(plane)
        place.rename(place.with_suffix(".away"))
        assert "is missing" in refused("MODEL_TAMPERED", lambda: verify(plane)).message
        place.with_suffix(".away").rename(place)


@given(data=st.data())
def test_no_changed_bundle_passes(data: st.DataObject) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = bundles.pem(key.public_key())
    files = [File(path=path, digest=f"{n:064x}", size=n) for n, path in enumerate(CONTENTS)]
    ring = EnvironmentKey(
        {
            "BOUGH_SIGNING_KEY": key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ).decode()
        }
    )
    bundle = json.loads(bundles.sign("churn", files, public, lambda digest: ring.sign("", digest)))
    envelope = bundle["dsseEnvelope"]
    part = data.draw(st.sampled_from(["payload", "sig"]))
    raw = bytearray(base64.b64decode(envelope["payload"] if part == "payload" else envelope["signatures"][0]["sig"]))
    at = data.draw(st.integers(0, 2**20)) % len(raw)
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    changed = base64.b64encode(raw).decode()
    if part == "payload":
        envelope["payload"] = changed
    else:
        envelope["signatures"][0]["sig"] = changed
    with pytest.raises(Invalid):
        signed = bundles.read(json.dumps(bundle).encode())
        bundles.verify(signed, public)
        bundles.compare(signed, files, "churn/1")


@given(st.one_of(st.binary(max_size=100), st.text(max_size=50).map(str.encode), st.just(b'{"mediaType": "x"}')))
def test_what_is_no_bundle_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        bundles.read(content)
    assert caught.value.own_code == "MODEL_BUNDLE_INVALID"


# --- keys


def test_the_private_key_is_a_file_that_nobody_else_can_read(plane: Plane, folder: Path) -> None:
    made = signer(plane)
    [path] = (plane.bough.home.path / "signing").iterdir()
    assert path.name == f"{made.key}.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "PRIVATE" not in str(plane.call("signers.list", project="shop"))
    path.chmod(0o640)
    refused("SIGNER_KEY_EXPOSED", lambda: register(plane, folder))
    path.chmod(0o600)
    path.write_text("nonsense")
    refused("SIGNER_KEY_DAMAGED", lambda: register(plane, folder))
    path.unlink()
    refused("SIGNER_KEY_MISSING", lambda: register(plane, folder))
    register(plane, folder, sign=False)
    assert verify(plane).state == "unsigned"


def test_after_a_rotation_old_versions_hold_and_new_ones_have_the_new_key(plane: Plane, folder: Path) -> None:
    old = signer(plane)
    register(plane, folder)
    new = plane.call("signers.rotate", project="shop", name="ci")
    second = register(plane, folder)
    assert (second.signed[0].key, new.key != old.key) == (new.key, True)
    assert verify(plane).key == old.key
    states = {each.key: each.state for each in plane.call("signers.list", project="shop")}
    assert states == {old.key: "retired", new.key: "active"}


def test_a_revoked_keys_versions_are_refused_until_they_are_signed_again(plane: Plane, folder: Path) -> None:
    old = signer(plane)
    register(plane, folder)
    plane.call("signers.revoke", project="shop", key=old.key[:12], why="laptop stolen")
    gone = refused("MODEL_SIGNER_REVOKED", lambda: verify(plane))
    assert "laptop stolen" in gone.message
    refused("SIGNER_MISSING", lambda: plane.call("models.sign", project="shop", model="churn/1"))
    refused("SIGNER_ENDED", lambda: plane.call("models.sign", project="shop", model="churn/1", signer="ci"))
    fresh = signer(plane, "ci-2")
    plane.call("models.sign", project="shop", model="churn/1", signer="ci-2")
    assert verify(plane).key == fresh.key


def test_an_environment_says_whom_it_accepts_and_whether_it_must_be_signed(plane: Plane, folder: Path) -> None:
    signer(plane, "ci")
    signer(plane, "release")
    register(plane, folder)
    plane.call("environments.create", project="shop", branch="work")
    register(plane, folder, sign=False)
    plane.call("signers.trust", project="shop", environment="main", signers=["release"])
    refused("MODEL_SIGNER_UNTRUSTED", lambda: verify(plane))
    assert verify(plane, environment="work").signer == "ci"
    refused("MODEL_NOT_SIGNED", lambda: verify(plane, "churn/2"))
    plane.call("models.sign", project="shop", model="churn/1", signer="release")
    assert verify(plane).signer == "release"
    plane.call("signers.trust", project="shop", signers=[], required=True)
    assert plane.call("signers.trusted", project="shop", environment="work").required
    assert plane.call("signers.trusted", project="shop").signers == ["release"]
    refused("SIGNER_NOT_FOUND", lambda: plane.call("signers.trust", project="shop", signers=["nobody"]))


def test_only_an_approver_makes_revokes_and_trusts_keys(plane: Plane) -> None:
    developer = Principal(id="pri_dev", name="dev", role=Role.DEVELOPER)
    for operation, fields in (
        ("signers.create", {"name": "mine"}),
        ("signers.add", {"name": "mine", "file": "x"}),
        ("signers.revoke", {"key": "ci"}),
        ("signers.trust", {"required": False}),
        ("signers.rotate", {"name": "ci"}),
    ):
        with pytest.raises(Forbidden):
            plane.bough.operations.call(operation, {"project": "shop", **fields}, developer)


@pytest.mark.parametrize("pem", ["", "nonsense", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_key_is_not_added(plane: Plane, pem: str) -> None:
    refused("SIGNER_KEY_INVALID", lambda: plane.call("signers.add", project="shop", name="mine", file=pem))


def test_one_name_has_one_key_at_a_time_and_one_key_one_name(plane: Plane) -> None:
    made = signer(plane)
    with pytest.raises(Conflict):
        signer(plane)
    with pytest.raises(Conflict):
        plane.call("signers.add", project="shop", name="other", file=made.public_key)


# --- providers


KMS = """
import base64, sys
from pathlib import Path
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
path = Path(__file__).with_name(sys.argv[2] + ".pem")
if not path.exists():
    sys.exit("no such key: " + sys.argv[2])
key = serialization.load_pem_private_key(path.read_bytes(), None)
if sys.argv[1] == "public-key":
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    sys.stdout.buffer.write(key.public_key().public_bytes(serialization.Encoding.PEM, form))
else:
    chosen = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}[sys.argv[3]]
    digest = bytes.fromhex(sys.stdin.read())
    print(base64.b64encode(key.sign(digest, ec.ECDSA(Prehashed(chosen)))).decode())
"""


@pytest.fixture
def kms(tmp_path: Path) -> str:
    (tmp_path / "kms.py").write_text(KMS)
    key_pair(tmp_path, ec.SECP384R1(), "release")
    return f"{sys.executable} {tmp_path / 'kms.py'}"


@pytest.fixture
def with_kms(tmp_path: Path, kms: str, monkeypatch: pytest.MonkeyPatch) -> Plane:
    monkeypatch.setenv("BOUGH_SIGNING_COMMAND", kms)
    made = Plane(tmp_path)
    made.call("projects.create", name="shop")
    return made


def test_a_key_in_a_kms_signs_and_never_leaves_it(with_kms: Plane, folder: Path) -> None:
    made = signer(with_kms, provider="command", reference="release")
    register(with_kms, folder)
    assert verify(with_kms).key == made.key
    assert not (with_kms.bough.home.path / "signing").exists()
    gone = refused("SIGNER_UNAVAILABLE", lambda: signer(with_kms, "else", provider="command", reference="nosuch"))
    assert "no such key: nosuch" in gone.message
    refused("SIGNER_KEY_MISSING", lambda: signer(with_kms, "else", provider="command", reference="--help"))


def test_a_kms_that_is_away_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        CommandKeys(str(tmp_path / "nosuch")).public_key("key")
    with pytest.raises(NotFound):
        CommandKeys("").public_key("key")


def test_a_key_may_come_from_a_variable_or_a_mounted_file(tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, ec.SECP256R1())
    for variables in ({"BOUGH_SIGNING_KEY": private.read_text()}, {"BOUGH_SIGNING_KEY_FILE": str(private)}):
        provider = Keyring(tmp_path, variables).provider("environment")
        assert provider.public_key("") == public.read_text()
    with pytest.raises(NotFound):
        Keyring(tmp_path, {}).provider("environment").public_key("")
    with pytest.raises(Invalid):
        Keyring(tmp_path, {}).provider("hsm")
    link = tmp_path / "link.pem"
    link.symlink_to(private)
    with pytest.raises(Forbidden):
        EnvironmentKey({"BOUGH_SIGNING_KEY_FILE": str(link)}).public_key("")


def test_a_keys_reference_is_no_path(tmp_path: Path) -> None:
    key_pair(tmp_path, ec.SECP256R1())
    for wrong in ("../key", "key", os.fspath(tmp_path / "key"), "a" * 63 + "/"):
        with pytest.raises(NotFound):
            FileKeys(tmp_path / "signing").public_key(wrong)


def test_signing_and_registering_read_no_file(plane: Plane, folder: Path) -> None:
    """The store knows the digests: nobody notices here that the bytes are others, and everybody does later."""
    files = sent(plane, folder)
    signer(plane)
    for each in files:
        place = plane.bough.blobs.local_path(each["digest"])
        assert place is not None
        place.chmod(0o600)
        place.write_bytes(b"\0" * each["size"])
    made = plane.call("models.register", project="shop", name="churn", files=files)
    plane.call("models.sign", project="shop", model="churn/1")
    assert [each.signer for each in made.signed] == ["ci"]
    refused("MODEL_TAMPERED", lambda: verify(plane))
