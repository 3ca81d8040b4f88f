"""The README's example is a project that deploys and answers its own curl line."""

from __future__ import annotations

import re

from tests.journeys.machine import ROOT, Machine

README = (ROOT / "README.md").read_text()


def test_the_first_screen_works_word_for_word(own_machine: Machine) -> None:
    machine = own_machine  # where no older project has taken its service's name
    toml, service = (re.search(rf"```{kind}\n(.*?)```", README, re.S)[1] for kind in ("toml", "python"))  # type: ignore[index]
    project = machine.home.parent / "readme"
    project.mkdir()
    (project / "bough.toml").write_text(toml.replace('"hello"', '"readme"'))
    (project / "service.py").write_text(service)
    url = machine.deploy(project)["services"][0]["url"]
    asked = re.search(r"curl -s http://127.0.0.1:7400(\S+) -d '(.*)'", README)
    assert asked is not None
    assert machine.ask("/" + url.split("/", 3)[3], asked[2].encode()) == (200, b'"Welcome back, Ada"')
    assert asked[1] in url


def test_its_commands_and_templates_exist(machine: Machine) -> None:
    row = next(line for line in README.splitlines() if "--template NAME" in line)
    listed = machine.bough("init", "--list")
    for template in re.findall(r"`(\w+)`", row.split("|")[2]):
        assert template in str(listed)
    for row in re.findall(r"^\| (`bough .*?) \|", README, re.M):
        group = ""
        for words in re.findall(r"`(?:bough )?([\w ]+?)(?: [-\[].*?)?`", row):
            first, _, second = words.partition(" ")
            if first == "git" and second.startswith("push"):
                continue
            group = first if second else group
            asked = (*(() if second or not group else (group,)), *words.split())
            assert machine.run(*asked, "--help").returncode == 0, asked
