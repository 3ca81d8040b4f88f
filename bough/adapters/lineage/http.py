"""OpenLineage over HTTP, set up by the variables that all clients of the specification read.

OPENLINEAGE_URL       where to, for example http://marquez:5000
OPENLINEAGE_ENDPOINT  path there (api/v1/lineage)
OPENLINEAGE_API_KEY   sent as a bearer token
OPENLINEAGE_DISABLED  true: nothing is sent
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

from bough.adapters.lineage import EventRefused, Receiver
from bough.kernel.calling import connection_to
from bough.kernel.errors import Invalid, Unavailable

TIMEOUT_S = 5.0  # between two signs of life; a turn of the loop must stay far below its lease
READ_BYTES = 500  # of an answer: what an error says first
ENDPOINT = "api/v1/lineage"
_LATER = (408, 425, 429)  # refusals that are about now, not about the event


class HttpReceiver:
    def __init__(self, url: str, endpoint: str = ENDPOINT, key: str = "") -> None:
        full = urljoin(url if url.endswith("/") else f"{url}/", endpoint)
        self._split = urlsplit(full)
        if self._split.scheme not in ("http", "https") or not self._split.hostname:
            raise Invalid(
                f"OPENLINEAGE_URL: {url!r} is no URL",
                code="URL_INVALID",
                hint="export OPENLINEAGE_URL=http://HOST:PORT",
            )
        self._headers = {"Content-Type": "application/json", "User-Agent": "bough"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def send(self, event: bytes) -> None:
        connection = connection_to(self._split, TIMEOUT_S)
        try:
            query = f"?{self._split.query}" if self._split.query else ""
            connection.request("POST", (self._split.path or "/") + query, event, self._headers)
            answer = connection.getresponse()
            said = answer.read(READ_BYTES).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise self._away(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()
        if 400 <= answer.status < 500 and answer.status not in (*_LATER, 401, 403):
            raise EventRefused(f"{self._split.netloc} refused an event with {answer.status}; {said}")
        if not 200 <= answer.status < 300:
            raise self._away(f"it answered {answer.status}")

    def _away(self, why: str) -> Unavailable:
        return Unavailable(
            f"{self._split.netloc} takes no lineage events now; {why}", code="RECEIVER_AWAY",
            hint="see OPENLINEAGE_URL and OPENLINEAGE_API_KEY of the server",
        )  # fmt: skip


def from_environment(environ: Mapping[str, str]) -> Receiver | None:
    """None unless there is somewhere to send to."""
    url = environ.get("OPENLINEAGE_URL", "")
    if not url or environ.get("OPENLINEAGE_DISABLED", "").strip().lower() in ("true", "1"):
        return None
    return HttpReceiver(url, environ.get("OPENLINEAGE_ENDPOINT") or ENDPOINT, environ.get("OPENLINEAGE_API_KEY", ""))
