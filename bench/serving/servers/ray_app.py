"""Ray Serve: two replicas that accept many requests at once, access log off. HAProxy and the throughput settings come
from the environment (peers.py)."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import models
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import StreamingResponse

WORKLOAD = os.environ["BENCH_WORKLOAD"]
WORKERS = int(os.environ["BENCH_WORKERS"])


class Plain:
    def __init__(self) -> None:
        self.model = models.load(WORKLOAD)

    async def __call__(self, request: Request) -> Any:
        return self.model([await request.json()])[0]


class Batched:
    def __init__(self) -> None:
        self.model = models.load(WORKLOAD)

    @serve.batch(max_batch_size=models.MAX_BATCH.get(WORKLOAD, 1), batch_wait_timeout_s=0.005)
    async def answer(self, items: list[Any]) -> list[Any]:
        return self.model(items)

    async def __call__(self, request: Request) -> Any:
        return await self.answer(await request.json())


class Stream:
    async def __call__(self, request: Request) -> StreamingResponse:
        item = await request.json()

        def events() -> Iterator[str]:
            for token in models.tokens(item):
                yield f'data: {{"token":"{token}"}}\n\n'

        async def relay() -> Any:
            for event in events():
                yield event

        return StreamingResponse(relay(), media_type="text/event-stream")


def main() -> None:
    kind = Stream if WORKLOAD == "stream" else Batched if os.environ["BENCH_BATCH"] == "1" else Plain
    # The session folder holds Unix sockets, whose paths must stay short: it is named by the harness.
    ray.init(
        num_cpus=WORKERS + 1,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=128 << 20,
        _temp_dir=os.environ["BENCH_RAY_TMP"],
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["BENCH_PORT"])})
    deployment = serve.deployment(
        kind,
        name="bench",
        num_replicas=WORKERS,
        max_ongoing_requests=256,
        ray_actor_options={"num_cpus": 1},
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    serve.run(deployment.bind(), name="bench", route_prefix="/", logging_config={"enable_access_log": False})
    threading.Event().wait()


if __name__ == "__main__":
    main()
