"""Artifacts as files under `/mlflow-artifacts/artifacts/EXPERIMENT/RUN/artifacts/PATH`: their bytes come and go in
streams, as blobs."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from bough.adapters.blobs import Blobs
from bough.entrypoints.http import uploads
from bough.entrypoints.http.answers import REQUEST_ID, request_id
from bough.entrypoints.http.threads import in_thread
from bough.entrypoints.mlflow import registry
from bough.entrypoints.mlflow.calls import Call
from bough.entrypoints.mlflow.runs import listing
from bough.kernel.context import Role
from bough.kernel.errors import Forbidden, Invalid, NotFound

_HINT = "EXPERIMENT/RUN/artifacts/PATH"


async def serve(request: Request, call: Call, blobs: Blobs, path: str) -> Response:
    if path.startswith(f"{registry.REGISTERED}/") or request.query_params.get("path", "").startswith(
        f"{registry.REGISTERED}/"
    ):
        return await _registered(request, call, blobs, path)
    if request.method == "GET" and not path:
        owner, inside = _parts(request.query_params.get("path", ""))
        found = await in_thread(partial(listing, call, owner, inside, bare=True))
        return _json(request, {"files": found})
    owner, inside = _parts(path)
    if request.method == "GET":
        return await _download(request, call, blobs, owner, inside)
    if request.method == "PUT":
        return await _upload(request, call, blobs, owner, inside)
    if request.method == "DELETE":
        await in_thread(partial(call.op, "artifacts.remove", owner=owner, path=inside))
        return _json(request, {})
    raise NotFound(f"artifacts do not take {request.method}", code="ENDPOINT_NOT_FOUND")


async def _registered(request: Request, call: Call, blobs: Blobs, path: str) -> Response:
    """Files of a version, which are only read."""
    parts = (path or request.query_params["path"]).strip("/").split("/")
    if request.method != "GET" or len(parts) < 4 or parts[3] != "artifacts":
        raise Invalid("files of a version are read, and never written", code="PATH_UNSAFE", hint="register a version")
    found = await in_thread(partial(registry.registered_files, call, parts[1], parts[2]))
    inside = "/".join(parts[4:])
    if not path:
        return _json(request, {"files": _listed(found, inside)})
    if inside not in found:
        raise NotFound(f"the version has no file {inside[:300]!r}", code="ARTIFACT_NOT_FOUND")
    return await uploads.send(request, blobs, found[inside].digest)


def _listed(files: dict[str, Any], folder: str) -> list[dict[str, Any]]:
    start = f"{folder}/" if folder else ""
    found: dict[str, dict[str, Any]] = {}
    for path, each in files.items():
        if path.startswith(start):
            name, slash, _ = path[len(start) :].partition("/")
            found[name] = {"path": name, "is_dir": True} if slash else {
                "path": name, "is_dir": False, "file_size": each.size
            }  # fmt: skip
    return list(found.values())


async def _download(request: Request, call: Call, blobs: Blobs, owner: str, path: str) -> Response:
    if not path:
        raise Invalid("a file is downloaded by its path", code="PATH_UNSAFE", hint=_HINT)
    found = await in_thread(partial(call.op, "artifacts.show", owner=owner, path=path))
    return await uploads.send(request, blobs, found.digest)


async def _upload(request: Request, call: Call, blobs: Blobs, owner: str, path: str) -> Response:
    """Whether it may come at all is asked before its bytes are read."""
    if not path:
        raise Invalid("a file is uploaded to its path", code="PATH_UNSAFE", hint=_HINT)
    if call.principal.role < Role.DEVELOPER:
        raise Forbidden(f"uploading needs the role developer, and {call.principal.name} has not", code="ROLE_MISSING")
    await in_thread(partial(call.op, "artifacts.check", owner=owner, path=path))
    stored = await uploads.receive(request, blobs)
    await in_thread(partial(call.op, "artifacts.put", owner=owner, path=path, digest=stored.digest))
    return _json(request, {})


def _parts(path: str) -> tuple[str, str]:
    """Owner and path of `…/OWNER/artifacts/PATH`. Everything before the owner is where its experiment has put it."""
    parts = path.strip("/").split("/")
    for at in range(1, len(parts)):
        if parts[at] == "artifacts":
            return parts[at - 1], "/".join(parts[at + 1 :])
    raise Invalid(
        f"{path[:300]!r} is not where artifacts of a run or a logged model are", code="PATH_UNSAFE", hint=_HINT
    )


def _json(request: Request, value: object) -> Response:
    headers = {REQUEST_ID: request_id(request)}
    return Response(msgspec.json.encode(value), 200, headers, media_type="application/json")
