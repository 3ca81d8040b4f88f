"""Parts of Bough work alone, as docs/parts.md says it, word for word."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests.journeys import pages
from tests.journeys.machine import ROOT, Machine


def test_the_page_works_as_written(new_machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    said = pages.run("docs/parts.md", new_machine)
    assert "42.0" in said and "['price']" in said


def test_every_part_of_the_page_is_there() -> None:
    page = (ROOT / "docs/parts.md").read_text()
    packages = re.findall(r"`(bough(?:\.\w+)+)` \| `", page)
    assert len(packages) > 10
    assert [name for name in packages if not (ROOT / name.replace(".", "/") / "__init__.py").exists()] == []
    named = set(re.findall(r"`(\w+)`:", page.partition("## Nouns")[2]))
    assert named and [name for name in sorted(named) if not (ROOT / "bough/adapters" / name).is_dir()] == []
