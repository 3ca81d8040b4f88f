"""Jobs on a real machine, through the command line."""

from __future__ import annotations

import os
from typing import Any

import duckdb

from tests.buckets import THERE, made, s3_server
from tests.journeys.machine import Machine, wait_until

TRAIN = """
import json, os, pathlib
import bough

lr = bough.params()["lr"]
print("training with", lr)
with bough.run() as run:
    for step in range(3):
        run.log_metrics({"loss": 1.0 / (step + 1)}, step=step)
(pathlib.Path(os.environ["BOUGH_OUTPUT"]) / "weights.json").write_text(json.dumps([lr] * 3))
"""


def test_a_job_of_a_folder_trains_reports_and_leaves_its_files(machine: Machine) -> None:
    folder = machine.project("lab", '[jobs.fit]\ncommand = "python train.py"\nparams = { lr = 0.1 }\n', train_py=TRAIN)
    done = machine.bough("train", "--params", "lr=0.5", cwd=folder)
    assert done["state"] == "succeeded" and done["said"] == "exit status 0"
    run = machine.bough("runs", "show", done["run"], cwd=folder)
    assert run["status"] == "finished" and run["params"] == {"lr": "0.5"}
    assert [each["step"] for each in run["metrics"]] == [2]
    files = machine.bough("artifacts", "list", done["run"], cwd=folder)
    assert [each["path"] for each in files] == ["weights.json"]
    assert "training with 0.5" in machine.run("jobs", "logs", done["id"], cwd=folder).stdout
    (folder / "train.py").write_text("import sys\nprint('no data')\nsys.exit(3)\n")
    failed = machine.run("train", cwd=folder)
    assert failed.returncode == 8 and "exit status 3" in failed.stderr and "no data" in failed.stdout


TOGETHER = """
import os, pathlib, signal, socket, sys, time

rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
master = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
if rank == 0:
    with socket.create_server(master) as server:
        met = [server.accept()[0].recv(10) for _ in range(size - 1)]
else:
    while True:
        try:
            with socket.create_connection(master) as peer:
                peer.sendall(str(rank).encode())
            break
        except ConnectionRefusedError:
            time.sleep(0.02)
(pathlib.Path(os.environ["BOUGH_CHECKPOINTS"]) / f"met-{size}-{rank}").write_text(str(os.nice(0)))
print("met", size, rank)
if size > 1:
    time.sleep(60)
"""


def test_processes_meet_and_go_on_with_fewer_of_them(machine: Machine) -> None:
    toml = (
        '[jobs.both]\ncommand = "exec python both.py"\nprocesses = { min = 1, max = 2 }\nresources = { cpus = 0.5 }\n'
    )
    folder = machine.project("pair", toml, both_py=TOGETHER)
    made = machine.bough("train", "--detach", cwd=folder)
    saved = machine.home / "checkpoints" / made["id"]
    wait_until(lambda: all((saved / f"met-2-{rank}").exists() for rank in range(2)), "two processes have met", 60)
    assert (saved / "met-2-0").read_text() == "10", "a job gives way to services"
    machine.bough("jobs", "resize", made["id"], "1", cwd=folder)
    wait_until(lambda: machine.asked("jobs.show", id=made["id"])["run"].get("finished_at"), "its end", 60)
    shown = machine.bough("jobs", "show", made["id"], cwd=folder)
    assert shown["run"]["state"] == "succeeded" and shown["run"]["attempt"] == 2
    assert (saved / "met-1-0").exists()
    assert any("goes on with 1 process instead of 2" in each["said"] for each in shown["timeline"])
    printed = machine.run("jobs", "logs", made["id"], cwd=folder).stdout
    assert {"met 2 0", "met 2 1", "met 1 0"} <= set(printed.splitlines())


READS = """
import os
from bough import checkpoint

records = checkpoint.Records(os.environ["BOUGH_DATA"] + "/noise", size=65536)
data = checkpoint.Samples(len(records), batch_size=8, seed=1, epochs=1)
print("linked", os.stat(records.paths[0]).st_nlink > 1)
with checkpoint.open() as ckpt:
    batches = data.through(records.read)
    for step in ckpt.steps(len(records) // 8, {"data": data}):
        assert all(len(each) == 65536 for each in next(batches))
"""


def test_a_second_job_on_the_same_data_copies_nothing_and_each_says_what_it_read_and_how_fast(machine: Machine) -> None:
    toml = '[jobs.read]\ncommand = "python read.py"\ndata = ["noise"]\n'
    folder = machine.project("reader", toml, read_py=READS)
    noise = folder.parent / "noise"
    noise.mkdir()
    for number in range(4):
        (noise / f"{number}.bin").write_bytes(os.urandom(8 << 20))
    machine.bough("data", "put", noise, "noise", cwd=folder)
    for _ in range(2):
        done = machine.bough("train", "read", cwd=folder)
        assert done["state"] == "succeeded", done["said"]
        shown = machine.bough("jobs", "show", done["id"], cwd=folder)
        moments = {each["what"]: each for each in shown["timeline"]}
        assert moments["data"]["said"] == "noise: 4 files, 33.6 MB"
        assert moments["data"]["data"]["datasets"] == [{"name": "noise", "kind": "file", "files": 4, "bytes": 32 << 20}]
        progress = shown["progress"]
        assert progress["step"] == 64 and progress["read_bytes"] == 32 << 20
        assert progress["samples_per_s"] > 0 and progress["read_mb_per_s"] > 0 and 0 <= progress["waited"] <= 1
        used = moments["used"]
        assert used["data"]["read_bytes"] >= 32 << 20 and " MB/s" in used["said"]
        assert "linked True" in machine.run("jobs", "logs", done["id"], cwd=folder).stdout
    assert used["data"]["disk_read_bytes"] < 8 << 20, "the second one finds it in memory"
    assert " MB read at " in machine.run("jobs", "show", done["id"], cwd=folder).stdout


