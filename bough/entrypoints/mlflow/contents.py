"""Artifacts as files of a model's version."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def below(folder: str, artifacts: Iterable[Any]) -> list[dict[str, Any]]:
    """`artifacts`: all in `folder`, by whose paths within it they are known."""
    cut = len(folder) + 1 if folder else 0
    return [file(each.path[cut:], each.digest, each.size) for each in artifacts]


def file(path: str, digest: str, size: int) -> dict[str, Any]:
    return {"path": path, "digest": digest, "size": size}
