"""Who takes part, how each is started, and how its requests and answers look.

Every peer gets the same model code (`models.py`), the same number of processes and one native thread per process.
Batching, where a peer has it, is a variant: the run reports the better of on and off.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ALL = ("noop", "logistic", "minilm", "stream")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # native threads: replicas are processes
BATCHABLE = ("logistic", "minilm", "noop")


@dataclass(frozen=True, kw_only=True)
class Setup:
    workload: str
    port: int
    batching: bool
    workers: int
    folder: Path  # scratch of this start, removed afterwards; the path is short
    data: Path
    envs: Path
    services: int = 1  # how many services with that many workers each

    def bin(self, env: str, program: str = "python") -> str:
        return str(self.envs / env / "bin" / program)


@dataclass(frozen=True, kw_only=True)
class Launch:
    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    home: str = ""  # a folder of this start alone: a process whose command line names it belongs to the peer


Item = dict[str, Any]
Timing = Callable[["Setup", Any, bytes, int], Iterator[float]]


def _same(_: Setup, value: Any) -> Any:
    return value


@dataclass(frozen=True, kw_only=True)
class Peer:
    name: str
    kind: str  # limit, web, server, bough
    launch: Callable[[Setup], Launch]
    env: str = ""  # folder of requirements/ENV.txt; empty: it needs none
    workloads: Sequence[str] = ALL
    batches: Sequence[str] = ()  # workloads that it can batch
    path: Callable[[Setup], str] = lambda _: "/predict"
    key: Callable[[Setup], str] = lambda _: ""  # sent as a bearer token with every request
    wrap: Callable[[Setup, Item], Any] = _same
    unwrap: Callable[[Setup, Any], Any] = _same
    missing: Callable[[], str] = lambda: ""  # why it cannot run here, or empty
    wake: Timing | None = None  # times wakes from no replica, in milliseconds
    cold: Timing | None = None  # the same from no process at all
    services_to_wake: int = 1
    start_limit_s: float = 90.0
    is_static: bool = False  # answers are fixed, so there is nothing to verify
    note: str = ""


def environment(setup: Setup, own: Mapping[str, str]) -> dict[str, str]:
    """What a peer's processes see: the machine's search path and our settings, nothing else of the caller's."""
    kept = {key: os.environ[key] for key in ("HOME", "LANG", "JAVA_HOME") if key in os.environ}
    return {
        **kept,
        "PATH": os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin"),
        "PYTHONPATH": f"{HERE}:{HERE / 'servers'}",
        **ONE_THREAD,
        "ORT_DISABLE_TELEMETRY": "1",
        "BENCH_CODE": str(HERE),
        "BENCH_WORKLOAD": setup.workload,
        "BENCH_PORT": str(setup.port),
        "BENCH_WORKERS": str(setup.workers),
        "BENCH_BATCH": "1" if setup.batching else "0",
        "BENCH_DATA": str(setup.data),
        **own,
    }


def _limit(setup: Setup) -> Launch:
    return Launch(argv=[setup.bin("limit"), str(HERE / "servers/limit.py")])


def _nginx(setup: Setup) -> Launch:
    config = setup.folder / "nginx.conf"
    config.write_text(
        f"""daemon off; worker_processes {setup.workers}; pid nginx.pid; error_log stderr error;
events {{ worker_connections 2048; }}
http {{ access_log off; keepalive_requests 1000000000; default_type application/json;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fast; uwsgi_temp_path uw; scgi_temp_path sc;
  server {{ listen 127.0.0.1:{setup.port} reuseport; location / {{ return 200 '{{"value":1000}}'; }} }} }}
"""
    )
    return Launch(argv=["nginx", "-p", str(setup.folder), "-c", str(config), "-e", "stderr"])


def _starlette(setup: Setup) -> Launch:
    argv = [
        setup.bin("starlette"), "-m", "uvicorn", "starlette_app:app", "--host", "127.0.0.1", "--port", str(setup.port),
        "--workers", str(setup.workers), "--loop", "uvloop", "--http", "httptools", "--no-access-log",
        "--log-level", "warning",
    ]  # fmt: skip
    return Launch(argv=argv)


