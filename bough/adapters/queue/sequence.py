"""Ids of items: numbers that only grow, whatever the clock does, so that order is the order of coming."""

from __future__ import annotations

import secrets

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_SHIFT = 20  # bits beside the milliseconds: chance, so that two processes do not meet
_LENGTH = 13


class Sequence:
    """Not safe for threads: its owner holds a lock anyway."""

    def __init__(self, last: int = 0) -> None:
        self.last = last

    def next(self, now: float) -> int:
        """Above all that it gave before and, unless the clock went back, close to `now`."""
        base = int(now * 1000) << _SHIFT
        if base > self.last:
            self.last = base | secrets.randbits(_SHIFT - 4)
        else:
            self.last += 1 + secrets.randbits(6)
        return self.last


def at_of(number: int) -> float:
    """When it was given, in seconds since the epoch."""
    return (number >> _SHIFT) / 1000.0


def last_of(at: float) -> int:
    """The largest that can have been given until then, unless the clock went back."""
    return (int(at * 1000) + 1 << _SHIFT) - 1


def text_of(number: int) -> str:
    return "itm_" + "".join([_ALPHABET[number >> shift & 31] for shift in range(5 * (_LENGTH - 1), -1, -5)])


def number_of(text: str) -> int:
    """-1: no id of an item."""
    digits = text.removeprefix("itm_")
    if len(digits) != _LENGTH or not text.startswith("itm_"):
        return -1
    number = 0
    for letter in digits:
        value = _VALUES.get(letter)
        if value is None:
            return -1
        number = number << 5 | value
    return number if number < 1 << 63 else -1
