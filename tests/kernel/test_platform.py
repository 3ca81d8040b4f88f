"""Settings of one Bough, as they are kept."""

from __future__ import annotations

from pathlib import Path

from bough.kernel.platform import Platform, PoolSettings, load, save


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    platform = Platform(gateway_port=1234, job_queues={"research": 3.0, "a-b": 0.5})
    save(tmp_path, platform)
    assert load(tmp_path) == platform


def test_the_price_book_says_what_a_core_costs_where_nobody_takes_it_away() -> None:
    assert Platform().core_hour == 0.0
    pools = {
        "spot": PoolSettings(kind="spot", zones={"a": 0.08}, cpus=8),
        "dear": PoolSettings(kind="on-demand", zones={"a": 0.4, "b": 0.32}, cpus=8),
        "graphics": PoolSettings(kind="on-demand", zones={"a": 0.01}, cpus=8, accelerators=["v100:1"]),
        "unsaid": PoolSettings(kind="on-demand", zones={"a": 0.01}),
    }
    assert Platform(pools=pools).core_hour == 0.04