CLICKS = """
import os, duckdb

source, output = os.environ["BOUGH_SOURCE"], os.environ["BOUGH_OUTPUT"]
rows = duckdb.sql(f"SELECT page, count(*)::INT AS clicks FROM read_csv('{source}/**/*.csv') GROUP BY page")
rows.write_parquet(f"{output}/clicks.parquet")
print(sorted(os.listdir(source)))
"""


def test_an_etl_job_reads_what_is_new_in_a_bucket_and_writes_parquet_to_another(machine: Machine) -> None:
    with s3_server() as endpoint:
        bucket = made(endpoint, "landing-of-a-journey")
        told = f'endpoint = "{endpoint}", key = "somebody", secret = "${{secrets.s3}}"'
        toml = '[jobs.clicks]\nkind = "etl"\ncommand = "python clicks.py"\n'
        toml += f'source = {{ url = "s3://{bucket.name}/in/", {told} }}\n'
        toml += f'target = {{ url = "s3://{bucket.name}/out/", {told} }}\n'
        folder = machine.project("taps", toml, clicks_py=CLICKS, requirements_txt="duckdb\n")
        (folder.parent / "s3.txt").write_text("wJalrXUtnFEMI-K7MDENG")
        machine.bough("secrets", "set", "s3", "--file", folder.parent / "s3.txt", cwd=folder)
        counted = []
        for day in ("monday", "tuesday"):
            THERE.write(bucket, f"in/{day}.csv", f"page\n{day}\n{day}\n".encode(), "text/csv")
            done = machine.bough("train", "clicks", cwd=folder)
            assert done["state"] == "succeeded", done["said"]
            [read] = machine.bough("jobs", "objects", done["id"], cwd=folder)
            assert (read["bucket"], read["key"]) == (bucket.name, f"in/{day}.csv")
            _, content = THERE.read(bucket, f"out/{done['id']}/clicks.parquet", 1 << 20) or ("", b"")
            path = folder.parent / f"{day}.parquet"
            path.write_bytes(content)
            counted += duckdb.sql(f"SELECT * FROM '{path}'").fetchall()
        assert counted == [("monday", 2), ("tuesday", 2)]
        shown = machine.run("lineage", f"run:{done['run']}", cwd=folder).stdout
        assert f"s3://{bucket.name}/in/" in shown
        nothing = machine.bough("train", "clicks", cwd=folder)
        assert nothing["said"] == f"nothing is new in s3://{bucket.name}/in/"
    away = machine.run("jobs", "show", done["id"], cwd=folder).stdout
    assert "1 object, 0.0 MB" in away and "1 Parquet file" in away
    assert not [path for path in machine.home.rglob("log*") if path.is_file() and b"wJalrXUtnFEMI" in path.read_bytes()]


def test_queues_share_a_machine_by_what_they_had_of_it_for_their_weights(own_machine: Machine) -> None:
    settings = own_machine.home / "settings.toml"
    settings.write_text(settings.read_text().replace("job_queues = {", "job_queues = { favoured = 2"))
    own_machine.bough("down")
    own_machine.up()
    whole = f"resources = {{ cpus = {len(os.sched_getaffinity(0))} }}\n"
    seconds = {"plain": 0.3, "favoured": 0.5}
    toml = f'[jobs.hold]\ncommand = "until [ -e $BOUGH_CHECKPOINTS/go ]; do sleep 0.05; done"\n{whole}' + "".join(
        f'[jobs.{name}]\ncommand = "sleep {long}"\nqueue = "{name}"\narray = 4\n{whole}'
        for name, long in seconds.items()
    )
    folder = own_machine.project("share", toml)
    hold = own_machine.bough("train", "hold", "--detach", cwd=folder)
    wait_until(
        lambda: list((own_machine.home / "units").glob(f"{hold['id']}-0/1/pid.json")), "nobody else has room", 60
    )
    for name in seconds:
        own_machine.bough("train", name, "--detach", cwd=folder)

    def runs(state: str) -> list[Any]:
        found = own_machine.bough("jobs", "list", "--all", "--state", state, cwd=folder)
        return [each for each in found if not each.get("children") and each["job"] in seconds]

    wait_until(lambda: len(runs("queued")) == 8, "all wait", 60)
    (own_machine.home / "checkpoints" / hold["id"] / "go").touch()
    wait_until(lambda: len(runs("succeeded")) == 8, "all have ended", 60)
    left, had = dict.fromkeys(seconds, 4), dict.fromkeys(seconds, 0.0)
    for run in sorted(runs("succeeded"), key=lambda run: float(run["started_at"])):
        least = min(had[name] for name in seconds if left[name])
        assert had[run["job"]] <= least + 0.002, (run, had)  # seconds are rounded where they are shown
        left[run["job"]] -= 1
        had[run["job"]] += run["seconds"] / (2 if run["job"] == "favoured" else 1)
