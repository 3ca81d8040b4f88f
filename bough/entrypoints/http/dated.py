"""The header `Date` of every answer, made when somebody asks: the HTTP server would make it each second for nobody."""

from __future__ import annotations

import time
from email.utils import formatdate

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Dated:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._second, self._date = app, 0, b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [(b"date", self._now()), *message.get("headers", [])]}
            await send(message)

        await self._app(scope, receive, dated)

    def _now(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second, self._date = second, formatdate(second, usegmt=True).encode()
        return self._date
