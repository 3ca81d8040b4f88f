"""The page about branches, word for word, and what a stranger would try next."""

from __future__ import annotations

import re

from tests.journeys import pages
from tests.journeys.machine import Machine

ROWS = re.compile(r"^(\d)  +(.+?)  +(\d+)$", re.M)


def test_the_page_about_branches_works_as_written(our_machine: Machine) -> None:
    said = pages.run("docs/branches.md", our_machine)
    assert re.findall(r'\{"cents":(\d+)\}', said) == ["300", "300", "300", "250", "300", "250"]
    assert "asleep" in said
    tables = [(number, int(docks)) for number, _, docks in ROWS.findall(said)]
    mine, production, merged = tables[:2], tables[2:5], tables[5:7]
    assert mine == [("1", 24), ("2", 20)]
    assert production == [("1", 24), ("2", 12), ("3", 30)]
    assert merged == mine
    assert "status 5" in said
    assert re.findall(r"count_star\(\)\n(\d+)", said) == ["2", "2"]


def test_twenty_branches_answer_on_twenty_urls_by_host_path_and_header(our_machine: Machine) -> None:
    """None of them starts before it is asked; each answers as the branch that it is."""
    toml = '[services.who]\nmodel = "service:Who"\n'
    code = (
        "import os\n\n\nclass Who:\n    def predict(self, n: int) -> str:\n"
        "        return os.environ['BOUGH_ENVIRONMENT']\n"
    )
    project = our_machine.project("crowd", toml, service_py=code)
    our_machine.up()
    our_machine.deploy(project)
    running = set(our_machine.replicas())
    names = [f"b{number}" for number in range(20)]
    made = [our_machine.bough("branch", "create", name, cwd=project) for name in names]
    assert set(our_machine.replicas()) <= running
    assert len({each["services"][0]["url"] for each in made}) == 20
    assert {each["services"][0]["state"] for each in made} == {"asleep"}
    ways = [
        lambda name: our_machine.ask(f"/v1/who--{name}.crowd/predict", 1),
        lambda name: our_machine.ask("/predict", 1, Host=f"who--{name}.crowd.localhost"),
        lambda name: our_machine.ask("/v1/who/predict", 1, **{"X-Bough-Environment": name}),
    ]
    for number, name in enumerate(names):
        assert ways[number % 3](name) == (200, f'"{name}"'.encode())
    assert our_machine.predict("who", 1) == "main"
    assert len(set(our_machine.replicas()) - running) == 20
