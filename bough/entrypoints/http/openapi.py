"""The OpenAPI 3.1 document, derived from the operations. Kept as a golden file: docs/openapi.json."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

import msgspec

import bough
from bough.entrypoints.http.answers import JSON, Failure
from bough.entrypoints.http.streams import NDJSON
from bough.entrypoints.http.uploads import Partial, Stored, StoredMany
from bough.kernel import errors
from bough.kernel.errors import Problem
from bough.kernel.operations import Operation

BLOBS_PATH = "/api/v1/blobs"
BLOB_PATH = "/api/v1/blobs/{digest}"
DOCUMENT_PATH = "/api/v1/openapi.json"
HEALTH_PATH = "/healthz"
LINEAGE_PATH = "/api/v1/lineage"
HOOK_PATH = "/api/v1/hooks/{id}"

_SCHEMAS = "#/components/schemas/"
_PUBLIC: list[Any] = []  # OpenAPI's way to say: no token needed


def document(operations: Mapping[str, Operation[Any, Any]]) -> dict[str, Any]:
    every = list(operations.values())
    requests = [each.request for each in every]
    responses = [item_of(each) for each in every]
    found, schemas = msgspec.json.schema_components(
        [*requests, *responses, Failure, Stored, StoredMany, Partial], ref_template=_SCHEMAS + "{name}"
    )
    paths = {
        each.path: {each.method.lower(): _operation(each, found[at], found[len(every) + at], schemas)}
        for at, each in enumerate(every)
    }
    paths[BLOB_PATH] = {"put": _upload(found[-3]), "get": _download()}
    paths[BLOBS_PATH] = {"put": _upload_many(found[-2])}
    paths[BLOB_PATH + "/partial"] = {"get": _partial(found[-1])}
    accepted = {"$ref": _SCHEMAS + "Accepted"}
    paths[LINEAGE_PATH] = {"post": _accept(accepted)} if "lineage.accept" in operations else {}
    paths[HOOK_PATH] = {"post": _hook({"$ref": _SCHEMAS + "ForgeDelivery"})} if "forges.add" in operations else {}
    paths[DOCUMENT_PATH] = {"get": _plain("openapi", "This document.", {"type": "object"})}
    paths[HEALTH_PATH] = {"get": _plain("healthz", "Says that the server answers.", {"type": "object"})}
    made = {
        "openapi": "3.1.0",
        "info": {
            "title": "Bough",
            "version": bough.__version__,
            "description": 'Every operation of Bough. Errors are `{"error": {code, message, hint, fields}}`.',
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas,
            "responses": {name: _failure(kind) for name, kind in _failures().items()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }
    _drop_unused(made, schemas)
    _say_items(made)
    return made


def _say_items(found: Any) -> None:
    """An array of anything says so: generators of clients leave out a schema that names no items."""
    if isinstance(found, dict):
        if found.get("type") == "array" and "prefixItems" not in found:
            found.setdefault("items", {})
        found = list(found.values())
    for each in found if isinstance(found, list) else ():
        _say_items(each)


def item_of(operation: Operation[Any, Any]) -> Any:
    """What comes back: of a stream, one item."""
    return typing.get_args(operation.response)[0] if operation.streams else operation.response


def _operation(
    operation: Operation[Any, Any], request: dict[str, Any], response: dict[str, Any], schemas: dict[str, Any]
) -> dict[str, Any]:
    summary, _, rest = operation.help.partition("\n\n")
    kind = NDJSON if operation.streams else JSON
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.name.partition(".")[0]],
        "summary": " ".join(summary.split()),
        "x-role": operation.role.name.lower(),
        "x-command": f"bough {operation.command.replace('_', '-')}",
        "responses": {
            "200": {
                "description": "One JSON value a line; an empty line means: still there."
                if operation.streams
                else "Done.",
                "headers": _headers(),
                "content": {kind: {"schema": response}},
            },
            **_refusals("401", "403", "404", "409", "413", "422", "424", "429", "500", "503", "507"),
        },
    }
    if rest:
        described["description"] = rest
    parameters = [_KEY] if operation.writes else []
    if operation.method == "GET":
        shape = schemas[request["$ref"].removeprefix(_SCHEMAS)]
        parameters += [_parameter(name, schema, shape) for name, schema in shape["properties"].items()]
    else:
        needed = bool(schemas[request["$ref"].removeprefix(_SCHEMAS)]["required"])
        described["requestBody"] = {"required": needed, "content": {JSON: {"schema": request}}}
    if parameters:
        described["parameters"] = parameters
    return described


def _parameter(name: str, schema: dict[str, Any], shape: dict[str, Any]) -> dict[str, Any]:
    parameter: dict[str, Any] = {
        "name": name,
        "in": "query",
        "required": name in shape["required"],
        "schema": dict(schema),
    }
    if "description" in schema:
        parameter["description"] = parameter["schema"].pop("description")
    return parameter


_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes the call happen once: the same key and request get the first answer again.",
    "schema": {"type": "string", "maxLength": 200, "pattern": "^[\\x21-\\x7e]*$"},
}


def _upload(stored: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": "blobs.put",
        "tags": ["blobs"],
        "summary": "Stores a file's bytes under their SHA-256; idempotent.",
        "x-role": "developer",
        "parameters": [_DIGEST, _header("Upload-Offset", "Go on with an upload that came in part; see …/partial.")],
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        "responses": {
            "200": {"description": "Stored.", "headers": _headers(), "content": {JSON: {"schema": stored}}},
            **_refusals("401", "403", "404", "409", "413", "422", "500", "507"),
        },
    }


def _upload_many(stored: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": "blobs.put_many",
        "tags": ["blobs"],
        "summary": "Stores small blobs, all or none: for each 32 bytes of digest, 8 of length (big-endian), its bytes.",
        "x-role": "developer",
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        "responses": {
            "200": {"description": "Stored.", "headers": _headers(), "content": {JSON: {"schema": stored}}},
            **_refusals("401", "403", "413", "422", "500", "507"),
        },
    }


def _accept(accepted: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": "lineage.send",
        "tags": ["lineage"],
        "summary": "Takes one OpenLineage event, as its clients send them; one that comes twice changes nothing.",
        "x-role": "developer",
        "requestBody": {"required": True, "content": {JSON: {"schema": {"type": "object"}}}},
        "responses": {
            "201": {"description": "Kept.", "headers": _headers(), "content": {JSON: {"schema": accepted}}},
            **_refusals("401", "403", "413", "422", "500", "507"),
        },
    }


def _hook(taken: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": "forges.hook",
        "tags": ["forges"],
        "summary": "Takes a webhook of GitHub, GitLab or Gitea; its signature takes the place of a token.",
        "security": _PUBLIC,
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
        "requestBody": {"required": True, "content": {JSON: {"schema": {"type": "object"}}}},
        "responses": {
            "202": {"description": "Kept.", "headers": _headers(), "content": {JSON: {"schema": taken}}},
            **_refusals("401", "404", "413", "422", "500", "507"),
        },
    }


def _download() -> dict[str, Any]:
    content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {
        "operationId": "blobs.get",
        "tags": ["blobs"],
        "summary": "Gives a blob's bytes; an answer that is shorter than its Content-Length is of a damaged one.",
        "x-role": "viewer",
        "parameters": [_DIGEST, _header("Range", "bytes=N-: from the byte N on.")],
        "responses": {
            "200": {"description": "All of it.", "headers": _headers(), "content": content},
            "206": {"description": "From the byte that was asked for on.", "headers": _headers(), "content": content},
            **_refusals("401", "403", "404", "422", "500"),
        },
    }


def _partial(partial: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": "blobs.partial",
        "tags": ["blobs"],
        "summary": "Says how much of an unfinished upload is there.",
        "x-role": "developer",
        "parameters": [_DIGEST],
        "responses": {
            "200": {"description": "Done.", "headers": _headers(), "content": {JSON: {"schema": partial}}},
            **_refusals("401", "403", "422", "500"),
        },
    }


def _header(name: str, about: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": about, "schema": {"type": "string"}}


_DIGEST = {
    "name": "digest",
    "in": "path",
    "required": True,
    "description": "64 lower-case hexadecimal digits",
    "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
}


def _plain(name: str, summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": name,
        "tags": ["server"],
        "summary": summary,
        "security": _PUBLIC,
        "responses": {"200": {"description": "Done.", "headers": _headers(), "content": {JSON: {"schema": schema}}}},
    }


def _headers() -> dict[str, Any]:
    return {"X-Request-Id": {"description": "The caller's own, or a fresh one.", "schema": {"type": "string"}}}


def _refusals(*statuses: str) -> dict[str, Any]:
    names = {str(kind.http_status): name for name, kind in _failures().items()}
    return {status: {"$ref": f"#/components/responses/{names[status]}"} for status in statuses}


def _failures() -> dict[str, type[Problem]]:
    """The classes of kernel/errors.py, each standing for one status."""
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Problem)]
    by_status: dict[int, type[Problem]] = {}
    for kind in kinds:
        by_status.setdefault(kind.http_status, kind)
    return {kind.__name__: kind for kind in by_status.values()}


def _drop_unused(made: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Requests that travel in the query have become parameters; nothing refers to them any more."""
    text = msgspec.json.encode(made).decode()
    made["components"]["schemas"] = {
        name: schema for name, schema in sorted(schemas.items()) if f'"{_SCHEMAS}{name}"' in text
    }


def _failure(kind: type[Problem]) -> dict[str, Any]:
    return {
        "description": f"{kind.code}: {(kind.__doc__ or kind.__name__).splitlines()[0]}",
        "headers": _headers(),
        "content": {JSON: {"schema": {"$ref": _SCHEMAS + "Failure"}}},
    }
