"""The operations as data: `contract.json`, generated from the server's registry and kept in the package."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from bough.kernel.errors import NotFound


@functools.cache
def contract() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(__file__).with_name("contract.json").read_bytes())
    return found


def operation(name: str) -> dict[str, Any]:
    found: dict[str, Any] | None = contract()["operations"].get(name)
    if found is None:
        raise NotFound(f"there is no operation {name!r}", code="OPERATION_NOT_FOUND", hint="bough --help")
    return found
