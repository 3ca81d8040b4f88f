"""Answers say when they were made."""

from __future__ import annotations

import asyncio
import time
from email.utils import parsedate_to_datetime
from typing import Any

from starlette.types import Receive, Scope, Send

from bough.entrypoints.http.dated import Dated


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]})
    await send({"type": "http.response.body", "body": b"ok"})


def test_every_answer_has_the_date_of_its_second_and_its_own_headers() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    before = int(time.time())
    asyncio.run(Dated(app)({"type": "http"}, None, send))  # type: ignore[arg-type]  # it never receives
    headers = dict(sent[0]["headers"])
    assert before <= parsedate_to_datetime(headers[b"date"].decode()).timestamp() <= time.time()
    assert headers[b"x-own"] == b"1" and sent[1]["body"] == b"ok"
