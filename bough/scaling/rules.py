"""How many replicas a service needs: a formula, the same for a live service and for a simulated one.

Offered load    R = λ·s / c. Arrivals a second, times the seconds for which each keeps a slot busy, over the
                replica's slots. What waits is not in it: a backlog is work that came late, not work that keeps coming.
Rate            λ is the mean of the longest window that no shorter one refutes (`rate`): noise moves nothing, and a
                jump is believed as soon as it is proved. While it rises steadily, it is carried on over the time that
                a replica takes to start (`slope`).
Staffing        n = R + x, x ≥ 0 that minimises  x + V·R·late(x),  late(x) = a(x/√(zR))·exp(-2xT/(s(z+1))),
                no further than where late(x) is `TOLERATED`. a is Halfin and Whitt's probability of waiting; T the wait
                that is the objective; z the variance of arrivals over their mean. x grows as the square root of R.
                V is what a late request costs, in units of its own work: the number that weighs money against people.
Weight          V that nobody has set is the usual one times a weight that is learnt beside the usual rule
                (`weighed_anew`): to pay no more than there, and to be late no more often; while next to nobody is
                late there, who is late here may be as many as are tolerated.
Keeping         A replica that was needed and is not is kept while  chance(needed again in this second)·V·start ≥ price:
                the chance comes from how long such replicas were idle before (`worth_keeping`), `start` is how long its
                absence would make people wait, `price` is 1, or what a pool replica costs. The same rule makes ready
                before a burst that comes at its time, and sizes the pool for jumps that were seen, or that are feared
                until the service has shown that it has none.
Pool            The margin x waits in the pool, where it costs little. As many answer as the next
                second needs:  R + (N - R)·q, q = exp(-1/s), of which N are busy now, and x for what is not known of
                that second: with (1 - q²)·R for R in its root, and with that share of V that the pool cannot prevent,
                the second and the activation less T. What is there stays for start/price seconds after it was needed:
                for so long it costs what a new start would.
Smooth          Where there is nothing but noise, n = R' + t·x, and x more while somebody waits longer than T: x is the
                least with late(x) ≤ `TOLERATED` (`tolerable`), R' the trend of some minutes, as the likeliest of three
                lines have it (`trend.py`), carried on over the start, t is learnt (`tried`), and nothing is kept,
                nothing started for a backlog. Only once four minutes are known, and while this rule, simulated beside
                (`smooth.py`), has next to nobody late.
Backlog         B seconds of work that wait are worked off by x more replicas, x = √(V·R·B/start): starting one costs
                `start`, and while they work everybody else is late. The pool gives what ends it in T/2. Neither is more
                than one for each request that waits. None that is there is given up while there is a backlog for it:
                the same work would only be done later.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from bough.scaling.models import Account, Trial

WINDOWS_S = (1, 2, 4, 8, 15, 30, 60)
SETTLED_S = 30  # of a shorter window that says that there is more, only what it proves is believed
PROOF = 2.5  # standard deviations at which a shorter window refutes a longer one
BRIEF_S, BRIEF_PROOF = 8, 3.2  # there are many brief ones, and one of them is always unusual
SLOPE_WINDOWS_S = (5, 10, 20, 40)
SLOPE_PROOF = 1.5
TOLERATED = 0.01  # of requests may be later than the objective
LEAST_TRIM = 0.4
SURE = 60.0  # e to the minus this is nothing
ROUNDING = 0.15  # of a replica is not worth another one
CHEAPER = 0.97  # of the usual rule's cost is the most that ours may come to
EARLIER = 0.9  # of those that are late under the usual rule are the most that may be under ours
DOUBLES_S, RETURNS_S = 150.0, 600.0  # in which the weight doubles or halves, and in which it does so back to 1
LIGHTEST, HEAVIEST = 0.25, 50.0  # beyond, hardly anything is decided otherwise
HARDLY = TOLERATED / 2  # of requests are late where the margin of the rule for smooth traffic is as it should be
TRIMS_S = 10_000.0  # in which that margin is given up where nobody is late
SURPRISE = 5.0  # standard deviations beyond which it is not noise
MEMORY_S = 14_400.0  # after which what happened counts for a third
TRUSTED_S = 7200  # a service that has shown less than this is taken to have had nobody late in the rest of it
SPEND_S = 3600.0  # in which what is left of a budget may be spent
FEARED_S = 1200.0  # for so long a new service is trusted with nothing: as if jumps had been seen once in this time
SMALL = 5.0  # replicas: a service up to here may jump tenfold
RATIOS = (1.25, 1.5, 2.0, 3.0, 4.5, 7.0, 10.0)  # of a jump to the usual load
EDGES_S = tuple(2.0 * 1.3**step for step in range(34))  # idle times are told apart by these: 2 s to 3 hours


def chance_of_waiting(beta: float) -> float:
    """Halfin and Whitt: of finding every slot busy, with β square roots of the load to spare."""
    if beta <= 0.0:
        return 1.0
    density = math.exp(-beta * beta / 2) / math.sqrt(2 * math.pi)
    below = 0.5 * (1 + math.erf(beta / math.sqrt(2)))
    return density / (density + beta * below)


def margin(load: float, service_s: float, objective_s: float, late_cost: float, peak: float = 1.0) -> float:
    """x of the staffing rule: replicas beyond the load."""
    if load <= 0.0:
        return 0.0
    root, decay = math.sqrt(peak * load), 2 * objective_s / (max(service_s, 1e-6) * (peak + 1.0))
    best, found, spare, step = late_cost * load, 0.0, 0.0, max(0.1, root / 8)
    while spare < best:
        spare += step
        late = chance_of_waiting(spare / root) * math.exp(-min(SURE, spare * decay))
        cost = spare + late_cost * load * late
        if cost < best:
            best, found = cost, spare
        if late <= TOLERATED:
            return found or _nearer(spare - step, spare, root, decay, 4)
    return found


def tolerable(load: float, service_s: float, objective_s: float, peak: float = 1.0) -> float:
    """The least x with no more than `TOLERATED` late."""
    if load <= 0.0:
        return 0.0
    root = math.sqrt(peak * load)
    return _nearer(0.0, 3 * root, root, 2 * objective_s / (max(service_s, 1e-6) * (peak + 1.0)), 10)


def _nearer(low: float, high: float, root: float, decay: float, halvings: int) -> float:
    """The least that is tolerated, between two."""
    for _ in range(halvings):
        middle = (low + high) / 2
        if chance_of_waiting(middle / root) * math.exp(-min(SURE, middle * decay)) <= TOLERATED:
            high = middle
        else:
            low = middle
    return high


def rate(sums: Sequence[float], peak: float) -> float:
    """Arrivals a second. `sums`: how many there had been at the end of each second, oldest first."""
    low, high, best, settled = 0.0, math.inf, 0.0, 0
    for window in WINDOWS_S:
        if window >= len(sums):
            break
        count = sums[-1] - sums[-1 - window]
        if low <= count / window <= high:
            best, settled = count / window, window
        doubt = (PROOF if window >= BRIEF_S else BRIEF_PROOF) * math.sqrt(peak * count + 1.0)
        at_least, at_most = max(low, (count - doubt) / window), min(high, (count + doubt + 1.0) / window)
        if at_least > at_most:
            break  # from here on windows reach back to another time
        low, high = at_least, at_most
    longest = min(WINDOWS_S[-1], len(sums) - 1)
    rises = longest > 0 and best > (sums[-1] - sums[-1 - longest]) / longest
    return low if rises and settled < SETTLED_S else max(best, low)


def slope(sums: Sequence[float], peak: float) -> float:
    """By how much the rate grows a second, where three windows in a row prove that it does."""
    steepest = 0.0
    for window in SLOPE_WINDOWS_S:
        if 3 * window >= len(sums):
            break
        first, second, third = (sums[-1 - back * window] - sums[-1 - (back + 1) * window] for back in (2, 1, 0))
        proved = min(
            third - second - SLOPE_PROOF * math.sqrt(peak * (second + third) + 1.0),
            second - first - SLOPE_PROOF * math.sqrt(peak * (first + second) + 1.0),
        )
        if proved > 0:
            steepest = max(steepest, (third - first) / 2 / window / window)
    return steepest


def peakedness(counts: Sequence[float]) -> float:
    """Variance over mean of some seconds' arrivals."""
    mean = sum(counts) / len(counts)
    return sum((each - mean) ** 2 for each in counts) / (len(counts) - 1) / mean if mean > 0.05 else 1.0


