"""The guardian of one unit: a process of its own that outlives everything above it and tells how the unit ended.

It starts the unit in a session of its own, is the parent of last resort of everything the unit starts, writes the
unit's output to log segments, measures it, stops it, and always leaves `exit.json`. What goes wrong above (node,
server, terminal) does not reach it; if it is itself killed, the unit dies with it and the node reports `lost`.

One function, `guard`, does this both for a command (the shim was executed as `main`) and for a replica (the shim was
forked inside a zygote); only what the child runs differs.

Because there is one shim per unit it imports next to nothing: `json`, `signal`, `subprocess` and `ctypes` would add
7 ms to every start and a megabyte to every unit. `_signal` and `_json` are the C halves of the standard modules.
"""

# ruff: noqa: PTH104, PTH108, PTH109, PTH116, SIM105, UP031 - pathlib and contextlib would double the shim's start-up time and memory

from __future__ import annotations

import _signal  # type: ignore[import-not-found, unused-ignore]  # no stubs; see above
import errno
import os
import resource
import select
import sys
import time

from bough.runtime import kernelcalls, proctree
from bough.runtime.gpumeter import GpuMeter
from bough.runtime.logsegments import SegmentWriter

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs 3 ms
    from collections.abc import Callable

SIGTERM, SIGKILL, SIGCHLD = int(_signal.SIGTERM), int(_signal.SIGKILL), int(_signal.SIGCHLD)

_TICK_S = 1.0  # usage.json is refreshed this often
_MEMORY_TICK_S = 0.2  # a unit may overshoot its memory limit for this long
_GPU_AFTER_S = 3.0  # opening NVIDIA's driver to measure takes a second, in which the unit could not open it
_REAP_S = 5.0  # how long killed processes may take to go (uninterruptible sleep) before we end without them
_READ_BYTES = 65536
_RESERVE_BYTES = 16384  # room for exit.json, taken while there is space
_FULL_DISK_RETRIES = 50


class Plan:
    """What the shim must know of its unit. As text (`plan_to_text`) it travels in the shim's arguments."""

    def __init__(
        self,
        folder: str,
        *,
        cwd: str = "",
        grace_s: float = 10.0,
        lease_s: float = 0.0,
        log_bytes: int = 32 << 20,
        memory_bytes: int = 0,
        files: int = 0,
        processes: int = 0,
        confine: bool = False,
        nice: int = 0,
    ) -> None:
        self.folder = folder
        self.cwd = cwd
        self.grace_s = grace_s
        self.lease_s = lease_s
        self.log_bytes = log_bytes
        self.memory_bytes = memory_bytes
        self.files = files
        self.processes = processes
        self.confine = confine
        self.nice = nice


def main(arguments: list[str]) -> None:
    """`FOLDER CWD GRACE_S LEASE_S LOG_BYTES MEMORY_BYTES FILES PROCESSES CONFINE NICE COMMAND...`; the environment is
    the unit's. SIGTERM is expected to be blocked, so that none is lost before we listen."""
    folder, cwd, grace_s, lease_s, log_bytes, memory_bytes, files, processes, confine, nice, *argv = arguments
    plan = Plan(
        folder, cwd=cwd, grace_s=float(grace_s), lease_s=float(lease_s), log_bytes=int(log_bytes),
        memory_bytes=int(memory_bytes), files=int(files), processes=int(processes), confine=confine == "1",
        nice=int(nice),
    )  # fmt: skip
    guard(plan, lambda: _execute(plan, argv))


def guard(plan: Plan, body: Callable[[], int]) -> None:
    """Runs `body` in a child and watches over it until everything of it has ended. Never returns."""
    status = 1
    guardian = _Guard(plan)
    try:
        guardian.run(body)
        status = 0
    except BaseException as error:  # whatever it is, the unit must not be left without a guardian and without a word
        sys.excepthook(type(error), error, error.__traceback__)
        guardian.abandon(error)
    finally:
        os._exit(status)  # skips what a zygote's libraries have registered for the end of the process


def claim(folder: str, shim_pid: int) -> bool:
    """Makes `shim_pid` (0: the node, which gives the attempt up) the only one that may run the attempt in `folder`.
    False when somebody else was first: an attempt runs at most once, whoever is killed in between."""
    temporary = f"{folder}/.claim.{os.getpid()}.{time.monotonic_ns()}"
    _write(temporary, _started_json(shim_pid, 0))
    try:
        os.link(temporary, folder + "/pid.json")
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    return True


def write_error(folder: str, code: str, message: str, hint: str = "", traceback: str = "") -> None:
    """error.json: why the unit failed, in words; the node adds it to the exit. A full disk loses it, nothing else."""
    try:
        _replace(folder + "/error.json", _failure_json(code, message, hint, traceback))
    except OSError:
        pass  # the exit code remains


