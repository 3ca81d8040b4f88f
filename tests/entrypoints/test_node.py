"""The node as a process: killed, doubled, and everything around it killed."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bough.adapters.engine.remote import RemoteEngine
from bough.kernel.errors import Invalid, NotFound, Problem, TooLarge, Unavailable
from bough.runtime.spec import UnitSpec
from tests.adapters import engine_rigs as rigs


class NodeRig(rigs.Rig):
    """A node in a process of its own."""

    def __init__(self) -> None:
        super().__init__(None)
        self.home = Path(tempfile.mkdtemp(dir="/tmp", prefix="bn-"))
        (self.home / "runtime").symlink_to(rigs.shared_runtime())
        self.socket = self.home / "run" / "node.sock"
        self.engine = RemoteEngine(self.socket)
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "bough.entrypoints.node", str(self.home), "engine_loader_module"]
        self.process = subprocess.Popen(command, env={**rigs.clean_environment(), "PYTHONPATH": "."})
        deadline = time.monotonic() + 60
        while True:
            try:
                assert self.engine.state().pid == self.process.pid
                return
            except Unavailable:
                assert time.monotonic() < deadline
                assert self.process.poll() is None
                time.sleep(0.005)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process.poll() is not None:
            self.start()
        rigs.end_all(self.engine)
        self.process.terminate()
        assert self.process.wait(60) == 0
        self.engine.close()
        rigs.remove(self.home)


@pytest.fixture
def node() -> Iterator[NodeRig]:
    rig = NodeRig()
    yield rig
    rig.close()


def test_kill_9_of_the_node_5_times_stops_nothing_and_loses_nothing(node: NodeRig) -> None:
    node.engine.apply(node.spec("job", rigs.runs()))
    node.engine.apply(node.model("model", "plain"))
    node.engine.apply(node.spec("web", rigs.web()))
    counting = "import time\nfor i in range(100000): print(i); time.sleep(0.002)"
    node.engine.apply(node.spec("talks", rigs.Story(argv=rigs.python(counting))))
    pids = {unit: node.until(unit, state).pid for unit, state in
            (("job", "running"), ("talks", "running"), ("model", "ready"), ("web", "ready"))}  # fmt: skip
    for round_ in range(5):
        node.engine.apply(node.spec(f"ends{round_}", rigs.Story(argv=["sh", "-c", f"sleep 0.05; exit {round_}"])))
        node.kill()
        with pytest.raises(Unavailable):
            node.engine.snapshot()
        assert all(rigs.alive(pid) for pid in pids.values())
        node.start()
        assert {unit: node.look(unit).pid for unit in pids} == pids
        assert node.exited(f"ends{round_}").code == round_
    node.engine.stop("talks", 1)
    assert node.exited("talks").reason == "stopped"
    lines = node.output("talks").splitlines()
    assert lines == [b"%d" % number for number in range(len(lines))]


def test_kill_9_of_the_node_between_apply_and_start_in_8_rounds_runs_each_attempt_once(node: NodeRig) -> None:
    marks = node.home / "marks"
    marks.mkdir()
    for round_ in range(8):
        story = rigs.Story(argv=["sh", "-c", f"echo ran >> {marks}/{round_}; sleep 1000"])
        spec = node.spec(f"u{round_}", story)
        caller = threading.Thread(target=_apply_once, args=(node, spec))
        caller.start()
        time.sleep(0.001 * round_)
        node.kill()
        caller.join()
        node.start()
        node.engine.apply(spec)
        node.until(f"u{round_}", lambda _, mark=marks / str(round_): mark.exists())
        node.engine.stop(f"u{round_}", 1, 0.0)
        node.exited(f"u{round_}")
        assert (marks / str(round_)).read_text() == "ran\n"


def test_kill_9_of_a_shim_is_lost_and_leaves_no_process_in_3_rounds(node: NodeRig) -> None:
    for round_ in range(3):
        unit = f"a{round_}"
        node.engine.apply(node.spec(unit, rigs.Story(argv=["sh", "-c", "setsid sleep 1000 & echo $!; wait"])))
        pid = node.until(unit, "running").pid
        child = int(node.until_output(unit, b"\n"))
        os.kill(_parent(pid), signal.SIGKILL)
        ended = node.exited(unit)
        assert (ended.code, ended.reason) == (-9, "lost")
        assert rigs.gone(pid) and rigs.gone(child)


def test_a_shim_and_the_node_killed_together_are_found_out_afterwards(node: NodeRig) -> None:
    node.engine.apply(node.spec("a", rigs.runs()))
    pid = node.until("a", "running").pid
    shim = _parent(pid)
    node.kill()
    os.kill(shim, signal.SIGKILL)
    node.start()
    assert node.exited("a").reason == "lost"
    assert rigs.gone(pid)
    assert node.engine.wake("a").attempt == 2


def test_kill_9_of_the_zygote_leaves_4_replicas_and_the_next_one_gets_a_new_zygote(node: NodeRig) -> None:
    for number in range(4):
        node.engine.apply(node.model(f"r{number}", "plain"))
    pids = {f"r{number}": node.until(f"r{number}", "ready").pid for number in range(4)}
    zygote = int(node.until_output("r0", b"cwd").split(b"loaded by ")[1].split(b",")[0])
    os.kill(zygote, signal.SIGKILL)
    assert rigs.gone(zygote)
    node.engine.apply(node.model("r9", "plain"))
    node.until("r9", "ready")
    assert {unit: node.look(unit).pid for unit in pids} == pids
    assert all(rigs.alive(pid) for pid in pids.values())


def test_kill_9_of_a_unit_10_times_is_seen_within_a_second(node: NodeRig) -> None:
    node.engine.apply(node.model("r", "plain"))
    waited = []
    for attempt in range(1, 11):
        pid = node.until("r", "ready").pid
        killed_at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        assert node.exited("r").reason == "killed"
        waited.append(time.monotonic() - killed_at)
        node.engine.apply(node.model("r", "plain", attempt=attempt + 1))
    assert statistics.median(waited) < 1.0  # another program may have had the machine at one of them


def test_a_second_node_on_the_same_home_is_refused_and_says_who_is_there(node: NodeRig) -> None:
    command = [sys.executable, "-m", "bough.entrypoints.node", str(node.home)]
    second = subprocess.run(command, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True, check=False)
    assert second.returncode == 5
    assert f"pid {node.process.pid}" in second.stderr and "bough down" in second.stderr
    assert node.engine.state().pid == node.process.pid


def test_the_socket_is_for_its_owner_only(node: NodeRig) -> None:
    assert node.socket.stat().st_mode & 0o777 == 0o600


def test_a_node_that_is_not_there_is_unavailable_and_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as absent:
        RemoteEngine(tmp_path / "node.sock").snapshot()
    assert (absent.value.own_code, absent.value.hint) == ("NODE_UNREACHABLE", "bough up; bough status")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/apply", b"{}", 422),
        ("POST", "/apply", b"\xff\xfe", 422),
        ("POST", "/stop", b'{"unit": 3}', 422),
        ("POST", "/wake", b'{"unit": "nobody"}', 404),
        ("GET", "/watch?cursor=x&timeout_s=1", b"", 422),
        ("GET", "/logs?unit=nobody&attempt=1&offset=0", b"", 404),
        ("GET", "/nothing", b"", 404),
        ("POST", "/drain", b'{"node": "other", "deadline_s": 1, "reason": ""}', 404),
    ],
)
def test_8_wrong_requests_get_an_error_and_the_connection_stays_good(
    node: NodeRig, method: str, path: str, body: bytes, status: int
) -> None:
    connection = http.client.HTTPConnection("node")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(node.socket))
    for expected, request in ((status, (method, path, body)), (200, ("GET", "/healthz", b""))):
        connection.request(*request)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == expected
        assert (b'"code"' in text) == (expected != 200)
    connection.close()


def test_what_is_not_http_or_too_large_harms_nobody(node: NodeRig) -> None:
    for garbage in (b"\0" * 5000, b"GET\r\n\r\n", b"POST /apply HTTP/1.1\r\nContent-Length: -4\r\n\r\n"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(node.socket))
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    with pytest.raises(TooLarge):
        node.engine.apply(UnitSpec(unit="a", attempt=1, kind="job", argv=["x" * (17 << 20)]))
    assert node.engine.snapshot() == []


def test_a_follower_that_leaves_is_noticed_and_others_go_on(node: NodeRig) -> None:
    node.engine.apply(
        node.spec("a", rigs.Story(argv=rigs.python("import time\nwhile True: print('x'); time.sleep(0.01)")))
    )
    node.until("a", "running")
    for _ in range(5):
        chunks = node.engine.logs("a", 1, 0, follow=True)
        assert next(chunk.data for chunk in chunks if chunk.data)[:2] == b"x\n"
        chunks.close()
    deadline = time.monotonic() + 60
    while len(list(Path(f"/proc/{node.process.pid}/task").iterdir())) > 5:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_errors_keep_their_class_over_the_wire(node: NodeRig) -> None:
    kinds: list[type[Problem]] = []
    for call in (lambda: node.engine.logs("x", 1, 0, follow=False),
                 lambda: node.engine.apply(UnitSpec(unit="../x", attempt=1, kind="job", argv=["true"]))):  # fmt: skip
        with pytest.raises(Problem) as raised:
            call()
        kinds.append(type(raised.value))
        assert raised.value.hint
    assert kinds == [NotFound, Invalid]


def _apply_once(node: NodeRig, spec: UnitSpec) -> None:
    with contextlib.suppress(Unavailable), contextlib.closing(RemoteEngine(node.socket)) as engine:
        engine.apply(spec)  # the node is killed meanwhile: that is the point


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
