"""The filter language: `metrics.accuracy > 0.9 AND tags."team" = 'blue' AND status IN ('failed', 'killed')`.

Conditions joined by AND. Left of the operator stands a name, or a kind and a name (`metrics.`, `params.`, `tags.`, …);
a name with other characters than letters, digits, `_ . - / :` is quoted with backticks or double quotes. Right of it a
number, a quoted text, or a list in parentheses. Which kinds and operators there are is said by who searches.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from bough.kernel.errors import Invalid

LONGEST = 20_000  # characters of a filter
MOST_CONDITIONS = 60  # SQLite joins no more than 64 tables

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
      | (?P<text>'(?:[^']|'')*')
      | (?P<operator><=|>=|!=|<>|==|=|<|>)
      | (?P<mark>[(),])
      | (?P<name>(?:[\w@][\w\-/:@]*|`[^`]*`|"[^"]*")(?:\.(?:[\w@][\w\-/:@]*|`[^`]*`|"[^"]*"))*)
    )""",
    re.VERBOSE,
)
_PART = re.compile(r"""`[^`]*`|"[^"]*"|[^.`"]+""")
_WORDS = {"and", "in", "not", "like", "ilike", "rlike", "is", "null"}

Value = str | float | tuple[str | float, ...] | None


class Condition(NamedTuple):
    """`kind` is empty for a plain name. `operator` is one of = != < <= > >= LIKE ILIKE IN, NOT IN, NULL, NOT NULL."""

    kind: str
    key: str
    operator: str
    value: Value


class Order(NamedTuple):
    kind: str
    key: str
    ascending: bool


class _Token(NamedTuple):
    sort: str  # number, text, operator, mark, name, word, end
    text: str


def parse(text: str) -> list[Condition]:
    """Raises `Invalid` (FILTER_INVALID) and says where."""
    if len(text) > LONGEST:
        raise _invalid("it is longer than the longest that is read", text)
    return _Parser(text).conditions() if text.strip() else []


def parse_order(text: str) -> Order:
    """`metrics.loss`, `start_time DESC`."""
    words = text.strip()
    ascending = True
    if found := re.search(r"\s+(asc|desc)\s*\Z", words, re.IGNORECASE):
        ascending, words = found[1].lower() == "asc", words[: found.start()]
    token = _TOKEN.fullmatch(words.strip())
    quoted = bool(token) and token is not None and token.lastgroup == "name"
    if not quoted or token is None:
        raise _invalid("an order is a name, and asc or desc", text)
    kind, key = _split(token["name"])
    return Order(kind, key, ascending)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._at = 0

    def conditions(self) -> list[Condition]:
        found = [self._condition()]
        while self._peek().sort != "end":
            self._expect_word("and")
            found.append(self._condition())
            if len(found) > MOST_CONDITIONS:
                raise _invalid(f"it has more than {MOST_CONDITIONS} conditions", self._text)
        return found

    def _condition(self) -> Condition:
        token = self._next()
        if token.sort not in ("name", "word"):
            raise _invalid(f"a name is expected where {token.text or 'it ends'!r} stands", self._text)
        kind, key = _split(token.text)
        operator = self._operator()
        if operator in ("NULL", "NOT NULL"):
            return Condition(kind, key, operator, None)
        if operator in ("IN", "NOT IN"):
            return Condition(kind, key, operator, self._list())
        return Condition(kind, key, operator, self._value())

    def _operator(self) -> str:
        token = self._next()
        if token.sort == "operator":
            return {"<>": "!=", "==": "="}.get(token.text, token.text)
        word = token.text.lower() if token.sort == "word" else ""
        if word in ("like", "ilike", "rlike", "in"):
            return word.upper()
        if word == "not":
            self._expect_word("in")
            return "NOT IN"
        if word == "is":
            negated = self._peek().text.lower() == "not"
            if negated:
                self._next()
            self._expect_word("null")
            return "NOT NULL" if negated else "NULL"
        raise _invalid(f"an operator is expected where {token.text or 'it ends'!r} stands", self._text)

    def _list(self) -> tuple[str | float, ...]:
        values: list[str | float] = []
        if self._next().text != "(":
            raise _invalid("a list is written in parentheses", self._text)
        while True:
            values.append(self._value())
            mark = self._next()
            if mark.text == ")":
                return tuple(values)
            if mark.text != ",":
                raise _invalid("values of a list are parted by commas", self._text)

    def _value(self) -> str | float:
        token = self._next()
        if token.sort == "number":
            return float(token.text)
        if token.sort == "text":
            return token.text[1:-1].replace("''", "'")
        if token.sort == "name" and token.text.startswith('"') and token.text.endswith('"'):
            return token.text[1:-1]
        raise _invalid(f"a number or a quoted text is expected where {token.text or 'it ends'!r} stands", self._text)

    def _expect_word(self, word: str) -> None:
        token = self._next()
        if token.sort != "word" or token.text.lower() != word:
            raise _invalid(f"{word.upper()} is expected where {token.text or 'it ends'!r} stands", self._text)

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token


def _tokens(text: str) -> Iterator[_Token]:
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:
            raise _invalid(f"{text[at : at + 20]!r} is not understood", text)
        sort = str(found.lastgroup)
        word = found[sort]
        yield _Token("word" if sort == "name" and word.lower() in _WORDS else sort, word)
        at = found.end()
    yield _Token("end", "")


def _split(name: str) -> tuple[str, str]:
    """Kind and key; only the first dot parts them, so that keys may hold dots."""
    first = _PART.match(name)
    if first is None:
        raise _invalid("a name is missing", name)
    rest = name[first.end() :].removeprefix(".")
    if not rest:
        return "", _bare(first[0])
    if len(parts := _PART.findall(rest)) == 1:
        rest = _bare(parts[0])
    return _bare(first[0]), rest


def _bare(part: str) -> str:
    return part[1:-1] if len(part) > 1 and part[0] == part[-1] and part[0] in '`"' else part


def _invalid(why: str, text: str) -> Invalid:
    return Invalid(
        f"the filter {text[:200]!r} cannot be read: {why}",
        code="FILTER_INVALID",
        hint="metrics.accuracy > 0.9 AND params.depth = '3' AND tags.\"my tag\" LIKE 'a%'",
    )
