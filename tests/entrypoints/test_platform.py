"""`bough up`, `down` and `dev` with the real processes."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bough.entrypoints import supervision
from bough.entrypoints.processes import GATEWAY, KEEPER, PARTS, answers, pid_of, say
from bough.entrypoints.supervision import configure, prepare, take_down
from bough.gateway import portholder
from bough.kernel import platform as settings
from bough.kernel.errors import Invalid, Unavailable
from bough.kernel.platform import Home
from tests.ports import free_port


class Machine:
    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, Home(folder / "h")
        self.ports = ["--gateway-port", str(free_port()), "--api-port", str(free_port())]
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("BOUGH_")}
        self.environment |= {"BOUGH_HOME": str(self.home.path)}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def start(self, *words: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "bough.entrypoints.cli.main", *words, "--json"]
        return subprocess.Popen(
            command,
            cwd=cwd or self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whatever runs the tests may ignore it
        )

    def bough(self, *words: str, cwd: Path | None = None, code: int = 0) -> Any:
        started = self.start(*words, cwd=cwd)
        out, err = started.communicate(timeout=100)
        assert started.returncode == code, f"{words}: {started.returncode} {out} {err}"
        return json.loads(out)

    def up(self) -> Any:
        return self.bough("up", *self.ports)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    folder = Path(tempfile.mkdtemp(prefix="bp-", dir="/tmp"))
    made = Machine(folder)
    yield made
    take_down(made.home, units=True)
    shutil.rmtree(folder)


def wait_until(condition: Any, timeout_s: float = 60.0) -> None:
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends, "still not"
        time.sleep(0.02)


def test_up_starts_what_does_not_run_and_leaves_what_does(machine: Machine) -> None:
    first = machine.up()
    assert set(first["started"]) == set(PARTS)
    assert all(answers(machine.home, name) for name in PARTS)
    pids = {name: pid_of(machine.home, name) for name in (*PARTS, KEEPER)}
    second = machine.bough("up")  # ports are remembered
    assert (second["started"], second["gateway_url"]) == ([], first["gateway_url"])
    assert {name: pid_of(machine.home, name) for name in (*PARTS, KEEPER)} == pids
    assert machine.home.token.stat().st_mode & 0o777 == 0o600
    assert machine.bough("whoami")["role"] == "admin"
    assert machine.bough("platform", "status")["node"]


@pytest.mark.parametrize(
    "killed", [["server"], ["gateway"], ["node"], ["keeper"], ["keeper", "server"], [*PARTS, KEEPER]]
)
def test_whatever_is_killed_up_brings_it_back_and_nothing_else(machine: Machine, killed: list[str]) -> None:
    machine.up()
    before = {name: pid_of(machine.home, name) for name in (*PARTS, KEEPER)}
    for name in sorted(killed, key=lambda name: name != KEEPER):  # the keeper first, so that it cannot act
        os.kill(before[name], signal.SIGKILL)
    wait_until(lambda: all(pid_of(machine.home, name) != before[name] for name in killed))
    machine.up()
    assert all(answers(machine.home, name) for name in PARTS)
    after = {name: pid_of(machine.home, name) for name in (*PARTS, KEEPER)}
    assert {name for name in after if after[name] != before[name]} == set(killed)


def test_two_ups_at_once_start_one_of_each(machine: Machine) -> None:
    machine.bough("down")
    both = [machine.start("up", *machine.ports) for _ in range(2)]
    outs = [each.communicate(timeout=100)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0]
    assert sorted(len(json.loads(out)["started"]) for out in outs) == [0, 3]


def test_another_port_while_it_runs_is_a_conflict(machine: Machine) -> None:
    machine.up()
    failed = machine.bough("up", "--gateway-port", str(free_port()), code=5)
    assert failed["error"]["code"] == "ALREADY_RUNNING"
    assert machine.bough("up")["started"] == []


def test_down_stops_everything_and_twice_does_no_harm(machine: Machine) -> None:
    machine.up()
    assert set(machine.bough("down")["stopped"]) == {*PARTS, KEEPER}
    assert not any(pid_of(machine.home, name) for name in (*PARTS, KEEPER))
    assert machine.bough("down")["stopped"] == []
    assert machine.bough("status", "--project", "x", code=6)["error"]["code"] == "NOT_RUNNING"


def test_a_port_in_use_is_named_with_its_holder_and_the_option(machine: Machine) -> None:
    machine.bough("down")
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        for option in ("--gateway-port", "--api-port"):
            others = [word if word != option else "--x" for word in machine.ports]
            at = others.index("--x")
            error = machine.bough("up", *others[:at], *others[at + 2 :], option, str(port), code=6)["error"]
            assert error["code"] == "PORT_IN_USE"
            assert str(port) in error["message"]
            assert f"pid {os.getpid()}" in error["message"]
            assert option in error["hint"]
    assert not any(pid_of(machine.home, name) for name in (*PARTS, KEEPER))
    machine.up()


def test_a_port_that_nobody_says_to_hold_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever was killed a moment ago has no files in /proc any more, and its sockets still."""
    monkeypatch.setattr(portholder, "describe", lambda port: "")
    holder = socket.create_server(("127.0.0.1", 0))
    platform = settings.Platform(gateway_port=holder.getsockname()[1])
    ends = threading.Timer(0.2, holder.close)
    ends.start()
    supervision.check_ports(Home(tmp_path), platform, [GATEWAY])
    ends.join()
    with socket.create_server(("127.0.0.1", 0)) as lasting, pytest.raises(Unavailable, match="is in use"):
        platform = settings.Platform(gateway_port=lasting.getsockname()[1])
        supervision.check_ports(Home(tmp_path), platform, [GATEWAY])


