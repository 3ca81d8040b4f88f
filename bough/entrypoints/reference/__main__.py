"""Writes or checks every derived file."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bough.client import contract as known
from bough.composition.verbs import OPERATION_MODULES
from bough.entrypoints.http import openapi
from bough.entrypoints.reference.contract import contract
from bough.entrypoints.reference.pages import pages
from bough.entrypoints.reference.stubs import stubs
from bough.kernel.operations import Operation, collect
from bough.kernel.project import json_schema

ROOT = Path(__file__).resolve().parents[3]


def derived(operations: Mapping[str, Operation[Any, Any]]) -> dict[str, str]:
    """Every file that is made from the operations, by its path in the repository."""
    made = contract(operations)
    return {
        "bough/client/contract.json": _json(made),
        "bough/client/api.pyi": stubs(made),
        "docs/openapi.json": _json(openapi.document(operations)),
        "docs/bough.schema.json": _json(json_schema()),
    }


def stale(root: Path, files: Mapping[str, str]) -> list[str]:
    """A line for every file that differs, with the first difference."""
    found = []
    for path, text in files.items():
        place = root / path
        old = place.read_text("utf-8") if place.exists() else ""
        if old != text:
            changes = difflib.unified_diff(old.splitlines(), text.splitlines(), lineterm="", n=0)
            first = next((line for line in changes if line[:1] in "+-" and line[:3] not in ("+++", "---")), "")
            found.append(f"{path} is out of date: {first[:160]}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bough.entrypoints.reference", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="make every derived file anew")
    what.add_argument("--check", action="store_true", help="say which are out of date")
    given = parser.parse_args()
    files = derived(collect(OPERATION_MODULES))
    if given.write:
        _write(files)
        known.contract.cache_clear()  # what was imported has read the one before
    files |= pages()  # after the contract, from which commands are made
    if given.write:
        _write(files)
    elif lines := stale(ROOT, files):
        sys.exit("\n".join([*lines, "run: python -m bough.entrypoints.reference --write"]))


def _write(files: Mapping[str, str]) -> None:
    for path, text in files.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, "utf-8")


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
