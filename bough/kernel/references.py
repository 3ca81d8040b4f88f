"""References in settings: `${secrets.db-password}` and `${services.api.url}`, whole or inside a text.

`$${` stands for `${`. Braces without a dot (`${HOME}`) are text of the program's own and stay as they are; anything
else with dots is a mistake, said where it stands.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

import msgspec

from bough.kernel.errors import Invalid

SECRET_NAME = r"[A-Za-z][A-Za-z0-9_-]{0,63}"  # noqa: S105 - a form, not a secret
_BRACES = re.compile(r"(?P<literal>\$\$\{)|\$\{(?P<inside>[^{}]*)\}")
_SECRET = re.compile(rf"secrets\.(?P<name>{SECRET_NAME})")
_SERVICE = re.compile(r"services\.(?P<name>[a-z0-9-]+)\.url")
_DOTTED = re.compile(r"\s*[A-Za-z_][\w-]*\s*\..*", re.DOTALL)


class SecretReference(msgspec.Struct, frozen=True):
    name: str


class ServiceReference(msgspec.Struct, frozen=True):
    """The address of a service of the same environment."""

    name: str


Part = str | SecretReference | ServiceReference


def parse(text: str) -> list[Part]:
    """Texts and references in turn, empty texts left out; raises `Invalid` (REFERENCE_INVALID)."""
    parts: list[Part] = []
    at, plain = 0, ""
    for found in _BRACES.finditer(text):
        plain += text[at : found.start()]
        at = found.end()
        if found["literal"]:
            plain += "${"
            continue
        reference = _reference(found["inside"])
        if isinstance(reference, str):
            plain += found[0]
            continue
        parts += [plain] if plain else []
        parts.append(reference)
        plain = ""
    plain += text[at:]
    return [*parts, plain] if plain else parts


def secrets_in(environment: Mapping[str, str]) -> dict[str, str]:
    """The secrets that variables refer to, each with the first variable that does."""
    found: dict[str, str] = {}
    for variable, part in _parts(environment):
        if isinstance(part, SecretReference):
            found.setdefault(part.name, variable)
    return found


def services_in(environment: Mapping[str, str]) -> dict[str, str]:
    """The services that variables refer to, each with the first variable that does."""
    found: dict[str, str] = {}
    for variable, part in _parts(environment):
        if isinstance(part, ServiceReference):
            found.setdefault(part.name, variable)
    return found


def without(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that refer to nothing, as texts."""
    parsed = {variable: parse(text) for variable, text in environment.items()}
    return {
        variable: "".join(map(str, parts))
        for variable, parts in parsed.items()
        if all(isinstance(part, str) for part in parts)
    }


def _parts(environment: Mapping[str, str]) -> Iterable[tuple[str, Part]]:
    return ((variable, part) for variable, text in environment.items() for part in parse(text))


def _reference(inside: str) -> Part:
    if found := _SECRET.fullmatch(inside):
        return SecretReference(found["name"])
    if found := _SERVICE.fullmatch(inside):
        return ServiceReference(found["name"])
    if not _DOTTED.fullmatch(inside):
        return inside
    word = inside.strip().partition(".")[0].strip()
    near = difflib.get_close_matches(word, ("secrets", "services"), 1)
    meant = {"secrets": "${secrets.NAME}", "services": "${services.NAME.url}"}
    hint = meant[near[0]] if near else "${secrets.NAME} or ${services.NAME.url}"
    raise Invalid(
        f"${{{inside}}} refers to nothing",
        code="REFERENCE_INVALID",
        hint=f"write {hint}; $${{ where the braces themselves are meant",
    )
