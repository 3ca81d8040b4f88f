"""FastAPI with typed requests and answers, the model called in the event loop (a thread per call is slower here)."""

import os
from collections.abc import AsyncIterator

import models
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

WORKLOAD = os.environ["BENCH_WORKLOAD"]
MODEL = None if WORKLOAD == "stream" else models.load(WORKLOAD)
app = FastAPI()


class Value(BaseModel):
    value: int


class Row(BaseModel):
    features: list[float]


class Chance(BaseModel):
    probability: float
    label: int


class Text(BaseModel):
    text: str


class Embedding(BaseModel):
    embedding: list[float]


class Seed(BaseModel):
    seed: int


if WORKLOAD == "noop":

    @app.post("/predict")
    async def noop(item: Value) -> Value:
        return Value(**MODEL([{"value": item.value}])[0])

elif WORKLOAD == "logistic":

    @app.post("/predict")
    async def logistic(item: Row) -> Chance:
        return Chance(**MODEL([{"features": item.features}])[0])

elif WORKLOAD == "minilm":

    @app.post("/predict")
    async def minilm(item: Text) -> Embedding:
        return Embedding(**MODEL([{"text": item.text}])[0])

else:

    @app.post("/predict")
    async def stream(item: Seed) -> StreamingResponse:
        async def events() -> AsyncIterator[str]:
            for token in models.tokens({"seed": item.seed}):
                yield f'data: {{"token":"{token}"}}\n\n'

        return StreamingResponse(events(), media_type="text/event-stream")
