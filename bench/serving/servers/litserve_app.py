"""LitServe: two workers, an HTTP process for each, the ZeroMQ queue that its documentation gives for many requests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import litserve
import models

WORKLOAD = os.environ["BENCH_WORKLOAD"]
BATCHED = os.environ["BENCH_BATCH"] == "1"


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = models.load(WORKLOAD)

    def predict(self, items: Any) -> Any:
        return self.model(items) if BATCHED else self.model([items])[0]

    def batch(self, inputs: list[Any]) -> list[Any]:
        return list(inputs)

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output


class Stream(litserve.LitAPI):
    def setup(self, device: str) -> None:
        pass

    def predict(self, item: dict[str, Any]) -> Iterator[str]:
        yield from models.tokens(item)

    def encode_response(self, output: Iterator[str]) -> Iterator[str]:
        for token in output:
            yield f'data: {{"token":"{token}"}}\n\n'


def main() -> None:
    if WORKLOAD == "stream":
        api: litserve.LitAPI = Stream(stream=True)
    elif BATCHED:
        api = Api(max_batch_size=models.MAX_BATCH[WORKLOAD], batch_timeout=0.005)
    else:
        api = Api()
    workers = int(os.environ["BENCH_WORKERS"])
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers, fast_queue=True)
    port = int(os.environ["BENCH_PORT"])
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False, access_log=False)


if __name__ == "__main__":
    main()
