"""`[queues.NAME]` of bough.toml: what a person writes of a queue."""

from __future__ import annotations

from typing import Annotated

import msgspec

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
    every_s: Wait = 5.0


class SqlSink(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Results become rows of a database. `statement` may name `:id`, `:key`, `:dedup`, `:body` and `:result`, and the
    fields of a result that is an object."""

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
    on: list[str] = []  # changes that become items: data:NAME, table:NAME
    source: SqlSource | None = None
    sink: SqlSink | None = None

    @property
    def is_function(self) -> bool:
        return ":" in self.handler

    @property
    def tells(self) -> tuple[str, ...]:
        """Who hears of the end of an item."""
        return tuple(name for name, wanted in (("webhook", self.webhook), ("sql", self.sink)) if wanted)
