"""What every peer does with an item, and the peers' own programs: run as `python jobs.py PEER COUNT PAYLOAD_BYTES` it
puts COUNT items, one call for each; imported by a peer's worker it handles them.

Handling is one line appended to a file: when the item was put and when it was handled. Nothing else is measured."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

PEER = os.environ.get("PEER", "")
_out = os.open(os.environ.get("OUT", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def handle(put_at: float, text: str) -> None:
    os.write(_out, b"%f %f\n" % (put_at, time.time()))


if PEER == "huey":
    from huey import SqliteHuey

    huey = SqliteHuey("bench", filename=os.environ["STORE"], fsync=True, results=False)
    put: Any = huey.task()(handle)
elif PEER == "dramatiq":
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    dramatiq.set_broker(RedisBroker(url=os.environ["STORE"]))
    put = dramatiq.actor(handle, max_retries=3).send
elif PEER == "procrastinate":
    from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

    worker_app = App(connector=PsycopgConnector(conninfo=os.environ["STORE"]))
    app = App(connector=SyncPsycopgConnector(conninfo=os.environ["STORE"]))

    @worker_app.task(name="handle")
    async def handle_there(put_at: float, text: str) -> None:
        handle(put_at, text)

    task = app.task(name="handle")(handle)

    def put(put_at: float, text: str) -> None:
        task.defer(put_at=put_at, text=text)


def main() -> None:
    count, size, per_s = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    text = "x" * size
    if PEER == "procrastinate":
        app.open()
    began = time.perf_counter()
    for number in range(count):
        put(time.time(), text)
        if per_s and (ahead := (number + 1) / per_s - (time.perf_counter() - began)) > 0:
            time.sleep(ahead)
    if PEER == "procrastinate":
        app.close()


def work_procrastinate() -> None:
    async def run() -> None:
        async with worker_app.open_async():
            await worker_app.run_worker_async(concurrency=20, fetch_job_polling_interval=0.1, delete_jobs="successful")

    asyncio.run(run())


if __name__ == "__main__":
    import jobs  # by the name under which the workers know its tasks

    jobs.work_procrastinate() if sys.argv[1] == "work" else jobs.main()
