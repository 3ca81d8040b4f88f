"""Canaries: values are planted, everything is done with them that can go wrong, and every byte that Bough wrote, said
or showed to other users of the machine is searched for them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import urllib.error
import urllib.request
from pathlib import Path

from tests.journeys.machine import Machine, kill, wait_until

TOML = """
[services.api]
model = "service:Api"
env = { URL = "postgres://app:${secrets.db-password}@host/db", TOKEN = "${secrets.TOKEN}" }

[services.web]
command = "python web.py"
env = { KEY = "${secrets.web-key}", API = "${services.api.url}" }
"""
SERVICE = """
import hashlib, os


class Api:
    def load(self) -> None:
        self.url = os.environ["URL"]  # where load needs it, before replicas are forked

    def predict(self, what: str) -> str:
        if what == "fail":
            raise ValueError("cannot reach " + self.url)
        if what == "die":
            os._exit(3)
        return hashlib.sha256((self.url + os.environ["TOKEN"]).encode()).hexdigest()
"""
FAILS = """
import os


class Api:
    def load(self) -> None:
        raise RuntimeError("no connection to " + os.environ["URL"] + " with " + repr(os.environ.pop("TOKEN")))

    def predict(self, what: str) -> str:
        return what
"""
WEB = """
import hashlib, http.server, os


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write((hashlib.sha256(os.environ["KEY"].encode()).hexdigest() + os.environ["API"]).encode())

    def log_message(self, *_):
        pass


http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


class Canaries:
    def __init__(self, machine: Machine, project: Path) -> None:
        self._machine, self._project = machine, project
        self.planted: list[str] = []
        self.said: list[bytes] = []  # by commands and the API

    def plant(self) -> str:
        self.planted.append("canary" + secrets.token_hex(10))
        return self.planted[-1]

    def bough(self, *words: str, stdin: str = "", code: int = 0) -> str:
        """A command with something on its standard input; what it said is searched later."""
        done = self._machine.run(*words, cwd=self._project, stdin=stdin)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        self.said += [done.stdout.encode(), done.stderr.encode()]
        return done.stdout

    def send(self, body: str) -> int:
        """A request to the API by hand."""
        token = (self._machine.home / "token").read_text().strip()
        url = f"http://127.0.0.1:{self._machine.api_port}/api/v1/secrets/set"
        asked = urllib.request.Request(url, body.encode(), {"Authorization": f"Bearer {token}", "Idempotency-Key": "k"})
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                self.said.append(answer.read())
                return int(answer.status)
        except urllib.error.HTTPError as error:
            self.said.append(error.read())
            return error.code

    def found(self) -> list[str]:
        """Where a value stands, in the clear or in a form from which it can be read or found by trying."""
        needles = {
            form: value
            for value in self.planted
            for form in (
                value.encode(), base64.b64encode(value.encode())[:-4], value.encode().hex().encode(),
                hashlib.sha256(value.encode()).hexdigest().encode(),
            )
        }  # fmt: skip
        places = {f"said {at}": text for at, text in enumerate(self.said)}
        for root in (self._machine.home, self._project / ".bough"):
            places |= {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for process in self._machine.processes():
            places[f"cmdline of {process}"] = Path(f"/proc/{process}/cmdline").read_bytes()
        control = {place for place, text in places.items() if b"@host/db" in text}  # what stands beside a value
        assert any("bough.db" in place for place in control) and any("spec.json" in place for place in control)
        return [f"{place}: {needles[form]}" for place, text in places.items() for form in needles if form in text]


def test_no_value_is_in_any_byte_that_bough_wrote(bare_machine: Machine) -> None:
    project = bare_machine.project("vault", TOML, service_py=SERVICE, web_py=WEB, requirements_txt="")
    canaries = Canaries(bare_machine, project)
    password, token, key = canaries.plant(), canaries.plant(), canaries.plant()
    canaries.bough("secrets", "set", "db-password", stdin=password + "\n")
    (project / ".env").write_text(f'TOKEN="{token}"\nweb-key={key}\nEMPTY=\n'.replace("web-key", "WEB_KEY"))
    canaries.bough("secrets", "set", "--env-file", ".env")
    (project / "key.txt").write_text(key)
    canaries.bough("secrets", "set", "web-key", "--file", "key.txt")
    (project / "key.txt").unlink()
    canaries.bough("deploy")

    def answered() -> str:
        return str(bare_machine.predict("api", "which"))

    def expected(password: str) -> str:
        return hashlib.sha256(f"postgres://app:{password}@host/db{token}".encode()).hexdigest()

    assert answered() == expected(password)
    status, body = bare_machine.ask("/web/web.vault/")
    link = f"{bare_machine.gateway}/v1/api.vault/predict"
    assert (status, body.decode()) == (200, hashlib.sha256(key.encode()).hexdigest() + link)

    # a request that fails, one that kills its replica, and a replica that is killed
    status, body = bare_machine.ask("/v1/api/predict", "fail")
    canaries.said.append(body)
    assert status == 500 and b"[secret in URL]" in body
    canaries.said.append(bare_machine.ask("/v1/api/predict", "die")[1])
    wait_until(lambda: bare_machine.ask("/v1/api/predict", "which")[0] == 200, "the replica is back")
    for pid in bare_machine.replicas():
        kill(pid)
    wait_until(lambda: bare_machine.ask("/v1/api/predict", "which")[0] == 200, "the replica is back")
    assert answered() == expected(password)

    # a new version by a new release; wrong requests; a release whose model fails with the value in its words
    second = canaries.plant()
    said = canaries.bough("secrets", "set", "db-password", stdin=second)
    assert "release 2 gives it to api" in said and answered() == expected(second)
    assert canaries.send('{"project": "vault", "values": "' + canaries.plant()) == 422
    assert canaries.send(json.dumps({"project": "vault", "values": canaries.plant()})) == 422
    assert canaries.send(json.dumps({"project": "vault", "values": {"a": {"b": canaries.plant()}}})) == 422
    assert canaries.send(json.dumps({"project": "vault", "values": {"a/b": canaries.plant()}})) == 422
    assert canaries.send(json.dumps({"project": "vault", "values": {"a": canaries.plant() + "\0"}})) == 422
    assert canaries.send(json.dumps({"project": "vault", "values": {"unused": canaries.plant()}})) == 200
    (project / "service.py").write_text(FAILS)
    canaries.bough("deploy", code=8)
    assert b"[secret in URL]" in canaries.said[-1] and b"[secret in TOKEN]" in canaries.said[-1]
    (project / "requirements.txt").write_text("no-such-package-of-anybody==9.9.9\n")
    canaries.bough("deploy", code=8)
    assert answered() == expected(second)

    # a rollback runs with the version of then; everything that shows things is asked to
    canaries.bough("rollback", "--to", "1")
    assert answered() == expected(password)
    for words in (
        ["secrets", "list"], ["secrets", "history", "db-password"], ["secrets", "rekey"], ["status"], ["audit"],
        ["events", "--limit", "1000"], ["explain"], ["releases", "show", "1"], ["platform", "status"], ["doctor"],
        ["plan"], ["logs", "--lines", "1000"],
    ):  # fmt: skip
        canaries.bough(*words, "--json")
    assert "${secrets.db-password}" in canaries.bough("explain", "services.api.env")
    for name in ("server", "node", "gateway"):
        os.kill(bare_machine.part(name), 9)
    bare_machine.up()
    assert answered() == expected(password)
    assert canaries.found() == []
