"""Which replica gets how much of a queue, in the times that models take."""

from __future__ import annotations

from collections import deque
from typing import Any, cast

import msgspec
import pytest

from bough.gateway.call import Call
from bough.gateway.lanes.dealing import Dealer
from bough.gateway.lanes.wire import Frame, Wire
from bough.gateway.models import Route, Target
from bough.runtime.frames import PREDICT, PROTOCOL, Hello, Request

ROUTE = Route(project="p", environment="main", service="s", deployment="d", release=1, kind="model")
HELLO = Hello(protocol=PROTOCOL, unit="u", attempt=1, pid=1, mode="batch", concurrency=1, max_batch=64)
CALL_S = 0.0003  # what a call of scikit-learn takes, whether it gets one row or sixty


class Table:
    """A dealer, replicas, and a clock that this moves."""

    def __init__(self, replicas: int) -> None:
        self.queue: deque[Call] = deque()
        self.dealer = Dealer(self.queue)
        self.wires = [Wire(cast(Any, None), Target(unit=f"u{number}")) for number in range(replicas)]
        for wire in self.wires:
            wire.hello = HELLO
        self.now = 1.0
        self.sent: list[tuple[Wire, int]] = []

    def come(self, count: int) -> None:
        for number in range(count):
            call = Call(number, cast(Any, None), cast(Any, None), self.now)
            call.request = Request(number, PREDICT, b"[1]")
            self.queue.append(call)

    def deal(self) -> float:
        return self.dealer.deal(self.wires, ROUTE, self._send, self.now)

    def answer(self, wire: Wire, fixed_s: float, item_s: float) -> None:
        """The frame that was sent last to this replica took so long."""
        size = wire.last_size
        frame = Frame(size, self.now)
        self.now += fixed_s + size * item_s
        self.dealer.measured(wire, frame, ROUTE, self.now)
        wire.frames, wire.last_reply = 0, self.now

    def learn(self, fixed_s: float, item_s: float) -> None:
        for count in (1, 20, 3, 40) * 5:
            self.come(count)
            self.deal()
            while any(wire.frames for wire in self.wires):
                for wire in self.wires:
                    if wire.frames:
                        self.answer(wire, fixed_s, item_s)
            self.queue.clear()
        self.sent.clear()

    def _send(self, wire: Wire, batch: list[Call], reason: str, now: float) -> None:
        wire.frames += 1
        wire.last_size = len(batch)
        self.sent.append((wire, len(batch)))


@pytest.fixture
def alike() -> Table:
    """Two replicas of a model whose calls cost the same whatever is in them."""
    table = Table(2)
    table.learn(CALL_S, 1e-6)
    return table


def test_calls_that_cost_alike_go_out_as_one_and_the_next_waits_for_its_turn(alike: Table) -> None:
    alike.come(40)
    assert alike.deal() == 0.0
    first, other = alike.sent[0][0], next(wire for wire in alike.wires if not wire.frames)
    assert [size for _, size in alike.sent] == [40]
    alike.come(10)
    wait_s = alike.deal()
    assert 0.0 < wait_s <= 2 * CALL_S  # less than half of what is under way, so it is not worth a call yet
    assert not other.frames
    alike.answer(first, CALL_S, 1e-6)
    assert (alike.deal(), alike.sent[-1][1]) == (0.0, 10)


def test_nobody_waits_longer_for_company_than_a_call_takes(alike: Table) -> None:
    alike.come(40)
    alike.deal()
    alike.come(1)
    alike.now += alike.deal()
    assert (alike.deal(), [size for _, size in alike.sent]) == (0.0, [40, 1])


def test_enough_for_a_call_of_its_own_goes_to_the_idle_replica_at_once(alike: Table) -> None:
    alike.come(40)
    alike.deal()
    alike.come(20)
    assert (alike.deal(), [size for _, size in alike.sent]) == (0.0, [40, 20])
    assert len({wire.target.unit for wire, _ in alike.sent}) == 2


def test_what_costs_by_the_item_is_spread_and_the_next_frame_is_ready() -> None:
    table = Table(2)
    table.learn(1e-6, 2e-5)
    table.come(60)
    table.deal()
    assert [size for _, size in table.sent] == [30, 30]
    table.come(30)
    assert (table.deal(), table.sent[2:]) == (0.0, [(table.wires[0], 30)])


def test_one_that_owes_a_word_gets_work_only_where_all_do() -> None:
    table = Table(2)
    for wire in table.wires:
        wire.hello = msgspec.structs.replace(HELLO, mode="concurrent", concurrency=2)
    table.wires[0].silent_since = 1.0
    table.come(2)
    table.deal()
    assert table.sent == [(table.wires[1], 2)]
    table.wires[1].silent_since = 1.0
    table.come(2)
    table.deal()
    assert len(table.sent) == 3 and not table.queue, "they may come to themselves"


def test_a_heavy_model_spreads_although_its_calls_cost_alike() -> None:
    table = Table(2)
    table.learn(0.01, 1e-6)
    table.come(40)
    assert (table.deal(), [size for _, size in table.sent]) == (0.0, [20, 10])  # and the rest when one is idle


def test_what_has_failed_once_waits_for_a_replica_that_does_not_hang() -> None:
    """Sent to one that says nothing it would end with it, and count as what ended two."""
    table = Table(1)
    [hung] = table.wires
    hung.silent_since = 1.0
    table.come(1)
    table.queue[0].attempts = 1
    table.deal()
    assert table.sent == []
    hung.silent_since = 0.0
    table.deal()
    assert table.sent == [(hung, 1)]
