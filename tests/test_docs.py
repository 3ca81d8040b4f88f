"""The documentation names everything there is."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from bough.environments.rules import WITHOUT_RESTART
from bough.kernel.policy import Gates, MetricGate, PreviewPolicy, PromotionPolicy
from bough.kernel.project import File
from bough.kernel.workloads import DEFAULTS, Job, Resources, Service, Workload

ROOT = Path(__file__).parent.parent
SETTINGS = (ROOT / "docs/settings.md").read_text()


@pytest.mark.parametrize("kind", [File, Workload, Service, Job])
def test_every_setting_is_in_the_settings_page(kind: type[msgspec.Struct]) -> None:
    named = set(re.findall(r"^\| `([a-z_]+)", SETTINGS, re.M)) | {"services", "jobs", "environments"}
    assert {field.encode_name for field in msgspec.structs.fields(kind)} <= named


@pytest.mark.parametrize("kind", [Gates, PromotionPolicy, PreviewPolicy])
def test_every_key_of_a_model_policy_is_in_the_settings_page(kind: type[msgspec.Struct]) -> None:
    named = set(re.findall(r"^\| `([a-z0-9_]+)` \|", SETTINGS, re.M))
    assert {field.encode_name for field in msgspec.structs.fields(kind)} <= named
    assert all(field.name in SETTINGS for field in msgspec.structs.fields(MetricGate))


def test_resources_and_what_restarts_nothing_are_spelled_out() -> None:
    assert all(f"{field.name}" in SETTINGS for field in msgspec.structs.fields(Resources))
    line = next(line for line in SETTINGS.splitlines() if line.startswith("Changing `replicas`"))
    assert set(re.findall(r"`([a-z_]+)`", line)) == WITHOUT_RESTART


def test_job_defaults_are_the_ones_in_the_page() -> None:
    for key in ("timeout_s", "retries", "capacity"):
        row = next(line for line in SETTINGS.splitlines() if line.startswith(f"| `{key}` |") and line.count("|") == 7)
        shown = [cell.strip(" `") for cell in row.split("|")[2:6]]
        kept = [DEFAULTS[kind][key] for kind in ("job", "train", "finetune", "etl")]
        assert shown == [f"{value:g}" if isinstance(value, float) else str(value) for value in kept]


def test_the_architecture_page_is_short_and_names_every_folder() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    assert len(page.splitlines()) <= 120
    folders = [path.name for path in (ROOT / "bough").iterdir() if path.is_dir() and not path.name.startswith("_")]
    assert [name for name in folders if f"`{name}/`" not in page] == []


def test_every_file_that_the_architecture_page_names_is_there() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`([\w/]+\.(?:py|json))`", page)) - {"run/routes.json"}
    assert [name for name in named if not (ROOT / "bough" / name).exists() and not (ROOT / name).exists()] == []
