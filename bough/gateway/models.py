"""The routing table: written by the server, read by the gateway, a file (`run/routes.json`) between them."""

from __future__ import annotations

import msgspec

from bough.gateway.taps.kept import Keep
from bough.kernel.traffic import Quota, TokenIssuer
from bough.queues.models import QueueRoute, QueueState
from bough.runtime.frames import Signature

MODEL, WEB, MOCK = "model", "web", "mock"
ANY_KEY, ANY_TOKEN, EITHER = "key", "jwt", "key-or-jwt"  # of `access`, beside public
ROUTE, TENANT = "route", "tenant"  # what is limited, beside KEY: whoever calls
# What a split may go by; the last two with a name.
KEY, REQUEST, HEADER, COOKIE = "key", "request", "header:", "cookie:"


class Target(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One replica. Its address stays the same over attempts for models (`unix:PATH`); for web services it is
    `127.0.0.1:PORT` of the present attempt. Empty: the node's answer to `wake` tells. The gateway reconnects by itself
    and asks the node to `wake` the unit."""

    unit: str
    address: str = ""
    attempt: int = 0
    warm: bool = False  # of the warm pool: gets no work until those that answer do not keep up


class Variant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Another deployment of a route that answers `percent` of its requests, or gets `copies` that nobody waits for.
    With `leads_to` (API and public name) it is another route of the same project and environment, which has its own
    lane; it also answers requests that carry a header, or come from one of some keys."""

    deployment: str
    name: str  # told apart by it in metrics: the label `release` is RELEASE/NAME
    percent: float = 0.0
    copies: bool = False
    targets: list[Target] = []
    signature: Signature | None = None
    asleep: bool = False
    leads_to: tuple[str, str] | None = None
    headers: list[tuple[str, str]] = []  # names in lower case; without a value any will do
    keys: list[str] = []  # ids of keys, or subjects of tokens


class CorsRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """As `Cors` in bough.toml."""

    origins: list[str]
    headers: list[str] = []
    credentials: bool = False
    age_s: int = 600


class Mirrored(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`percent` of a route's requests are copied to the same service of another environment, and both answers are
    compared."""

    id: str
    environment: str
    percent: float
    tolerance: float = 0.0


class Route(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    project: str
    environment: str
    service: str  # public name: the last part of the path
    deployment: str  # id; metrics and drain state are kept by it
    release: int
    kind: str  # model, web, mock
    api: str = "v1"  # /<api>/<service>/predict
    targets: list[Target] = []
    access: str = "public"  # public, key, jwt, key-or-jwt
    allow: list[str] = []  # addresses and networks that may call; empty: any
    tls_required: bool = False
    scopes: list[str] = []  # that a key or token must have
    issuers: list[TokenIssuer] = []
    limits: dict[str, Quota] = {}  # by what is limited: ROUTE, KEY, TENANT
    priority: str = "normal"
    cors: CorsRule | None = None
    cache_bytes: int = 0  # 0: answers are not kept
    cache_age_s: float = 0.0  # 0: for as long as the deployment answers
    timeout_s: float = 30.0
    queue_size: int = 1024  # waiting requests beyond those in flight; more: 429
    max_body_bytes: int = 16 << 20
    max_batch: int = 0  # 0: what the replica's hello says
    max_wait_ms: float = 0.0  # hold a batch open this long for more; 0: greedy
    objective_s: float = 0.0  # within which answers are to come: batches are no larger and no longer open; 0: any
    idempotent: bool = True  # may be retried once on another replica when the first died before any byte
    bare: bool = True  # found by the service's name alone; False where an older project has that name
    port: int = 0  # also listen here for this service alone
    signature: Signature | None = None
    deprecated: bool = False
    deprecated_at: float = 0.0  # epoch seconds; 0: nobody said since when
    sunset_at: float = 0.0
    mock_latency_ms: float = 0.0
    variants: list[Variant] = []
    sticky: str = ""  # key, request, header:NAME: who says the same there is answered by the same deployment
    variant: str = ""  # of a variant's own lane: its name
    mirrors: list[Mirrored] = []
    keep: Keep | None = None  # what of its requests is written down
    wait_s: float = 1.0  # requests that waited longer count as late
    asleep: bool = False  # nothing runs or is to run unless a request waits: the node is asked first, then connected to


class Key(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An API key, by the SHA-256 (hex) of its whole text. Empty `services` means all of the project, as do empty
    `environments`. `quota` takes the place of what routes say of each key."""

    id: str
    hash: str
    project: str
    services: list[str] = []
    environments: list[str] = []
    expires_at: float = 0.0
    scopes: list[str] = []
    tenant: str = ""
    priority: str = ""  # empty: as the route says
    quota: Quota | None = None


class Table(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`generation` grows with every change; the gateway reports the one it has applied. `digest` is of the rest:
    whoever writes the table sees by it whether anything has changed, without reading a hundred routes."""

    generation: int
    digest: str = ""
    routes: list[Route] = []
    keys: list[Key] = []
    queues: list[QueueRoute] = []


class LaneState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of one deployment, also of one that has left the table and still has requests in flight. `idle_s` counts since
    the last request began or was answered (or since the lane was made); `asleep` as the table in use says. Since the
    lane was made: requests that `arrived`, were `begun` by a replica, of those `late` ones, `answered`, and for how
    long each kept one of a replica's `slots` busy, added up. `oldest_s`: of the one that waits longest; `taken`:
    replicas of the warm pool that answer, `activation_s`: what it took one to, in the mean. `buckets` counts answers by
    latency, as `metrics.LATENCY_S` divides them."""

    deployment: str
    queued: int
    in_flight: int
    links: int
    idle_s: float = 0.0
    asleep: bool = False
    arrived: int = 0
    begun: int = 0
    late: int = 0
    answered: int = 0
    busy_s: float = 0.0
    oldest_s: float = 0.0
    slots: int = 1
    taken: int = 0
    activation_s: float = 0.0
    buckets: list[int] = []


class ShareState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a deployment of a split has answered since this gateway began. `errors`: 5xx; `buckets` counts answers by
    latency, as `metrics.LATENCY_S` divides them; `left_out`: copies that were not made because it was behind."""

    deployment: str
    requests: int
    errors: int
    seconds: float
    buckets: list[int]
    copies: bool = False
    left_out: int = 0


class GatewayState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer of `GET /state` on the gateway's control socket (`run/gateway.sock`). `POST /reload` rereads the table
    and answers the same."""

    generation: int
    pid: int
    started_at: float
    lanes: list[LaneState] = []
    shares: list[ShareState] = []  # of routes that are split, their own deployments included
    queues: list[QueueState] = []
    silent_ports: dict[int, str] = {}  # of services, where it cannot listen, and why


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /listen` on the control socket: is answered (`Heard`) within a second of the first request to one of these
    deployments, and with nobody having asked after `timeout_s`. `arrived`: how many requests each had had."""

    arrived: dict[str, int]
    timeout_s: float


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    asked: bool


class RouteTraffic(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one release of a service has answered under one API. `deployment`: empty of one that answers no more;
    `buckets` counts answers by latency, as `metrics.LATENCY_S` divides them; `refused` requests were turned away and
    are in `statuses` only; `further`: items beyond the first of requests that carried several, and how many of them
    came in a second, a running mean."""

    project: str
    environment: str
    service: str
    api: str
    release: str
    deployment: str
    statuses: dict[int, int]
    buckets: list[int]
    last_at: float = 0.0
    refused: int = 0
    further: int = 0
    further_per_s: float = 0.0


class Starts(msgspec.Struct, frozen=True, kw_only=True):
    """Replicas that came up for requests that waited for them, and how long those waited, added up."""

    count: int
    seconds: float


class LaneTraffic(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of one deployment. `replica_s`: for how long replicas were there to answer, added up; `per_s`: requests that are
    begun in a second, a running mean; `starts` by kind: pool, zygote, cold."""

    deployment: str
    replicas: int
    replica_s: float = 0.0
    per_s: float = 0.0
    batches: int = 0
    begun: int = 0
    late: int = 0
    queue_s: float = 0.0
    starts: dict[str, Starts] = {}


class Traffic(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer of `GET /traffic`: all since `started_at`, when this gateway began."""

    started_at: float
    routes: list[RouteTraffic] = []
    lanes: list[LaneTraffic] = []
