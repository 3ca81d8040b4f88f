"""A server that speaks S3's protocol, and its buckets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bough.adapters.connectors import Bucket
from bough.adapters.connectors.s3 import S3

THERE = S3()  # as the tests themselves look: a client is slow to make, and it keeps them


@contextmanager
def s3_server() -> Iterator[str]:
    """Its address; where boto3 or moto are not installed, the test is passed over."""
    pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def made(endpoint: str, test: str) -> Bucket:
    """One for a test of this name."""
    name = re.sub(r"[^a-z0-9]+", "-", test)[-50:].strip("-")
    bucket = Bucket(name=name, endpoint=endpoint, region="us-east-1", key="somebody", secret="s3cret")
    THERE._client(bucket).create_bucket(Bucket=name)
    return bucket
