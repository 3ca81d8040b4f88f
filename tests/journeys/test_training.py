"""From a script to a candidate, as docs/training.md says it, word for word."""

from __future__ import annotations

from tests.journeys import pages
from tests.journeys.machine import Machine


def test_the_page_on_training_works_as_written(machine: Machine) -> None:
    said = pages.run("docs/training.md", machine)
    assert "registered: its output is tumours/1, tumours@candidate, signed by ci" in said
    assert "accuracy=0.9" in said or '"accuracy":0.9' in said, said
