"""How long it took from `bough init` to the first answered prediction: asked for once, after the first deploy."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bough.entrypoints.cli.sending import STATE_FOLDER

FILE_NAME = "init.json"
EXAMPLE = "example.json"  # an input that the first service takes; templates and examples have one
ANSWER_S = 20.0


def record_init(folder: Path) -> None:
    state = folder / STATE_FOLDER
    state.mkdir(exist_ok=True)
    (state / ".gitignore").write_text("*\n", "utf-8")
    (state / FILE_NAME).write_text(json.dumps({"at": time.time()}), "utf-8")


def seconds_from_init(folder: Path, services: Sequence[Any]) -> float | None:
    """Asks the first service once, if this project came from `bough init` and was not asked before; None otherwise,
    and when there is no answer."""
    place = folder / STATE_FOLDER / FILE_NAME
    try:
        known = json.loads(place.read_text("utf-8"))
        if "first_answer_s" in known or not services or not _answers(folder, services[0]):
            return None
        seconds = round(time.time() - float(known["at"]), 3)
        place.write_text(json.dumps(known | {"first_answer_s": seconds}), "utf-8")
    except (OSError, ValueError, KeyError, http.client.HTTPException):
        return None  # a figure that is nice to have never fails a deploy
    return seconds


def _answers(folder: Path, service: Any) -> bool:
    split = urlsplit(service.get("address") or service["url"])
    connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=ANSWER_S)
    example = folder / EXAMPLE
    try:
        if split.path.endswith("/predict"):
            if not example.exists():
                return False
            connection.request("POST", split.path, example.read_bytes(), {"Content-Type": "application/json"})
            return connection.getresponse().status == 200
        connection.request("GET", split.path)
        return connection.getresponse().status < 500  # what a web service has at its root is its own matter
    finally:
        connection.close()