def test_what_is_read_at_the_start_is_not_changed_silently_while_bough_runs(machine: Machine) -> None:
    """Else "is up already" would be the answer to a certificate, and the next start the first to look at it."""
    machine.up()
    before = (machine.home.path / "settings.toml").read_bytes()
    for option, value in (("--tls-certificate", "/nowhere.pem"), ("--host", "0.0.0.0"), ("--domain", "a.example.com")):
        error = machine.bough("up", option, value, code=5)["error"]
        assert (error["code"], error["hint"]) == ("ALREADY_RUNNING", "bough down, then the same command again")
    assert (machine.home.path / "settings.toml").read_bytes() == before
    assert machine.bough("up")["started"] == []


def test_a_certificate_that_cannot_be_used_is_refused_before_it_is_remembered(tmp_path: Path) -> None:
    home, broken = Home(tmp_path), tmp_path / "cert.pem"
    prepare(home)
    broken.write_text("-----BEGIN CERTIFICATE-----")
    for path in (str(broken), str(tmp_path / "nowhere.pem")):
        with pytest.raises(Invalid, match="cannot be used") as refused:
            configure(home, {"tls_certificate": path})
        assert refused.value.own_code == "CERTIFICATE_INVALID" and path in refused.value.message
    assert not (tmp_path / "settings.toml").exists()


def test_a_port_for_tls_in_use_or_given_twice_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """Sockets that may be shared had let gateway and server listen on one port, and both say that they are up."""
    home = Home(tmp_path)
    prepare(home)
    settings.save(home.path, settings.Platform(gateway_port=free_port(), api_port=free_port(), domains=["a.example"]))
    with socket.create_server(("127.0.0.1", 0)) as holder, pytest.raises(Unavailable, match="in use") as busy:
        configure(home, {"tls_port": holder.getsockname()[1]})
    assert busy.value.hint.endswith("(bough up --tls-port PORT)")
    twice = free_port()
    for pair in (("gateway_port", "api_port"), ("gateway_port", "tls_port")):
        with pytest.raises(Invalid, match=f"are both {twice}") as equal:
            configure(home, dict.fromkeys(pair, twice))
        assert equal.value.own_code == "PORTS_EQUAL"


def test_what_nobody_can_follow_of_tls_is_refused_before_it_is_remembered(tmp_path: Path) -> None:
    """Each had been answered with an address at which nothing would ever listen."""
    home = Home(tmp_path)
    prepare(home)
    for wanted in (
        {"tls_key": "/key.pem"}, {"domains": ["localhost"]}, {"domains": ["*.example.com"]}, {"domains": ["10.0.0.1"]},
        {"domains": ["a_b.example.com"]}, {"domains": ["a.example.com"], "acme_directory": "ftp://x"},
        {"domains": ["a.example.com"], "acme_email": "nobody"},
    ):  # fmt: skip
        with pytest.raises(Invalid) as refused:
            configure(home, wanted)
        assert refused.value.own_code == "SETTINGS_INVALID" and refused.value.hint.startswith("bough up --")
    assert not (tmp_path / "settings.toml").exists()


def test_a_port_that_a_part_has_just_taken_again_does_not_stop_up(tmp_path: Path) -> None:
    home = Home(tmp_path)
    prepare(home)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wanted = {"api_port": listener.getsockname()[1], "gateway_port": free_port()}
        with pytest.raises(Unavailable, match="in use"):
            configure(home, wanted)
        say(home, KEEPER, time.time(), "", 0)
        assert configure(home, wanted) == list(PARTS)


