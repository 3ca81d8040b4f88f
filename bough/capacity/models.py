"""What a job asks of capacity and what it is told, as data; and the interface."""

from __future__ import annotations

from typing import Protocol

import msgspec

from bough.adapters.capacity import HELD as HELD
from bough.adapters.capacity import LOST as LOST
from bough.adapters.capacity import NOTICED as NOTICED
from bough.adapters.capacity import ON_DEMAND as ON_DEMAND
from bough.adapters.capacity import SPOT as SPOT
from bough.adapters.capacity import Lease as Lease
from bough.adapters.capacity import Offer as Offer
from bough.capacity.changeovers import Changeover

AUTO = "auto"
START, KEEP, MOVE, WAIT = "start", "keep", "move", "wait"


class Situation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job run that wants to go on, at this moment. Seconds; times are since the epoch."""

    holder: str  # id of the job run
    capacity: str = ON_DEMAND  # on-demand, spot, auto
    accelerators: list[str] = []  # any of these will do, the first is wanted most; empty: none is needed
    work_left_s: float = 0.0  # of what is saved, at a work rate of 1; 0: not known
    deadline: float = 0.0  # when it must be done; 0: none
    lease: Lease | None = None  # what it holds; a lost one is released before the next decision
    changeover: Changeover = Changeover()  # from a lease to the first new step, as learnt of this job
    under_way: bool = False  # it makes steps on what it holds
    save_s: float = 0.0  # what a save costs the trainer
    to_disk_s: float = 0.0  # from the beginning of a save until it is on the disk: a notice has to leave so much
    interval_s: float = 0.0  # between two saves: what a loss without notice costs at most
    unsaved_s: float = 0.0  # work done since the last save
    held_back: str = ""  # why it gets on-demand whatever it asks for


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`start` and `move` name the offer; `keep` goes on with the lease, `wait` without any: a lease that is held is
    released, after a save. `move` releases after a save and then starts."""

    action: str  # start, keep, move, wait
    why: str  # a sentence for the timeline
    offer: Offer | None = None
    again_s: float = 60.0  # ask again after so long, at the latest
    expected_cost: float = 0.0  # from here to the end
    late: bool = False  # the deadline cannot be kept any more

    @property
    def gist(self) -> str:
        """`why` without its figures, which stand in brackets at its end and change all the time."""
        return self.why.partition(" (")[0]


class Capacity(Protocol):
    def decide(self, situation: Situation) -> Decision:
        """What to do now. Changes nothing. The first call for a job run waits for its plan, two seconds at most;
        others take a millisecond: while a new plan is made, the one before answers."""

    def acquire(self, holder: str, offer: Offer) -> Lease:
        """Rents what a decision named. Idempotent: a holder has one lease, and gets it again for the same offer.
        Raises `Unavailable` (code CAPACITY_GONE) when somebody else was faster: decide again; `Conflict` (code
        LEASE_HELD) while the holder has another one."""

    def keep(self, lease: Lease) -> Lease:
        """The lease as it is now: held, noticed (it ends at `ends_at`: save and stop), lost (what ran on it is to be
        killed). A lease that is not known any more comes back as lost."""

    def release(self, lease: Lease) -> None:
        """Gives it back; idempotent. What is lost is released too: until then it stays among `leases`."""

    def leases(self) -> list[Lease]:
        """The complete truth: after a crash, what no job run wants is found here."""

    def interrupt(self, lease: Lease, notice_s: float, cause: str = "drill") -> None:
        """Takes it away after `notice_s` as the market would, for drills. Raises `NotFound` if it is gone."""
