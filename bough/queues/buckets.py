"""Objects of a bucket as items of a queue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from bough.adapters.connectors import Bucket, Found, Objects
from bough.adapters.queue import Draft, Place
from bough.kernel.errors import TooLarge
from bough.kernel.queue import BucketSource
from bough.queues.webhooks import json_of

TO = "bucket"  # as deliveries name it


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """An item, the object that it is of, and whether it holds all of it."""

    draft: Draft
    found: Found
    whole: bool


def items(
    objects: Objects, bucket: Bucket, source: BucketSource, place: Place, listed: Sequence[Found], most: int
) -> Iterator[Made]:
    """One for each object: with `content` of the one that was read, which may be newer than the one that was listed.
    The same bytes under the same key are put once."""
    for found in listed:
        about: dict[str, Any] = {"bucket": bucket.name, "key": found.key, "at": found.at}
        if source.content:
            try:
                read = objects.read(bucket, found.key, most)
            except TooLarge as problem:
                about["error"] = problem.message  # the handler decides; it must not hold up those behind it
            else:
                if read is None:
                    continue  # gone since it was listed
                found = msgspec.structs.replace(found, etag=read[0], size=len(read[1]))
                about |= _content(read[1], source.content)
        about |= {"size": found.size, "etag": found.etag}
        draft = Draft(place=place, body=json_of(about), dedup=f"bucket/{found.key}@{found.etag}")
        yield Made(draft=draft, found=found, whole="content" in about)


def _content(content: bytes, kind: str) -> dict[str, Any]:
    try:
        return {"content": msgspec.json.decode(content) if kind == "json" else content.decode()}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return {"content": content.decode("utf-8", "replace"), "error": f"the object is no {kind}: {error}"}
