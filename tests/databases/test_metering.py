"""What servers of databases have used is that of their environments, each its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bough.adapters.sql.processes import used_by
from bough.adapters.sql.redis_server import Program
from bough.databases.metering import meters
from tests.plane import Plane

BURN = "import time; began = time.process_time()\nwhile time.process_time() < began + 0.35: pass"


def test_what_a_process_has_used_holds_its_children_while_they_run_and_when_they_have_ended() -> None:
    before = used_by(os.getpid())
    subprocess.run([sys.executable, "-c", BURN], check=True)
    after = used_by(os.getpid())
    assert before is not None and after is not None and after.mark == before.mark
    assert after.cpu_s - before.cpu_s >= 0.3 and after.seconds > before.seconds > 0.0
    with subprocess.Popen([sys.executable, "-c", BURN + "\nprint(flush=True); input()"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as child:  # fmt: skip
        assert child.stdout is not None and child.stdin is not None
        child.stdout.readline()
        running = used_by(os.getpid())
        child.stdin.write(b"\n")
    assert running is not None and running.cpu_s - after.cpu_s >= 0.3
    assert used_by(0) is None


@pytest.mark.skipif(bool(Program().why_not), reason=Program().why_not or "-")
def test_each_environment_pays_for_its_own_server_and_nobody_for_a_file(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    plane.deploy('name = "shop"\n[services.web]\ncommand = "serve"\n')
    for name, engine in (("cache", "redis"), ("orders", "sqlite")):
        plane.call("databases.add", project="shop", name=name, engine=engine)
    plane.call("environments.create", project="shop", branch="feature")
    plane.let_pass(1.0)
    disk = plane.bough.works.databases
    try:
        for name in ("main", "feature"):
            plane.call("databases.url", project="shop", name="cache", environment=name)
        plane.let_pass(1.0)
        with plane.bough.database.read() as tx:
            found = meters(tx, disk)
        assert {(each.payer.environment, each.payer.workload, each.payer.kind) for each in found} == {
            ("main", "cache", "database"), ("feature", "cache", "database"),
        }  # fmt: skip
        assert len({each.key for each in found}) == 2 and all(each.seconds > 0 for each in found)
        plane.let_pass(20.0)
        report = plane.call("costs.show", project="shop")
        assert {line.environment for line in report.lines if line.kind == "database"} == {"main", "feature"}
    finally:
        disk.engine("redis").stop()
