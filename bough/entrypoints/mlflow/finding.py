"""Searches of registered models and versions: they are few beside runs, so they are looked through as they are."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from bough.entrypoints.mlflow.prompts import IS_PROMPT, is_prompt
from bough.kernel.errors import Invalid
from bough.tracking import filters, rules
from bough.tracking.filters import Condition

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "IN": lambda one, many: one in many, "NOT IN": lambda one, many: one not in many,
    "LIKE": lambda text, pattern: _like(text, pattern, 0),
    "ILIKE": lambda text, pattern: _like(text, pattern, re.IGNORECASE),
}  # fmt: skip
Getter = Callable[[Any], Any]

_MODELS: dict[str, Getter] = {"name": lambda each: each.name}
_MODEL_ORDER: dict[str, Getter] = {
    "name": lambda each: each.name,
    "timestamp": lambda each: each.updated_at,
    "last_updated_timestamp": lambda each: each.updated_at,
}
_VERSIONS: dict[str, Getter] = {
    "name": lambda each: each.name,
    "version_number": lambda each: float(each.number),
    "run_id": lambda each: each.facts.run,
    "source_path": lambda each: each.source,
}
_VERSION_ORDER: dict[str, Getter] = {
    "name": lambda each: each.name,
    "version_number": lambda each: each.number,
    "creation_timestamp": lambda each: each.created_at,
    "last_updated_timestamp": lambda each: each.updated_at,
}


def models(every: Sequence[Any], filter: str, order: Sequence[str]) -> list[Any]:
    found = _filtered(every, filter, _MODELS)
    return _sorted(found, order, _MODEL_ORDER, lambda each: each.name)


def versions(every: Sequence[Any], request: Any) -> list[Any]:
    found = _filtered(every, request.filter, _VERSIONS)
    found.sort(key=lambda each: (-each.updated_at, each.name, -each.number))
    return _sorted(found, request.order_by, _VERSION_ORDER, None)


def names(filter: str) -> list[str] | None:
    """The only names that a filter leaves, when it says so."""
    for each in filters.parse(filter):
        if each.kind in ("", "attribute", "attributes") and each.key == "name":
            if each.operator == "=":
                return [str(each.value)]
            if each.operator == "IN" and isinstance(each.value, tuple):
                return [str(value) for value in each.value]
    return None


def only_name(request: Any) -> str | None:
    """The name, when all that is asked for are the versions of one model, in no order of their own."""
    if request.order_by or len(filters.parse(request.filter)) != 1:
        return None
    found = names(request.filter)
    return found[0] if found is not None and len(found) == 1 else None


def start_of(request: Any) -> int:
    """Where a page begins."""
    if not 0 < request.max_results <= 200_000:
        raise Invalid(f"max_results is {request.max_results}, and 1 to 200000 are possible", code="REQUEST_INVALID")
    return rules.offset_of(request.page_token)


def page(found: Sequence[Any], limit: int, token: str) -> tuple[Sequence[Any], str]:
    if not 0 < limit <= 200_000:
        raise Invalid(f"max_results is {limit}, and 1 to 200000 are possible", code="REQUEST_INVALID")
    start = rules.offset_of(token)
    rest = found[start : start + limit + 1]
    return rest[:limit], rules.next_page(rest, limit, start)


def _filtered(every: Sequence[Any], filter: str, attributes: dict[str, Getter]) -> list[Any]:
    """Prompts are found by those who ask for prompts."""
    conditions = filters.parse(filter)
    if not any(each.kind in ("tag", "tags") and each.key == IS_PROMPT for each in conditions):
        every = [each for each in every if not is_prompt(each.tags)]
    checks = [_check(each, attributes) for each in conditions]
    return [each for each in every if all(check(each) for check in checks)]


def _check(condition: Condition, attributes: dict[str, Getter]) -> Callable[[Any], bool]:
    kind, key, word, value = condition
    compare = _COMPARE.get(word)
    if kind in ("tag", "tags"):
        if compare is None or word in ("<", "<=", ">", ">=", "IN", "NOT IN") or not isinstance(value, str):
            raise _invalid(f"{word} compares no tags")
        absent = key == IS_PROMPT and compare("false", value)
        return lambda each: absent if key not in each.tags else compare(each.tags[key], value)
    get = attributes.get(key)
    if kind not in ("", "attribute", "attributes") or get is None or compare is None:
        raise _invalid(f"there is no attribute {key!r} (there are {', '.join(attributes)})")
    number = key == "version_number"
    values = value if isinstance(value, tuple) else (value,)
    if any(isinstance(each, float) is not number for each in values) or (word in ("<", "<=", ">", ">=") and not number):
        raise _invalid(f"{key!r} is {'a number' if number else 'a text'}")
    return lambda each: compare(get(each), value)


def _sorted(found: list[Any], order: Sequence[str], keys: dict[str, Getter], natural: Getter | None) -> list[Any]:
    """Sorting keeps what was sorted before, so the last wish is sorted by first."""
    if natural is not None:
        found.sort(key=natural)
    for text in reversed(order):
        wanted = filters.parse_order(text)
        get = keys.get(wanted.key)
        if wanted.kind not in ("", "attribute", "attributes") or get is None:
            raise _invalid(f"nothing is ordered by {wanted.key!r}")
        found.sort(key=get, reverse=not wanted.ascending)
    return found


def _like(text: str, pattern: str, flags: int) -> bool:
    parts = (".*" if char == "%" else "." if char == "_" else re.escape(char) for char in pattern)
    return re.fullmatch("".join(parts), text, flags | re.DOTALL) is not None


def _invalid(why: str) -> Invalid:
    return Invalid(f"models cannot be searched like this: {why}", code="FILTER_INVALID", hint="docs/tracking.md")
