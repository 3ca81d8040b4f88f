"""A dataset's way: in from a folder, seen by a service, changed, out on a machine that has only the address."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.journeys.machine import Machine, kill, wait_until

SERVICE = """
import os
from pathlib import Path


class Words:
    def load(self) -> None:
        self.folder = Path(os.environ["BOUGH_DATA"]) / "words"

    def predict(self, name: str) -> str:
        return (self.folder / name).read_text()
"""


def test_a_service_finds_its_dataset_as_its_environment_sees_it(machine: Machine) -> None:
    project = machine.project(
        "lexicon", '[services.words]\nmodel = "service:Words"\ndata = ["words"]\n', service_py=SERVICE
    )
    early = machine.deploy(project, code=8)["error"]
    assert "words" in str(early)
    folder = project.parent / "lexicon-words"
    folder.mkdir()
    (folder / "greeting").write_text("hello")
    done = machine.bough("data", "put", str(folder), "words", cwd=project)
    assert (done["files"], done["bytes"]) == (1, 5)
    machine.deploy(project)
    assert machine.predict("words", "greeting") == "hello"
    again = machine.bough("gc", "--dry-run")
    assert again["blobs"] == 0


def test_a_service_that_sleeps_is_woken_with_the_data_of_then(machine: Machine) -> None:
    toml = '[services.news]\nmodel = "service:Words"\ndata = ["news"]\nsleep_after_s = 1\n'
    project = machine.project("daily", toml, service_py=SERVICE.replace('"words"', '"news"'))
    folder = project.parent / "daily-news"
    folder.mkdir()

    def put(text: str) -> None:
        (folder / "front").write_text(text)
        machine.bough("data", "put", str(folder), "news", cwd=project)

    def asleep() -> bool:
        (found,) = machine.asked("services.list", project="daily")
        return found["state"] == "asleep" and not units("pid") - units("exit")

    def units(file: str) -> set[Path]:
        return {path.parent for path in (machine.home / "units").glob(f"{deployment}-0/*/{file}.json")}

    def woken_as() -> str | None:
        registered = json.loads((machine.home / "units" / f"{deployment}-0" / "registered.json").read_text())
        try:
            return (Path(registered["spec"]["environment"]["BOUGH_DATA"]) / "news/front").read_text()
        except FileNotFoundError:  # another view was registered since, and this one removed
            return None

    put("monday")
    machine.deploy(project)
    deployment = machine.bough("services", "list", "--project", "daily")[0]["deployment"]
    assert machine.predict("news", "front") == "monday"
    for day in ("tuesday", "wednesday"):
        wait_until(asleep, "the service sleeps", 60.0)
        put(day)
        wait_until(lambda day=day: woken_as() == day, "what it will see is laid out")
        assert machine.predict("news", "front") == day
    assert len(list((machine.home / "data" / deployment).iterdir())) <= 4  # two views and their locks


def test_files_go_to_and_come_from_a_server_elsewhere(machine: Machine, tmp_path: Path) -> None:
    """No home at hand: through the address, with a large file in it that goes in pieces."""
    project = machine.project("remote", "")
    token = (machine.home / "token").read_text().strip()
    address = ("--url", f"http://127.0.0.1:{machine.api_port}", "--token", token)
    source = tmp_path / "source"
    source.mkdir()
    contents = {"large": os.urandom(20_000_000), "small": b"small", "same": b"small"}
    for name, content in contents.items():
        (source / name).write_bytes(content)
    put = machine.bough("data", "put", str(source), "parts", *address, cwd=project)
    assert (put["files"], put["written"]) == (3, 3)
    machine.bough("data", "get", "parts", str(tmp_path / "out"), *address, cwd=project)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == contents
    refused = machine.bough("data", "mount", "parts", str(tmp_path / "m"), *address, cwd=project, code=2)
    assert refused["error"]["code"] == "MOUNT_REMOTE"
    mounted = machine.bough("data", "mount", "parts", str(tmp_path / "m"), cwd=project)
    assert (mounted["how"], mounted["linked"]) == ("link", 3)
    assert machine.bough("data", "verify", "parts", cwd=project)["files"] == 3


def test_a_program_works_on_a_dataset_and_nothing_stays_when_all_is_killed(machine: Machine, tmp_path: Path) -> None:
    project = machine.project("worked", "")
    source = tmp_path / "words"
    source.mkdir()
    (source / "a").write_text("one")
    machine.bough("data", "put", str(source), "words", cwd=project)
    done = machine.run(
        "data", "run", "words", "--commit", "--", "sh", "-c", "echo two >> {}/a; cp {}/a $1", cwd=project
    )
    assert done.returncode == 8  # {} is a word of its own
    done = machine.run("data", "run", "words", "--commit", "--", "cp", "bough.toml", "{}", cwd=project)
    assert (done.returncode, done.stdout) == (0, "") and "1 files written" in done.stderr
    (newest, _) = machine.bough("data", "log", "words", cwd=project)
    assert newest["why"] == "bough data run words -- cp bough.toml {}"

    command = [sys.executable, "-m", "bough.entrypoints.cli.main", "data", "run", "words", "--writable", "--"]
    words = ["sh", "-c", "echo x > $BOUGH_DATA/a; echo $$ $BOUGH_DATA; exec sleep 100"]
    run = subprocess.Popen([*command, *words], cwd=project, env=machine.environment, stdout=subprocess.PIPE, text=True)
    assert run.stdout
    program, folder = run.stdout.readline().split()
    kill(run.pid)
    kill(int(program))
    run.communicate()
    assert Path(folder).exists() and folder not in Path("/proc/self/mountinfo").read_text()
    machine.bough("gc")
    assert list((machine.home / "run/trees").iterdir()) == []
    machine.bough("data", "verify", "words", cwd=project)


def test_the_doctor_says_how_a_program_can_be_given_a_folder_to_write_in(machine: Machine) -> None:
    found = machine.bough("doctor")["findings"]
    ways = {each["name"]: each for each in found if each["area"] == "data trees"}
    assert list(ways) == ["clone", "overlay", "copy"] and ways["copy"]["state"] == "yes"
    assert all(each["detail"] for each in ways.values())