def _fastapi(setup: Setup) -> Launch:
    argv = [
        setup.bin("fastapi", "gunicorn"), "fastapi_app:app", "--worker-class", "uvicorn_worker.UvicornWorker",
        "--workers", str(setup.workers), "--bind", f"127.0.0.1:{setup.port}", "--log-level", "warning",
    ]  # fmt: skip
    return Launch(argv=argv)


def _litserve(setup: Setup) -> Launch:
    return Launch(argv=[setup.bin("litserve"), str(HERE / "servers/litserve_app.py")])


def _bentoml(setup: Setup) -> Launch:
    argv = [setup.bin("bentoml", "bentoml"), "serve", "bento_service:Bench", "--port", str(setup.port)]
    own = {"BENTOML_HOME": str(setup.folder), "BENTOML_DO_NOT_TRACK": "True"}
    return Launch(argv=[*argv, "--host", "127.0.0.1"], environment=own)


def _wrap_bentoml(setup: Setup, item: Item) -> Any:
    if setup.workload == "stream":
        return item
    return {"items": [item]} if setup.batching else {"item": item}


def _unwrap_bentoml(setup: Setup, answer: Any) -> Any:
    return answer[0] if setup.batching else answer


def _ray(setup: Setup) -> Launch:
    own = {"BENCH_RAY_TMP": str(setup.folder / "r"), "RAY_USAGE_STATS_ENABLED": "0"}
    return Launch(argv=[setup.bin("ray"), str(HERE / "servers/ray_app.py")], environment=own)


def _ray_haproxy(setup: Setup) -> Launch:
    plain = _ray(setup)
    folder = setup.folder / "haproxy"
    own = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_NBTHREAD": str(setup.workers),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
    }
    return Launch(argv=plain.argv, environment={**plain.environment, **own})


def _mlserver(setup: Setup) -> Launch:
    # Streams do not pass through its worker processes: then the server answers itself, in one process.
    workers = 0 if setup.workload == "stream" else setup.workers
    settings: dict[str, Any] = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": setup.port,
        "grpc_port": setup.port + 1,
        "metrics_port": setup.port + 2,
        "parallel_workers": workers,
        "gzip_enabled": False,
        "environments_dir": str(setup.folder / "environments"),
        "metrics_dir": str(setup.folder / "metrics"),
    }
    model: dict[str, Any] = {"name": "bench", "implementation": "mlserver_model.Bench"}
    if setup.batching:
        from models import MAX_BATCH

        model |= {"max_batch_size": MAX_BATCH[setup.workload], "max_batch_time": 0.005}
    (setup.folder / "settings.json").write_text(json.dumps(settings))
    (setup.folder / "model-settings.json").write_text(json.dumps(model))
    return Launch(argv=[setup.bin("mlserver", "mlserver"), "start", str(setup.folder)])


def _mlserver_path(setup: Setup) -> str:
    return f"/v2/models/bench/{'infer_stream' if setup.workload == 'stream' else 'infer'}"


def _wrap_mlserver(setup: Setup, item: Item) -> Any:
    if setup.workload == "minilm":
        tensor = {"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": [item["text"]]}
    elif setup.workload == "logistic":
        row = item["features"]
        tensor = {"name": "features", "datatype": "FP64", "shape": [1, len(row)], "data": row}
    else:
        (name, value), *_ = item.items()
        tensor = {"name": name, "datatype": "INT64", "shape": [1, 1], "data": [value]}
    return {"inputs": [tensor]}


def _unwrap_mlserver(setup: Setup, answer: Any) -> Any:
    columns = {output["name"]: output["data"] for output in answer["outputs"]}
    return columns if setup.workload == "minilm" else {name: data[0] for name, data in columns.items()}


def _torchserve(setup: Setup) -> Launch:
    from models import MAX_BATCH

    size = MAX_BATCH.get(setup.workload, 1) if setup.batching else 1
    delay_ms = 5 if setup.batching else 1
    return _torchserve_with(
        setup, model=f"batchSize: {size}\nmaxBatchDelay: {delay_ms}\n",
        properties="disable_system_metrics=true\nasync_logging=true\n", is_quiet=True,
    )  # fmt: skip


