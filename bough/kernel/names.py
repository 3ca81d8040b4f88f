"""Names that people choose, and ids that Bough makes.

A name is a DNS label (RFC 1123): it must be able to stand in a host name. An id is a prefix that tells the kind, then
48 bits of milliseconds and 50 random bits in Crockford base 32: ids of one kind sort by age.
"""

from __future__ import annotations

import re
import secrets
import time

from bough.kernel.errors import Invalid

NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\Z")
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def check_name(value: str, what: str) -> str:
    """`value` if it may be the name of a `what`; raises `Invalid` (code NAME_INVALID) otherwise."""
    if NAME.match(value) and "--" not in value:
        return value
    raise Invalid(
        f"{value!r} cannot be the name of a {what}: use 1-40 lower-case letters, digits and single inner hyphens",
        code="NAME_INVALID",
        hint=f"try {suggest_name(value)!r}",
        name=value,
    )


def suggest_name(value: str) -> str:
    """The nearest valid name."""
    return re.sub(r"-+", "-", re.sub(r"[^a-z0-9]+", "-", value.lower())).strip("-")[:40].strip("-") or "app"


def new_id(prefix: str) -> str:
    """A fresh id such as `rel_01jd8x5m3k8v2n4q6r`, unique without coordination."""
    number = (time.time_ns() // 1_000_000) << 50 | secrets.randbits(50)
    return f"{prefix}_" + "".join(_ALPHABET[number >> shift & 31] for shift in range(95, -1, -5))