def worth_keeping(returns: Sequence[float], exposure_s: Sequence[float], worth: float) -> list[bool]:
    """For each class of idle times whether an idle replica is kept. `returns`: how often one was needed again,
    `exposure_s`: for how long some were idle; `worth`: of being there, over the price of a second."""
    best, gained, until = 0.0, 0.0, -1
    for place, (count, seconds) in enumerate(zip(returns, exposure_s, strict=True)):
        gained += count * worth - seconds
        if gained > best:
            best, until = gained, place
    return [
        place <= until or (count >= 2 and count * worth > seconds)
        for place, (count, seconds) in enumerate(zip(returns, exposure_s, strict=True))
    ]


def jump_to_expect(jumps: Sequence[float], watched_s: float, worth: float, usual: float = 1.0) -> float:
    """The largest ratio to the usual load for which it pays to be ready. Of what has not been seen, less is feared the
    larger the service: many people together are steadier than few."""
    fear = 1.0 / max(1.0, usual / SMALL)
    paying = [
        ratio
        for ratio, count in zip(RATIOS, jumps, strict=True)
        if (count + fear / ratio) / (watched_s + FEARED_S) * worth >= 1.0
    ]
    return max(paying, default=0.0)


def trimmed(trim: float, late: float) -> float:
    """The share of the margin that is used from now on: less while next to nobody is late, all of it once some are.
    The formula knows means only, and is too careful where requests are alike."""
    if late < TOLERATED / 4:
        return max(LEAST_TRIM, trim - 0.01)
    return min(1.0, trim + 0.05 * late / TOLERATED) if late > TOLERATED / 2 else trim


