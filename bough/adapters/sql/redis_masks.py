"""Masked databases of Redis: every key passes from one server to another as it is masked, and is searched for after.

A policy names `PATTERN.FIELD`. PATTERN is the name of keys, in which `*` stands for any text and `?` for one letter.
FIELD is a field of a hash, of the entries of a stream, or of a JSON object in a string; `*`: all that the key holds;
`@key`: what the pattern's `*` and `?` stand for in the key's own name.
"""

from __future__ import annotations

import hmac
import json
import mmap
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bough.adapters.sql.policies import missing
from bough.adapters.sql.redis_lines import Line, Word, facts
from bough.kernel.errors import Invalid

KEY, ALL = b"@key", b"*"
BATCH = 500  # keys that are read and written together
SHORTEST, SEARCHED = 6, 200  # bytes and number of values that are searched for, by rule
LOOKED_AT = 100  # entries of a stream, keys that are told of
FAMILIES = 10
_LEAKS = "a value of {} stands in clear elsewhere: mask the keys or fields that repeat it, or drop them"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """`PATTERN.FIELD` and how it is masked."""

    name: str
    pattern: re.Pattern[bytes]
    field: bytes
    how: str

    def names(self, key: bytes) -> bool:
        return self.pattern.fullmatch(key) is not None


def rules_of(policy: Mapping[str, str]) -> list[Rule]:
    """Those for one field before those for all. Raises `Invalid` (MASK_INVALID)."""
    found = []
    for name, how in policy.items():
        pattern, _, field = name.rpartition(".")
        rule = Rule(name=name, pattern=_compiled(pattern), field=field.encode(), how=how)
        if rule.field == KEY and (how in ("null", "noise") or not (how == "drop" or rule.pattern.groups)):
            raise Invalid(
                f"{name} cannot be masked by {how}; token and hash are for what a * of the name stands for",
                code="MASK_INVALID", hint="user:*.@key=token",
            )  # fmt: skip
        found.append(rule)
    return sorted(found, key=lambda rule: rule.field == ALL)


def unmatched(line: Line, rules: Sequence[Rule]) -> list[Rule]:
    """The rules that name nothing that is there."""
    left = list(rules)
    for keys in _all_keys(line):
        for key in keys:
            left = [rule for rule in left if not (rule.names(key) and _has(line, key, rule.field))]
        if not left:
            break
    return left


def complain(line: Line, of: Rule) -> Invalid:
    """What is said of a rule that names nothing."""
    families = set[str]()
    for keys in _all_keys(line):
        families |= {re.sub(r"[^:/.]+$", "*", key.decode(errors="replace")) for key in keys[:LOOKED_AT]}
        if len(families) >= FAMILIES:
            break
    return missing(f"no key or field {of.name}", ", ".join(sorted(families)[:FAMILIES]) or "no keys")


def copy_masked(source: Line, target: Line, rules: Sequence[Rule]) -> dict[str, set[bytes]]:
    """Copies all keys, masked; up to SEARCHED clear values of each rule that was met. Raises `Invalid` (MASK_INVALID)
    for what cannot be masked so."""
    masking = _Masking(rules)
    for keys in _all_keys(source, target):
        plain = [key for key in keys if not any(rule.names(key) for rule in rules)]
        _pass_on(source, target, plain)
        for key in keys:
            if key not in plain:
                masking.copy(source, target, key, [rule for rule in rules if rule.names(key)])
    return masking.met


def leak_in(folder: Path, clear: Mapping[str, set[bytes]]) -> str:
    """What is said of a clear value that lies in the bytes of the files; empty when none does."""
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                for name, values in clear.items():
                    if any(content.find(value) >= 0 for value in values):
                        return _LEAKS.format(name)
    return ""


Command = tuple[Word, ...]
Mask = Callable[[bytes | None, bytes], bytes | None]  # of a field and its value


