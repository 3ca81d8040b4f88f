"""Keeps the values of secrets out of what Bough itself says of a process that was given some: failures, tracebacks.

What a program prints is its own. Values of fewer than four characters are not looked for: they are in every text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import quote

from bough.runtime.spec import SECRETS_VARIABLE

_LEAST = 4
_LEAST_LINE = 12  # of a value of several lines, such as a private key: a traceback may show one of them

_known: dict[str, str] = {}  # a form of a value -> what is said instead


def learn(environment: Mapping[str, str]) -> None:
    """Takes note of the values before the user's code runs, which may well remove them from the environment."""
    raw = environment.get(SECRETS_VARIABLE)
    if not raw:
        return
    texts: dict[str, list[str]] = json.loads(raw)
    for variable, around in texts.items():
        whole = environment.get(variable, "")
        found = re.fullmatch("(.*)".join(map(re.escape, around)), whole, re.DOTALL)
        for value in {whole, *(found.groups() if found else ())}:
            for form in _forms(value):
                _known[form] = f"[secret in {variable}]"


def redact(text: str) -> str:
    """`text` without any of the values."""
    for form in sorted(_known, key=len, reverse=True):
        text = text.replace(form, _known[form])
    return text


def _forms(value: str) -> set[str]:
    """How a value may stand in a text: as it is, quoted by repr, JSON or a URL, or line by line."""
    forms = {
        value, repr(value)[1:-1], json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1],
        quote(value, safe=""), quote(value), value.strip(),
    }  # fmt: skip
    lines = value.splitlines()
    if len(lines) > 1:
        forms |= {line.strip() for line in lines if len(line.strip()) >= _LEAST_LINE}
    return {form for form in forms if len(form) >= _LEAST}
