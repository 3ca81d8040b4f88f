"""Artifacts as files under `/mlflow-artifacts/artifacts/EXPERIMENT/RUN/artifacts/PATH`: their bytes come and go in
streams, as blobs."""

from __future__ import annotations

from functools import partial

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from bough.adapters.blobs import Blobs
from bough.entrypoints.http import uploads
from bough.entrypoints.http.answers import REQUEST_ID, request_id
from bough.entrypoints.mlflow.calls import Call
from bough.entrypoints.mlflow.runs import listing
from bough.kernel.context import Role
from bough.kernel.errors import Forbidden, Invalid, NotFound

_HINT = "EXPERIMENT/RUN/artifacts/PATH"


async def serve(request: Request, call: Call, blobs: Blobs, path: str) -> Response:
    if request.method == "GET" and not path:
        owner, inside = _parts(request.query_params.get("path", ""))
        found = await run_in_threadpool(partial(listing, call, owner, inside, bare=True))
        return _json(request, {"files": found})
    owner, inside = _parts(path)
    if request.method == "GET":
        return await _download(request, call, blobs, owner, inside)
    if request.method == "PUT":
        return await _upload(request, call, blobs, owner, inside)
    if request.method == "DELETE":
        await run_in_threadpool(partial(call.op, "artifacts.remove", owner=owner, path=inside))
        return _json(request, {})
    raise NotFound(f"artifacts do not take {request.method}", code="ENDPOINT_NOT_FOUND")


async def _download(request: Request, call: Call, blobs: Blobs, owner: str, path: str) -> Response:
    if not path:
        raise Invalid("a file is downloaded by its path", code="PATH_UNSAFE", hint=_HINT)
    found = await run_in_threadpool(partial(call.op, "artifacts.show", owner=owner, path=path))
    return await uploads.send(request, blobs, found.digest)


async def _upload(request: Request, call: Call, blobs: Blobs, owner: str, path: str) -> Response:
    """Whether it may come at all is asked before its bytes are read."""
    if not path:
        raise Invalid("a file is uploaded to its path", code="PATH_UNSAFE", hint=_HINT)
    if call.principal.role < Role.DEVELOPER:
        raise Forbidden(f"uploading needs the role developer, and {call.principal.name} has not", code="ROLE_MISSING")
    await run_in_threadpool(partial(call.op, "artifacts.check", owner=owner, path=path))
    stored = await uploads.receive(request, blobs)
    await run_in_threadpool(partial(call.op, "artifacts.put", owner=owner, path=path, digest=stored.digest))
    return _json(request, {})


def _parts(path: str) -> tuple[str, str]:
    """Owner and path of `…/OWNER/artifacts/PATH`. Everything before the owner is where its experiment has put it."""
    parts = path.strip("/").split("/")
    for at in range(1, len(parts)):
        if parts[at] == "artifacts":
            return parts[at - 1], "/".join(parts[at + 1 :])
    raise Invalid(
        f"{path[:300]!r} is not where artifacts of a run, a logged model or a trace are", code="PATH_UNSAFE", hint=_HINT
    )


def _json(request: Request, value: object) -> Response:
    headers = {REQUEST_ID: request_id(request)}
    return Response(msgspec.json.encode(value), 200, headers, media_type="application/json")