class _Guard:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._folder = plan.folder
        self._pid = 0
        self._status: int | None = None  # of the unit's main process, once it has ended
        self._reason = ""  # why we stop it, once we do
        self._failure = ""
        self._word = ""  # for the log, of an end that nobody asked for
        self._kill_at = 0.0  # monotonic; 0: not stopping
        self._meter = proctree.Meter()
        self._usage = ""
        self._meter_gpus_at = time.monotonic() + _GPU_AFTER_S
        self._lease_mtime = 0
        self._lease_seen = time.monotonic()
        self._log = SegmentWriter(plan.folder, plan.log_bytes)

    def run(self, body: Callable[[], int]) -> None:
        if not claim(self._folder, os.getpid()):
            return
        os.setsid()
        _write(self._folder + "/.exit", " " * _RESERVE_BYTES)
        wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in (SIGTERM, SIGCHLD):
            _signal.signal(number, _noted)
        for number in (_signal.SIGINT, _signal.SIGHUP, _signal.SIGPIPE):
            _signal.signal(number, _signal.SIG_IGN)
        kernelcalls.become_subreaper()
        if _exists(self._folder + "/stop.json"):
            self._reason = "stopped"
            self._finish()
            return
        output = self._start(body, (wake_read, wake_write))
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {SIGTERM})
        self._watch(wake_read, output)
        self._end_everything(output)
        self._finish()

    def abandon(self, error: BaseException) -> None:
        """We failed ourselves: nothing may keep running unguarded."""
        self._kill_descendants()
        self._reap()
        self._reason = self._reason or "lost"
        self._failure = _failure_json("SHIM_FAILED", f"{type(error).__name__}: {error}", "bough doctor", "")
        self._finish()

    def _start(self, body: Callable[[], int], ours: tuple[int, int]) -> int:
        """Forks the unit; gives the end of the pipe at which its output arrives."""
        output, theirs = os.pipe2(os.O_CLOEXEC)
        shim = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            status = 127
            try:
                _signal.set_wakeup_fd(-1)
                for fd in (*ours, output):
                    os.close(fd)
                _become_unit(self._plan, shim, theirs)
                status = body()
            except OSError as error:
                _explain_start(self._plan, error)
            finally:
                os._exit(status)
        _replace(self._folder + "/pid.json", _started_json(shim, self._pid))
        # A shim forked in a zygote has the zygote's files open; the unit needs them, the shim must not hold them.
        keep = sorted({output, *ours})
        for low, high in zip([2, *keep], [*keep, 1 << 16]):  # strict= is newer than Python 3.9
            os.closerange(low + 1, high)
        os.set_blocking(output, False)
        return output

    def _watch(self, wake: int, output: int) -> None:
        """Until the main process has ended and, when it was asked to stop, its descendants too or grace is over."""
        poller = select.poll()
        poller.register(wake, select.POLLIN)
        poller.register(output, select.POLLIN)
        tick_s = min(_MEMORY_TICK_S if self._plan.memory_bytes else _TICK_S, self._plan.lease_s / 4 or _TICK_S)
        next_tick = time.monotonic() + min(0.1, tick_s)
        while self._status is None or (self._kill_at and time.monotonic() < self._kill_at and self._have_children()):
            until = min(next_tick, self._kill_at or next_tick)
            for fd, _ in poller.poll(max(0.0, until - time.monotonic()) * 1000 + 1):
                if fd == output and not self._drain(output, 1):
                    poller.unregister(output)  # the unit closed its output and lives on
                if fd == wake and SIGTERM in os.read(wake, 512):
                    self._stop("stopped", self._asked_grace_s())
            self._reap()
            now = time.monotonic()
            if self._kill_at and now >= self._kill_at:
                self._kill_descendants()
                self._kill_at = now + 0.1  # what was forked meanwhile gets the next round
            if now >= next_tick:
                self._tick()
                next_tick = now + tick_s

    def _tick(self) -> None:
        plan, meter = self._plan, self._meter
        if self._meter_gpus_at and time.monotonic() >= self._meter_gpus_at:
            self._meter_gpus_at, meter.gpus = 0.0, _gpu_meter(self._folder)
        meter.sample(memory=plan.memory_bytes > 0)
        usage = meter.as_json(self._log.dropped_bytes)
        if usage != self._usage:
            self._usage = usage
            try:
                _replace(self._folder + "/usage.json", usage)
            except OSError:
                pass  # full disk: the next tick, or exit.json, tells
        if plan.memory_bytes and meter.memory_bytes > plan.memory_bytes:
            self._give_up(
                "memory", "MEMORY_LIMIT",
                f"used {meter.memory_bytes >> 20} MB of memory, more than its limit of {plan.memory_bytes >> 20} MB",
                "raise resources.memory_mb in bough.toml, or load less",
            )  # fmt: skip
        if plan.processes and meter.processes > plan.processes:
            self._give_up(
                "killed", "PROCESS_LIMIT", f"ran {meter.processes} processes, more than its limit of {plan.processes}",
                "raise limits.processes, or start fewer workers",
            )  # fmt: skip
        if plan.lease_s and self._lease_is_over():
            self._stop("lease", plan.grace_s)
        if not _exists(self._folder):
            self._stop("stopped", 0.0)  # nobody can ever ask for us again

    def _lease_is_over(self) -> bool:
        """Counted on the monotonic clock from when a renewal was seen: a changed wall clock or a suspended machine
        ends no lease."""
        try:
            mtime = os.stat(self._folder + "/lease").st_mtime_ns
        except OSError:
            mtime = 0
        now = time.monotonic()
        if mtime != self._lease_mtime:
            self._lease_mtime, self._lease_seen = mtime, now
        return now - self._lease_seen > self._plan.lease_s

    def _asked_grace_s(self) -> float:
        """stop.json is `{"grace_s":N}`; the plan's grace when there is none."""
        try:
            fd = os.open(self._folder + "/stop.json", os.O_RDONLY | os.O_CLOEXEC)
            try:
                return float(os.read(fd, 200).partition(b":")[2].rstrip(b"} \n"))
            finally:
                os.close(fd)
        except (OSError, ValueError):
            return self._plan.grace_s

    def _stop(self, reason: str, grace_s: float) -> None:
        kill_at = time.monotonic() + grace_s
        if not self._reason:
            self._reason = reason
            self._signal_group(SIGTERM)
        self._kill_at = min(self._kill_at or kill_at, kill_at)  # a second request may only shorten

    def _give_up(self, reason: str, code: str, message: str, hint: str) -> None:
        if not self._reason:
            self._reason = reason
            self._failure = _failure_json(code, message, hint, "")
            self._word = f"{message}; {hint}"
            self._kill_at = time.monotonic()

    def _signal_group(self, number: int) -> None:
        try:
            os.killpg(self._pid, number)
        except OSError:
            try:
                os.kill(self._pid, number)  # it has not made its group yet
            except OSError:
                pass  # it has ended

    def _reap(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if ended is None:
                    return
                self._meter.ended(ended.si_pid)
                pid, status = os.waitpid(ended.si_pid, 0)
            except ChildProcessError:
                return
            if pid == self._pid:
                self._status = status

    def _have_children(self) -> bool:
        return bool(proctree.descendants(os.getpid()))

    def _kill_descendants(self) -> None:
        for pid in proctree.descendants(os.getpid()):
            try:
                os.kill(pid, SIGKILL)
            except OSError:
                pass  # ended meanwhile

    def _end_everything(self, output: int) -> None:
        """The main process has ended: what it left behind goes too, and the rest of the output is kept."""
        deadline = time.monotonic() + _REAP_S
        while self._have_children() and time.monotonic() < deadline:
            self._kill_descendants()
            self._reap()
            self._drain(output, 64)
            time.sleep(0.001)
        self._drain(output, 1 << 20)
        status = self._status or 0
        if os.WIFSIGNALED(status) and not self._reason:
            self._word = "ended by signal %d (%s)" % (os.WTERMSIG(status), _signal.strsignal(os.WTERMSIG(status)))
        if self._word:
            self._log.write(f"bough: {self._word}\n".encode())
        self._log.close()
        self._meter.sample(memory=True)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        self._meter.memory_bytes = 0
        self._meter.memory_peak_bytes = self._meter.memory_peak_bytes or peak

    def _drain(self, output: int, reads: int) -> bool:
        """Copies what has arrived; False once nobody can write any more."""
        for _ in range(reads):
            try:
                data = os.read(output, _READ_BYTES)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._log.write(data)
        return True

    def _finish(self) -> None:
        status = self._status or 0
        code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        reason = self._reason or ("killed" if code < 0 else "exited")
        text = '{"code":%d,"reason":"%s","at":%.6f,"usage":%s%s}' % (
            code, reason, time.time(), self._meter.as_json(self._log.dropped_bytes),
            ',"failure":' + self._failure if self._failure else "",
        )  # fmt: skip
        for _ in range(_FULL_DISK_RETRIES):
            try:
                # Written into room taken at the start, so that a disk that is full by now loses nothing.
                _write(self._folder + "/.exit", text.ljust(_RESERVE_BYTES), truncate=False)
                os.rename(self._folder + "/.exit", self._folder + "/exit.json")
                return
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return  # the folder was removed
                time.sleep(0.1)


def _gpu_meter(folder: str) -> GpuMeter | None:
    """For a unit to which the node has given accelerators: `SHARE ID...` in a file of its folder."""
    try:
        fd = os.open(folder + "/devices", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        share, *ids = os.read(fd, 65536).decode().split()
    finally:
        os.close(fd)
    return GpuMeter(ids, float(share))


def _become_unit(plan: Plan, shim: int, output: int) -> None:
    """In the forked child, before it runs anything of the user's."""
    os.setsid()
    kernelcalls.die_with_parent(SIGKILL)
    if os.getppid() != shim:
        os._exit(1)  # the shim died before the line above
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    for number in (SIGTERM, SIGCHLD, _signal.SIGINT, _signal.SIGHUP):
        _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, set())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump of a large model fills the disk
    if plan.files:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        most = plan.files if hard == resource.RLIM_INFINITY else min(plan.files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if plan.nice:
        _give_way(plan.nice)
    if plan.cwd:
        os.chdir(plan.cwd)
    kernelcalls.refuse_new_privileges()
    if plan.confine:
        writable = [plan.folder, plan.cwd or os.getcwd(), "/dev", os.environ.get("TMPDIR", "/tmp")]  # noqa: S108 - its own
        if not kernelcalls.confine_writes(writable):
            raise OSError(errno.ENOSYS, "this kernel cannot confine writes (Landlock)")


def _give_way(nice: int) -> None:
    """Where the scheduler groups processes by session, a nice value only counts among those of one session: then the
    whole group has to be nice (sched(7), "The autogroup feature"). When memory is short, we go first."""
    os.nice(nice)
    for path, text in (("/proc/self/autogroup", str(nice)), ("/proc/self/oom_score_adj", "500")):
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, text.encode())
            finally:
                os.close(fd)
        except OSError:
            pass  # a kernel without it


def _execute(plan: Plan, argv: list[str]) -> int:
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)  # Python ignores it, and the unit would inherit that
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)
    os.execvpe(argv[0], argv, os.environ)  # noqa: S606 - running the user's command is what we are for