def weighed_anew(
    weight: float, ours: Account, usual: Account, asked: float, trusted: float = 1.0, seconds: int = 1
) -> float:
    """The weight of a late request so many seconds later. `ours`, `usual`: what this rule and the usual one have come
    to under the same `asked` requests. While more are late, it rises as far as the usual rule's cost bears it; while
    replicas cost more and fewer are late, it falls; else it returns to 1. As long as the usual rule has no more late
    than is tolerated, so many may be late here, too, of `trusted` times as many as have asked."""
    burst = usual.late > TOLERATED * asked
    late = ours.late > max(EARLIER * usual.late, 0.0 if burst else TOLERATED * trusted * asked)
    dear = ours.cost > CHEAPER * usual.cost
    if late and not dear:
        return min(HEAVIEST, weight * 2 ** (seconds / DOUBLES_S))
    if dear and not late:
        return max(LIGHTEST, weight * 2 ** (-seconds / DOUBLES_S))
    returned = 2 ** (seconds / RETURNS_S)
    return max(1.0, weight / returned) if weight > 1.0 else min(1.0, weight * returned)


def tried(trial: Trial, keeps: float, asked: int, late: int, rate: float, seconds: int = 1) -> Trial:
    """So many seconds later, when so many came and were late; `keeps` is the share of the past that is not forgotten,
    `rate` what usually comes in a second. The share of the margin that is used stays where it is while `HARDLY` are
    late."""
    trim = trial.trim + (late / max(1.0, rate) / HARDLY - seconds) / TRIMS_S
    return Trial(
        asked=trial.asked * keeps + asked, late=trial.late * keeps + late, trim=min(1.0, max(LEAST_TRIM, trim))
    )


def to_work_off(waiting: float, load: float, late_cost: float, start_s: float, within_s: float = 2.0) -> float:
    """Replicas for a backlog of so many replica-seconds of work; never more than finish it `within_s`."""
    return min(waiting / within_s, math.sqrt(late_cost * max(load, 1.0) * waiting / max(start_s, 1.0)))


def affordable(left_s: float, remaining_s: float, least: int) -> int:
    """Replicas that the rest of a budget bears. What the least needs until the end of the day is set aside; the rest
    may be spent within an hour, and the bound sinks as it is: so a budget ends bursts before it ends itself."""
    spare_s = left_s - least * remaining_s
    return least + max(0, int(spare_s / max(1.0, min(remaining_s, SPEND_S)) + ROUNDING))


def whole(replicas: float) -> int:
    return math.ceil(replicas - ROUNDING)
