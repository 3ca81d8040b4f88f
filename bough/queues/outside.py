"""What queues have to do with the world: telling others of the end of items, and making items of what happens.

It runs in the server, which may open secrets. Deliveries are written in the round that ends their item and go until
they arrive: a receiver that is away costs its own items time, and gets everything when it is back. What feeds a queue
puts items with dedup ids made of what they are about, and notes afterwards how far it has come: killed in between, it
puts the same again and nothing comes twice. Whoever is asked outside is asked in a thread of its own (`errands`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from typing import Any
from urllib.parse import quote

import msgspec
import sqlalchemy as sa
from cronsim import CronSim, CronSimError

from bough.adapters.connectors import Bucket, Connectors, Objects
from bough.adapters.queue import DONE, Delivery, Draft, Place, Queues, Round
from bough.environments import store as environments
from bough.kernel import events
from bough.kernel.clock import Clock
from bough.kernel.errors import Invalid, Problem, Unavailable
from bough.kernel.queue import BucketSink, BucketSource, HttpSource, Queue, SqlSource
from bough.kernel.webhooks import headers as signed
from bough.queues import bridges, buckets, rules, webhooks
from bough.queues.errands import Errand, Errands
from bough.secrets.opening import OpenSecret, filled

LOOK_S = 0.5  # between two looks at what is due, while there are queues
PATIENCE_S = 30.0  # with whom is asked outside, before a look that was asked for says what came of it
AWAY_AFTER = 2  # deliveries, one after the other, that a receiver did not answer: one alone may be the network's
AT_ONCE = 50  # deliveries, events or rows of one look
MOST_BYTES = 16 << 20  # of an answer or an object that becomes items
JSON = "application/json"
# Events, and how `on` calls them.
_CHANGES = {"files.changed": "data", "table.changed": "table", "job.slot_missed": "missed"}

log = logging.getLogger("bough.queues")
Read = Callable[[], AbstractContextManager[sa.Connection]]
Declared = Callable[[sa.Connection], dict[Place, Queue]]


class OutsideWork:
    """`secret` opens a secret of an environment by its name; `declared`: the queues that may act outside now."""

    def __init__(
        self,
        queues: Queues,
        read: Read,
        connectors: Connectors,
        secret: OpenSecret,
        clock: Clock,
        declared: Declared | None = None,
        *,
        objects: Objects,
    ) -> None:
        self._objects = objects
        self._declared = declared or in_use
        self._queues, self._read, self._connectors = queues, read, connectors
        self._secret, self._clock = secret, clock
        self._polled: dict[tuple[Place, str], float] = {}  # sources
        self._walked: dict[Place, str] = {}  # how far through a bucket whose objects are deleted
        self._errands = Errands()
        self._idle = False
        self._stopping, self._poked = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="queues-outside", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._poked.set()
        if self._thread.is_alive():
            self._thread.join(15)

    def poke(self) -> None:
        """Something was written: there may be queues now, and what they want to know of."""
        self._poked.set()

    def once(self, patience_s: float = PATIENCE_S) -> int:
        """All that is due now; says how many deliveries arrived and items were made, as far as that is known after
        `patience_s`."""
        self._idle = False
        with self._read() as tx:
            declared = self._declared(tx)
        done = self._changes({place: queue for place, queue in declared.items() if queue.on}) + self._slots(declared)
        done += self._errands.run({**self._deliveries(declared), **self._sources(declared)}, patience_s)
        self._idle = not declared
        return done

    @property
    def is_idle(self) -> bool:
        """Nothing becomes due by itself: there are no queues that could be fed, or whose ends somebody wants told."""
        return self._idle

    # --- private

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            if self.is_idle:
                self._poked.wait()
            self._poked.clear()
            try:
                while self.once(LOOK_S) >= AT_ONCE and not self._stopping.is_set():
                    pass
            except Exception:  # a database that is full or busy: what is due stays due
                log.exception("queues and the world outside")

    def _deliveries(self, declared: dict[Place, Queue]) -> dict[Hashable, Errand]:
        """What is due, by who is to be told. Whoever is being told now has had its turn."""
        due: dict[tuple[Place, str], list[Delivery]] = {}
        for each in self._queues.deliveries(self._clock.now(), AT_ONCE, but=self._errands.at_work):
            settings = declared.get(each.item.place)
            if settings is None or each.to not in settings.tells:
                self._queues.delivered(each.id)  # nobody wants to know any more
            else:
                due.setdefault((each.item.place, each.to), []).append(each)
        return {target: partial(self._deliver, target, each, declared[target[0]]) for target, each in due.items()}

    def _deliver(self, target: tuple[Place, str], due: Sequence[Delivery], settings: Queue) -> int:
        """To one target. One that stays away is not asked again for the others: for them it was away as well."""
        arrived, why, away = 0, "", 0
        for each in due:
            try:
                if away < AWAY_AFTER:
                    self._tell(each, settings)
                    self._queues.delivered(each.id)
                    arrived, away = arrived + 1, 0
                    continue
            except Exception as error:  # whatever the receiver or its driver cannot take: the others must go on
                why, away = _said(error), away + 1 if isinstance(error, Unavailable) else 0
            self._refused(each)
        self._note_refusal(target, why)
        return arrived

    def _refused(self, delivery: Delivery) -> None:
        if delivery.attempts + 1 >= rules.DELIVER_ATTEMPTS and delivery.to != bridges.TO:  # what goes on is work
            log.error("%s of %s is not told any more", delivery.to, delivery.item.id)
            self._queues.delivered(delivery.id)
        else:
            self._queues.postpone(delivery.id, self._clock.now() + rules.deliver_after_s(delivery.attempts))

    def _note_refusal(self, target: tuple[Place, str], why: str) -> None:
        """For who asks why nobody was told; forgotten once everything that was due has arrived."""
        name = rules.refusal_mark(*target)
        if why:
            log.warning("%s of %s is told later: %s", target[1], "/".join(target[0]), why)
            self._queues.note(name, f"{datetime.fromtimestamp(self._clock.now(), UTC):%Y-%m-%dT%H:%M:%SZ} {why}")
        elif self._queues.mark(name):
            self._queues.note(name, "")

    def _tell(self, delivery: Delivery, settings: Queue) -> None:
        place, item = delivery.item.place, delivery.item
        if delivery.to == "webhook":
            url, secret = self._filled(place, settings.webhook), self._filled(place, settings.webhook_secret)
            body = webhooks.body(item)
            headers = signed(item.id, body, int(self._clock.now()), secret)
            status = self._connectors.post(url, headers, body)
            if not 200 <= status < 300:
                raise Problem(f"the webhook answered {status}", code="WEBHOOK_REFUSED")
        elif delivery.to == "sql" and settings.sink is not None and item.state == DONE:
            values = webhooks.columns(item)
            self._connectors.execute(self._filled(place, settings.sink.url), settings.sink.statement, values)
        elif delivery.to == buckets.TO and settings.archive is not None and item.state == DONE:
            key = settings.archive.prefix + item.id
            self._objects.write(self._bucket(place, settings.archive), key, item.result, item.result_kind or JSON)
        elif delivery.to == bridges.TO and settings.forward is not None and item.state == DONE:
            if settings.forward.queue:
                self._put([bridges.draft(item, settings.forward)])
                return
            url, sign = (self._filled(place, each) for each in (settings.forward.url, settings.forward.authorization))
            status = self._connectors.post(url, bridges.headers(item, settings.forward, sign), item.result)
            if not 200 <= status < 300:
                raise Problem(f"the other queue answered {status}", code="FORWARD_REFUSED")

    def _sources(self, declared: dict[Place, Queue]) -> dict[Hashable, Errand]:
        """What feeds queues from outside, and may have something by now."""
        found: dict[Hashable, Errand] = {}
        for place, queue in declared.items():
            if queue.source is not None and self._is_due(place, "source", queue.source):
                found[place, "source"] = partial(self._fed, place, partial(self._drawn, place, "source", queue.source))
            if queue.poll is not None and self._is_due(place, "poll", queue.poll):
                found[place, "poll"] = partial(self._fed, place, partial(self._drawn, place, "poll", queue.poll))
            if queue.bucket is not None and self._is_due(place, "bucket", queue.bucket):
                found[place, "bucket"] = partial(self._fed, place, partial(self._found, place, queue.bucket))
        return found

    def _is_due(self, place: Place, name: str, source: SqlSource | HttpSource | BucketSource) -> bool:
        passed_s = self._clock.now() - self._polled.get((place, name), 0.0)
        return passed_s >= source.every_s or passed_s < 0.0  # the clock was ahead

    def _fed(self, place: Place, draw: Errand) -> int:
        try:
            return draw()
        except Exception as error:  # whatever the source or its driver says: it is tried again
            log.error("%s is not fed: %s", "/".join(place), _said(error))
            return 0

    def _changes(self, wanted: dict[Place, Queue]) -> int:
        """Items for what has happened since the last look to data, tables and schedules."""
        mark = self._queues.mark("changes")
        with self._read() as tx:
            if not mark:
                newest = tx.execute(sa.text("SELECT max(seq) FROM event")).scalar() or 0
                self._queues.note("changes", str(newest))
                return 0
            happened = events.read(tx, after=int(mark), limit=AT_ONCE)
        if not happened:
            return 0
        drafts = []
        for event in happened:
            what = _changed(event)
            for place, queue in wanted.items():
                if what is not None and what[0] == place[:2] and any(fnmatchcase(what[1], each) for each in queue.on):
                    known = {"number" if name == "change" else name: value for name, value in event.data.items()}
                    body = msgspec.json.encode({**known, "change": what[1], "at": event.at})
                    drafts.append(Draft(place=place, body=body, dedup=f"event/{event.seq}"))
        self._put(drafts)
        self._queues.note("changes", str(happened[-1].seq))
        return len(drafts)

    def _slots(self, declared: dict[Place, Queue]) -> int:
        made = 0
        for place, queue in declared.items():
            if queue.schedule:
                made += self._fed(place, partial(self._slot, place, queue))
        return made

    def _slot(self, place: Place, queue: Queue) -> int:
        """An item for the last slot that has come; those before it that nobody saw are left out."""
        name, now = f"schedule/{'/'.join(place)}", self._clock.now()
        mark = self._queues.mark(name)
        if not mark or float(mark) > now:  # the clock was ahead: what comes again is known by its dedup id
            self._queues.note(name, str(now))
            return 0
        last = _last_slot(queue.schedule, float(mark), now)
        if last is None:
            return 0
        self._put([Draft(place=place, body=queue.payload.encode(), dedup=f"schedule/{last.isoformat()}")])
        self._queues.note(name, str(now))
        return 1

    def _drawn(self, place: Place, name: str, source: SqlSource | HttpSource) -> int:
        """Items for what a source has after what it had."""
        now = self._clock.now()
        mark = self._queues.mark(f"{name}/{'/'.join(place)}")
        after = msgspec.json.decode(mark) if mark else source.start
        entries = self._entries(place, source, after)
        if len(entries) < AT_ONCE or (mark and entries[-1].get(source.cursor) == after):  # the latter gives all, always
            self._polled[place, name] = now
        if not entries:
            return 0
        if not all(source.cursor in each for each in entries):
            raise Problem(
                f"what {name} gives has no {source.cursor!r}", code="CURSOR_MISSING",
                hint=f"name a column or field that grows: {name} = {{ …, cursor = \"id\" }}",
            )  # fmt: skip
        drafts = [
            Draft(place=place, body=webhooks.json_of(dict(each)), dedup=f"{name}/{each[source.cursor]}")
            for each in entries
        ]
        self._put(drafts)
        self._queues.note(f"{name}/{'/'.join(place)}", webhooks.json_of(entries[-1][source.cursor]).decode())
        return len(drafts)

    def _entries(self, place: Place, source: SqlSource | HttpSource, after: object) -> Sequence[Mapping[str, Any]]:
        url = self._filled(place, source.url)
        if isinstance(source, SqlSource):
            return self._connectors.rows(url, source.query, {"after": after}, AT_ONCE)
        sign = self._filled(place, source.authorization)
        headers = {"Accept": "application/json"} | ({"Authorization": sign} if sign else {})
        asked = url.replace("{after}", quote(str(after), safe=""))
        status, body = self._connectors.get(asked, headers, MOST_BYTES)
        if status in (204, 304):
            return []
        if status != 200:
            raise Problem(
                f"the source answered {status}", code="POLL_REFUSED", hint="see url and authorization of poll"
            )
        return _listed(body, source.list)

    def _found(self, place: Place, source: BucketSource) -> int:
        """Items for objects of a bucket. What is to be deleted is, once its item is on disk; else the last key is the
        mark."""
        now = self._clock.now()
        name, bucket = f"bucket/{'/'.join(place)}", self._bucket(place, source)
        after = self._walked.get(place, "") if source.delete else self._queues.mark(name) or source.start
        listed = self._objects.listed(bucket, source.prefix, after, AT_ONCE)
        if len(listed) < AT_ONCE:
            self._polled[place, "bucket"] = now
        made = list(buckets.items(self._objects, bucket, source, place, listed, MOST_BYTES))
        self._put([each.draft for each in made])
        if source.delete:
            for each in made:
                if each.whole:
                    self._objects.remove(bucket, each.found.key, each.found.etag)
            self._walked[place] = listed[-1].key if len(listed) == AT_ONCE else ""  # what stays holds up nobody
        elif listed:
            self._queues.note(name, listed[-1].key)
        return len(made)

    def _bucket(self, place: Place, ends: BucketSource | BucketSink) -> Bucket:
        return Bucket.of(ends, lambda text: self._filled(place, text))

    def _put(self, drafts: list[Draft]) -> None:
        if drafts:
            self._queues.round(Round(drafts=drafts, now=self._clock.now()))

    def _filled(self, place: Place, text: str) -> str:
        """With its secrets as they are now."""
        with self._read() as tx:
            return filled(tx, place[:2], text, self._secret)


def _said(error: Exception) -> str:
    return error.message if isinstance(error, Problem) else f"{type(error).__name__}: {error}"


def _listed(body: bytes, name: str) -> Sequence[Mapping[str, Any]]:
    """The list in a JSON answer."""
    try:
        if name:
            found = msgspec.json.decode(body, type=dict[str, msgspec.Raw])[name]
            return msgspec.json.decode(found, type=list[dict[str, Any]])
        return msgspec.json.decode(body, type=list[dict[str, Any]])
    except (msgspec.DecodeError, msgspec.ValidationError, KeyError) as error:
        said = f"the source's answer holds no list of objects: {error}"
        raise Problem(said, code="SOURCE_INVALID", hint='poll = { …, list = "NAME" } where it is an object') from error


def in_use(tx: sa.Connection) -> dict[Place, Queue]:
    """Queues of live releases whose environment's schedules do not rest: a branch's items are not production's."""
    return {
        (release.project, release.environment, name): queue
        for release, manifest in environments.all_live(tx)
        if manifest.queues and not environments.view(tx, (release.project, release.environment)).paused
        for name, queue in manifest.queues.items()
    }


def _last_slot(schedule: str, after: float, now: float) -> datetime | None:
    last = None
    try:
        for slot in CronSim(schedule, datetime.fromtimestamp(after, UTC)):
            if slot.timestamp() > now:
                break
            last = slot
    except CronSimError as error:
        raise Invalid(f"{schedule!r} is no schedule: {error}", code="SCHEDULE_INVALID") from error
    return last


def _changed(event: events.Event) -> tuple[tuple[str, str], str] | None:
    """Where, and what in the words of `on`."""
    kind = _CHANGES.get(event.name)
    if kind is None:
        return None
    project, _, rest = event.subject.partition("/")
    environment, _, name = rest.partition("/")
    return (project, environment), f"{kind}:{name or event.data.get('dataset', '')}"
