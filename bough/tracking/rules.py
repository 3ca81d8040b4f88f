"""What may be logged, and how tokens of pages look. Limits are those that MLflow's clients know."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import msgspec

from bough.kernel.errors import Invalid
from bough.kernel.names import check_name
from bough.tracking.models import Metric

KEY_LENGTH, PARAM_LENGTH, TAG_LENGTH, EXPERIMENT_TAG_LENGTH = 250, 6000, 8000, 20_000
NAME_LENGTH = 500
MOST_METRICS, MOST_PARAMS, MOST_TAGS, MOST_IN_ALL = 1000, 100, 100, 1000
MOST_INPUTS = 1000
LONGEST_INPUT_TEXT = 16 << 20
LATEST_MS = 1 << 53  # times beyond it are not exact as seconds

_KEY = re.compile(r"[/\w.\- :]*", re.UNICODE)
_ID = re.compile(r"[A-Za-z0-9][\w\-]{0,255}")
_WORDS = ("amber", "brisk", "calm", "clever", "early", "gentle", "golden", "keen", "lively", "mellow", "quick", "quiet")
_TREES = ("alder", "ash", "aspen", "beech", "birch", "cedar", "elm", "hazel", "larch", "linden", "maple", "rowan")


def check_project(name: str) -> str:
    return check_name(name, "project")


def check_id(value: str, what: str) -> str:
    """An id that a program chose for itself."""
    if _ID.fullmatch(value):
        return value
    raise invalid(f"{value[:300]!r} cannot be the id of a {what}", "letters, digits, _ and -, at most 256")


def check_experiment_name(name: str) -> str:
    if name.strip() and len(name) <= NAME_LENGTH and _is_text(name):
        return name
    raise invalid(f"{name[:100]!r} cannot be the name of an experiment", f"1 to {NAME_LENGTH} characters")


@lru_cache(10_000)  # a run says the same few over and over
def check_key(key: str, what: str) -> str:
    """A key may hold slashes, but must not look like a way out of a folder."""
    if not key or not _KEY.fullmatch(key):
        raise invalid(
            f"{key[:300]!r} cannot be the key of a {what}", "letters, digits, _, -, ., space, : and / may stand in it"
        )
    if len(key) > KEY_LENGTH:
        raise invalid(f"the key {key[:40]!r}… of a {what} is longer than {KEY_LENGTH} characters", "shorten it")
    if key.startswith("/") or key.endswith("/") or any(part in ("", ".", "..") for part in key.split("/")):
        raise invalid(f"{key!r} cannot be the key of a {what}", "a slash must stand between two names")
    return key


def check_tags(tags: Mapping[str, str], *, longest: int = TAG_LENGTH) -> None:
    for key, value in tags.items():
        check_key(key, "tag")
        check_text(value, f"the tag {key!r}", longest)


def check_params(params: Mapping[str, str]) -> None:
    for key, value in params.items():
        check_key(key, "parameter")
        check_text(value, f"the parameter {key!r}", PARAM_LENGTH)


def check_text(value: str, what: str, longest: int) -> str:
    if len(value) > longest:
        raise invalid(
            f"{what} has {len(value):,} characters, and at most {longest:,} are kept", "log it as an artifact"
        )
    if not _is_text(value):
        raise invalid(f"{what} is not valid Unicode", "lone surrogates cannot be stored")
    return value


def check_batch(metrics: Sequence[Metric], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
    for what, count, most in (
        ("metrics", len(metrics), MOST_METRICS),
        ("parameters", len(params), MOST_PARAMS),
        ("tags", len(tags), MOST_TAGS),
        ("values", len(metrics) + len(params) + len(tags), MOST_IN_ALL),
    ):
        if count > most:
            raise invalid(f"{count} {what} at once, and {most} are the most", "log them in parts")
    for each in metrics:
        check_key(each.key, "metric")
        check_int(each.timestamp_ms, "a timestamp")
        check_int(each.step, "a step")
    check_params(params)
    check_tags(tags)


def check_int(value: int, what: str) -> int:
    if -(1 << 63) <= value < 1 << 63:
        return value
    raise invalid(f"{value} is too large for {what}", "64 bits are kept")


def check_time_ms(value: int) -> int:
    if 0 <= value <= LATEST_MS:
        return value
    raise invalid(f"{value} is not a time in milliseconds since 1970", f"0 to {LATEST_MS}")


def milliseconds(seconds: float) -> int:
    if not 0 <= seconds <= LATEST_MS / 1000:
        raise invalid(f"{seconds} is not a time in seconds since 1970", "leave it out for now")
    return check_time_ms(round(seconds * 1000))


def random_name() -> str:
    """Two words and a number, for a run that nobody named."""
    return f"{secrets.choice(_WORDS)}-{secrets.choice(_TREES)}-{secrets.randbelow(10_000)}"


def page_token(offset: int) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode({"offset": offset})).decode()


def offset_of(token: str) -> int:
    if not token:
        return 0
    try:
        offset = msgspec.json.decode(base64.urlsafe_b64decode(token.encode("ascii")), type=dict[str, int])["offset"]
    except (ValueError, KeyError, binascii.Error, msgspec.MsgspecError):
        raise invalid(f"{token[:80]!r} is not a token of a page", "take it from the answer before") from None
    return check_int(max(offset, 0), "an offset")


def next_page(rows: Sequence[object], limit: int, offset: int) -> str:
    """The token of the next page, when one more row than asked for was found."""
    return page_token(offset + limit) if len(rows) > limit else ""


def invalid(what: str, hint: str) -> Invalid:
    return Invalid(what, code="VALUE_INVALID", hint=hint)


def marks(values: Iterable[object]) -> str:
    """Question marks for a list of parameters."""
    return ",".join("?" for _ in values)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
