"""Decisions of the data plane, pure: how much work a replica gets at once, and when something is tried again.

Why depth 2 for light models: while the gateway turns one frame of answers into HTTP, the replica should already have
the next frame in its socket buffer. For heavy models the gap is nothing beside the work, and a second frame would only
take requests away from a bigger or better placed batch: depth 1. Light frames grow with the load by themselves (what
arrived while the replica was busy), so no timer is needed to form batches; only where calls cost alike whatever is in
them (`costs_alike`) is a frame held back for the time of a call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

FULL, DEADLINE, IDLE = "full", "deadline", "idle"  # why a batch was released

HEAVY_S = 0.003  # a frame longer than this makes a model heavy …
LIGHT_S = 0.0015  # … and only one shorter than this makes it light again: no flapping in between
ITEM_FRAME_S = 0.002  # target length of a frame in mode `item`: a crash or a cancel costs no more than this
MAX_ITEM_FRAME = 256
WORTH_SENDING_S = 0.0005  # of work in a frame: to spread less than this over replicas saves nobody any time
OWN_SHARE = 0.2  # an item is taken to cost at least this much of its share of the call
DEAR_CALL_S = 0.0002  # of its own; below it, passing frames to and fro is what costs
NO_CAP = 1024  # requests per frame when neither route nor replica sets a limit
SIMILAR = 1.2  # items are, when the largest is at most so many times the smallest: a sixth of the work is padding
SIMILAR_AMONG = 8  # waiting items are looked at in any case
SIMILAR_SHARE = 1 / 3  # of the queue, the oldest, is looked at; half: 2 % more answers, tails 10 % longer
_WEIGHT = 0.2  # of the newest measurement in a running mean


def smooth(mean: float, value: float) -> float:
    """A running mean; the first measurement counts whole."""
    return value if mean <= 0.0 else mean + _WEIGHT * (value - mean)


def depth(frame_s: float, current: int) -> int:
    """Frames that a link may have under way, from the measured service time of one frame (0: not measured yet)."""
    if frame_s <= 0.0 or frame_s >= HEAVY_S:
        return 1
    return 2 if frame_s <= LIGHT_S else current


def cap(route_max: int, hello_max: int) -> int:
    """Largest batch: the smaller of what the route and the replica allow; 0 means no opinion."""
    return min(route_max or NO_CAP, hello_max or NO_CAP)


def in_time(largest: int, fixed_s: float, item_s: float, objective_s: float) -> int:
    """Largest batch whose call ends within the objective, when a call takes `fixed_s` and `item_s` for each of its
    items. Where not even one item is in time nothing can be kept: then it is as large as ever if calls are mostly fixed
    cost, because the queue drains soonest, and batching is off if they are not."""
    if objective_s <= 0.0 or item_s <= 0.0:
        return largest
    fits = (objective_s - fixed_s) / item_s
    if fits >= 1:
        return int(min(largest, fits))
    return largest if fixed_s > item_s else 1


def hold_s(max_wait_s: float, call_s: float, objective_s: float) -> float:
    """How long a batch may be held open for more: not into the time that its call will need; 0: not at all."""
    if objective_s <= 0.0:
        return max_wait_s
    return max(0.0, min(max_wait_s, objective_s - call_s))


def take(queued: int, links: int, largest: int, item_s: float = 0.0) -> int:
    """Requests that an idle link takes now, never more than `largest`: an even share of the queue, unless that would be
    less than WORTH_SENDING_S of work (`item_s` for each; 0: not measured). A frame costs the gateway and the replica as
    much as several light requests, and a call of a light model often as much as all its items."""
    shares = max(1, links)
    if item_s > 0.0:
        shares = max(1, min(shares, int(queued * item_s / WORTH_SENDING_S)))
    return min(largest, queued, -(-queued // shares))


def own_s(item_s: float, mean_s: float) -> float:
    """Seconds of an item beside what its call costs by itself, which a second replica does not share but pay again.
    `item_s` is an estimate that noise can bring to nothing, so never less than OWN_SHARE of the mean."""
    return max(item_s, OWN_SHARE * mean_s)


def costs_alike(fixed_s: float, frame_s: float) -> bool:
    """Whether calls of a light model cost about the same whatever is in them, as those of scikit-learn do. Then one
    large batch is worth more than having the next one ready: links get one frame at a time, and one that is idle waits
    (for a call's time at most) rather than take less than half of what another one works on."""
    return fixed_s >= DEAR_CALL_S and 2 * fixed_s >= frame_s and frame_s < HEAVY_S


def similar(sizes: Sequence[int], count: int) -> list[int]:
    """Which waiting items go together when a model pads, by their sizes, oldest first: the oldest, so that nobody
    starves, and up to `count` in all that are near it in size (two in any case: a call has costs of its own). Only
    the oldest are looked at: those who wait must not be overtaken for ever."""
    oldest = low = high = sizes[0]
    among = range(1, min(len(sizes), max(SIMILAR_AMONG, math.ceil(SIMILAR_SHARE * len(sizes)))))
    chosen = [0]
    for index in sorted(among, key=lambda index: abs(sizes[index] - oldest))[: count - 1]:
        low, high = min(low, sizes[index]), max(high, sizes[index])
        if high > SIMILAR * low and len(chosen) > 1:
            break
        chosen.append(index)
    return sorted(chosen)


def worth_queueing(share: int, under_way: int, largest: int) -> bool:
    """Whether a second frame goes to a link that works on one of `under_way` requests. A small one would leave early
    and make the batches alternate between large and tiny; half of what is under way lets them become equal."""
    return share >= largest or 2 * share >= under_way


def item_frame(item_s: float) -> int:
    """Requests per frame in mode `item`, so that one frame is about ITEM_FRAME_S of work (one until measured)."""
    if item_s <= 0.0:
        return 1
    return max(1, min(MAX_ITEM_FRAME, int(ITEM_FRAME_S / item_s)))


def may_release(queued: int, largest: int, oldest_wait_s: float, max_wait_s: float) -> bool:
    """Whether a batch goes out now or is held open for more."""
    return queued >= largest or oldest_wait_s >= max_wait_s


def reason(taken: int, largest: int, max_wait_s: float) -> str:
    if taken >= largest > 1:
        return FULL
    return DEADLINE if max_wait_s > 0.0 else IDLE


def is_shed(rank: int, queued: int, queue_size: int, wait_s: float, timeout_s: float) -> bool:
    """Whether a request is refused rather than queued. What matters less may use half of the queue only; what would
    wait for longer than it may is refused now, while the client can still do something else."""
    return queued >= queue_size or (rank < 0 and 2 * queued >= queue_size) or wait_s > timeout_s


def room(queue_size: int) -> int:
    """Requests of the lowest rank that a queue takes, so that none of them is shed."""
    return max(1, queue_size // 2)


def wait_s(queued: int, links: int, item_s: float) -> float:
    """How long a queue takes at the measured time per request; 0: not measured, or nobody is there to answer."""
    return queued * item_s / links if links else 0.0


def retry_after_s(queued: int, answered_per_s: float) -> int:
    """Whole seconds until a queue of this length has drained at the present rate, 1 to 60."""
    if answered_per_s <= 0.0:
        return 1
    return max(1, round(queued / answered_per_s)) if queued < 60 * answered_per_s else 60


def reconnect_after_s(failures: int, wanted: bool) -> float:
    """Pause before the next attempt at connecting: 5 ms doubling to 200 ms, or to 20 ms while requests wait."""
    return min(0.02 if wanted else 0.2, 0.005 * 2.0 ** min(failures, 10))


def wake_after_s(asked: int) -> float:
    """Pause between two requests to the node for the same unit: it answers the same until the unit's state changes."""
    return min(5.0, 0.1 * 2.0 ** min(asked, 10))


STUCK_S = 5.0  # at least so long a word is waited for once a request is late: a busy machine holds anybody up


def is_stuck(silent_s: float, timeout_s: float) -> bool:
    """Whether a replica is ended that works at something nobody waits for any more: it has had twice the time that a
    request has. `silent_s`: since it was given that, without a word from it."""
    return silent_s > timeout_s + max(timeout_s, STUCK_S)


HELD_UP_S = 2.0  # between two looks of a gateway that looks every second: what replicas said meanwhile is still unread
WAKING_S = 0.002  # between attempts at connecting to a unit that is about to be there, while a request waits
AWAKE_S = 2.0  # a unit that the node was asked for is not put to sleep for longer than this (engine.WOKEN_S)


def may_retry(attempts: int, idempotent: bool, started: bool) -> bool:
    """Whether a request whose replica died goes to another one. Once only: a request may be what killed it."""
    return idempotent and not started and attempts < 2


TAKE_S = 0.02  # what waits for longer than this would have been answered sooner by a replica of the warm pool
GIVE_BACK_S = 5.0  # and one that was taken goes back when it had nothing to do for so long
COME_BACK_S = 5.0  # to a service that is being started: the client waits instead of us
HELD_BYTES = 64 << 20  # bodies that wait while no replica is there


def may_take(queued: int, item_s: float, links: int, oldest_wait_s: float) -> bool:
    """Whether a replica of the warm pool is used now, without asking anybody."""
    return not links or oldest_wait_s > TAKE_S or queued * item_s / links > TAKE_S
