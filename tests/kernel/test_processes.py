"""Which process a pid means."""

from __future__ import annotations

import os
import subprocess
import time

from bough.kernel.processes import SET_S, began_at, has_ended, starttime


def test_a_process_has_ended_when_it_is_gone_a_zombie_or_another_one_under_its_number() -> None:
    assert not has_ended(os.getpid(), starttime(os.getpid()))
    assert has_ended(os.getpid(), starttime(os.getpid()) - 1)
    with subprocess.Popen(["sleep", "1000"]) as child:
        begun = starttime(child.pid)
        assert not has_ended(child.pid, begun)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie from now on
        assert has_ended(child.pid, begun)
    assert has_ended(child.pid, begun)


def test_a_process_began_when_it_did_by_the_clock_as_it_is_set_now() -> None:
    before = time.time()
    with subprocess.Popen(["sleep", "1000"]) as child:
        said = time.time()
        begun = starttime(child.pid)
        child.kill()
    assert began_at(begun, said) == said, "nobody has set it"
    for set_by in (3 * 86_400.0, -5 * 3600.0):
        assert before - SET_S < began_at(begun, said - set_by) < said + SET_S
