"""Operations over HTTP, on one kept connection.

A connection that is lost, or a server that is away, is asked again for a while: reads are harmless, and writes carry
an idempotency key, so the server does them once however often they arrive. That is how a command survives the server's
restart.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO
from urllib.parse import urlencode, urlsplit

import msgspec

from bough.client.contract import operation
from bough.kernel.calling import connection_to
from bough.kernel.errors import Detail, Invalid, Problem, Unavailable, from_detail

TIMEOUT_S = 60.0  # between two pieces of an answer; streams send a sign of life every 10 s
PATIENCE_S = 10.0  # how long a server may be away
READ_BYTES = 64 << 10
DOWNLOAD_BYTES = 1 << 20
RESUMED_BYTES = 8 << 20  # from here on an upload asks first how far it came; below, the question costs as much
UPLOAD_OFFSET = "Upload-Offset"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0

_LOST = (OSError, http.client.HTTPException)


class _Failed(msgspec.Struct):
    error: Detail
    status: int = 500  # in the last line of a stream


_FAILED = msgspec.json.Decoder(_Failed)  # made here and not by the first threads that fail; see kernel/learning.py


class Http:
    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_s: float = TIMEOUT_S,
        patience_s: float = PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        split = urlsplit(url)
        if split.scheme not in ("http", "https") or not split.hostname:
            raise Invalid(f"{url!r} is not the URL of a Bough", code="URL_INVALID", hint="--url http://127.0.0.1:7401")
        self._url, self._split, self._base = url, split, split.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"} if token else {}
        self._timeout_s, self._patience_s, self._sleep = timeout_s, patience_s, sleep
        self._kept: http.client.HTTPConnection | None = None

    def call(self, name: str, fields: Mapping[str, Any], key: str) -> Any:
        target, body, headers = self._request(name, fields)
        if key:
            headers["Idempotency-Key"] = key

        def once() -> Any:
            return self._read(self._send(operation(name)["method"], target, body, headers))

        return self._patiently(once)

    def stream(self, name: str, fields: Mapping[str, Any]) -> Iterator[Any]:
        target, body, headers = self._request(name, fields)

        def begin() -> http.client.HTTPResponse:
            response = self._send(operation(name)["method"], target, body, headers)
            if response.status != 200:
                self._read(response)
            return response

        response = self._patiently(begin)
        connection, self._kept = self._kept, None  # it belongs to the stream until that ends
        try:
            yield from self._lines(response)
        except _LOST as error:
            raise self._broken(error) from error
        finally:
            if connection is not None:
                connection.close()

    def upload(self, digest: str, content: BinaryIO, size: int) -> None:
        def once() -> Any:
            headers = self._headers | {"Content-Type": "application/octet-stream"}
            start = 0
            if size >= RESUMED_BYTES:
                start = int(self._read(self._send("GET", self._blob(digest) + "/partial", None, headers))["size"])
                headers[UPLOAD_OFFSET] = str(start)
            content.seek(start)
            headers["Content-Length"] = str(size - start)
            return self._read(self._send("PUT", self._blob(digest), content, headers))

        self._patiently(once)

    def upload_many(self, blobs: Sequence[tuple[str, bytes]]) -> None:
        pack = b"".join(
            part
            for digest, content in blobs
            for part in (bytes.fromhex(digest), len(content).to_bytes(8, "big"), content)
        )
        headers = self._headers | {"Content-Type": "application/octet-stream"}
        self._patiently(lambda: self._read(self._send("PUT", f"{self._base}/api/v1/blobs", pack, headers)))

    def download(self, digest: str, offset: int) -> Iterator[bytes]:
        headers = self._headers | {"Accept": "application/octet-stream"}
        if offset:
            headers["Range"] = f"bytes={offset}-"

        def begin() -> http.client.HTTPResponse:
            response = self._send("GET", self._blob(digest), None, headers)
            if response.status not in (200, 206):
                self._read(response)
            return response

        response = self._patiently(begin)
        try:
            while piece := response.read(DOWNLOAD_BYTES):
                yield piece
        except _LOST as error:
            self.close()
            raise self._broken(error) from error
        except GeneratorExit:
            self.close()  # the rest of the answer is still on the line
            raise

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _blob(self, digest: str) -> str:
        return f"{self._base}/api/v1/blobs/{digest}"

    def _request(self, name: str, fields: Mapping[str, Any]) -> tuple[str, bytes | None, dict[str, str]]:
        found = operation(name)
        target = self._base + found["path"]
        if found["method"] == "GET":
            words = {key: json.dumps(value) if isinstance(value, bool) else value for key, value in fields.items()}
            return target + ("?" + urlencode(words) if words else ""), None, dict(self._headers)
        return target, msgspec.json.encode(dict(fields)), self._headers | {"Content-Type": "application/json"}

    def _patiently(self, once: Callable[[], Any]) -> Any:
        deadline, pause_s = time.monotonic() + self._patience_s, FIRST_PAUSE_S
        while True:
            kept = self._kept is not None
            try:
                return once()
            except _LOST as error:
                self.close()
                if kept and not isinstance(error, TimeoutError):
                    continue  # the server closed a connection that was idle: at once, on a new one
                if time.monotonic() + pause_s > deadline:
                    raise self._unreachable(error) from error
            except Unavailable as problem:
                if problem.own_code != "SERVER_STOPPING" or time.monotonic() + pause_s > deadline:
                    raise
            self._sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _send(self, method: str, target: str, body: Any, headers: dict[str, str]) -> http.client.HTTPResponse:
        if self._kept is None:
            self._kept = connection_to(self._split, self._timeout_s)
        self._kept.request(method, target, body, headers)
        return self._kept.getresponse()

    def _read(self, response: http.client.HTTPResponse) -> Any:
        data = response.read()
        if response.status < 400:
            try:
                return msgspec.json.decode(data)
            except msgspec.DecodeError as error:
                raise self._foreign(response.status) from error
        try:
            detail = _FAILED.decode(data).error
        except msgspec.MsgspecError as error:
            raise self._foreign(response.status) from error
        raise from_detail(response.status, detail)

    def _lines(self, response: http.client.HTTPResponse) -> Iterator[Any]:
        """Items. `read1` rather than `readline`: the latter takes a connection that was cut for a clean end."""
        rest = b""
        while data := response.read1(READ_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            for line in filter(None, lines):  # an empty one only says that the stream lives
                item = msgspec.json.decode(line)
                if isinstance(item, dict) and item.keys() == {"error", "status"}:
                    failed = msgspec.convert(item, _Failed)
                    raise from_detail(failed.status, failed.error)
                yield item

    def _unreachable(self, error: Exception) -> Unavailable:
        refused = isinstance(error, ConnectionRefusedError)
        why = "nothing listens there" if refused else str(error) or type(error).__name__
        return Unavailable(
            f"no Bough answers at {self._url}; {why}", code="SERVER_UNREACHABLE", hint="bough up", url=self._url
        )

    def _broken(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"the stream from {self._url} was cut; {str(error) or type(error).__name__}",
            code="STREAM_BROKEN",
            hint="bough status",
        )

    def _foreign(self, status: int) -> Problem:
        return Problem(
            f"what answers at {self._url} (status {status}) is not a Bough server, or of another version",
            code="SERVER_FOREIGN",
            hint="check --url and BOUGH_URL",
        )
