"""Starlette as one would write it for speed: orjson in and out, the model called in the event loop."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import models
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

WORKLOAD = os.environ["BENCH_WORKLOAD"]
MODEL = None if WORKLOAD == "stream" else models.load(WORKLOAD)


async def predict(request: Request) -> Response:
    answer = MODEL([orjson.loads(await request.body())])[0]
    return Response(orjson.dumps(answer), media_type="application/json")


async def stream(request: Request) -> Response:
    item = orjson.loads(await request.body())

    async def events() -> AsyncIterator[bytes]:
        for token in models.tokens(item):
            yield b'data: {"token":"%s"}\n\n' % token.encode()

    return StreamingResponse(events(), media_type="text/event-stream")


app = Starlette(routes=[Route("/predict", stream if WORKLOAD == "stream" else predict, methods=["POST"])])
