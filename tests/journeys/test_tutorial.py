"""The tutorial, word for word."""

from __future__ import annotations

from tests.journeys import pages
from tests.journeys.machine import Machine


def test_the_tutorial_works_as_written(own_machine: Machine) -> None:
    said = pages.run("docs/tutorial.md", own_machine)
    assert said.count('{"price":279000.0}') == 2
    assert said.count('{"price":301000.0}') == 3
    assert "INPUT_INVALID" in said
    assert "refused" in said
