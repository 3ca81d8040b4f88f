"""Files of a unit's folder, through which the node, the shim and the unit speak. All are written whole (a temporary
file, then a rename), so that a reader never sees a part.

    spec.json       written by the node before anything starts: `UnitSpec`
    pid.json        written by the shim: `Started`
    devices         written by the node before it starts a unit that has accelerators: `SHARE ID...`
    ready.json      written by a model replica or zygote once it can answer: `frames.Signature`
    error.json      written by a unit that fails in a way it can explain: `Failure`
    exit.json       written by the shim at the very end, always: `Exited`
    usage.json      refreshed by the shim once a second: `Usage`
    log.<offset>    output, stdout and stderr together; the number is the offset of the file's first byte in the whole
                    stream (20 digits), so rotation keeps every later offset valid
    rehearsing      there while a replica calls its model before anybody asks, and after it did not outlive that
    replica.sock    where a model replica listens; control.sock: where a zygote takes orders
"""

from __future__ import annotations

from typing import Optional

import msgspec

SOCKET_NAME = "replica.sock"
CONTROL_NAME = "control.sock"
REHEARSING_NAME = "rehearsing"
SECRETS_VARIABLE = "BOUGH_SECRETS"  # {variable: the texts around its secrets} as JSON, for the process itself

# What the process of a model finds in its environment unless the project says otherwise: one native thread for each
# replica (parallelism comes from replicas, and a pool of threads does not survive a fork), and no thread of telemetry.
MODEL_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",  # else a batch of texts is handed to a pool, however small the pool
    "ORT_DISABLE_TELEMETRY": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # pyarrow's allocator, which pandas brings along
}


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Zero means no limit of ours."""

    memory_mb: int = 0
    cpus: float = 0.0
    files: int = 0
    processes: int = 0
    log_mb: int = 32  # kept per attempt, in segments of an eighth
    nice: int = 0  # above 0: gives way to others


class RegisteredModel(msgspec.Struct, frozen=True, kw_only=True):
    """Files of a version in the registry: `digest` is that of their list, which lies beside `folder`."""

    reference: str  # for messages: churn/7
    folder: str
    digest: str


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a zygote loads. `reference` is `module:Class` or `file:PATH` inside `folder`."""

    reference: str
    folder: str
    loader: str = "auto"  # for files: auto, sklearn, onnx, torchscript, safetensors, mlflow
    preload: str = "auto"  # auto, model, imports, none: how far a zygote goes before it forks
    openai: Optional[str] = None  # chat, embeddings
    max_batch: int = 0  # 0: what the class says
    concurrency: int = 0
    trust: bool = False  # allow formats that run code when read (pickle, joblib)
    sample_per_s: int = 20  # items at most whose inputs and outputs each replica counts; 0: none
    models: dict[str, RegisteredModel] = {}  # by the name that the service gives them; checked before every load
    direct: bool = True  # estimators of scikit-learn that a class holds are worked out directly, where that is known
    on_device: bool = False  # loaded onto an accelerator: by each replica, as no process that holds one can be forked


class UnitSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One process to run. Identity is (unit, attempt); two specs of one (unit, attempt) are equal."""

    unit: str
    attempt: int
    kind: str  # replica, web, build, job
    argv: list[str] = []  # empty for a replica, whose process is forked from the zygote of `model`
    model: Optional[ModelSpec] = None
    python: str = ""  # interpreter of the environment that the unit runs in
    cwd: str = ""
    environment: dict[str, str] = {}
    # Variables that hold secrets: texts and sealed envelopes in turn, a text first and last. Opened when the process
    # starts, by whoever starts it; values are in no file.
    secrets: dict[str, list[str]] = {}
    labels: dict[str, str] = {}  # project, environment, service, deployment …; the unit sees BOUGH_PROJECT …
    wants_port: bool = False  # the node picks a free loopback port and sets PORT
    health_path: str = ""  # GET it until below 500; empty: the unit writes ready.json
    health_timeout_s: float = 30.0
    grace_s: float = 10.0
    lease_s: float = 0.0  # 0: none. Otherwise the unit stops when `apply` has not renewed it for so long
    limits: Limits = Limits()
    gpus: float = 0.0  # accelerators that it has to itself; below 1: a share of one
    devices: list[str] = []  # these, if somebody has chosen already; else the engine chooses
    confine: bool = False  # may change files only below its own folder, `cwd` and the temporary folder (Landlock)


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """`starttime` is field 22 of /proc/PID/stat: a pid alone may be somebody else by now. `boot` is the machine's
    boot_id, in which the numbers hold."""

    shim_pid: int
    shim_starttime: int
    pid: int
    starttime: int
    at: float
    boot: str = ""


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    code: str
    message: str
    hint: str = ""
    traceback: str = ""


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Cumulative since the attempt began. Seconds, bytes; gpu_s is device-seconds."""

    cpu_s: float = 0.0
    gpu_s: float = 0.0
    memory_peak_bytes: int = 0
    memory_bytes: int = 0
    read_bytes: int = 0  # from disks
    all_read_bytes: int = 0  # by calls, what the kernel had in memory included
    written_bytes: int = 0
    dropped_log_bytes: int = 0  # output that a full disk did not take


class Exited(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`code` is the exit status, or minus the signal's number; `reason` says why in words: exited, killed, stopped,
    lease, memory, lost (the machine or the shim went away without a word)."""

    code: int
    reason: str
    at: float
    usage: Usage = Usage()
    failure: Optional[Failure] = None
