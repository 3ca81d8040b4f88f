"""An MLflow server that is read from, over HTTP."""

from __future__ import annotations

import json
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import IO, Any
from urllib.parse import quote, urlencode

from bough.kernel.errors import Invalid, NotFound, Unavailable

FROM = "imported.from"  # tag of what came from a server: its URL
TIMEOUT_S = 60.0
_IN_MEMORY_BYTES = 8 << 20


class Source:
    """An MLflow server. Raises `Unavailable` when it does not answer, `NotFound` when it has none of what is asked for,
    `Invalid` when it refuses."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, /, **query: Any) -> Any:
        return self._json("GET", f"{path}?{urlencode(query, doseq=True)}", None)

    def post(self, path: str, /, **body: Any) -> Any:
        return self._json("POST", path, body)

    def pages(self, path: str, field: str, /, **body: Any) -> Iterator[Any]:
        token = ""
        while True:
            found = self.post(path, **body, **({"page_token": token} if token else {}))
            yield from found.get(field, [])
            if not (token := found.get("next_page_token", "")):
                return

    def files(self, place: str) -> Iterator[str]:
        """Every file below a place such as `0/RUN/artifacts`, relative to it."""
        folders = [""]
        while folders:
            folder = folders.pop()
            where = f"{place}/{folder}".rstrip("/")
            for each in self.get("/api/2.0/mlflow-artifacts/artifacts", path=where).get("files", []):
                path = f"{folder}/{each['path']}".lstrip("/")
                if each.get("is_dir"):
                    folders.append(path)
                else:
                    yield path

    def download(self, place: str, path: str) -> IO[bytes]:
        """A temporary file with the whole of it; the caller closes it."""
        with self._open("GET", f"/api/2.0/mlflow-artifacts/artifacts/{quote(f'{place}/{path}')}") as answer:
            announced = answer.headers.get("Content-Length")
            kept: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - it is handed on
            while piece := answer.read(1 << 20):
                kept.write(piece)
        if announced is not None and kept.tell() != int(announced):
            kept.close()
            raise Unavailable(f"{self.url} broke off while it sent {path}", code="SOURCE_BROKEN", hint="run it again")
        return kept

    def _json(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        with self._open(method, path, content, {"Content-Type": "application/json"} if content else {}) as answer:
            try:
                return json.loads(answer.read() or b"{}")
            except ValueError as error:
                raise self._foreign(path) from error

    def _open(
        self, method: str, path: str, body: bytes | IO[bytes] | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        every = {**self._headers, **(headers or {})}
        request = urllib.request.Request(self.url + path, body, every, method=method)  # noqa: S310 - checked by `bring`
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310 - as above
        except urllib.error.HTTPError as error:
            with error:
                said = error.read()[:300].decode("utf-8", "replace")
            if error.code == 404 and "RESOURCE_DOES_NOT_EXIST" in said:
                raise NotFound(f"{self.url}: {said}", code="SOURCE_MISSING") from error
            raise Invalid(
                f"{self.url} refuses {path.partition('?')[0]} with {error.code}; {said}",
                code="SOURCE_REFUSED", hint="is it an MLflow server, and does it need MLFLOW_TRACKING_TOKEN?",
            ) from error  # fmt: skip
        except OSError as error:
            raise Unavailable(
                f"no MLflow server answers at {self.url}; {error}", code="SOURCE_UNREACHABLE", hint="check the URL"
            ) from error

    def _foreign(self, path: str) -> Invalid:
        return Invalid(f"{self.url}{path} answers no JSON", code="SOURCE_REFUSED", hint="is it an MLflow server?")
