"""One request on its way: from the bytes of a client to the bytes of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from bough.runtime.frames import Reply, Request

if TYPE_CHECKING:
    from bough.gateway.lanes.wire import Frame, Wire
    from bough.gateway.routing.plan import Plan

Header = tuple[bytes, bytes]


class Head:
    """A parsed request head. Header names are lower case; `length` is -1 when there is no Content-Length."""

    __slots__ = (
        "authorization", "chunked", "close", "connection", "encoding", "environment", "expect", "headers",
        "host", "http10", "infer_length", "key", "length", "method", "path", "project", "query", "rid",
        "target", "trace", "upgrade",
    )  # fmt: skip

    def __init__(self, method: bytes, target: bytes) -> None:
        self.method = method
        self.target = target
        self.path, _, self.query = target.partition(b"?")
        self.headers: list[Header] = []
        self.host = b""
        self.length = -1
        self.chunked = False
        self.close = False
        self.http10 = False
        self.expect = False
        self.connection = b""
        self.upgrade = b""
        self.encoding = b""
        self.authorization = b""
        self.key = b""
        self.project = ""
        self.environment = ""
        self.infer_length = ""
        self.rid = b""
        self.trace: tuple[bytes, bytes, bool] | None = None


class Client(Protocol):
    """Who waits for an answer. Every method does nothing when the call is no longer the one being answered."""

    def answer(self, call: Call, reply: Reply, now: float) -> None:
        """The whole answer."""

    def stream(self, call: Call, replies: list[Reply], now: float) -> None:
        """The next parts of a streamed answer, the last one perhaps with flag END."""

    def refuse(self, call: Call, problem: Exception, now: float) -> None:
        """An error instead of an answer; nothing has been sent yet."""

    def abort(self, call: Call) -> None:
        """The answer breaks off: bytes have been sent and the rest will not come."""


class Call:
    """`request` is what replicas get; `head` is None when the head was known by its bytes."""

    __slots__ = (
        "arrived", "attempts", "body", "client", "complete", "deadline", "dropped", "frame", "head", "id",
        "plan", "proxy", "request", "sent", "size", "started", "status", "wire",
    )  # fmt: skip

    def __init__(self, number: int, client: Client, plan: Plan, arrived: float, head: Head | None = None) -> None:
        self.id = number
        self.client = client
        self.plan = plan
        self.arrived = arrived
        self.head = head
        self.deadline = 0.0
        self.attempts = 0
        self.started = False  # a byte of the answer has gone to the client
        self.dropped = False  # nobody waits any more
        self.size = 0  # bytes of the body
        self.request: Request
        self.wire: Wire | None = None
        self.frame: Frame
        self.body: list[bytes]
        self.complete: bool
        self.sent: int
        self.status: int
        self.proxy: Any
