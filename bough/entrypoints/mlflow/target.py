"""An MLflow server that is written to, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import IO, Any
from urllib.parse import quote

from bough.entrypoints.mlflow.source import Source
from bough.kernel.errors import Invalid, NotFound


class Target(Source):
    """Raises as its base does."""

    def maybe(self, path: str, /, **query: Any) -> Any:
        """What is there; None when there is nothing."""
        try:
            return self.get(path, **query)
        except NotFound:
            return None

    def finish(self, path: str, /, **body: Any) -> Any:
        return self._json("PATCH", path, body)

    def trace(self, experiment: str, spans: Sequence[Mapping[str, Any]]) -> None:
        """Spans, as JSON of protocol buffers, to where programs send theirs."""
        # Protocol buffers are loaded with the first span.
        from google.protobuf.json_format import ParseDict
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        said = {"resource_spans": [{"scope_spans": [{"spans": list(spans)}]}]}
        body = ParseDict(said, ExportTraceServiceRequest()).SerializeToString()
        headers = {"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": experiment}
        self._open("POST", "/v1/traces", body, headers).close()

    def upload(self, uri: str, path: str, content: IO[bytes], size: int) -> None:
        """To a place that the server named, such as `mlflow-artifacts:/0/RUN/artifacts`."""
        place = quote(f"{place_of(uri)}/{path}")
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        self._open("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{place}", content, headers).close()


def place_of(uri: str) -> str:
    """Below the artifacts that a server keeps itself. Raises `Invalid`."""
    if not uri.startswith("mlflow-artifacts:"):
        raise Invalid(
            f"the server does not keep artifacts itself: it says {uri!r}", code="TARGET_WITHOUT_ARTIFACTS",
            hint="start it with mlflow server --artifacts-destination FOLDER",
        )  # fmt: skip
    return uri.partition(":/")[2].lstrip("/")


def pairs(given: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in given.items()]
