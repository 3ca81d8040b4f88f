"""Following a release until it is live, over restarts of the server, and saying what happens in few lines."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from bough.client import Record
from bough.entrypoints.cli.drawing import DIM, paint, paint_state
from bough.entrypoints.cli.session import Session
from bough.kernel.errors import Conflict, Problem, Unavailable, WorkloadFailed

AWAY_S = 30.0  # how long a server may be away while a release is followed
LAST_LINES = 20
_LOST = {"STREAM_BROKEN", "SERVER_STOPPING", "SERVER_UNREACHABLE"}


def follow_to_the_end(session: Session, release: Any, *, timeout_s: float = 0.0) -> dict[str, Any]:
    """Answers with the release and its URLs when it is live; raises `WorkloadFailed` when it is not going to be."""
    began = time.monotonic()
    done = follow(session, release, timeout_s=timeout_s)
    result = result_of(done, began)
    session.answer(result, text=summary(session, result))
    return result


def follow(session: Session, release: Any, *, timeout_s: float = 0.0) -> Any:
    """Prints build output and states as they come; returns the last item, of kind done, when the release is live."""
    deadline = time.monotonic() + timeout_s if timeout_s else None
    lines: list[str] = []
    for item in _items(session, release.id, deadline):
        if item.kind == "log" and not release.get("rolled_back_to"):  # then it is the output of a build long ago
            lines.append(item["text"])
            session.out(f"  {paint(item.service + ' |', DIM, session.colour)} {item['text']}")
        elif item.kind == "service":
            session.out(f"  {item.service}: {paint_state(item.get('state', ''), session.colour)}")
        elif item.kind == "note":
            session.note(f"  {item.service}: {item['text']}")
        elif item.kind == "done":
            if item.state != "live":
                raise _failed(item, lines)
            return item
    raise Unavailable("the release went out of sight", code="STREAM_BROKEN", hint="bough status")


def result_of(done: Any, began: float) -> dict[str, Any]:
    data = done.get("data", {})
    return {
        "release": data.get("release", {}),
        "services": data.get("services", []),
        "queues": data.get("queues", []),
        "seconds": round(time.monotonic() - began, 3),
    }


def summary(session: Session, result: Mapping[str, Any]) -> str:
    release = result["release"]
    what = f"{release['project']}/{release['environment']} release {release['number']}"
    back = f" (release {release['rolled_back_to']} again)" if release.get("rolled_back_to") else ""
    lines = [f"{what}{back} is {paint_state('live', session.colour)} after {result['seconds']:.1f} s"]
    queues = result.get("queues", [])
    longest = max((len(each.get("service") or each["queue"]) for each in [*result["services"], *queues]), default=0)
    for each in result["services"]:
        lines.append(f"  {each['service']:<{longest}}  {each['url']}")
        if each.get("address") and each["address"] != each["url"]:
            lines.append(f"  {'':<{longest}}  {each['address']}")
    lines += [f"  {each['queue']:<{longest}}  {each['url']}" for each in queues]
    return "\n".join(lines)


def _items(session: Session, release: str, deadline: float | None) -> Iterator[Record]:
    """The stream, begun again when it is cut; what was seen before is not said twice."""
    seen_logs: Counter[str] = Counter()
    seen_states: set[tuple[Any, ...]] = set()
    away_since = 0.0
    while True:
        skip = Counter(seen_logs)
        try:
            for item in session.client().releases.follow(id=release):
                away_since = 0.0
                if deadline is not None and time.monotonic() > deadline:
                    raise _too_slow(release)
                if item.kind == "log":
                    if skip[item.service] > 0:
                        skip[item.service] -= 1
                        continue
                    seen_logs[item.service] += 1
                elif item.kind == "service":
                    mark = (item.service, item.get("state"), item.at)
                    if mark in seen_states:
                        continue
                    seen_states.add(mark)
                yield item
            return
        except Problem as problem:
            if problem.own_code not in _LOST:
                raise
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > AWAY_S:
                raise
            session.note("  the server is away; waiting for it")


def _failed(done: Any, lines: list[str]) -> Problem:
    data = done.get("data", {})
    release, live = data.get("release", {}), data.get("live", 0)
    what = f"{release.get('project')}/{release.get('environment')} release {release.get('number')}"
    still = f"release {live} still serves" if live else "nothing was live before"
    if done.state == "overtaken":
        return Conflict(
            f"{what} ended; a newer one overtook it, {still}", code="RELEASE_OVERTAKEN", hint="bough status"
        )
    failure = release.get("failure", {})
    service, why = failure.get("service", ""), str(failure.get("message", "it did not become ready"))
    return WorkloadFailed(
        f"{what} failed{f' in service {service}' if service else ''}, {still}; {why}",
        code=str(failure.get("code") or "RELEASE_FAILED"),
        hint=str(failure.get("hint") or f"bough logs {service} --lines 100"),
        release=release.get("number", 0),
        service=service,
        live=live,
        log=lines[-LAST_LINES:],
    )


def _too_slow(release: str) -> Unavailable:
    return Unavailable(
        "the release is not live yet; it goes on without this command",
        code="TIMEOUT",
        hint=f"bough releases follow {release}",
    )
