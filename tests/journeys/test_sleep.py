"""What nobody asks for ends, and the first who asks is answered: with real processes, and with the server dead."""

from __future__ import annotations

import threading
from typing import Any

from tests.journeys.machine import Machine, kill, wait_until

SERVICE = """
import os

class Double:
    def load(self) -> None:
        self.factor = 2

    def predict(self, n: int) -> dict:
        return {"twice": n * self.factor, "in": os.environ["BOUGH_ENVIRONMENT"]}
"""
APP = """
import http.server, os

class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["BOUGH_ENVIRONMENT"].encode())

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Hello).serve_forever()
"""
TOML = """
[services.double]
model = "service:Double"
sleep_after_s = 1

[services.site]
command = "python app.py"
sleep_after_s = 1
"""


def asleep(machine: Machine, project: str, environment: str) -> bool:
    found = machine.asked("services.list", project=project, environment=environment)
    return {each["state"] for each in found} == {"asleep"}


def test_services_sleep_wake_and_sleep_again_whatever_dies(own_machine: Machine) -> None:
    machine = own_machine
    project = machine.project("drowsy", TOML, service_py=SERVICE, app_py=APP)
    machine.deploy(project)
    machine.bough("branch", "create", "--project", "drowsy", "try-it")
    assert asleep(machine, "drowsy", "try-it")

    def predict(n: int) -> Any:
        return machine.predict("double--try-it.drowsy", n)

    assert machine.ask("/web/site--try-it.drowsy/")[1] == b"try-it"
    assert predict(3) == {"twice": 6, "in": "try-it"}
    assert machine.predict("double", 3)["in"] == "main"
    zygotes = list((machine.home / "zygotes").iterdir())
    assert len(zygotes) == 1  # the branch woke through its parent's

    wait_until(lambda: asleep(machine, "drowsy", "try-it") and asleep(machine, "drowsy", "main"), "all sleep", 60.0)
    wait_until(lambda: machine.replicas() == [], "nothing runs")

    kill(machine.part("keeper"))
    kill(machine.part("server"))
    got: list[Any] = []
    asking = [threading.Thread(target=lambda n=n: got.append(predict(n)["twice"])) for n in range(10)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(60)
    assert sorted(got) == [2 * n for n in range(10)]
    assert machine.ask("/web/site--try-it.drowsy/")[1] == b"try-it"

    machine.up()
    wait_until(lambda: asleep(machine, "drowsy", "try-it"), "what woke without a server sleeps again", 60.0)
    kill(machine.part("node"))
    assert predict(4)["twice"] == 8  # held until there is a node again
    machine.bough("branch", "discard", "--project", "drowsy", "try-it")
    wait_until(lambda: machine.replicas() == [], "nothing of it runs")
