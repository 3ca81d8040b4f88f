"""MLServer: a custom runtime that speaks the Open Inference Protocol with tensors, as its clients would send them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import models
import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

WORKLOAD = os.environ["BENCH_WORKLOAD"]


class Bench(MLModel):
    async def load(self) -> bool:
        self.model = None if WORKLOAD == "stream" else models.load(WORKLOAD)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        tensor = payload.inputs[0]
        if WORKLOAD == "minilm":
            answers = self.model([{"text": text} for text in StringCodec.decode_input(tensor)])
            columns = {"embedding": np.array([answer["embedding"] for answer in answers], np.float32)}
        elif WORKLOAD == "logistic":
            answers = self.model([{"features": row} for row in NumpyCodec.decode_input(tensor)])
            columns = {key: np.array([answer[key] for answer in answers]) for key in ("probability", "label")}
        else:
            answers = self.model([{"value": int(value)} for value in NumpyCodec.decode_input(tensor).ravel()])
            columns = {"value": np.array([answer["value"] for answer in answers])}
        outputs = [NumpyCodec.encode_output(name, column) for name, column in columns.items()]
        return InferenceResponse(id=payload.id, model_name=self.name, model_version=self.version, outputs=outputs)

    async def predict_stream(self, payloads: AsyncIterator[InferenceRequest]) -> AsyncIterator[InferenceResponse]:
        async for payload in payloads:
            seed = int(NumpyCodec.decode_input(payload.inputs[0]).ravel()[0])
            for token in models.tokens({"seed": seed}):
                output = StringCodec.encode_output("token", [token])
                yield InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])