class _Masking:
    """One copy: its key, and what it met."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._key = secrets.token_bytes(32)
        self.met: dict[str, set[bytes]] = {}

    def copy(self, source: Line, target: Line, key: bytes, rules: Sequence[Rule]) -> None:
        kind, lasts_ms = source.ask_all([("TYPE", key), ("PTTL", key)])
        named, into = [rule for rule in rules if rule.field == KEY], key
        for rule in named:
            if rule.how == "drop":
                self._meet(rule, key)
                return
            into = self._renamed(rule, into)
        commands = self._written(source, key, into, kind, [rule for rule in rules if rule.field != KEY])
        if commands and lasts_ms >= 0:
            commands.append(("PEXPIRE", into, max(1, lasts_ms)))
        _done(target.ask_all(commands))

    def _written(self, source: Line, key: bytes, into: bytes, kind: bytes, rules: Sequence[Rule]) -> list[Command]:
        """What writes a key under another name, as these rules have what it holds; nothing for one that has expired."""
        if not rules:
            content = source.ask("DUMP", key)
            return [] if content is None else [("RESTORE", into, 0, content, "REPLACE")]
        write = _KINDS.get(kind)
        if write is not None:
            return write(source, key, into, lambda field, value: self._masked(rules, field, value))
        if kind == b"none":
            return []
        raise Invalid(
            f"{key.decode(errors='replace')} is a {kind.decode()}, whose content cannot be masked",
            code="MASK_INVALID", hint="bough db policy: drop it with PATTERN.@key=drop",
        )  # fmt: skip

    def _renamed(self, rule: Rule, key: bytes) -> bytes:
        found = rule.pattern.fullmatch(key)
        if found is None:  # another rule has renamed it already
            return key
        made, at = b"", 0
        for number in range(1, rule.pattern.groups + 1):
            begin, end = found.span(number)
            made += key[at:begin] + (self._value(rule, key[begin:end]) if end > begin else b"")
            at = end
        return made + key[at:]

    def _masked(self, rules: Sequence[Rule], field: bytes | None, value: bytes) -> bytes | None:
        """A value as the first rule for its field has it; None where it is dropped."""
        for rule in rules:
            if rule.field in (ALL, field):
                self._meet(rule, value)
                return None if rule.how == "drop" else self._value(rule, value, met=True)
        return value

    def _value(self, rule: Rule, value: bytes, *, met: bool = False) -> bytes:
        if not met:
            self._meet(rule, value)
        if rule.how == "null":
            return b""
        digest = hmac.digest(self._key, value, "sha256")
        if rule.how == "noise":
            return _noisy(rule.name, value, int.from_bytes(digest[:4], "big") / 2**32 - 0.5)
        return b"tok_" + digest.hex()[:16].encode() if rule.how == "token" else digest.hex().encode()

    def _meet(self, rule: Rule, value: bytes) -> None:
        known = self.met.setdefault(rule.name, set())
        if len(known) < SEARCHED and len(value) >= SHORTEST and not value.isdigit():
            known.add(value)


def _string(source: Line, key: bytes, into: bytes, mask: Mask) -> list[Command]:
    value = source.ask("GET", key)
    held = _json(value)
    if value is None:
        return []
    if held is None:
        shown = mask(None, value)
        return [] if shown is None else [("SET", into, shown)]
    whole = mask(None, value)
    if whole != value:
        return [] if whole is None else [("SET", into, whole)]
    shown_fields = {name: mask(name.encode(), _text(each)) for name, each in held.items()}
    kept = {
        name: each if shown_fields[name] == _text(each) else _back(each, shown_fields[name])
        for name, each in held.items() if shown_fields[name] is not None
    }  # fmt: skip
    return [("SET", into, json.dumps(kept, ensure_ascii=False))]


def _hash(source: Line, key: bytes, into: bytes, mask: Mask) -> list[Command]:
    said = source.ask("HGETALL", key)
    shown = [(name, mask(name, value)) for name, value in zip(said[::2], said[1::2], strict=True)]
    words = [word for name, value in shown if value is not None for word in (name, value)]
    return [("DEL", into), ("HSET", into, *words)] if words else []


def _list(source: Line, key: bytes, into: bytes, mask: Mask) -> list[Command]:
    shown = [value for each in source.ask("LRANGE", key, 0, -1) if (value := mask(None, each)) is not None]
    return [("DEL", into), ("RPUSH", into, *shown)] if shown else []


def _set(source: Line, key: bytes, into: bytes, mask: Mask) -> list[Command]:
    shown = [value for each in source.ask("SMEMBERS", key) if (value := mask(None, each)) is not None]
    return [("DEL", into), ("SADD", into, *shown)] if shown else []


def _sorted_set(source: Line, key: bytes, into: bytes, mask: Mask) -> list[Command]:
    said = source.ask("ZRANGE", key, 0, -1, "WITHSCORES")
    shown = [(score, mask(None, each)) for each, score in zip(said[::2], said[1::2], strict=True)]
    words = [word for score, value in shown if value is not None for word in (score, value)]
    return [("DEL", into), ("ZADD", into, *words)] if words else []


def _stream(source: Line, key: bytes, into: bytes, mask: Mask) -> list[Command]:
    """Without its groups of consumers, which say who has read what."""
    made: list[Command] = [("DEL", into)]
    for id, said in source.ask("XRANGE", key, "-", "+"):
        shown = [(name, mask(name, value)) for name, value in zip(said[::2], said[1::2], strict=True)]
        words = [word for name, value in shown if value is not None for word in (name, value)]
        if words:
            made.append(("XADD", into, id, *words))
    return made if len(made) > 1 else []


_KINDS: dict[bytes, Callable[[Line, bytes, bytes, Mask], list[Command]]] = {
    b"string": _string, b"hash": _hash, b"list": _list, b"set": _set, b"zset": _sorted_set, b"stream": _stream,
}  # fmt: skip


def _all_keys(line: Line, *others: Line) -> Iterator[list[bytes]]:
    """In batches; `line`, and the others with it, are at the batch's own one of the server's numbered databases."""
    for number in sorted(int(name[2:]) for name in facts(line, "keyspace") if name.startswith("db")):
        for each in (line, *others):
            each.ask("SELECT", number)
        cursor = b"0"
        while True:
            cursor, keys = line.ask("SCAN", cursor, "COUNT", BATCH)
            yield keys
            if cursor == b"0":
                break


def _pass_on(source: Line, target: Line, keys: Sequence[bytes]) -> None:
    asked: list[Command] = [(verb, key) for key in keys for verb in ("PTTL", "DUMP")]
    said = source.ask_all(asked) if asked else []
    commands: list[Command] = [
        ("RESTORE", key, max(0, lasts_ms), content, "REPLACE")
        for key, lasts_ms, content in zip(keys, said[::2], said[1::2], strict=True) if content is not None
    ]  # fmt: skip
    _done(target.ask_all(commands))


def _has(line: Line, key: bytes, field: bytes) -> bool:
    if field in (KEY, ALL):
        return True
    kind = line.ask("TYPE", key)
    if kind == b"hash":
        return bool(line.ask("HEXISTS", key, field))
    if kind == b"string":
        return field.decode(errors="replace") in (_json(line.ask("GET", key)) or {})
    if kind == b"stream":
        return any(field in said[::2] for _, said in line.ask("XRANGE", key, "-", "+", "COUNT", LOOKED_AT))
    return False


def _done(answers: Sequence[Any]) -> None:
    for each in answers:
        if isinstance(each, Invalid):
            raise each


def _compiled(pattern: str) -> re.Pattern[bytes]:
    parts = [{"*": "(.*)", "?": "(.)"}.get(each) or re.escape(each) for each in re.split(r"([*?])", pattern)]
    return re.compile("".join(parts).encode(), re.DOTALL)


def _json(value: bytes | None) -> dict[str, Any] | None:
    if value is None or not value.lstrip().startswith(b"{"):
        return None
    try:
        found = json.loads(value)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _text(value: Any) -> bytes:
    """As it is masked: a text as it is, anything else as JSON has it."""
    return value.encode() if isinstance(value, str) else json.dumps(value, ensure_ascii=False).encode()


def _back(before: Any, masked: bytes | None) -> Any:
    if not masked:
        return None
    text = masked.decode()
    return text if isinstance(before, str) else (json.loads(text) if _is_number(masked) else text)


def _noisy(name: str, value: bytes, spread: float) -> bytes:
    """Within a tenth of itself; equal ones stay equal."""
    if not _is_number(value):
        raise Invalid(
            f"a value of {name} is no number; noise is for numbers", code="MASK_INVALID", hint="token, hash, null, drop"
        )
    factor = 1 + spread / 5
    is_whole = re.fullmatch(rb"[+-]?\d+", value) is not None
    return str(round(int(value) * factor)).encode() if is_whole else repr(float(value) * factor).encode()


def _is_number(value: bytes) -> bool:
    return re.fullmatch(rb"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", value) is not None
