"""Values as text: aligned tables, plain lines, one line of JSON. No decision is made here."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

SHOWN_DIGITS = 12  # of a digest: enough to tell two apart
_DIGEST = re.compile(r"[0-9a-f]{64}")
GREEN, RED, YELLOW, DIM, BOLD = 32, 31, 33, 2, 1
_GOOD = {"live", "ready", "ok", "yes", "passed", "done", "succeeded"}
_BAD = {"failed", "crashed", "aborted"}


def as_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def paint(text: str, colour: int, on: bool) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if on else text


def paint_state(state: str, on: bool) -> str:
    return paint(state, GREEN if state in _GOOD else RED if state in _BAD else YELLOW, on)


def draw(value: Any) -> str:
    """A record as aligned pairs with its lists as tables below; a list of records as a table."""
    if isinstance(value, Mapping):
        return _record(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        if value and all(isinstance(each, Mapping) for each in value):
            return table(value)
        return "\n".join(cell("", each) for each in value) if value else "none"
    return cell("", value)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Columns that are empty in every row are left out; so are those that hold what does not fit into a cell: a list of
    records, a record with an inside, a text of several lines."""
    if not rows:
        return "none"
    names = list(columns) or _columns(rows)
    lines = [[_heading(name) for name in names]]
    lines += [[cell(name, row.get(name, "")) for name in names] for row in rows]
    return columns_of(lines)


def columns_of(lines: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, the last one free to run on."""
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def cell(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if name == "at" or name.endswith("_at"):
            return moment(value)
        return f"{value:.3g}" if 0 < abs(value) < 0.1 else f"{value:.3f}".rstrip("0").rstrip(".")
    if name == "timestamp_ms" and isinstance(value, int):
        return moment(value / 1000)
    if (name == "bytes" or name.endswith("_bytes")) and isinstance(value, int):
        return size(value)
    if isinstance(value, Mapping):
        return " ".join(f"{key}={cell(key, item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ("; " if _is_table(value) else ",").join(cell("", item) for item in value)
    text = str(value)
    return text[:SHOWN_DIGITS] if _DIGEST.fullmatch(text) else text


def moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at else "-"


def size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return ""


def _record(value: Mapping[str, Any]) -> str:
    pairs = [(key, item) for key, item in value.items() if not _is_table(item) and item not in ({}, [])]
    longest = max((len(key) for key, _ in pairs), default=0)
    shown = [(key.replace("_", " "), _several(key, item)) for key, item in pairs]
    parts = ["\n".join(f"{key:<{longest}}  {hanging(text, longest + 2)}".rstrip() for key, text in shown)]
    for key, item in value.items():
        if _is_table(item):
            rows = [{name: each for name, each in row.items() if value.get(name) != each} for row in item]
            parts.append(f"{key}\n" + table(rows))  # without what the record itself has said
    return "\n\n".join(filter(None, parts))


def hanging(text: str, indent: int) -> str:
    """Lines after the first stand under it."""
    return text.replace("\n", "\n" + " " * indent)


def _several(name: str, value: Any) -> str:
    """A record with an inside has a line for each of its parts."""
    if not isinstance(value, Mapping) or _fits(value):
        return cell(name, value)
    return "\n".join(f"{key} {cell(key, item)}" for key, item in value.items())


def _heading(name: str) -> str:
    return name.replace("_", " ").removesuffix(" at").replace("timestamp ms", "timestamp").upper()


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, Mapping) for each in value)


def _fits(value: Any) -> bool:
    """Into a cell."""
    if isinstance(value, Mapping):
        return not any(isinstance(each, Mapping) or _is_table(each) for each in value.values())
    return not _is_table(value) and not (isinstance(value, str) and "\n" in value.strip())


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(key for row in rows for key in row)
    empty: tuple[Any, ...] = ("", None, {}, [])
    return [
        name for name in names
        if any(row.get(name) not in empty for row in rows) and all(_fits(row.get(name)) for row in rows)
    ]  # fmt: skip
