"""The container contract: a service that keeps it is told so, and each broken promise is named alone."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from bough.builds import contract
from bough.builds.contract import BROKEN, KEPT, UNPROVEN, Program, Promise
from bough.builds.dockerfile import read_dockerfile
from tests.ports import free_port

SERVER = """
import http.server, os, signal, sys, threading, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(0.8)
        self.send_response(STATUS)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *words):
        pass

class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address, daemon_threads, block_on_close = False, False, True

def stop(*_):
    threading.Thread(target=server.shutdown).start()

STATUS = 200
server = Server(("127.0.0.1", int(os.environ.get("PORT", 8080))), Handler)
signal.signal(signal.SIGTERM, stop)
server.serve_forever()
server.server_close()
"""


def check(tmp_path: Path, source: str = SERVER, **more: object) -> dict[str, Promise]:
    (tmp_path / "app.py").write_text(source)
    program = Program(
        argv=[sys.executable, "app.py"], cwd=str(tmp_path), environment={"PATH": os.environ["PATH"]}, start_s=3.0,
        grace_s=2.0, slow_path="/slow", fixed_port=8080,
    )  # fmt: skip
    return {each.name: each for each in contract.check(_with(program, **more))}


def _with(program: Program, **more: object) -> Program:
    values = {name: getattr(program, name) for name in program.__struct_fields__} | more
    return Program(**values)  # type: ignore[arg-type]  # a test's own words


def test_a_service_that_keeps_every_promise_is_told_so(tmp_path: Path) -> None:
    found = check(tmp_path)
    assert set(found) == {"port", "health", "drain", "ends", "default_port", "exit_status"}
    assert {name: each.state for name, each in found.items()} == dict.fromkeys(found, KEPT)
    assert "answered to its end" in found["drain"].detail


@pytest.mark.parametrize(
    ("promise", "old", "new", "said"),
    [
        ("health", "STATUS = 200", "STATUS = 503", "GET /: 503"),
        ("drain", "threading.Thread(target=server.shutdown).start()", "os._exit(0)", "no whole answer"),
        ("ends", "threading.Thread(target=server.shutdown).start()", "pass", "still ran"),
        ("ends", "server.server_close()", "server.server_close(); sys.exit(7)", "status 7"),
        ("exit_status", 'STATUS = 200', "STATUS = 200\nsys.excepthook = lambda *_: os._exit(0)", "status 0"),
    ],
)  # fmt: skip
def test_each_broken_promise_is_found_and_no_other(tmp_path: Path, promise: str, old: str, new: str, said: str) -> None:
    assert old in SERVER
    found = check(tmp_path, SERVER.replace(old, new), start_s=1.0)
    assert [name for name, each in found.items() if each.state == BROKEN] == [promise]
    assert said in found[promise].detail
    assert found[promise].hint


def test_a_service_that_listens_elsewhere_is_told_where(tmp_path: Path) -> None:
    port = free_port()
    found = check(tmp_path, SERVER.replace('int(os.environ.get("PORT", 8080))', str(port)), start_s=1.0)
    assert found["port"].state == BROKEN and f"it listens on {port} instead" in found["port"].detail
    assert "PORT" in found["port"].hint
    assert found["health"].state == found["drain"].state == UNPROVEN


def test_a_service_that_ends_at_once_is_shown_with_its_last_words(tmp_path: Path) -> None:
    found = check(tmp_path, "print('no config'); raise SystemExit(3)")
    assert "status 3" in found["port"].detail and "no config" in found["port"].detail
    assert found["exit_status"].state == KEPT


def test_what_cannot_be_shown_is_unproven_and_no_breach(tmp_path: Path) -> None:
    assert check(tmp_path, slow_path="")["drain"].state == UNPROVEN
    found = check(tmp_path, slow_path="/")
    assert found["drain"].state == UNPROVEN and "before SIGTERM" in found["drain"].detail


def test_without_port_8080_is_expected(tmp_path: Path) -> None:
    port = free_port()  # stands in for 8080, which this machine may use
    asked = {"fixed_port": 0, "default_port": port}
    assert check(tmp_path, SERVER.replace("8080", str(port)), **asked)["default_port"].state == KEPT
    found = check(tmp_path, SERVER.replace(", 8080", ', ""'), **asked)["default_port"]  # `bind 0.0.0.0:$PORT`
    assert found.state == BROKEN and "PORT:-" in found.hint
    with socket.create_server(("127.0.0.1", port)):
        assert check(tmp_path, **asked)["default_port"].state == UNPROVEN


@pytest.mark.parametrize(
    ("command", "port"),
    [
        ('CMD ["gunicorn", "app:app", "--bind", "0.0.0.0:8080"]', 8080),
        ("CMD gunicorn app:app --bind 0.0.0.0:${PORT:-8080}", 0),
        ("EXPOSE 5000\nCMD python app.py 5000", 5000),
        ('CMD ["python", "app.py"]', 0),
    ],
)
def test_the_port_that_a_dockerfile_binds_whatever_port_says(command: str, port: int) -> None:
    assert contract.fixed_port(read_dockerfile(f"FROM python:3.11\nWORKDIR /app\n{command}\n", "Dockerfile")) == port
