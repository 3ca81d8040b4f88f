"""Pure decisions about models: keys in the catalog, digests, what a search finds."""

from __future__ import annotations

import fnmatch
import hashlib
import operator
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from bough.data.models import File
from bough.data.rules import check_files
from bough.kernel.errors import Invalid, Problem
from bough.registry.models import STAGES, Version

MAX_TAG_LENGTH = 100_000  # as MLflow has it: the text of a prompt is a tag
_VERSIONS, _ALIASES = "/versions/", "/aliases/"
_CONDITION = re.compile(
    r"(?P<field>[a-z]+)(?:\.(?P<key>[^\s=<>!~]+))?(?P<sign>!=|>=|<=|=|>|<|~)(?P<value>.*)", re.DOTALL
)
_WORD = re.compile(r"""(?:[^\s"']|"[^"]*"|'[^']*')+""")
SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "!=": operator.ne, ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip
_TEXTS: dict[str, Callable[[Version], str]] = {
    "name": lambda version: version.name,
    "run": lambda version: version.facts.run,
    "commit": lambda version: version.facts.commit,
    "digest": lambda version: version.digest,
    "stage": lambda version: version.stage,
    "by": lambda version: version.by,
    "parent": lambda version: version.facts.parent,
    "source": lambda version: version.source,
}


def key_of(name: str) -> str:
    """Of a model. A slash would make another model's key of it."""
    return name.replace("%", "%25").replace("/", "%2F")


def version_key(name: str, number: int) -> str:
    return f"{key_of(name)}{_VERSIONS}{number}"


def alias_key(name: str, alias: str) -> str:
    return f"{key_of(name)}{_ALIASES}{alias}"


def aliases_of(name: str) -> str:
    """What the keys of a model's aliases begin with."""
    return f"{key_of(name)}{_ALIASES}"


def alias_in(key: str) -> tuple[str, str] | None:
    """The model's name and the alias, when a key is that of an alias."""
    model, found, alias = key.partition(_ALIASES)
    return (name_of(model), alias) if found else None


def name_of(key: str) -> str:
    return key.partition("/")[0].replace("%2F", "/").replace("%25", "%")


def manifest_of(files: Iterable[File]) -> bytes:
    """The list of files, as it is kept and hashed: equal contents have equal lists, however they were listed."""
    return msgspec.json.encode(sorted(files, key=lambda file: file.path), order="deterministic")


def files_in(manifest: bytes) -> list[File]:
    """Raises `Problem` (BLOB_DAMAGED)."""
    try:
        return msgspec.json.decode(manifest, type=list[File])
    except msgspec.MsgspecError as error:
        raise Problem(f"a list of files cannot be read: {error}", code="BLOB_DAMAGED", hint="bough gc") from error


def digest_of(manifest: bytes) -> str:
    return hashlib.sha256(manifest).hexdigest()


def check(files: list[File], tags: dict[str, str], stage: str = STAGES[0]) -> None:
    """Raises `Invalid` (PATH_UNSAFE, FILE_INVALID, MODEL_TAG_INVALID, MODEL_STAGE_INVALID)."""
    check_files(files)
    check_tags(tags)
    check_stage(stage)


def check_tags(tags: dict[str, str]) -> None:
    for key, value in tags.items():
        if not key or len(key) > 250 or len(value) > MAX_TAG_LENGTH:
            raise Invalid(
                f"the tag {key[:40]!r} is empty or too long",
                code="MODEL_TAG_INVALID", hint=f"at most 250 letters, and {MAX_TAG_LENGTH:,} of the value",
            )  # fmt: skip


def check_stage(stage: str) -> str:
    """The stage as it is written; raises `Invalid` (MODEL_STAGE_INVALID)."""
    for each in STAGES:
        if each.lower() == stage.lower():
            return each
    raise Invalid(f"{stage!r} is no stage", code="MODEL_STAGE_INVALID", hint=f"stages: {', '.join(STAGES)}")


