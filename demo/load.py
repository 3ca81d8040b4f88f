"""A small closed-loop load: keep-alive connections that send one request after another and check every answer.

    python demo/load.py URL BODY_FILE --seconds 10 --connections 16

Runs until the time is over or SIGTERM, then prints one JSON line. A failed request is an answer with another status
than 200, an answer that is not the expected one, or a connection that broke.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import signal
import statistics
import time
from pathlib import Path
from urllib.parse import urlsplit


class Load:
    def __init__(self, url: str, body: bytes, expected: bytes = b"", content_type: str = "application/json") -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {content_type}\r\n"
        self.request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self.expected = expected
        self.milliseconds: list[float] = []
        self.failures: collections.Counter[str] = collections.Counter()
        self.stopping = False

    async def run(self, connections: int, seconds: float) -> dict[str, object]:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stop)
        began = time.perf_counter()
        asyncio.get_running_loop().call_later(seconds, self.stop)
        await asyncio.gather(*(self.connection() for _ in range(connections)))
        took = time.perf_counter() - began
        found = sorted(self.milliseconds) or [0.0]
        return {
            "requests": len(self.milliseconds),
            "failed": sum(self.failures.values()),
            "failures": dict(self.failures),
            "per_second": round(len(self.milliseconds) / took, 1),
            "p50_ms": round(statistics.median(found), 3),
            "p95_ms": round(found[int(len(found) * 0.95)], 3),
            "p99_ms": round(found[int(len(found) * 0.99)], 3),
            "longest_ms": round(found[-1], 3),
        }

    def stop(self) -> None:
        self.stopping = True

    async def connection(self) -> None:
        """One connection; a broken one counts as a failure and is opened again."""
        while not self.stopping:
            try:
                reader, writer = await asyncio.open_connection(self.host, self.port)
            except OSError as error:
                self.failures[type(error).__name__] += 1
                await asyncio.sleep(0.05)
                continue
            try:
                while not self.stopping:
                    await self.exchange(reader, writer)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.failures[type(error).__name__] += 1
            finally:
                writer.close()

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began = time.perf_counter()
        writer.write(self.request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        answer = await reader.readexactly(length)
        self.milliseconds.append((time.perf_counter() - began) * 1000)
        if not head.startswith(b"HTTP/1.1 200"):
            self.failures[head[9:12].decode()] += 1
        elif self.expected and self.expected not in answer:
            self.failures["wrong answer"] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("body", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--expect", default="", help="text that every answer must hold")
    parser.add_argument("--content-type", default="application/json")
    given = parser.parse_args()
    load = Load(given.url, given.body.read_bytes(), given.expect.encode(), given.content_type)
    print(json.dumps(asyncio.run(load.run(given.connections, given.seconds))))


if __name__ == "__main__":
    main()
