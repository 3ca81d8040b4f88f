"""What a proxy changes of requests and answers: heads towards a web service, and heads towards its client."""

from __future__ import annotations

from bough.gateway.call import Head, Header
from bough.gateway.head import LOCAL_PEERS

_CORS = frozenset(
    (
        b"x-request-id",
        b"access-control-allow-origin",
        b"access-control-allow-credentials",
        b"access-control-expose-headers",
    )
)  # fmt: skip - the gateway's own, where it answers for who may read
_HOP = frozenset((
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
    b"transfer-encoding", b"upgrade",
))  # fmt: skip


def request_head(head: Head, prefix: bytes, rid: bytes, peer: bytes, *, secure: bool, websocket: bool) -> bytes:
    """`prefix`: of the target, which is the gateway's and not the service's; `rid`: the request's id; `peer`: who
    connected to the gateway, `secure` over TLS. What a proxy on this machine says of its client is passed on."""
    target = head.target
    if prefix:
        target = target[len(prefix) :]
        target = target if target.startswith(b"/") else b"/" + target
    trusted, scheme = peer in LOCAL_PEERS, b"https" if secure else b"http"
    lines = [b"%b %b HTTP/1.1\r\n" % (head.method, target)]
    forwarded = proto = host = b""
    for name, value in _end_to_end(head.headers):
        if name == b"x-forwarded-for":
            forwarded = forwarded + b", " + value if forwarded else value
        elif name == b"x-forwarded-proto":
            proto = value
        elif name == b"x-forwarded-host":
            host = value
        elif name not in (b"x-request-id", b"x-forwarded-prefix", b"host", b"expect"):
            lines.append(b"%b: %b\r\n" % (name, value))
    lines.append(b"host: %b\r\n" % head.host)
    lines.append(b"x-forwarded-for: %b\r\n" % (forwarded + b", " + peer if forwarded else peer))
    lines.append(b"x-forwarded-proto: %b\r\n" % (proto if proto and trusted else scheme))
    lines.append(b"x-forwarded-host: %b\r\n" % (host if host and trusted else head.host))
    if prefix:
        lines.append(b"x-forwarded-prefix: %b\r\n" % prefix)
    lines.append(b"x-request-id: %b\r\n" % rid)
    if head.chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    if websocket:
        lines.append(b"connection: Upgrade\r\nupgrade: websocket\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def response_head(
    status: int, phrase: bytes, headers: list[Header], own: bytes, rid: bytes, *, chunked: bool, connection: bytes
) -> bytes:
    """`own`: lines that the gateway adds, which replace the service's; `connection`: `close`, `keep-alive` or nothing,
    as HTTP/1.1 has it when nothing is said."""
    without = _CORS if b"Access-Control-" in own else (b"x-request-id",)
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, phrase)]
    lines += [b"%b: %b\r\n" % header for header in _end_to_end(headers) if header[0].lower() not in without]
    lines.append(own)
    lines.append(b"X-Request-Id: %b\r\n" % rid)
    if chunked:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    if connection:
        lines.append(b"Connection: %b\r\n" % connection)
    lines.append(b"\r\n")
    return b"".join(lines)


def switching_head(headers: list[Header]) -> bytes:
    """The service has taken the upgrade: its headers go through as they are."""
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"".join([b"HTTP/1.1 101 Switching Protocols\r\n", *lines, b"\r\n"])


def tells_its_end(status: int, headers: list[Header], *, head_only: bool) -> bool:
    """Whether the client can see from the head of an answer where it ends."""
    bodyless = head_only or status in (204, 304)
    return bodyless or b"content-length" in {name.lower() for name, _ in headers}


def _end_to_end(headers: list[Header]) -> list[Header]:
    """Without the headers that belong to one connection, including those that `Connection` names."""
    named = {
        token.strip().lower() for name, value in headers if name.lower() == b"connection" for token in value.split(b",")
    }
    return [(name, value) for name, value in headers if name.lower() not in _HOP and name.lower() not in named]
