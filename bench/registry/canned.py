"""A server that answers what another one has answered before: what a client's calls cost without the server's work.

    python -m bench.registry.canned PORT UPSTREAM TOKEN

The first request of a method and path is handed on to UPSTREAM; from then on its answer is given at once.
"""

from __future__ import annotations

import asyncio
import http.client
import sys
from typing import ClassVar
from urllib.parse import urlsplit

import httptools
import uvloop

KEPT = ("content-type",)


class Canned(asyncio.Protocol):
    known: ClassVar[dict[tuple[bytes, bytes], bytes]] = {}
    upstream, token = "", ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._line, self._parser = transport, httptools.HttpRequestParser(self)
        self._url = self._body = b""

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        key = self._parser.get_method(), self._url.partition(b"?")[0]
        if key not in self.known:
            self.known[key] = self._asked(key[0].decode())
        self._line.write(self.known[key])  # type: ignore[attr-defined] # a transport of a stream

    def _asked(self, method: str) -> bytes:
        line = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=60)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        line.request(method, self._url.decode(), self._body or None, headers)
        answer = line.getresponse()
        body = answer.read()
        kept = [f"{name}: {value}" for name, value in answer.getheaders() if name.lower() in KEPT]
        head = "\r\n".join([f"HTTP/1.1 {answer.status} OK", f"content-length: {len(body)}", *kept])
        return f"{head}\r\n\r\n".encode() + body


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    Canned.upstream, Canned.token = sys.argv[2:4]
    uvloop.run(serve(int(sys.argv[1])))
