"""Secrets of a unit: opened when its process starts, in its environment alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bough.adapters.engine import EXITED, Attempt
from bough.adapters.engine.local import LocalEngine
from bough.adapters.engine.local_zygotes import key_of
from bough.kernel.errors import Problem
from bough.runtime.spec import ModelSpec, UnitSpec

SECRETS = {"URL": ["db://", "sealed-1", "@host/", "sealed-2", ""]}
# The command must not say the values itself: it is in the spec.
CHECK = 'test "$URL" = "db://$(printf o%s ne)@host/$(printf t%s wo)" && test "$BOUGH_SECRETS" = \'{"URL":["db://","@host/",""]}\''


def run(tmp_path: Path, **options: Any) -> Attempt:
    engine = LocalEngine(tmp_path, inherited={}, **options)
    try:
        spec = UnitSpec(unit="u", attempt=1, kind="job", argv=["/bin/sh", "-c", CHECK], secrets=SECRETS)
        ends, attempt = time.monotonic() + 60, engine.apply(spec)
        while attempt.state != EXITED and time.monotonic() < ends:
            engine.watch(0, 0.05)
            (attempt,) = engine.snapshot()
        return attempt
    finally:
        engine.close()


def test_a_process_finds_the_text_with_its_secrets_filled_in_and_no_file_does(tmp_path: Path) -> None:
    values = {"sealed-1": "one", "sealed-2": "two"}
    ended = run(tmp_path, unseal=values.__getitem__)
    assert ended.exit is not None and ended.exit.code == 0
    for path in (tmp_path / "units").rglob("*"):
        assert path.is_dir() or b"one@host" not in path.read_bytes(), path


def test_a_secret_that_does_not_open_ends_the_attempt_in_words(tmp_path: Path) -> None:
    def refuse(sealed: str) -> str:
        raise Problem("a secret does not open", code="SECRET_SEAL_BROKEN", hint="restore it")

    for number, (options, code) in enumerate((({"unseal": refuse}, "SECRET_SEAL_BROKEN"), ({}, "SECRETS_NOT_HERE"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        ended = run(folder, **options)
        assert ended.exit is not None and ended.exit.failure is not None and ended.exit.failure.code == code


def test_replicas_share_a_zygote_only_with_the_same_versions() -> None:
    spec = UnitSpec(unit="u", attempt=1, kind="replica", model=ModelSpec(reference="m:M", folder="/"), secrets=SECRETS)
    other = UnitSpec(
        unit="v", attempt=1, kind="replica", model=spec.model, secrets={"URL": ["db://", "sealed-3", "@host/"]}
    )
    same = UnitSpec(unit="w", attempt=4, kind="replica", model=spec.model, secrets=SECRETS)
    assert key_of(spec, {}) == key_of(same, {}) != key_of(other, {})
