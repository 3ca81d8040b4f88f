"""`[queues.NAME]` of bough.toml: what a person writes of a queue."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from bough.kernel import cron
from bough.kernel.buckets import Objects, wrong
from bough.kernel.errors import Problem
from bough.kernel.names import check_name
from bough.kernel.references import SecretReference, parse
from bough.kernel.settings import Document, KeyPath

Days = Annotated[float, msgspec.Meta(ge=0, le=31_536_000)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Wait = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class QueueBatch(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Items that are handed over together: as soon as there are `max_size`, or the first has waited `max_wait_ms`."""

    max_size: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 64
    max_wait_ms: Annotated[float, msgspec.Meta(ge=0, le=600_000)] = 0.0


class SqlSource(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows of a database become items. `query` names `:after`, the value of `cursor` of the row before."""

    url: str  # of SQLAlchemy; ${secrets.NAME} inside it is filled in
    query: str
    cursor: str = "id"
    start: int | str = 0  # of `:after`, the first time
    every_s: Wait = 5.0


class HttpSource(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Entries of a JSON list at an address become items. `{after}` in `url` is the value of `cursor` of the last entry
    before; `list` names the list where the answer is an object."""

    url: str  # ${secrets.NAME} inside it, and in `authorization`, is filled in
    authorization: str = ""  # the header
    list: str = ""
    cursor: str = "id"
    start: int | str = 0  # of `{after}`, the first time
    every_s: Wait = 5.0


class BucketSource(Objects, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Objects of an S3 bucket, or of what speaks its protocol, become items, in the order of their keys: those after
    the last that became one. With `delete` any object does, and is gone once its item is on disk."""

    content: Literal["", "text", "json"] = ""  # whether the item holds the object, and as what; empty: where it is
    delete: bool = False
    start: str = ""  # the key after which it begins, the first time
    every_s: Wait = 5.0


class BucketSink(Objects, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Results become objects, called PREFIX + id of the item."""


class Forward(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Results become items of another queue: `queue` of this Bough, or the one at `url`, which another one has."""

    queue: str = ""
    url: str = ""  # https://HOST/queues/NAME; ${secrets.NAME} inside it, and in `authorization`, is filled in
    authorization: str = ""  # the header
    project: str = ""  # of that queue; empty: this one's
    environment: str = ""


class SqlSink(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Results become rows of a database. `statement` may name `:id`, `:key`, `:dedup` and `:result`, and the fields of
    a result that is an object."""

    url: str
    statement: str


class Queue(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Items that wait for a handler: a service of the project, or module:function."""

    handler: str
    batch: QueueBatch = QueueBatch()
    concurrency: Count = 0  # items at the handler at once; 0: as its replicas keep up
    retries: Count = 3
    retry_s: Wait = 1.0  # before the first retry, then doubling …
    retry_max_s: Wait = 300.0  # … up to this
    visibility_s: Wait = 30.0  # a lease, renewed while the handler works
    max_waiting: Count = 0  # more are refused; 0: no bound
    keep_s: Days = 3600.0  # results; dedup ids as long as `dedup_s`
    dedup_s: Days = 86_400.0
    keep_dead_s: Days = 1_209_600.0
    access: str = "auto"  # public, key; auto: as services have it
    webhook: str = ""  # is told of every end
    webhook_secret: str = ""  # signs what it is told; ${secrets.NAME}
    schedule: str = ""  # cron, UTC: an item at each of these times …
    payload: str = "null"  # … with this JSON
    on: list[str] = []  # what becomes an item: data:NAME, table:NAME, missed:JOB
    source: SqlSource | None = None
    poll: HttpSource | None = None
    bucket: BucketSource | None = None
    sink: SqlSink | None = None
    archive: BucketSink | None = None
    forward: Forward | None = None

    @property
    def is_function(self) -> bool:
        return ":" in self.handler

    @property
    def tells(self) -> tuple[str, ...]:
        """Who hears of the end of an item."""
        wanted = (
            ("webhook", self.webhook), ("sql", self.sink), ("bucket", self.archive), ("queue", self.forward),
        )  # fmt: skip
        return tuple(name for name, each in wanted if each)

    @property
    def secrets(self) -> dict[str, KeyPath]:
        """Secrets that its settings refer to, and the key of the first that does. They are opened when they are needed:
        a new value counts at once, without a release."""
        found: dict[str, KeyPath] = {}
        for key in _FILLED:
            table, _, name = ".".join(key).rpartition(".")
            holder = getattr(self, table) if table else self
            for part in parse(getattr(holder, name, "")) if holder is not None else ():
                if isinstance(part, SecretReference):
                    found.setdefault(part.name, key)
        return found

    @property
    def silent(self) -> Queue:
        """The same where nobody is to be told."""
        return msgspec.structs.replace(self, webhook="", sink=None, archive=None, forward=None)


# Settings in which ${secrets.NAME} is filled in.
_FILLED: tuple[KeyPath, ...] = (
    ("webhook",), ("webhook_secret",), ("source", "url"), ("poll", "url"), ("poll", "authorization"), ("sink", "url"),
    *((table, key) for table in ("bucket", "archive") for key in ("endpoint", "key", "secret")),
    ("forward", "url"), ("forward", "authorization"),
)  # fmt: skip


def resolve(document: Document, environment: str, handlers: Mapping[str, bool]) -> dict[str, Queue]:
    """The queues of a project in an environment. `handlers`: its services, and whether each can answer for an item.
    Raises `ProjectFileInvalid` naming file, line and key."""
    over = document.table(("environments", environment, "queues"))
    found = {}
    for name in document.table(("queues",)):
        path: KeyPath = ("queues", name)
        try:
            check_name(name, "queue")
        except Problem as problem:
            raise document.error(path, problem.message, problem.hint) from problem
        own = over.get(name, {})
        merged = _laid_over(document.table(path), own)
        elsewhere = dict.fromkeys(own, ("environments", environment, *path))
        queue = document.decode(path, merged, Queue, elsewhere=elsewhere)
        _check(document, path, queue, handlers)
        found[name] = queue
    if unknown := sorted(over.keys() - found.keys()):
        raise document.error(
            ("environments", environment, "queues", unknown[0]), f"there is no [queues.{unknown[0]}] to override"
        )
    return found


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    inner = {
        key: {**below[key], **above[key]} for key in above.keys() & below.keys() if isinstance(above[key], Mapping)
    }
    return {**below, **above, **inner}


_URL = re.compile(r"https?://\S+|\$\{secrets\.[^}]+\}\S*")
_CHANGE = re.compile(r"(data|table|missed):[a-z0-9*][a-z0-9*._-]*")


def _check(document: Document, path: KeyPath, queue: Queue, handlers: Mapping[str, bool]) -> None:
    """What the types cannot say."""
    if queue.is_function:
        if path[1] in handlers:
            said = f"a service is called {path[1]} too, and a queue's function becomes one"
            raise document.error((*path, "handler"), said, "give the queue another name")
    elif queue.handler not in handlers:
        raise document.error(
            (*path, "handler"), f"there is no service {queue.handler!r}",
            f"add [services.{queue.handler}], or name a function: module:function",
        )  # fmt: skip
    elif not handlers[queue.handler]:
        raise document.error(
            (*path, "handler"), f"{queue.handler} is a web service, which gets no items",
            'name a service with model or file, or a function: handler = "module:function"',
        )  # fmt: skip
    if queue.webhook and not _URL.fullmatch(queue.webhook):
        raise document.error((*path, "webhook"), f"{queue.webhook!r} is no http or https address")
    for text in queue.on:
        if not _CHANGE.fullmatch(text):
            hint = 'for example on = ["table:orders"], or missed:JOB'
            raise document.error((*path, "on"), f"{text!r} is no change", hint)
    if queue.poll is not None and not _URL.fullmatch(queue.poll.url):
        raise document.error((*path, "poll", "url"), f"{queue.poll.url!r} is no http or https address")
    _check_ends(document, path, queue)
    for key, text in (("webhook", queue.webhook), ("webhook_secret", queue.webhook_secret)):
        try:
            parse(text)
        except Problem as problem:
            raise document.error((*path, key), problem.message, problem.hint) from problem
    if queue.schedule and (said := cron.wrong(queue.schedule)):
        raise document.error((*path, "schedule"), said, f"for example {cron.EXAMPLE}")
    try:
        msgspec.json.decode(queue.payload)
    except msgspec.DecodeError as error:
        raise document.error((*path, "payload"), f"is not JSON: {error}") from error


def _check_ends(document: Document, path: KeyPath, queue: Queue) -> None:
    """Where items come from and go to."""
    for key, ends in (("bucket", queue.bucket), ("archive", queue.archive)):
        if ends is not None and (found := wrong(ends)) is not None:
            raise document.error((*path, key, found[0]), *found[1:])
    if queue.bucket is not None and queue.bucket.delete and not queue.bucket.content:
        said = "the handler would find nothing: an object that is deleted must be in its item"
        raise document.error((*path, "bucket", "delete"), said, 'content = "text", or "json"')
    forward = queue.forward
    if forward is not None and bool(forward.queue) == bool(forward.url):
        raise document.error((*path, "forward"), "names one of queue and url", 'forward = { queue = "NAME" }')
    if forward is not None and forward.url and not _URL.fullmatch(forward.url):
        raise document.error((*path, "forward", "url"), f"{forward.url!r} is no http or https address")
    if forward is not None and forward.queue == path[1] and not (forward.project or forward.environment):
        raise document.error((*path, "forward", "queue"), "a queue that forwards to itself never ends")
