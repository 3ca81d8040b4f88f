"""A replica: answers frames until it is told to stop.

One loop for each of three ways a model can work. `item` and `batch` block: receive, decode, call, send all replies
once. Greedy: everything that has arrived is served, in batches of the model's size, and nothing waits for more.
Synchronous generators are interleaved by `streaming`, coroutines and asynchronous generators by `concurrent`.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec

from bough.runtime import concurrent, streaming
from bough.runtime.answering import Answering
from bough.runtime.frames import CANCEL, PROTOCOL, Hello, Reply, Request, Signature
from bough.runtime.kernelcalls import give_back_memory
from bough.runtime.link import Link, Stop, dropped, greet, listen
from bough.runtime.models import BATCH, Model, Prepared, as_load_error
from bough.runtime.rehearsal import QUIET_S, Rehearsal
from bough.runtime.spec import SOCKET_NAME, UnitSpec
from bough.runtime.telemetry import Telemetry, telemetry_of

_STDERR = 2
_COLLECT_AFTER = 50_000  # objects; the default of 700 walks the young generation several times for each frame


def run(prepared: Prepared, unit: UnitSpec, folder: Any) -> int:
    """Finishes loading, writes ready.json, serves until SIGTERM; returns the exit status. Raises `LoadError` when the
    model cannot be loaded. Must be called in the main thread, after the fork."""
    forked = prepared.loaded
    try:
        prepared.load()
        model = prepared.model()
    except (Exception, SystemExit) as error:  # user code may raise anything
        raise as_load_error(error, prepared.spec) from error
    torch = sys.modules.get("torch")
    if torch is not None and forked:
        torch.seed()  # else every replica draws the same numbers
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 50)
    stop = Stop()
    stop.install()
    faulthandler.enable(_STDERR)  # a crash in native code, and an end by SIGABRT, leave a traceback in the log
    listener = listen(str(Path(folder, SOCKET_NAME)))
    stop.watch(listener)
    answering = Answering(model, unit.labels.get("service", unit.unit))
    telemetry = telemetry_of(model)
    answering.further = telemetry.further
    hello = Hello(
        protocol=PROTOCOL, unit=unit.unit, attempt=unit.attempt, pid=os.getpid(), mode=model.mode,
        concurrency=model.concurrency, max_batch=model.max_batch, similar=model.contract.similar,
    )  # fmt: skip
    rehearsal = Rehearsal(model, Path(folder), unit.attempt)
    if model.contract.is_async or prepared.async_load:
        return concurrent.serve(
            listener, answering, hello, prepared, telemetry, rehearsal, lambda: write_ready(model.signature, folder)
        )
    write_ready(model.signature, folder)
    code = _serve(listener, stop, answering, telemetry, hello, rehearsal)
    stop.uninstall()
    return code


def write_ready(signature: Signature, folder: Any) -> None:
    temporary = Path(folder, f".ready.json.{os.getpid()}")
    temporary.write_bytes(msgspec.json.encode(signature))
    temporary.rename(Path(folder, "ready.json"))


def _serve(
    listener: socket.socket, stop: Stop, answering: Answering, telemetry: Telemetry, hello: Hello, rehearsal: Rehearsal
) -> int:
    model = answering.model
    while not stop.asked:
        try:
            connection = listener.accept()[0]
        except OSError:
            if stop.asked:  # the listener was shut because we are to end
                break
            raise
        with connection:
            stop.watch(connection)
            # A gateway that went away takes its connection and what it had asked with it; the next one connects anew.
            with contextlib.suppress(ConnectionError):
                greet(connection, hello)
                link = Link(connection, stop)
                if rehearsal.due and not link.comes(QUIET_S):
                    rehearsal.run()
                link.comes()
                if model.contract.streams:
                    streaming.serve(link, stop, answering, telemetry)
                else:
                    _answer(link, answering, model, telemetry)
            stop.forget(connection)
    return 0


def _answer(link: Link, answering: Answering, model: Model, telemetry: Telemetry) -> None:
    size, batching = model.max_batch, model.mode == BATCH
    tidy = False
    while True:
        patience_s = telemetry.patience_s
        requests = link.receive(patience_s=patience_s)
        if requests is None:
            return
        if requests:
            tidy = False
        elif not tidy and (patience_s is None or patience_s > QUIET_S):
            give_back_memory()  # a batch's tensors, which nobody may need for long
            tidy = True
        if any(request.verb == CANCEL for request in requests):
            requests = dropped(requests, CANCEL)
        for start in range(0, len(requests), size):
            part = requests if len(requests) <= size else requests[start : start + size]
            if telemetry.wants():
                _answer_watched(part, link, answering, batching, telemetry)
                continue
            replies = answering.answer_batch(part) if batching else answering.answer_items(part, link.send)
            if replies:
                link.send(replies)
        if report := telemetry.report():
            link.send([report])


def _answer_watched(
    part: list[Request], link: Link, answering: Answering, batching: bool, telemetry: Telemetry
) -> None:
    """The same, and keeps what went out until it has been counted."""
    sent: list[Reply] = []

    def send(replies: list[Reply]) -> None:
        link.send(replies)
        sent.extend(replies)

    replies = answering.answer_batch(part) if batching else answering.answer_items(part, send)
    if replies:
        send(replies)
    telemetry.note(part, sent)
