"""The wire between the gateway and a replica.

A replica listens on a Unix socket (`spec.SOCKET_NAME` in its unit's folder) and serves one gateway connection at a
time. A frame is a little-endian u32 length followed by that many bytes of MessagePack. Many requests share a frame:
at 64 in flight the cost per request of crossing the process border is then about two microseconds.

    replica -> gateway   first frame after accept: `Hello`
    gateway -> replica   list[Request]
    replica -> gateway   list[Reply], in any order, each carrying the id of its request

A streamed answer is any number of replies with `flag=CHUNK` and a last one with `flag=END`; the status and headers of
the first one count. A gateway that loses interest (client gone, deadline passed) sends `verb=CANCEL` with the id; the
replica may still answer and the gateway drops that answer. When the connection ends, the replica abandons what it has
not answered and accepts again: the gateway decides what is retried.

A replica in mode `concurrent` that awaits something looks like one that hangs: so with the CANCEL it is sent
`verb=PING` (id 0), which it answers with an empty reply to 0 as soon as its loop turns. One that does not know the verb
refuses it, which says as much. In the other modes only an answer is a sign of life.

A replica that was told to stop sends one reply with `flag=GOODBYE` (id 0): everything sent so far will be answered;
the gateway sends nothing more on this connection and closes it once it has all its answers. A gateway that does not
close is cut off half a second later, after the batch in hand.

About once a second, and only when it has sampled something, a replica sends one reply with `flag=STATS` (id 0, status
0): its body is an `Observed` as JSON, the *increments* since the one before it. A gateway that does not know the flag
finds no request 0 and drops it; one that knows it adds the numbers up and never answers.
"""

from __future__ import annotations

import struct
from typing import Annotated, Any, Optional

import msgspec

PROTOCOL = 1

# Verbs: what is asked of the model.
# body: one item as JSON, or the raw item (meta = its content type, which may be left out) when the input is bytes; a
# meta that ends in `ndjson` asks that a stream come as lines (application/x-ndjson) instead of server-sent events
PREDICT = 0
INFER = 1  # Open Inference Protocol v2; meta = Inference-Header-Content-Length, or "" when the body is all JSON
CHAT = 2  # OpenAI chat completion; body: the client's JSON; meta: the completion's id
EMBED = 3  # OpenAI embeddings; body: the client's JSON
CANCEL = 250
PING = 251  # a word is wanted, whatever it is

# Flags: which part of an answer this is.
WHOLE = 0
CHUNK = 1
END = 2
GOODBYE = 3  # not an answer: the replica is stopping
STATS = 4  # not an answer: what was sampled of inputs and outputs

MAX_FRAME_BYTES = 1 << 30
LENGTH = struct.Struct("<I")


class Request(msgspec.Struct, array_like=True, frozen=True, gc=False):
    id: int
    verb: int
    body: bytes
    meta: str = ""


class Reply(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """`headers` are whole HTTP header lines, each ending in CRLF; empty means Content-Type: application/json."""

    id: int
    status: int
    body: bytes
    flag: int = WHOLE
    headers: bytes = b""


PONG = Reply(0, 0, b"")


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica says of itself. `mode`: `item` and `batch` are answered in order, one frame at a time;
    `concurrent` (async or streaming) takes up to `concurrency` requests at once. `similar`: it pads, so requests of
    similar size should share a frame."""

    protocol: int
    unit: str
    attempt: int
    pid: int
    mode: str
    concurrency: int
    max_batch: int
    similar: bool = False


class Tensor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One input or output in Open Inference Protocol terms; -1 in `shape` is a free dimension."""

    name: str
    datatype: str
    shape: list[int]


class Signature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model takes and gives. Written to `ready.json` by a replica, kept in the routing table, served as
    metadata, and enough for `mock` mode. `input` and `output` are JSON Schemas of one item (`$defs` inside)."""

    mode: str
    streams: bool = False
    input: dict[str, Any] = {}
    output: dict[str, Any] = {}
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    platform: str = "python"
    openai: Optional[str] = None  # Optional: this module runs on Python 3.9


# Upper bounds of the buckets that numbers are counted in, the same for every field so that they add up over replicas,
# releases and time; one bucket more is for what is larger. Log-spaced, but for the tenths in which probabilities live.
VALUE_BOUNDS = (
    -1e6, -1e4, -1e3, -100.0, -10.0, -1.0, -0.1, 0.0, 0.001, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9,
    1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0, 300.0, 1e3, 3e3, 1e4, 1e5, 1e6, 1e9,
)  # fmt: skip
MAX_FIELDS = 64  # of one side
MAX_VALUES = 20  # that a category names; the rest is `other`
MAX_PATH = 128  # characters
MAX_WORD = 32  # characters of a text that may count as a category
MAX_STATS_BYTES = 1 << 18

_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class FieldStats(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One field, by its dotted path: `age`, `address.city`, `scores[]` (the elements), `len(text)` (a length).
    `present` counts items; the rest counts values, of which an array has many."""

    present: _Count = 0
    sum: float = 0.0
    buckets: dict[int, _Count] = {}  # number of the bucket -> numbers in it
    values: dict[str, _Count] = {}
    other: _Count = 0


class SideStats(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of inputs or of outputs. A field was missing from `items - present` items."""

    items: _Count = 0
    fields: dict[str, FieldStats] = {}
    dropped: _Count = 0  # values of fields beyond the limit


class Observed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of a reply with `flag=STATS`. `further`: items beyond the first of requests that carried several."""

    input: SideStats = SideStats()
    output: SideStats = SideStats()
    further: _Count = 0


_REQUESTS = msgspec.msgpack.Decoder(list[Request])
_REPLIES = msgspec.msgpack.Decoder(list[Reply])
_HELLO = msgspec.msgpack.Decoder(Hello)
_encode_into = msgspec.msgpack.Encoder().encode_into


def pack(message: Any) -> bytearray:
    """A frame, ready to send."""
    buffer = bytearray(4)
    _encode_into(message, buffer, 4)
    LENGTH.pack_into(buffer, 0, len(buffer) - 4)
    return buffer


decode_requests = _REQUESTS.decode
decode_replies = _REPLIES.decode
decode_hello = _HELLO.decode
decode_observed = msgspec.json.Decoder(Observed).decode
encode_observed = msgspec.json.Encoder().encode
