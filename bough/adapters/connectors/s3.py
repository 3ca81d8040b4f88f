"""Objects of S3, and of what speaks its protocol, with boto3 (extra `s3`), which is loaded with the first bucket."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from bough.adapters.connectors import Bucket, Found
from bough.kernel.errors import Invalid, TooLarge, Unavailable

TIMEOUT_S = 10.0
PIECE_BYTES = 1 << 20
CLIENTS = 64  # buckets whose connections are kept
_GONE = ("404", "NoSuchKey", "NotFound")


class S3:
    """Implements `Objects`."""

    def __init__(self) -> None:
        self._client = lru_cache(maxsize=CLIENTS)(_client)

    def listed(self, bucket: Bucket, prefix: str, after: str, limit: int) -> Sequence[Found]:
        with _told(bucket):
            pages = self._client(bucket).get_paginator("list_objects_v2")
            asked = pages.paginate(Bucket=bucket.name, Prefix=prefix, StartAfter=after, PaginationConfig={
                "PageSize": min(limit, 1000)
            })  # fmt: skip
            entries = islice((each for page in asked for each in page.get("Contents", ())), limit)
            return [
                Found(
                    key=each["Key"], etag=each["ETag"].strip('"'), size=each["Size"],
                    at=each["LastModified"].timestamp(),
                )
                for each in entries
            ]  # fmt: skip

    def read(self, bucket: Bucket, key: str, most: int) -> tuple[str, bytes] | None:
        with _told(bucket):
            answer = self._got(bucket, key)
            if answer is None:
                return None
            with contextlib.closing(answer["Body"]) as body:
                content: bytes = body.read(most + 1)
        if len(content) > most:
            raise TooLarge(
                f"the object {key} has more than {most} bytes", code="SOURCE_TOO_LARGE", hint="leave out content"
            )
        return answer["ETag"].strip('"'), content

    def fetch(self, bucket: Bucket, key: str, path: Path) -> Found | None:
        with _told(bucket):
            answer = self._got(bucket, key)
        if answer is None:
            return None
        size = 0
        with contextlib.closing(answer["Body"]) as body, path.open("wb") as file:
            while True:
                with _told(bucket):  # what the disk says is said elsewhere
                    piece = body.read(PIECE_BYTES)
                if not piece:
                    break
                size += file.write(piece)
        etag, at = answer["ETag"].strip('"'), answer["LastModified"].timestamp()
        return Found(key=key, etag=etag, size=size, at=at)

    def send(self, bucket: Bucket, key: str, path: Path, kind: str) -> None:
        with path.open("rb") as file, _told(bucket):
            self._client(bucket).upload_fileobj(file, bucket.name, key, ExtraArgs={"ContentType": kind})

    def write(self, bucket: Bucket, key: str, content: bytes, kind: str) -> None:
        with _told(bucket):
            self._client(bucket).put_object(Bucket=bucket.name, Key=key, Body=content, ContentType=kind)

    def remove(self, bucket: Bucket, key: str, etag: str) -> None:
        """Two calls: not every server knows a condition for a deletion. Somebody who writes the same key in between
        loses that, so whoever feeds a queue gives each object a key of its own."""
        with _told(bucket):
            client = self._client(bucket)
            try:
                there = client.head_object(Bucket=bucket.name, Key=key)["ETag"].strip('"')
            except Exception as error:  # boto3's errors are classes made as it runs; all but a missing object go on
                if _code(error) in _GONE:
                    return
                raise
            if there == etag:
                client.delete_object(Bucket=bucket.name, Key=key)

    def _got(self, bucket: Bucket, key: str) -> Any:
        """The answer with an object; None when it is gone."""
        try:
            return self._client(bucket).get_object(Bucket=bucket.name, Key=key)
        except Exception as error:  # as above
            if _code(error) in _GONE:
                return None
            raise


def _client(bucket: Bucket) -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise Invalid(
            "buckets need boto3, which is not installed", code="S3_MISSING", hint="pip install 'bough[s3]'"
        ) from error
    keys = {"aws_access_key_id": bucket.key, "aws_secret_access_key": bucket.secret} if bucket.key else {}
    config = Config(
        connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"max_attempts": 2, "mode": "standard"},
        # a server that is not AWS is asked by path, and for none of the checksums that came later
        s3={"addressing_style": "path"} if bucket.endpoint else {},
        request_checksum_calculation="when_required", response_checksum_validation="when_required",
    )  # fmt: skip
    session = boto3.session.Session()  # the module's own one is not safe between threads
    return session.client(
        "s3", endpoint_url=bucket.endpoint or None, region_name=bucket.region or session.region_name or "us-east-1",
        config=config, **keys,
    )  # fmt: skip


@contextlib.contextmanager
def _told(bucket: Bucket) -> Iterator[None]:
    """Errors in Bough's words; names of buckets may be said, keys and addresses not."""
    try:
        yield
    except (Invalid, TooLarge):
        raise
    except Exception as error:
        code = _code(error)
        if not code or code in ("500", "502", "503", "InternalError", "SlowDown", "ServiceUnavailable"):
            raise Unavailable(
                f"the bucket {bucket.name} cannot be used now: {code or type(error).__name__}",
                code="BUCKET_AWAY",
                hint="it is tried again",
            ) from error
        raise Invalid(
            f"the bucket {bucket.name} is refused: {code}", code="BUCKET_REFUSED", hint="see its url, key and secret"
        ) from error


def _code(error: Exception) -> str:
    """As the server calls what went wrong; empty where none answered."""
    answer = getattr(error, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""
