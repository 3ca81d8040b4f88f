"""How people name a model and its versions: `churn/7`, `churn@champion`, and in settings `models:/churn@champion`.

A model's name may be in any script and have slashes (`team/churn`); it has no `@`, so that what follows one is an
alias. The last part of `team/churn/7` is a version: whoever calls a model `7` writes `team/churn/7/1`.
"""

from __future__ import annotations

import re
import unicodedata

import msgspec

from bough.kernel.errors import Invalid

PREFIX = "models:/"
MAX_NAME_BYTES = 250
_ALIAS = re.compile(r"[^\W_][\w.-]{0,99}")
_NUMBER = re.compile(r"v?\d+", re.ASCII)
_VERSION = re.compile(r"(?P<name>.+)/(?P<number>[1-9]\d{0,17})", re.ASCII | re.DOTALL)


class ModelReference(msgspec.Struct, frozen=True, kw_only=True):
    """A version, by number or by alias."""

    name: str
    alias: str = ""
    number: int = 0

    def __str__(self) -> str:
        return f"{self.name}@{self.alias}" if self.alias else f"{self.name}/{self.number}"


def parse(text: str) -> ModelReference:
    """Raises `Invalid` (MODEL_REFERENCE_INVALID, MODEL_NAME_INVALID, MODEL_ALIAS_INVALID)."""
    plain = text.removeprefix(PREFIX)
    name, at_sign, alias = plain.rpartition("@")
    if at_sign:
        return ModelReference(name=check_name(name), alias=check_alias(alias))
    if found := _VERSION.fullmatch(plain):
        return ModelReference(name=check_name(found["name"]), number=int(found["number"]))
    raise Invalid(
        f"{text!r} names no version of a model",
        code="MODEL_REFERENCE_INVALID",
        hint=f"write {plain or 'NAME'}@champion or {plain or 'NAME'}/7",
    )


def is_reference(text: str) -> bool:
    """Whether a setting means a registered model."""
    return text.startswith(PREFIX)


def check_name(name: str) -> str:
    """`name` in Unicode's composed form; raises `Invalid` (MODEL_NAME_INVALID)."""
    composed = unicodedata.normalize("NFC", name)
    try:
        size = len(composed.encode())
    except UnicodeEncodeError:
        raise _no_name(name, "is not valid Unicode") from None
    if not composed or size > MAX_NAME_BYTES:
        raise _no_name(name, "is empty" if not composed else f"is longer than {MAX_NAME_BYTES} bytes")
    if "@" in composed:
        raise _no_name(name, "has an @, which begins an alias")
    if not composed.isprintable():
        raise _no_name(name, "has a character that cannot be shown")
    if composed.strip() != composed or any(part in ("", ".", "..") for part in composed.split("/")):
        raise _no_name(name, "has an empty part, a dot for a part, or a space at an end")
    return composed


def check_alias(alias: str) -> str:
    """Raises `Invalid` (MODEL_ALIAS_INVALID)."""
    if _ALIAS.fullmatch(alias) and not _NUMBER.fullmatch(alias) and alias != "latest":
        return alias
    raise Invalid(
        f"{alias!r} cannot be an alias: use letters, digits, dots, hyphens and underscores, and no bare number",
        code="MODEL_ALIAS_INVALID",
        hint="bough models alias NAME champion 7",
        alias=alias,
    )


def _no_name(name: str, why: str) -> Invalid:
    shown = ascii(name[:100])[1:-1]
    return Invalid(f"the model name '{shown}' {why}", code="MODEL_NAME_INVALID", hint="try team/churn", name=shown)
