"""Verbs of queues. Items come in and out through the gateway; these look after what is there."""

from __future__ import annotations

import base64
import contextlib
from typing import Annotated, Any

import msgspec

from bough.adapters.queue import DEAD, STATES, WAITING, Kept, Place, Queues, Tally
from bough.environments import store as environments
from bough.environments.rules import queue_addresses
from bough.kernel.context import Context, Role
from bough.kernel.errors import Invalid, NotFound
from bough.kernel.operations import Commit, operation
from bough.kernel.platform import Platform
from bough.kernel.project import PRODUCTION
from bough.kernel.queue import Queue
from bough.queues.rules import refusal_mark

Environment = Annotated[str, msgspec.Meta(description="environment; main is production")]
QueueName = Annotated[str, msgspec.Meta(description="the queue's name")]
MOST_SHOWN = 1000


class QueueView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A queue and what it holds. `declared` is False for one that the live release does not have any more; `url`:
    where items are put."""

    queue: str
    handler: str
    waiting: int
    running: int
    delayed: int
    dead: int
    behind: int = 0  # wait for an earlier item of their key
    oldest_s: float = 0.0
    declared: bool = True
    url: str = ""


class Telling(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands with those who are told of ends: `to` is webhook, sql, bucket or queue, `waiting` the ends that
    they have not heard of, and `said` when and why the last try failed; empty once all that was due has arrived."""

    to: str
    waiting: int
    said: str


class QueueDetail(msgspec.Struct, frozen=True, kw_only=True):
    queue: QueueView
    settings: Queue | None
    telling: list[Telling] = []


class ItemView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item. `body` and `result` are JSON where they are that, else text, else base64. `due_at`: when it may run, or
    until when it is somebody's; `forgotten_at`: of one that has ended."""

    id: str
    state: str
    attempts: int
    queued_at: float
    body: Any = None
    due_at: float = 0.0
    ended_at: float = 0.0
    forgotten_at: float = 0.0
    priority: int = 5
    key: str = ""
    dedup: str = ""
    status: int = 0
    error: str = ""
    result: Any = None


class ItemsMoved(msgspec.Struct, frozen=True, kw_only=True):
    """How many items a verb was about."""

    moved: int


class ListQueues(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    environment: Environment = PRODUCTION


class OneQueue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    queue: QueueName
    environment: Environment = PRODUCTION


class Peek(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    queue: QueueName
    environment: Environment = PRODUCTION
    state: Annotated[str, msgspec.Meta(description="waiting, behind, delayed, running, done or dead")] = WAITING
    id: Annotated[str, msgspec.Meta(description="one item, whatever its state")] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_SHOWN)] = 20


