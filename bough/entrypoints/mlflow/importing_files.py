"""Brings the files of runs, logged models and traces of an MLflow server over: those that have not come yet."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import Any

from bough.client import Client
from bough.entrypoints.mlflow.source import Source

_THERE = "mlflow-artifacts:"  # how the place of files begins that the server itself keeps


def place_of(uri: str) -> str:
    """Among the files that the server keeps; empty: it only knows of them."""
    return uri.partition(":/")[2].lstrip("/") if uri.startswith(_THERE) else ""


class Files:
    """`counts` gets `artifacts`, all that are there, and `sent`, those that came now. `ask`: an operation of the
    project that gets them."""

    def __init__(self, source: Source, client: Client, ask: Callable[..., Any], counts: Counter[str]) -> None:
        self._source, self._client, self._ask, self._counts = source, client, ask, counts

    def bring(self, owner: str, place: str, *, but: str = "") -> int:
        """All below `place` but one; how many there are."""
        paths = [path for path in self._source.files(place) if path != but]
        there = {each.path for each in self._ask("artifacts.list", owner=owner, all=True)} if paths else set()
        for path in paths:
            if path not in there:
                self._send(owner, place, path)
        self._counts["artifacts"] += len(paths)
        return len(paths)

    def _send(self, owner: str, place: str, path: str) -> None:
        with self._source.download(place, path) as content:
            size = content.tell()
            content.seek(0)
            digest = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type] # a file in all but name
            content.seek(0)
            self._client.upload(digest, content, size)  # type: ignore[arg-type] # as above
        self._ask("artifacts.put", owner=owner, path=path, digest=digest)
        self._counts["sent"] += 1