def matcher(query: str) -> Callable[[Version], bool]:
    """What `models search` looks for: words that all must occur, and conditions such as `metric.auc>=0.9`,
    `tag.team=risk`, `run=run_1`, `alias=champion`, `input=orders`, `signed=yes`, `name~*churn*`. Raises `Invalid`
    (MODEL_QUERY_INVALID)."""
    tests = [_test(_unquoted(word)) for word in _WORD.findall(query)]
    return lambda version: all(test(version) for test in tests)


class Fact(NamedTuple):
    """A condition on what never changes of a version, so that the database can be asked who meets it."""

    field: str  # metric, parameter, run
    key: str
    sign: str
    value: str | float


def facts_in(query: str) -> list[Fact]:
    """Conditions of a query that every version found must meet; `matcher` decides on all others."""
    found = []
    for word in map(_unquoted, _WORD.findall(query)):
        match = _CONDITION.fullmatch(word)
        if match is None or match["sign"] == "~":
            continue
        field, key, sign, value = match["field"], match["key"] or "", match["sign"], match["value"]
        if field == "metric" and key:
            found.append(Fact(field, key, sign, _number(word, value)))
        elif (field == "parameter" and key) or (field == "run" and not key):
            found.append(Fact(field, key, sign, value))
    return found


def _test(word: str) -> Callable[[Version], bool]:
    found = _CONDITION.fullmatch(word)
    if found is None:
        low = word.casefold()
        return lambda version: low in _text(version)
    field, key, sign, value = found["field"], found["key"] or "", found["sign"], found["value"]
    if field in ("tag", "parameter", "metric") and key:
        return _mapped(word, field, key, sign, value)
    if field in _TEXTS and not key:
        return lambda version: _compare(word, sign, _TEXTS[field](version), value)
    if field == "version" and not key:
        number = _number(word, value)
        return lambda version: _compare(word, sign, float(version.number), number)
    if field in ("alias", "input", "signer") and not key:
        return lambda version: _any(word, sign, _listed(version, field), value)
    if field == "signed" and not key and sign == "=":
        return lambda version: bool(version.signed) == (value in ("yes", "true"))
    raise _unknown(word)


def _mapped(word: str, field: str, key: str, sign: str, value: str) -> Callable[[Version], bool]:
    if field == "metric":
        number = _number(word, value)
        return lambda version: key in version.facts.metrics and _compare(word, sign, version.facts.metrics[key], number)
    if field == "tag":
        return lambda version: key in version.tags and _compare(word, sign, version.tags[key], value)
    return lambda version: (
        key in version.facts.parameters and _compare(word, sign, version.facts.parameters[key], value)
    )


def _listed(version: Version, field: str) -> list[str]:
    if field == "alias":
        return version.aliases
    return [each.name for each in version.facts.inputs] if field == "input" else [s.signer for s in version.signed]


def _any(word: str, sign: str, have: list[str], want: str) -> bool:
    if sign == "!=":
        return want not in have
    return any(_compare(word, sign, each, want) for each in have)


def _compare(word: str, sign: str, have: Any, want: Any) -> bool:
    if sign == "~":
        if not isinstance(have, str):
            raise _unknown(word)
        return fnmatch.fnmatchcase(have.casefold(), want.casefold())
    return bool(SIGNS[sign](have, want))


def _text(version: Version) -> str:
    parts = [version.name, version.description, version.card, version.facts.run, version.source, *version.aliases]
    parts += [f"{key} {value}" for key, value in version.tags.items()]
    return "\n".join(parts).casefold()


def _number(word: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise _unknown(word) from None


def _unquoted(word: str) -> str:
    return re.sub(r"""["']""", "", word)


def _unknown(word: str) -> Invalid:
    return Invalid(
        f"{word!r} is nothing to search for",
        code="MODEL_QUERY_INVALID",
        hint="words, or metric.auc>=0.9, tag.team=risk, alias=champion, run=ID, input=NAME, name~*churn*, signed=yes",
    )
