"""The limit of Python: httptools and uvloop, one protocol class, no routing, no model server. Two processes share a
listening socket."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import httptools
import models
import orjson
import uvloop

STREAM = os.environ["BENCH_WORKLOAD"] == "stream"
MODEL = None if STREAM else models.load(os.environ["BENCH_WORKLOAD"])
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.body = b""

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        item = orjson.loads(self.body)
        write = self.transport.write
        if STREAM:
            write(STREAM_HEAD)
            for token in models.tokens(item):
                event = b'data: {"token":"%s"}\n\n' % token.encode()
                write(b"%x\r\n%s\r\n" % (len(event), event))
            write(b"0\r\n\r\n")
        else:
            answer = orjson.dumps(MODEL([item])[0])
            write(HEAD % len(answer) + answer)


async def serve(listener: socket.socket) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, sock=listener)
    await server.serve_forever()


def main() -> None:
    listener = socket.create_server(("127.0.0.1", int(os.environ["BENCH_PORT"])), backlog=1024)
    for _ in range(int(os.environ["BENCH_WORKERS"]) - 1):
        if os.fork() == 0:
            break
    uvloop.run(serve(listener))


if __name__ == "__main__":
    sys.exit(main())
