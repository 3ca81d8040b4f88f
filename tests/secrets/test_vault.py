"""The master key, and what it takes for an envelope to open."""

from __future__ import annotations

import base64
import stat
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bough.kernel.errors import Forbidden, NotFound, Problem
from bough.secrets.cipher import SealBroken
from bough.secrets.models import Envelope, Sealed
from bough.secrets.vault import FILE_NAME, VARIABLE, Vault
from tests.plane import ADMIN, Plane

BLANK = Envelope(project="shop", environment="main", version=3, at=0.0, by="t", master="", wrapped="", sealed="")


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault(tmp_path, {})
    made.create()
    return made


def flipped(text: str, at: int) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[at % len(raw)] ^= 1
    return base64.b64encode(raw).decode()


@given(st.text(min_size=1).filter(lambda text: "\0" not in text and text.isprintable()))
def test_what_was_sealed_opens_and_no_two_seals_are_alike(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    vault = Vault(tmp_path_factory.getbasetemp(), {})
    vault.create()
    one, two = vault.seal("token", value, BLANK), vault.seal("token", value, BLANK)
    assert vault.open_("shop", "token", one) == vault.open_("shop", "token", two) == value
    assert one.sealed != two.sealed and one.wrapped != two.wrapped


def test_an_envelope_opens_only_as_what_it_was_sealed_as(vault: Vault) -> None:
    sealed = vault.seal("token", "hunter22", BLANK)
    moved = [
        ("other", "token", sealed),
        ("shop", "another", sealed),
        ("shop", "token", msgspec.structs.replace(sealed, environment="dev")),
        ("shop", "token", msgspec.structs.replace(sealed, version=4)),
        ("shop", "token", msgspec.structs.replace(sealed, wrapped=vault.seal("token", "x", BLANK).wrapped)),
    ]
    for project, name, envelope in moved:
        with pytest.raises(SealBroken):
            vault.open_(project, name, envelope)


@pytest.mark.parametrize("part", ["wrapped", "sealed"])
@pytest.mark.parametrize("at", [0, 11, 12, 30, -1])
def test_a_flipped_bit_is_noticed_wherever_it_is(vault: Vault, part: str, at: int) -> None:
    sealed = vault.seal("token", "hunter22-hunter22-hunter22", BLANK)
    broken = msgspec.structs.replace(sealed, **{part: flipped(getattr(sealed, part), at)})
    with pytest.raises(SealBroken) as refused:
        vault.open_("shop", "token", broken)
    assert "hunter22" not in refused.value.message


@pytest.mark.parametrize("text", ["", "AAAA", "no base64!", "ä"])
def test_what_is_no_seal_at_all_is_refused_in_the_same_words(vault: Vault, text: str) -> None:
    sealed = msgspec.structs.replace(vault.seal("token", "hunter22", BLANK), sealed=text)
    with pytest.raises(SealBroken):
        vault.open_("shop", "token", sealed)


def test_another_master_key_opens_nothing_and_says_which_is_missing(vault: Vault, tmp_path: Path) -> None:
    sealed = vault.seal("token", "hunter22", BLANK)
    other = Vault(tmp_path / "other", {})
    other.path.parent.mkdir()
    other.create()
    with pytest.raises(SealBroken, match=sealed.master):
        other.open_("shop", "token", sealed)


def test_the_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    vaults = [Vault(tmp_path, {}) for _ in range(8)]
    threads = [threading.Thread(target=each.create) for each in vaults]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert stat.S_IMODE(vaults[0].path.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    before = vaults[0].path.read_bytes()
    vaults[0].create()
    assert vaults[0].path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_can_read_is_not_used(vault: Vault, mode: int) -> None:
    vault.path.chmod(mode)
    with pytest.raises(Forbidden, match=f"mode {mode:04o}") as refused:
        vault.seal("token", "hunter22", BLANK)
    assert refused.value.own_code == "SECRETS_KEY_EXPOSED" and "chmod 600" in refused.value.hint


def test_a_link_is_not_followed_and_a_damaged_file_is_said_to_be_one(vault: Vault, tmp_path: Path) -> None:
    link = Vault(tmp_path, {VARIABLE: str(tmp_path / "link")})
    link.path.symlink_to(vault.path)
    with pytest.raises(Forbidden):
        link.check()
    for content in (b"", b"# nothing\n", b"id not-base64\n", b"id QUJD\n"):
        vault.path.write_bytes(content)
        with pytest.raises(Problem) as refused:
            vault.check()
        assert refused.value.own_code == "SECRETS_KEY_DAMAGED"


def test_a_variable_names_another_file(tmp_path: Path) -> None:
    vault = Vault(tmp_path, {VARIABLE: str(tmp_path / "mounted" / "key")})
    vault.path.parent.mkdir()
    vault.create()
    assert vault.path.exists() and not (tmp_path / FILE_NAME).exists()


def test_a_digest_of_a_private_request_depends_on_the_key(vault: Vault, tmp_path: Path) -> None:
    other = Vault(tmp_path, {VARIABLE: str(tmp_path / "other.key")})
    other.create()
    assert vault.private_digest(b"1234") == vault.private_digest(b"1234") != other.private_digest(b"1234")


def test_a_lost_key_is_said_and_never_replaced_by_a_new_one(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    plane.call("secrets.set", project="shop", values={"a": "first-value"})
    key = plane.bough.home.path / FILE_NAME
    kept = key.read_bytes()
    key.unlink()
    for extra in ({}, {"key": "k1"}):
        with pytest.raises(NotFound, match="gone"):
            plane.bough.operations.call("secrets.set", {"project": "shop", "values": {"a": "b"}}, ADMIN, **extra)
    assert not key.exists()
    key.touch(mode=0o600)
    key.write_bytes(kept)
    plane.call("secrets.set", project="shop", values={"a": "second-value"})


def test_rekeying_wraps_every_version_anew_and_opens_what_runs(tmp_path: Path) -> None:
    plane, vault = Plane(tmp_path), Vault(tmp_path / "home", {})
    for value in ("first-value", "second-value"):
        plane.call("secrets.set", project="shop", values={"a": value})
    old_key = vault.path.read_bytes()
    running = [text_of(plane, "a", pin) for pin in pins(plane)]
    done = plane.call("secrets.rekey")
    assert (done.envelopes, len(done.kept), done.broken) == (2, 1, [])
    assert [vault.open_text(text) for text in running] == ["second-value", "first-value"]
    assert [vault.open_text(text_of(plane, "a", pin)) for pin in pins(plane)] == ["second-value", "first-value"]
    again = plane.call("secrets.rekey")
    assert again.kept == [done.master]
    with pytest.raises(SealBroken):  # two rotations later: such a unit is started afresh by its loop
        vault.open_text(running[0])
    vault.path.write_bytes(old_key)
    with pytest.raises(SealBroken):
        vault.open_text(text_of(plane, "a", pins(plane)[0]))


def pins(plane: Plane) -> list[str]:
    history = plane.call("secrets.history", project="shop", name="a")
    return [f"{each.environment}@{each.version}" for each in history]


def text_of(plane: Plane, name: str, pin: str) -> str:
    from bough.secrets import store

    with plane.bough.database.read() as tx:
        found: Sealed = store.sealed(tx, ("shop", "main"), name, pin)
    return msgspec.json.encode(found).decode()
