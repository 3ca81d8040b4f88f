"""Policies to compare with. Each keeps the deadline by the same safety net: once there is only just time enough for
on-demand, on-demand runs to the end."""

from __future__ import annotations

from bench.spot.judge import BUY, ON_DEMAND, SPOT, WAIT, Action, State


class OnDemand:
    def decide(self, state: State) -> Action:
        return BUY


class Greedy:
    """Spot wherever there is some, nothing while there is none."""

    def decide(self, state: State) -> Action:
        return safety_net(state) or spot(state) or WAIT


class TimeSliced:
    """The job in slices of equal work, each with its part of the time, each greedy."""

    def __init__(self, slices: int = 12) -> None:
        self._slices = slices

    def decide(self, state: State) -> Action:
        setting = state.setting
        number = min((setting.work - state.work_left) * self._slices // setting.work, self._slices - 1)
        until = setting.deadline * (number + 1) / self._slices
        left = state.work_left - setting.work * (self._slices - number - 1) / self._slices
        if (net := safety_net(state)) is not None:
            return net
        behind = until - state.tick <= left + setting.changeover
        if state.running.kind == ON_DEMAND and behind:
            return BUY
        return spot(state) or (BUY if behind else WAIT)


class UniformProgress:
    """NSDI'24, "Can't Be Late": as far with the work as with the time, on-demand when behind, spot whenever there is
    some; what runs on-demand stays there until it is ahead by two changeovers. `eager` leaves it for spot at once."""

    def __init__(self, *, eager: bool) -> None:
        self._eager = eager

    def decide(self, state: State) -> Action:
        if (net := safety_net(state)) is not None:
            return net
        setting = state.setting
        done, pace = setting.work - state.work_left, setting.work / setting.deadline
        if state.running.kind == ON_DEMAND and done < (state.tick + 2 * setting.changeover) * pace:
            return (self._eager and spot(state)) or BUY
        if (found := spot(state)) is not None:
            return found
        return BUY if done < state.tick * pace else WAIT


def safety_net(state: State) -> Action | None:
    """On-demand, when a tick without work could be one too many."""
    if state.running.kind == SPOT and state.changeover_left == 0:
        return None  # this tick does work: as much time beyond the work as before
    return BUY if state.time_left - 1 < state.work_left + state.setting.changeover else None


def spot(state: State) -> Action | None:
    """Where it runs already, else the first zone that has some, if there is time for the changeover there and back."""
    if state.running.kind == SPOT:
        return state.running
    if state.time_left < state.work_left + 2 * state.setting.changeover:
        return None
    return next((Action(SPOT, zone) for zone, there in enumerate(state.available) if there), None)
