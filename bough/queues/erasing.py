"""Forgetting somebody in queues: items that name them go, whatever became of them."""

from __future__ import annotations

from bough.adapters.queue import RUNNING, Kept, Queues
from bough.kernel.subjects import Named, Reached, Subject

AT_ONCE = 500  # items that are looked at together


def reach(queues: Queues, subject: Subject) -> Reached:
    done: list[Named] = []
    remains: list[str] = []
    for place in sorted(each for each in queues.tally() if each[0] == subject.project) if subject.texts else ():
        where, last = "/".join(place[1:]), ""
        while found := queues.after(place, last, AT_ONCE):
            last = found[-1].id
            ids = [each.id for each in found if _names(subject, each)]
            running = [each.id for each in found if each.id in ids and each.state == RUNNING]
            if not subject.dry_run and ids:
                running = queues.forget(place, ids)
            done += [Named(kind="queue item", key=f"{where} {id}") for id in ids if id not in running]
            remains += [f"item {id} of the queue {where} runs: once it has ended, forget again" for id in running]
    return Reached(done=done, remains=remains)


def _names(subject: Subject, item: Kept) -> bool:
    return any(subject.is_in(each) for each in (item.body, item.result, item.key, item.dedup, item.error))
