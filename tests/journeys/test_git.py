"""Git drives environments, with real processes: a remote to push to, and hooks that follow."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from tests.depth import times
from tests.journeys.machine import Machine, kill, wait_until
from tests.pushes.remote import Working

SERVICE = """
class Greeter:
    def predict(self, name: str) -> str:
        return "{word}, " + name
"""
TOML = '\n[services.{name}]\nmodel = "service:Greeter"\n'
KILLS = times("BOUGH_KILLS", quick=2, deep=4)


def project(machine: Machine, name: str) -> Working:
    """A project in a repository with one commit."""
    folder = machine.project(name, TOML.format(name=name), service_py=SERVICE.format(word="Hello"))
    work = Working(folder)
    work.environment |= {key: value for key, value in machine.environment.items() if key.startswith("BOUGH_")}
    work.commit("first")
    return work


def answers(machine: Machine, name: str, branch: str, word: str) -> None:
    address = f"{name}--{branch}.{name}" if branch != "main" else name
    assert machine.predict(address, "Ada") == f"{word}, Ada"


def test_push_a_branch_see_its_url_update_it_and_delete_it(machine: Machine) -> None:
    work = project(machine, "pushed")
    machine.bough("git", "remote", cwd=work.folder)
    assert "token" not in (work.folder / ".git/config").read_text()
    said = work.git("push", "bough", "HEAD")
    assert "remote: pushed/main release 1 is live after" in said
    assert f"{machine.gateway}/v1/pushed/predict" in said
    answers(machine, "pushed", "main", "Hello")
    work.git("switch", "-q", "-c", "feature/other")
    work.commit("other", service_py=SERVICE.format(word="Servus"))
    said = work.git("push", "bough", "HEAD")
    assert "pushed/feature-other release" in said and "is live after" in said
    assert "v1/pushed--feature-other.pushed/predict" in said
    answers(machine, "pushed", "feature-other", "Servus")
    answers(machine, "pushed", "main", "Hello")
    work.commit("broken", service_py="import nothing_of_that_name\n" + SERVICE.format(word="Never"))
    said = work.git("push", "bough", "HEAD")
    assert "has arrived, but release" in said and "FAILED" in said and "nothing_of_that_name" in said
    answers(machine, "pushed", "feature-other", "Servus")
    work.git("push", "bough", "--delete", "feature/other")
    names = [each["name"] for each in machine.bough("branch", "list", "--project", "pushed")]
    assert names == ["main"]
    pushes = machine.bough("git", "pushes", "--project", "pushed")
    assert [each["state"] for each in pushes["pushes"]] == ["discarded", "failed", "live", "live"]
    assert pushes["live"] == 2 and pushes["median_s"] > 0


def test_a_server_that_is_killed_during_a_push_takes_it_the_second_time(machine: Machine) -> None:
    work = project(machine, "killed")
    machine.bough("git", "remote", cwd=work.folder)
    for at in range(KILLS):
        work.commit(f"change {at}", service_py=SERVICE.format(word=f"Hello {at}"))
        before = machine.part("server")
        pushing = subprocess.Popen(
            ["git", "push", "bough", "HEAD"], cwd=work.folder, env=work.environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        time.sleep(0.1 + 0.6 * at / KILLS)
        kill(before)
        pushing.communicate(timeout=100)
        wait_until(lambda: machine.part("server") != before, "the keeper starts the server again")  # noqa: B023
        machine.bough("whoami")  # waits for it
        said = work.git("push", "bough", "HEAD")
        assert "live after" in said or "up-to-date" in said, said
        answers(machine, "killed", "main", f"Hello {at}")


def test_hooks_make_update_and_remove_the_environment_of_a_branch(machine: Machine) -> None:
    work = project(machine, "hooked")
    machine.deploy(work.folder)
    log = Path(machine.bough("git", "install", cwd=work.folder)["log"])
    work.git("switch", "-q", "-c", "feature/hooks")
    work.commit("other", service_py=SERVICE.format(word="Moin"))
    (work.folder / "service.py").write_text("not committed, and not deployed")
    wait_until(lambda: "hooked/feature-hooks release 2" in said_in(log), "the commit is live", 60)
    answers(machine, "hooked", "feature-hooks", "Moin")
    work.git("checkout", "-q", "--", ".")
    work.git("switch", "-q", "main")
    wait_until(lambda: "main is production and left alone" in said_in(log), "main is left alone")
    work.git("branch", "-m", "feature/hooks", "feature/renamed")
    wait_until(lambda: "feature/hooks is called feature/renamed now" in said_in(log), "the new name is noticed")
    assert names(machine, "hooked") == {"main", "feature-hooks"}
    work.git("branch", "-m", "feature/renamed", "feature/hooks")
    wait_until(lambda: "feature/renamed is called" in said_in(log), "and the old one again")
    work.git("branch", "-D", "feature/hooks")
    wait_until(lambda: names(machine, "hooked") == {"main"}, "its environment is gone", 60)


def said_in(log: Path) -> str:
    return log.read_text() if log.exists() else ""


def names(machine: Machine, project: str) -> set[str]:
    return {each["name"] for each in machine.asked("environments.list", project=project)}
