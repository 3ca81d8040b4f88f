"""What is installed is whole: files that are data of the program travel in the wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a wheel of this checkout; built without the network."""
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (made,) = place.glob("*.whl")
    with zipfile.ZipFile(made) as archive:
        return set(archive.namelist())


def test_every_tracked_file_of_the_package_is_in_the_wheel(wheel: set[str]) -> None:
    """Migrations, templates, the client's contract, the type marker: all of it."""
    listed = subprocess.run(["git", "ls-files", "bough"], cwd=ROOT, check=True, capture_output=True, text=True)
    tracked = {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}
    assert any("/migrations/versions/" in name for name in tracked)
    assert tracked - wheel == set()


def test_the_wheel_holds_the_package_and_nothing_else(wheel: set[str]) -> None:
    assert {name.split("/")[0] for name in wheel if ".dist-info/" not in name} == {"bough"}
    assert [name for name in wheel if name.endswith((".pyc", ".db"))] == []


def test_locks_name_no_index_and_hash_everything() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text("utf-8")
        assert "://" not in text and "--index" not in text and "--find-links" not in text, name
        packages = [line for line in text.splitlines() if line[:1].isalnum()]
        assert packages
        assert all(line.endswith("\\") and "==" in line for line in packages), name
        assert not any(line.startswith("torch==") for line in packages)