class ReplayItems(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    queue: QueueName
    environment: Environment = PRODUCTION
    id: Annotated[str, msgspec.Meta(description="one dead item; all of them without it")] = ""


class Purge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    queue: QueueName
    environment: Environment = PRODUCTION
    state: Annotated[str, msgspec.Meta(description="waiting, behind, delayed, done or dead")] = DEAD


@operation("queues.list", role=Role.VIEWER, slow=True)
def list_(context: Context, request: ListQueues) -> list[QueueView]:
    """Lists queues with what waits, runs, and has died in them; also those that no live release has, while they hold
    any."""
    place = request.project, request.environment
    declared, tallies, urls = _declared(context, place), context.part(Queues).tally(), _urls(context, place)
    if not declared:
        _check_there(context, place)
    left = {queue for (*of, queue), each in tallies.items() if tuple(of) == place and each.items}
    names = {*declared, *left}
    return [
        _view(context, name, declared.get(name), tallies.get((*place, name), Tally()), urls.get(name, ""))
        for name in sorted(names)
    ]


@operation("queues.show", role=Role.VIEWER, slow=True)
def show(context: Context, request: OneQueue) -> QueueDetail:
    """Shows one queue: what it holds, how it is set, and whether those who are told of its results hear of them."""
    place = _found(context, request.project, request.environment, request.queue)
    settings = _declared(context, place[:2]).get(place[2])
    tally = context.part(Queues).tally().get(place, Tally())
    view = _view(context, place[2], settings, tally, _urls(context, place[:2]).get(place[2], ""))
    return QueueDetail(queue=view, settings=settings, telling=_telling(context.part(Queues), place, settings))


@operation("queues.peek", role=Role.DEVELOPER, slow=True)
def peek(context: Context, request: Peek) -> list[ItemView]:
    """Shows items with their content, and takes none."""
    place, queues = _found(context, request.project, request.environment, request.queue), context.part(Queues)
    if request.id:
        found = queues.find(place, request.id)
        if found is None:
            raise _no_item(place, request.id)
        return [_item(found)]
    return [_item(each) for each in queues.peek(place, _state(request.state), request.limit)]


@operation("queues.replay", role=Role.DEVELOPER, writes=True, slow=True)
def replay(context: Context, request: ReplayItems) -> Commit[ItemsMoved]:
    """Puts dead items back in the queue, as if they had never been tried."""
    place = _found(context, request.project, request.environment, request.queue)
    moved = context.part(Queues).replay(place, [request.id] if request.id else [], context.clock.now())
    if request.id and not moved:
        raise _no_item(place, request.id, " among the dead")
    return lambda context: ItemsMoved(moved=moved)


@operation("queues.deliver", role=Role.DEVELOPER, writes=True, slow=True)
def deliver(context: Context, request: OneQueue) -> Commit[ItemsMoved]:
    """Tells those who have not heard of results now, instead of after their pause; each result has all its tries once
    more. `bough queues show` says what came of it."""
    place = _found(context, request.project, request.environment, request.queue)
    told = context.part(Queues).hurry(place, context.clock.now())
    return lambda context: ItemsMoved(moved=told)


@operation("queues.purge", role=Role.DEVELOPER, writes=True, slow=True)
def purge(context: Context, request: Purge) -> Commit[ItemsMoved]:
    """Removes all items of one state for good. What runs is somebody's and stays."""
    place = _found(context, request.project, request.environment, request.queue)
    gone = context.part(Queues).purge(place, _state(request.state, but="running"))
    return lambda context: ItemsMoved(moved=gone)


def _declared(context: Context, place: tuple[str, str]) -> dict[str, Queue]:
    with context.read() as tx:
        live = environments.live(tx, place)
    return live[1].queues if live else {}


def _check_there(context: Context, place: tuple[str, str]) -> None:
    """Raises `NotFound` (ENVIRONMENT_NOT_FOUND)."""
    with context.read() as tx:
        environments.view(tx, place)


def _telling(queues: Queues, place: Place, settings: Queue | None) -> list[Telling]:
    owed = queues.owed(place)
    return [
        Telling(to=to, waiting=owed.get(to, 0), said=queues.mark(refusal_mark(place, to)))
        for to in (settings.tells if settings else ())
    ]


def _urls(context: Context, place: tuple[str, str]) -> dict[str, str]:
    with context.read() as tx:
        return queue_addresses(context.part(Platform), place, environments.all_live(tx))


def _found(context: Context, project: str, environment: str, queue: str) -> Place:
    place = (project, environment, queue)
    _check_there(context, place[:2])
    if queue not in _declared(context, (project, environment)) and place not in context.part(Queues).tally():
        raise NotFound(
            f"{project}/{environment} has no queue {queue!r}", code="QUEUE_NOT_FOUND",
            hint=f"bough queues list -e {environment}; queues are declared as [queues.NAME] in bough.toml",
        )  # fmt: skip
    return place


def _state(text: str, *, but: str = "") -> str:
    states = [each for each in STATES if each != but]
    if text not in states:
        raise Invalid(
            f"{text!r} is no state of an item for this", code="STATE_UNKNOWN", hint=f"--state {'|'.join(states)}"
        )
    return text


def _view(context: Context, name: str, settings: Queue | None, tally: Tally, url: str) -> QueueView:
    age = context.clock.now() - tally.oldest_at if tally.oldest_at else 0.0
    return QueueView(
        queue=name, handler=settings.handler if settings else "", declared=settings is not None, waiting=tally.waiting,
        behind=tally.behind, running=tally.running, delayed=tally.delayed, dead=tally.dead,
        oldest_s=round(max(0.0, age), 3), url=url,
    )  # fmt: skip


def _item(kept: Kept) -> ItemView:
    ended = kept.ended_at > 0
    return ItemView(
        id=kept.id, state=kept.state, attempts=kept.attempts, queued_at=kept.queued_at,
        due_at=0.0 if ended else kept.due_at, ended_at=kept.ended_at, forgotten_at=kept.due_at if ended else 0.0,
        priority=9 - kept.rank, key=kept.key, dedup=kept.dedup, status=kept.status, error=kept.error,
        body=_readable(kept.body, kept.kind), result=_readable(kept.result, kept.result_kind),
    )  # fmt: skip


def _readable(content: bytes, kind: str) -> Any:
    if not content:
        return None
    if not kind or "json" in kind:
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(content)
    with contextlib.suppress(UnicodeDecodeError):
        return content.decode()
    return base64.b64encode(content).decode()


def _no_item(place: Place, id: str, where: str = "") -> NotFound:
    return NotFound(
        f"there is no item {id!r}{where} in the queue {place[2]}", code="ITEM_NOT_FOUND",
        hint=f"bough queues peek {place[2]} --state dead",
    )  # fmt: skip
