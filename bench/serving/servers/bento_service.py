"""BentoML: two workers, access log off, adaptive batching where it is on."""

import os
from collections.abc import AsyncGenerator
from typing import Any

import bentoml
import models

WORKLOAD = os.environ["BENCH_WORKLOAD"]
BATCHED = os.environ["BENCH_BATCH"] == "1"
OPTIONS = {
    "workers": int(os.environ["BENCH_WORKERS"]),
    "traffic": {"timeout": 60},
    "logging": {"access": {"enabled": False}},
}

if WORKLOAD == "stream":

    @bentoml.service(**OPTIONS)
    class Bench:
        @bentoml.api
        async def predict(self, seed: int) -> AsyncGenerator[str, None]:
            for token in models.tokens({"seed": seed}):
                yield f'data: {{"token":"{token}"}}\n\n'

elif BATCHED:

    @bentoml.service(**OPTIONS)
    class Bench:
        def __init__(self) -> None:
            self.model = models.load(WORKLOAD)

        @bentoml.api(batchable=True, max_batch_size=models.MAX_BATCH.get(WORKLOAD, 1))
        async def predict(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return self.model(items)

else:

    @bentoml.service(**OPTIONS)
    class Bench:
        def __init__(self) -> None:
            self.model = models.load(WORKLOAD)

        @bentoml.api
        async def predict(self, item: dict[str, Any]) -> dict[str, Any]:
            return self.model([item])[0]