def _torchserve_default(setup: Setup) -> Launch:
    """As it comes: its own logging and batch size. Number of workers and addresses are given as for all peers."""
    return _torchserve_with(setup, model="", properties="", is_quiet=False)


def _torchserve_with(setup: Setup, *, model: str, properties: str, is_quiet: bool) -> Launch:
    store = setup.folder / "store"
    store.mkdir()
    (setup.folder / "model.yaml").write_text(
        f"minWorkers: {setup.workers}\nmaxWorkers: {setup.workers}\nresponseTimeout: 60\n{model}"
    )
    (setup.folder / "config.properties").write_text(
        f"inference_address=http://127.0.0.1:{setup.port}\nmanagement_address=http://127.0.0.1:{setup.port + 1}\n"
        f"metrics_address=http://127.0.0.1:{setup.port + 2}\ngrpc_inference_port={setup.port + 3}\n"
        f"grpc_management_port={setup.port + 4}\n{properties}"
    )
    (setup.folder / "log4j2.xml").write_text(
        '<Configuration status="ERROR"><Appenders><Console name="C"/></Appenders>'
        '<Loggers><Root level="error"><AppenderRef ref="C"/></Root></Loggers></Configuration>'
    )
    archive = (
        f"{setup.bin('torchserve', 'torch-model-archiver')} --model-name bench --version 1.0 --force "
        f"--handler {HERE / 'servers/torchserve_handler.py'} --export-path store --config-file model.yaml"
    )
    serve = (
        f"{setup.bin('torchserve', 'torchserve')} --start --foreground --ncs --ts-config config.properties "
        f"--model-store store --models bench=bench.mar --disable-token-auth{' --log-config log4j2.xml' * is_quiet}"
    )
    path = f"{setup.envs / 'torchserve' / 'bin'}:{os.environ.get('PATH', '')}"
    own = {"PATH": path, "LOG_LOCATION": str(setup.folder), "METRICS_LOCATION": str(setup.folder)}
    return Launch(argv=["/bin/sh", "-c", f"{archive} && exec {serve}"], environment=own)


def _needs(program: str) -> Callable[[], str]:
    return lambda: "" if shutil.which(program) else f"{program} is not installed (apt-get install {program})"


def _needs_java() -> str:
    return "" if shutil.which("java") else "Java 17 is not installed (apt-get install openjdk-17-jre-headless)"


OTHERS: tuple[Peer, ...] = (
    Peer(name="nginx", kind="limit", launch=_nginx, workloads=("noop",), missing=_needs("nginx"), is_static=True,
         note="a fixed answer: the limit of the machine and of wrk"),
    Peer(name="raw", kind="limit", launch=_limit, env="limit", workloads=("noop", "stream"),
         note="httptools and uvloop: the limit of Python"),
    Peer(name="starlette", kind="web", launch=_starlette, env="starlette"),
    Peer(name="fastapi", kind="web", launch=_fastapi, env="fastapi"),
    Peer(name="litserve", kind="server", launch=_litserve, env="litserve", batches=BATCHABLE),
    Peer(name="bentoml", kind="server", launch=_bentoml, env="bentoml", batches=BATCHABLE, wrap=_wrap_bentoml,
         unwrap=_unwrap_bentoml),
    Peer(name="ray", kind="server", launch=_ray, env="ray", batches=BATCHABLE, path=lambda _: "/"),
    Peer(name="ray-haproxy", kind="server", launch=_ray_haproxy, env="ray", batches=BATCHABLE,
         path=lambda _: "/"),
    Peer(name="mlserver", kind="server", launch=_mlserver, env="mlserver", batches=BATCHABLE,
         path=_mlserver_path, wrap=_wrap_mlserver, unwrap=_unwrap_mlserver,
         note="streams in one process: they do not pass its workers"),
    Peer(name="torchserve", kind="server", launch=_torchserve, env="torchserve", batches=BATCHABLE,
         path=lambda _: "/predictions/bench", missing=_needs_java, note="tuned: request logs off, batching"),
    Peer(name="torchserve-default", kind="server", launch=_torchserve_default, env="torchserve",
         path=lambda _: "/predictions/bench", missing=_needs_java, note="as it comes: request logs on, no batching"),
)  # fmt: skip
