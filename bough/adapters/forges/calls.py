"""Calls of a forge's API: JSON in, JSON out, no redirect followed."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from bough.adapters.forges import TIMEOUT_S
from bough.kernel.calling import connection_to
from bough.kernel.errors import Forbidden, Invalid, NotFound, Unavailable

LARGEST_BYTES = 4 << 20  # of an answer
SHOWN = 200  # characters of a refusal


class Calls:
    def __init__(self, base: str, headers: Mapping[str, str]) -> None:
        """`base` is the API's root, without a slash at its end."""
        self._split = urlsplit(base)
        if self._split.scheme not in ("http", "https") or not self._split.hostname or self._split.username:
            raise Invalid(f"{base!r} is no URL of a forge", code="FORGE_URL_INVALID", hint="--forge-url https://HOST")
        self._headers = {"User-Agent": "bough", "Accept": "application/json", **headers}

    def send(self, method: str, path: str, headers: Mapping[str, str], body: Any = None) -> Any:
        data = None if body is None else msgspec.json.encode(body)
        sent = self._headers | dict(headers) | ({"Content-Type": "application/json"} if data else {})
        connection = connection_to(self._split, TIMEOUT_S)
        try:
            connection.request(method, self._split.path + path, data, sent)
            answer = connection.getresponse()
            said = answer.read(LARGEST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise self._away(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()
        if answer.status in (404, 410):
            raise NotFound(f"{self._split.netloc} has no {path}", code="FORGE_HAS_NOT", hint="bough forges list")
        if answer.status in (401, 403):
            raise Forbidden(
                f"{self._split.netloc} refuses the token; {said[:SHOWN].decode('utf-8', 'replace')}",
                code="FORGE_REFUSED", hint="bough secrets set NAME, where NAME is --token-secret of bough forges add",
            )  # fmt: skip
        if not 200 <= answer.status < 300:
            raise self._away(f"it answered {answer.status}: {said[:SHOWN].decode('utf-8', 'replace')}")
        try:
            return msgspec.json.decode(said) if said else None
        except msgspec.DecodeError as error:
            raise self._away(f"its answer is no JSON: {error}") from error

    def _away(self, why: str) -> Unavailable:
        return Unavailable(f"{self._split.netloc} does not answer as a forge does; {why}", code="FORGE_AWAY",
                           hint="Bough tries again by itself: bough previews list")  # fmt: skip


def basic(user: str, token: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()
