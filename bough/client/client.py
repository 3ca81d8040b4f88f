"""The client: what a program holds."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from bough.client.api import Api
from bough.client.contract import operation
from bough.client.folders import installed_packages, send_folder
from bough.client.http import Http
from bough.client.record import record
from bough.client.transport import Transport
from bough.kernel.errors import Unauthenticated
from bough.kernel.names import new_id
from bough.kernel.platform import Home, default_home, load


class Client(Api):
    """Safe to use from one thread at a time."""

    def __init__(self, url: str = "", token: str = "", *, transport: Transport | None = None) -> None:
        """Over HTTP to `url` with `token`, or over `transport`. Nothing is sent before the first call."""
        self.url = url
        self._transport = transport or Http(url, token)

    def call(self, name: str, /, *, idempotency_key: str = "", **fields: Any) -> Any:
        """Runs the operation `name`. A write gets a key of its own, so asking again after a lost connection cannot do
        it twice; pass `idempotency_key` to make that hold over restarts of your program as well."""
        found = operation(name)
        if found["streams"]:
            return self._stream(name, fields)
        key = (idempotency_key or new_id("key")) if found["writes"] else ""
        return record(self._transport.call(name, fields, key))

    def upload(self, digest: str, content: BinaryIO, size: int) -> None:
        """Stores the bytes of `content`, whose SHA-256 is `digest`, for a release."""
        self._transport.upload(digest, content, size)

    def put(self, content: bytes, digest: str) -> None:
        """`upload` of bytes at hand."""
        self._transport.upload(digest, io.BytesIO(content), len(content))

    def upload_many(self, blobs: Sequence[tuple[str, bytes]]) -> None:
        """Stores small blobs, each given with its digest."""
        self._transport.upload_many(blobs)

    def download(self, digest: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes under `digest` from `offset` on; they are not checked."""
        return self._transport.download(digest, offset)

    def send_folder(self, path: Path | str) -> list[dict[str, Any]]:
        """Stores a file, or every file below a folder; their paths and digests, as `models.register` takes them. What
        is there is not sent again, and an upload that was cut goes on where it stopped."""
        return send_folder(self, Path(path))

    def register_model(self, name: str, path: Path | str, *, project: str, **fields: Any) -> Any:
        """Stores a file or folder and registers it as the next version of the model `name`; `fields` are those of
        `models.register`. The packages of this process are taken down as those that it was trained with."""
        facts = {"packages": installed_packages(), **fields.pop("facts", {})}
        files = self.send_folder(path)
        return self.call("models.register", project=project, name=name, files=files, facts=facts, **fields)

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stream(self, name: str, fields: dict[str, Any]) -> Iterator[Any]:
        for item in self._transport.stream(name, fields):
            yield record(item)


def connect(home: Path | None = None, *, token: str = "") -> Client:
    """A client of the Bough that `bough up` started on this machine; as its admin, unless `token` is another's."""
    place = Home(home or default_home())
    try:
        token = token or place.token.read_text("ascii").strip()
    except FileNotFoundError:
        raise Unauthenticated(
            f"there is no token in {place.path}; Bough has not been started there",
            code="NOT_STARTED",
            hint="bough up",
        ) from None
    return Client(load(place.path).api_url, token)
