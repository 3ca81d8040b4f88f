"""From parsed header fields to a `Head`, refusing what two parsers could read differently (request smuggling)."""

from __future__ import annotations

import re
import zlib

import httptools

from bough.gateway.answers import BadRequest
from bough.gateway.call import Head, Header
from bough.kernel.errors import Invalid, Problem, TooLarge

LOCAL_PEERS = (b"127.0.0.1", b"::1", b"unix")  # a proxy on this machine may say for whom it asks, and what it saw
_RID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}\Z")
_TRACE = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?\Z")
_WATCHED = frozenset((
    b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"content-encoding",
    b"authorization", b"x-api-key", b"x-bough-project", b"x-bough-environment", b"inference-header-content-length",
    b"x-request-id", b"traceparent",
))  # fmt: skip


class UnknownEncoding(Problem):
    code, http_status, exit_code = "ENCODING_UNKNOWN", 415, 2


def read_head(method: bytes, target: bytes, headers: list[Header], version: str) -> Head:
    """Raises `BadRequest`. Names in `headers` are lower case."""
    head = Head(method, target)
    head.headers = headers
    head.http10 = version == "1.0"
    hosts = 0
    keep = not head.http10
    for name, value in headers:
        if name not in _WATCHED:
            continue
        if name == b"host":
            head.host, hosts = value, hosts + 1
        elif name == b"content-length":
            if head.length >= 0 or not value.isdigit():
                raise BadRequest("Content-Length must be one number")
            head.length = int(value)
        elif name == b"transfer-encoding":
            if head.chunked or value.lower() != b"chunked":
                raise BadRequest("the only Transfer-Encoding taken is chunked")
            head.chunked = True
        elif name == b"connection":
            tokens = [token.strip() for token in value.lower().split(b",")]
            head.connection = b",".join([head.connection, *tokens]) if head.connection else b",".join(tokens)
            keep = b"close" not in tokens and (keep or b"keep-alive" in tokens)
        else:
            _optional(head, name, value)
    if head.chunked and (head.length >= 0 or head.http10):
        raise BadRequest("Content-Length and Transfer-Encoding exclude each other")
    if hosts > 1 or (not hosts and not head.http10):
        raise BadRequest("exactly one Host header is needed")
    if not head.path.startswith(b"/"):
        _absolute(head)
    head.close = not keep
    return head


def decoded(body: bytes, encoding: bytes, limit: int) -> bytes:
    """The body without its Content-Encoding; never grows beyond `limit` bytes in memory."""
    name = encoding.strip().lower()
    if name in (b"", b"identity"):
        return body
    if name not in (b"gzip", b"x-gzip", b"deflate"):
        raise UnknownEncoding(
            f"Content-Encoding {name.decode('latin-1')} is not known", hint="send gzip, deflate or none",
        )  # fmt: skip
    raw = name == b"deflate" and not (
        len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    )
    decoder = zlib.decompressobj(-zlib.MAX_WBITS if raw else zlib.MAX_WBITS | 32)
    try:
        data = decoder.decompress(body, limit + 1)
    except zlib.error as error:
        raise Invalid(f"the body is not {name.decode()}: {error}", code="ENCODING_INVALID") from error
    if len(data) > limit:
        raise TooLarge(f"the body is larger than {limit} bytes when unpacked", hint="raise max_body_mb in bough.toml")
    if not decoder.eof:
        raise Invalid(f"the {name.decode()} body ends too soon", code="ENCODING_INVALID")
    return data


def _optional(head: Head, name: bytes, value: bytes) -> None:
    if name == b"upgrade":
        head.upgrade = value.lower()
    elif name == b"expect":
        head.expect = value.lower() == b"100-continue"
    elif name == b"content-encoding":
        head.encoding = value
    elif name == b"authorization":
        head.authorization = value
    elif name == b"x-api-key":
        head.key = value
    elif name == b"x-bough-project":
        head.project = value.decode("latin-1")
    elif name == b"x-bough-environment":
        head.environment = value.decode("latin-1")
    elif name == b"inference-header-content-length":
        head.infer_length = value.decode("latin-1")
    elif name == b"x-request-id":
        head.rid = value if _RID.match(value) else b""
    elif name == b"traceparent":
        found = _TRACE.match(value)
        head.trace = (found[1], found[2], bool(int(found[3], 16) & 1)) if found else None


def _absolute(head: Head) -> None:
    """`GET http://host/path`: the host of the target counts, not that of the header (RFC 9112, 3.2.2)."""
    if head.target == b"*":
        return
    try:
        url = httptools.parse_url(head.target)
    except httptools.HttpParserInvalidURLError:
        raise BadRequest("the request target is not a path") from None
    if not url.host:
        raise BadRequest("the request target is not a path")
    head.host = url.host + (b":%d" % url.port if url.port else b"")
    head.path, head.query = url.path or b"/", url.query or b""
    head.target = head.path + (b"?" + head.query if head.query else b"")
