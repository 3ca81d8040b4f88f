"""Settings of one Bough, as they are kept."""

from __future__ import annotations

from pathlib import Path

from bough.kernel.platform import Platform, load, save


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    platform = Platform(gateway_port=1234, job_queues={"research": 3.0, "a-b": 0.5})
    save(tmp_path, platform)
    assert load(tmp_path) == platform