def _explain_start(plan: Plan, error: OSError) -> None:
    name = error.filename if isinstance(error.filename, str) else ""
    if error.errno == errno.ENOSYS:
        code, message, hint = "ISOLATION_MISSING", str(error), "set confine = false, or use a newer kernel"
    elif plan.cwd and name == plan.cwd:
        code, message, hint = "CWD_MISSING", f"cannot enter the folder {plan.cwd}: {error.strerror}", "deploy again"
    elif error.errno == errno.EACCES:
        code, message = "COMMAND_NOT_EXECUTABLE", f"the command may not be executed: {error.strerror}"
        hint = "chmod +x it, or start it through its interpreter"
    else:
        code, message = "COMMAND_NOT_FOUND", f"cannot start the command: {error.strerror}"
        hint = "add the package that provides it to the project's requirements, or correct `command` in bough.toml"
    os.write(2, f"bough: {message}\n".encode())
    write_error(plan.folder, code, message, hint)


def _noted(_number: int, _frame: object) -> None:
    """Only here so that the signal reaches the wake-up pipe."""


def _started_json(shim: int, pid: int) -> str:
    return '{"shim_pid":%d,"shim_starttime":%d,"pid":%d,"starttime":%d,"at":%.6f,"boot":"%s"}' % (
        shim, proctree.starttime(shim) if shim else 0, pid, proctree.starttime(pid) if pid else 0, time.time(),
        proctree.boot(),
    )  # fmt: skip


def _failure_json(code: str, message: str, hint: str, traceback: str) -> str:
    from _json import encode_basestring_ascii as quoted  # type: ignore[import-not-found, unused-ignore] # only on failure

    return '{"code":%s,"message":%s,"hint":%s,"traceback":%s}' % tuple(
        quoted(text) for text in (code, message, hint, traceback)
    )


def _replace(path: str, text: str) -> None:
    temporary = f"{path}.{os.getpid()}~"
    try:
        _write(temporary, text)
        os.rename(temporary, path)
    except OSError:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise


def _write(path: str, text: str, *, truncate: bool = True) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if truncate else 0), 0o600)
    try:
        data = text.encode()
        if os.write(fd, data) != len(data):
            raise OSError(errno.ENOSPC, "No space left on device", path)
    finally:
        os.close(fd)


def _exists(path: str) -> bool:
    return os.access(path, os.F_OK)


if __name__ == "__main__":
    main(sys.argv[1:])
