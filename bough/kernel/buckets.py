"""Where objects are, as bough.toml says it: in a bucket of S3, or of what speaks its protocol."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import msgspec

from bough.kernel.errors import Problem
from bough.kernel.references import parse, secrets_in

_PLACE = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?")
_FILLED = ("endpoint", "key", "secret")  # may refer to secrets
_ADDRESS = re.compile(r"https?://\S+|\$\{secrets\.[^}]+\}\S*")


class Objects(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Those whose keys begin with the prefix of `url`."""

    url: str  # s3://BUCKET/PREFIX
    endpoint: str = ""  # https://HOST:PORT; empty: AWS
    region: str = ""
    key: str = ""  # access key, and its `secret`: ${secrets.NAME}; empty: what boto3 finds
    secret: str = ""

    @property
    def bucket(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def prefix(self) -> str:
        """What the keys begin with; a folder is written with its slash."""
        return self.url.removeprefix("s3://").partition("/")[2]


class NewObjects(Objects, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Those that no run of a job has read yet."""

    start: str = ""  # only keys that come after this one


def secrets_of(place: Objects | None) -> list[str]:
    """The names of the secrets that it refers to."""
    texts = {} if place is None else {key: getattr(place, key) for key in _FILLED}
    return list(secrets_in(texts))


def wrong(place: Objects) -> tuple[str, str, str] | None:
    """The key that cannot be meant, what is wrong with it, and what may be written; None: all is well."""
    if not _PLACE.fullmatch(place.url):
        return "url", f"{place.url!r} is no s3://BUCKET/PREFIX", 'url = "s3://landing/clicks/"'
    if place.endpoint and not _ADDRESS.fullmatch(place.endpoint):
        said = f"{place.endpoint!r} is no http or https address"
        return "endpoint", said, 'endpoint = "https://minio.example.com"'
    for name in _FILLED:
        try:
            parse(getattr(place, name))
        except Problem as problem:
            return name, problem.message, problem.hint
    return None
