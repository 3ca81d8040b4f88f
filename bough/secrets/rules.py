"""Pure decisions about secrets: names, values, and what an envelope is bound to."""

from __future__ import annotations

import re

from bough.kernel.errors import Invalid
from bough.kernel.references import SECRET_NAME

MAX_BYTES = 64 << 10  # the kernel takes 128 KB for one environment variable, text around the value included
_FIRST_FREE = 1  # of versions


def check_name(name: str) -> str:
    """A name that can be written `${secrets.NAME}`: as in db-password, or as variables are called, DATABASE_URL."""
    if re.fullmatch(SECRET_NAME, name):
        return name
    raise Invalid(  # not repeated: whoever mixes up name and value must not read the value in a log
        "a secret's name is a letter, then at most 63 letters, digits, - and _",
        code="SECRET_NAME_INVALID",
        hint="bough secrets set db-password",
    )


def check_value(name: str, value: str) -> str:
    """What an environment variable can hold. The message never repeats it."""
    if not value:
        raise Invalid(f"the value of {name} is empty", code="SECRET_EMPTY", hint=f"bough secrets rm {name}")
    if "\0" in value:
        raise Invalid(
            f"the value of {name} has a zero byte, which no environment variable can hold",
            code="SECRET_NOT_TEXT", hint="encode it, for example with base64",
        )  # fmt: skip
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise Invalid(f"the value of {name} is not valid Unicode", code="SECRET_NOT_TEXT", hint="send UTF-8") from None
    if size > MAX_BYTES:
        raise Invalid(
            f"the value of {name} has {size:,} bytes; at most {MAX_BYTES:,} fit",
            code="SECRET_TOO_LARGE", hint="keep large files in a bundle or as data, and a key to them as the secret",
        )  # fmt: skip
    return value


def bound_to(project: str, environment: str, name: str, version: int) -> bytes:
    """What the seal covers beside the value. None of the parts can contain a zero byte."""
    return "\0".join(("bough secret", project, environment, name, str(version))).encode()


def next_version(newest_change: int) -> int:
    """The number of the change that will hold it, and not a count: a branch that is reset would count anew, and its
    number of then would stand for another value now."""
    return newest_change + _FIRST_FREE
