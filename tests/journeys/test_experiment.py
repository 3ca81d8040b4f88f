"""The tutorial of an experiment, word for word."""

from __future__ import annotations

from tests.journeys import pages
from tests.journeys.machine import Machine


def test_the_experiment_works_as_written(machine: Machine) -> None:
    said = pages.run("docs/experiment.md", machine)
    assert '{"price":246000}' in said
    assert "8 of 8 compared; 4 the same (50.0 %)" in said
    assert ".price" in said and "9000" in said
    assert said.rstrip().count('{"price":269000}') == 1, "production adds the balcony after the merge alone"
    page = (machine.home.parent / "experiment" / "flats" / "report.html").read_text()
    assert "of 9 requests, 0 left out" in page and "for Ada" not in page
    kept = b"".join(each.read_bytes() for each in (machine.home / "traffic").rglob("*.jsonl"))
    assert b"Ada" not in kept
