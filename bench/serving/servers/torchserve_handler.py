"""TorchServe: a handler of one's own; it gets a list of requests and returns as many answers."""

from __future__ import annotations

import os
import sys
from typing import Any

sys.path.insert(0, os.environ["BENCH_CODE"])
import models
from ts.handler_utils.utils import send_intermediate_predict_response

WORKLOAD = os.environ["BENCH_WORKLOAD"]


class Handler:
    def initialize(self, context: Any) -> None:
        self.model = None if WORKLOAD == "stream" else models.load(WORKLOAD)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        items = [row.get("body") or row.get("data") for row in data]
        if WORKLOAD != "stream":
            return self.model(items)
        final = ""
        for number, token in enumerate(models.tokens(items[0]), 1):
            event = f'data: {{"token":"{token}"}}\n\n'
            if number == models.TOKENS:
                final = event  # what is returned ends the answer
            else:
                send_intermediate_predict_response([event], context.request_ids, "Intermediate", 200, context)
        return [final]
