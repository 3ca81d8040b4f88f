"""The page about branches, word for word, and what a stranger would try next."""

from __future__ import annotations

import re

from tests.journeys import pages
from tests.journeys.machine import Machine

ROWS = re.compile(r"^(\d)  +(.+?)  +(\d+)$", re.M)


def test_the_page_about_branches_works_as_written(own_machine: Machine) -> None:
    said = pages.run("docs/branches.md", own_machine)
    assert re.findall(r'\{"cents":(\d+)\}', said) == ["300", "300", "300", "250", "300", "250"]
    assert "asleep" in said
    tables = [(number, int(docks)) for number, _, docks in ROWS.findall(said)]
    mine, production, merged = tables[:2], tables[2:5], tables[5:7]
    assert mine == [("1", 24), ("2", 20)]
    assert production == [("1", 24), ("2", 12), ("3", 30)]
    assert merged == mine
    assert "status 5" in said
    assert re.findall(r"count_star\(\)\n(\d+)", said) == ["2", "2"]