def test_a_port_of_0_is_a_free_one_that_the_home_keeps(tmp_path: Path) -> None:
    home = Home(tmp_path)
    prepare(home)
    configure(home, {"api_port": 0, "gateway_port": 0, "tls_port": 0})
    first = settings.load(home.path)
    assert len({first.api_port, first.gateway_port, first.tls_port, 0}) == 4
    configure(home, {})
    assert settings.load(home.path) == first
    say(home, GATEWAY, time.time(), "", first.gateway_port)
    configure(home, {"gateway_port": 0, "tls_port": 0})
    assert settings.load(home.path) == first, "what runs already is left as it is"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written_is_refused(machine: Machine, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    error = machine.bough("up", "--home", str(tmp_path / "home"), code=7)["error"]
    assert error["code"] == "NOT_WRITABLE"


@pytest.mark.parametrize("home", ["/proc/nothing", "/dev/null/home"])
def test_a_home_that_cannot_be_is_refused(machine: Machine, home: str) -> None:
    error = machine.bough("up", "--home", home, code=7)["error"]
    assert error["code"] == "HOME_UNUSABLE"
    assert home in error["message"]


def test_a_home_with_too_long_a_path_is_refused(machine: Machine, tmp_path: Path) -> None:
    error = machine.bough("up", "--home", str(tmp_path / ("x" * 90)), code=2)["error"]
    assert error["code"] == "HOME_TOO_LONG"


def test_a_deploy_answers_and_says_how_long_it_took_from_init(machine: Machine) -> None:
    machine.up()
    machine.bough("init", "hello")
    project = machine.folder / "hello"
    assert not machine.bough("plan", cwd=project)["same"]
    done = machine.bough("deploy", cwd=project)
    assert done["release"]["state"] == "live"
    assert 0 < done["seconds"] < done["seconds_from_init"] < 60
    asked = urllib.request.Request(done["services"][0]["url"], b'{"name": "Ada"}')
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert answer.read() == b'"Welcome, Ada"'
    assert machine.bough("plan", cwd=project)["same"]
    again = machine.bough("deploy", cwd=project)
    assert (again["release"]["id"], again["sent_files"]) == (done["release"]["id"], 0)
    assert "seconds_from_init" not in again
    (service,) = machine.bough("open", cwd=project)
    assert service["url"] == done["services"][0]["url"]


def test_in_the_foreground_sigterm_stops_all_of_it(machine: Machine) -> None:
    machine.bough("down", "--all")
    running = machine.start("up", "--foreground")
    assert running.stdout is not None
    assert json.loads(running.stdout.readline())["gateway_url"]
    assert all(answers(machine.home, name) for name in PARTS)
    running.terminate()
    running.communicate(timeout=100)
    assert running.returncode == 0
    assert not any(pid_of(machine.home, name) for name in (*PARTS, KEEPER))


def test_dev_serves_again_after_a_change_and_survives_a_mistake(machine: Machine) -> None:
    machine.bough("init", "quick")
    project = machine.folder / "quick"
    service = project / "service.py"
    good = service.read_text()
    running = machine.start("dev", cwd=project)
    try:
        url = next_line(running)["services"][0]["url"]
        assert ask(url) == b'"Welcome, Ada"'
        service.write_text(good.replace('1: "Welcome"', '1: "Hello"'))
        assert next_line(running)["release"]["state"] == "live"
        assert ask(url) == b'"Hello, Ada"'
        service.write_text(good + "\nthis is no Python\n")
        assert "error" in next_line(running)
        assert ask(url) == b'"Hello, Ada"'
        service.write_text(good)
        assert next_line(running)["release"]["state"] == "live"
        assert ask(url) == b'"Welcome, Ada"'
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=100)
    assert running.returncode == 0
    home = Home(project / ".bough" / "dev")
    assert not any(pid_of(home, name) for name in (*PARTS, KEEPER))
    assert still_running(home) == []


def ask(url: str) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, b'{"name": "Ada"}'), timeout=20) as answer:
        return bytes(answer.read())


def next_line(running: subprocess.Popen[str], timeout_s: float = 60.0) -> Any:
    assert running.stdout is not None
    assert select.select([running.stdout], [], [], timeout_s)[0], "dev says nothing"
    return json.loads(running.stdout.readline())


def still_running(home: Home) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(home.path).encode() in words:
                found.append(words.decode())
    return found
