"""A process that has imported a model's libraries and, where that is safe, loaded the model, and then forks replicas.

    python -c "from bough.runtime.zygote import main; main()" FOLDER [LOADER]

FOLDER holds `model.json` (`ModelSpec`). LOADER is a module with `prepare(ModelSpec) -> prepared` and
`run(prepared, UnitSpec, folder) -> exit code`; by default Bough's own. Orders arrive on `control.sock`, one JSON object
per connection: `{"folder": F, "environment": {...}}`, answered by `{"pid": P}` or `{"error": "..."}`.

An order forks a shim, which forks the replica: every replica has the same guardian as any other unit and survives us.
A process with threads cannot be forked safely (a lock held by a thread that does not exist in the child is held for
ever), so we stay single-threaded: native pools are told to use one thread, and when loading a model starts threads
(or takes hold of a GPU) all the same, `preload = "auto"` starts over, going one step less far: model, then imports,
then none.

What is printed while the model is loaded is nobody's but ours, so the first replica of each deployment says it again,
into its own output.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import os
import select
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from bough.runtime import failures, kernelcalls, redaction, shim
from bough.runtime.redaction import redact
from bough.runtime.spec import CONTROL_NAME, MODEL_ENVIRONMENT, SOCKET_NAME, ModelSpec, UnitSpec

DEFAULT_LOADER = "bough.runtime.models"  # `prepare`; its `run` is bough.runtime.replica's
_DEFAULT_RUNNER = "bough.runtime.replica"
_LESS = {"model": "imports", "imports": "none"}
_PRELOAD_VARIABLE = "BOUGH_ZYGOTE_PRELOAD"  # how far to go; set when starting over
_LONELY_S = 30.0  # how often we look whether our folder still exists
_ORDER_TIMEOUT_S = 5.0
_SAID_CHARACTERS = 16 << 10  # of what loading printed: it fits the pipe to the shim, so that no replica waits for it
_SUN_PATH_BYTES = 107  # the longest path that a Unix socket can be bound to


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """ready.json of a zygote."""

    pid: int
    preload: str
    threads: int
    seconds: float


class Said:
    """What loading has printed, for the first replica of each deployment: all of its lines are marked."""

    def __init__(self, text: str) -> None:
        marked = "".join(f"loading: {line}\n" for line in text.splitlines())
        whole = len(marked) <= _SAID_CHARACTERS
        self._marked = marked if whole else f"{marked[:_SAID_CHARACTERS]}\nloading: (and more)\n"
        self._told: set[str] = set()

    def first_to(self, unit: str) -> str:
        deployment = unit.rpartition("-")[0]
        if deployment in self._told:
            return ""
        self._told.add(deployment)
        return self._marked


Prepare = Callable[[ModelSpec], Any]
Run = Callable[[Any, UnitSpec, str], int]


def main(arguments: list[str] | None = None) -> None:
    """Loads and serves until SIGTERM, or until the folder is gone."""
    folder, *rest = sys.argv[1:] if arguments is None else arguments
    faulthandler.enable()  # where a library crashed while it loaded is the only word there will be
    for name, value in MODEL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    again = _PRELOAD_VARIABLE in os.environ  # this process has claimed the folder before it started over
    if not again and not shim.claim(folder, os.getpid()):
        return
    started_at, printed = time.monotonic(), os.fstat(1).st_size
    redaction.learn(os.environ)
    spec = _reduced(msgspec.json.decode(Path(folder, "model.json").read_bytes(), type=ModelSpec))
    try:
        os.chdir(spec.folder)
        prepared = importlib.import_module(rest[0] if rest else DEFAULT_LOADER).prepare(spec)
        run = importlib.import_module(rest[0] if rest else _DEFAULT_RUNNER).run
    except (Exception, SystemExit) as error:  # user code may raise anything; all of it becomes error.json
        _explain(folder, spec, error)
        sys.exit(1)
    _let_go()
    if (_threads() > 1 or _holds_device()) and spec.preload in _LESS and not _asked_for(folder, spec.preload):
        _start_over(folder, rest, _LESS[spec.preload])
    ready = Ready(
        pid=os.getpid(), preload=spec.preload, threads=_threads(), seconds=round(time.monotonic() - started_at, 3)
    )
    serve(folder, prepared, run, ready, Said(redact(_printed_since(printed))))


def serve(folder: str, prepared: Any, run: Run, ready: Ready, said: Said) -> None:
    gc.collect()
    gc.freeze()  # a later collection in a replica then writes to none of these pages
    kernelcalls.refuse_huge_pages()  # what was loaded keeps its own; a replica that touches a byte takes 4 KB, not 2 MB
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # shims are nobody's to wait for
    listener = socket.socket(socket.AF_UNIX)
    with _ReachableFolder(folder, CONTROL_NAME) as reachable:
        listener.bind(str(Path(reachable.name, CONTROL_NAME)))
    listener.listen(128)
    temporary = Path(folder, f".ready.{os.getpid()}")
    temporary.write_bytes(msgspec.json.encode(ready))
    temporary.rename(Path(folder, "ready.json"))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    while Path(folder, "ready.json").exists():
        if not poller.poll(_LONELY_S * 1000):
            continue
        connection = listener.accept()[0]
        connection.settimeout(_ORDER_TIMEOUT_S)
        with connection:
            try:
                _obey(connection, listener, prepared, run, said)
            except (OSError, msgspec.MsgspecError) as error:  # one bad order or vanished client harms no other
                print(f"bough: an order failed: {error}", file=sys.stderr)


class _ReachableFolder:
    """A folder under a name short enough for a Unix socket: its own, or one through an open file descriptor."""

    def __init__(self, folder: str, name: str) -> None:
        self.name = folder
        self._fd = -1
        if len(os.fsencode(str(Path(folder, name)))) > _SUN_PATH_BYTES:
            self._fd = os.open(folder, os.O_PATH | os.O_CLOEXEC)
            self.name = f"/proc/self/fd/{self._fd}"

    def __enter__(self) -> _ReachableFolder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    folder: str
    environment: dict[str, str]


def _obey(connection: socket.socket, listener: socket.socket, prepared: Any, run: Run, said: Said) -> None:
    order = msgspec.json.decode(_read_all(connection), type=Order)
    preface = said.first_to(Path(order.folder).parent.name)
    # Blocked over the fork: a stop that comes before the shim listens stays pending instead of killing it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        pid = os.fork()
        if pid == 0:
            listener.close()
            connection.close()
            _become_shim(order, prepared, run, preface)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    connection.sendall(msgspec.json.encode({"pid": pid}))


def _become_shim(order: Order, prepared: Any, run: Run, preface: str) -> None:
    try:
        gc.disable()
        spec = msgspec.json.decode(Path(order.folder, "spec.json").read_bytes(), type=UnitSpec)
        limits = spec.limits
        plan = shim.Plan(
            order.folder, cwd=spec.cwd, grace_s=spec.grace_s, lease_s=spec.lease_s, log_bytes=limits.log_mb << 20,
            memory_bytes=limits.memory_mb << 20, files=limits.files, processes=limits.processes, confine=spec.confine,
        )  # fmt: skip
        shim.guard(plan, lambda: _replicate(order, spec, prepared, run, preface))
    finally:
        os._exit(1)


def _replicate(order: Order, spec: UnitSpec, prepared: Any, run: Run, preface: str) -> int:
    gc.enable()
    os.environ.clear()
    os.environ.update(order.environment)
    redaction.learn(order.environment)
    if preface:
        os.write(1, preface.encode(errors="replace"))
    if "numpy.random" in sys.modules:  # importing it only now would take longer than the fork, and seed it anyway
        sys.modules["numpy.random"].seed()  # else every replica draws the same numbers
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 1
    try:
        # Not closed before the end: the replica's socket is reached through it when the path is long.
        with _ReachableFolder(order.folder, SOCKET_NAME) as reachable:
            code = run(prepared, spec, reachable.name)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException as error:  # user code may raise anything; the process ends here either way
        _explain(order.folder, spec.model, error)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    return code


def _printed_since(offset: int) -> str:
    """Our own output from there on, where it still is a file, as the node makes it."""
    with contextlib.suppress(OSError):  # whatever was loaded may have closed it
        if stat.S_ISREG(os.fstat(1).st_mode):
            with Path("/proc/self/fd/1").open("rb") as file:
                file.seek(offset)
                return file.read(4 * _SAID_CHARACTERS).decode(errors="replace")
    return ""


def _read_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def _reduced(spec: ModelSpec) -> ModelSpec:
    furthest = "imports" if spec.on_device else "model"
    level = os.environ.get(_PRELOAD_VARIABLE) or (furthest if spec.preload == "auto" else spec.preload)
    return msgspec.structs.replace(spec, preload=level)


def _asked_for(folder: str, level: str) -> bool:
    """Whether the user, and not we, chose this level: then it stays."""
    return msgspec.json.decode(Path(folder, "model.json").read_bytes(), type=ModelSpec).preload == level


def _start_over(folder: str, rest: list[str], level: str) -> None:
    what = "took hold of a GPU" if _holds_device() else f"started {_threads() - 1} threads"
    print(f"bough: loading {what}; replicas load after the fork (preload = {level})")
    sys.stdout.flush()
    boot = "import sys; sys.path[:1] = []; from bough.runtime.zygote import main; main()"
    environment = {**os.environ, _PRELOAD_VARIABLE: level}
    os.execve(sys.executable, [sys.executable, "-c", boot, folder, *rest], environment)  # noqa: S606 - ourselves


def _threads() -> int:
    """Besides the one that NVIDIA's driver leaves behind when it was only asked what there is: that one survives being
    forgotten. Where CUDA has begun, its device is held, which counts by itself."""
    names = [(each / "comm").read_text() for each in Path("/proc/self/task").iterdir()]
    return sum(not name.startswith("cuda") for name in names)


def _holds_device() -> bool:
    """Whether CUDA has begun here: it does not work in a process that was forked afterwards. Called after `_let_go`."""
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that reads the folder
            if str(each.readlink()).startswith("/dev/nvidia-uvm"):
                return True
    return False


def _let_go() -> None:
    """Of the driver's library, which PyTorch leaves open, devices and all, when it has asked it what there is. Whoever
    has opened it through pynvml goes on to use it, and replicas then open it anew."""
    uses = getattr(sys.modules.get("pynvml"), "_nvmlLib_refcount", 0)
    if not uses and "libnvidia-ml" in Path("/proc/self/maps").read_text():
        nvml = importlib.import_module("ctypes").CDLL("libnvidia-ml.so.1")
        while nvml.nvmlShutdown() == 0:
            pass


def _explain(folder: str, spec: ModelSpec | None, error: BaseException) -> None:
    """error.json. An error that carries `code` and `hint` speaks for itself."""
    text = redact(failures.short_traceback(error.__cause__ or error, spec.folder if spec else ""))
    print(text, end="", file=sys.stderr)
    name = spec.reference if spec else "the model"
    message = f"loading {name} failed: {type(error).__name__}: {error}"
    code, hint = "LOAD_FAILED", "correct what the traceback shows, then deploy again"
    if isinstance(error, ModuleNotFoundError) and error.name:
        code = "MODULE_MISSING"
        message = f"loading {name} failed: there is no module {error.name!r} in its environment"
        hint = f"add the package that provides {error.name!r} to the project's requirements, then deploy again"
    elif isinstance(error, MemoryError):
        code, hint = "LOAD_OUT_OF_MEMORY", "use a smaller model, or a machine with more memory"
    own_code, own_hint = getattr(error, "code", None), getattr(error, "hint", None)
    if isinstance(own_code, str) and own_code and not isinstance(error, SystemExit):
        code, message = own_code, str(error)
    hint = own_hint if isinstance(own_hint, str) and own_hint else hint
    shim.write_error(folder, code, redact(message), redact(hint), text)
