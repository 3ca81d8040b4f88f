"""A whole build, as steps and as the process that the engine runs."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bough.adapters.blobs.directory import DirectoryBlobs
from bough.adapters.builder.container import CommandLineContainers
from bough.adapters.builder.fake import FakeBuilder
from bough.adapters.builder.uv import UvBuilder
from bough.builds.bundle import scan, store
from bough.builds.models import BuildRequest, BuildResult
from bough.builds.rules import parse_result, request_digest
from bough.builds.steps import Build
from bough.kernel.errors import Problem
from bough.runtime.spec import Failure
from tests.adapters.wheels import offline, shelf
from tests.depth import times

DOCKERFILE = """\
FROM python:3-slim
WORKDIR /app
ENV MODEL=/app/model.bin PYTHONDONTWRITEBYTECODE=1
COPY requirements.txt .
RUN apt-get update && apt-get install -y libgomp1 && pip install -r requirements.txt
COPY . .
EXPOSE 8000
HEALTHCHECK CMD curl -f http://localhost:8000/health
CMD ["/opt/venv/bin/gunicorn", "app:app", "--bind", "0.0.0.0:8000", "--config", "/app/g.py"]
"""


def stored(home: Path, files: dict[str, str]) -> str:
    source = home.parent / "source"
    for name, content in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(content)
    result = scan(source)
    store(result, DirectoryBlobs(home / "blobs"))
    return result.digest


def build(home: Path, request: BuildRequest, lines: list[str] | None = None, path: str = "/nowhere") -> BuildResult:
    log = [].append if lines is None else lines.append
    containers = CommandLineContainers(path)
    return Build(request, home, DirectoryBlobs(home / "blobs"), FakeBuilder(home), containers, log).run()


def refused(home: Path, **request: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        build(home, BuildRequest(service="s", **request))
    assert caught.value.message
    return caught.value


# -- steps


def test_a_model_service_gets_a_folder_and_a_python(tmp_path: Path) -> None:
    home = tmp_path / "home"
    digest = stored(home, {"service.py": "class Churn: ...\n", "requirements.txt": "demo\n"})
    lines: list[str] = []
    result = build(home, BuildRequest(service="churn", bundle=digest, model="service:Churn"), lines)
    assert result.folder == result.workdir == str(home / "bundles" / digest)
    assert Path(result.python).exists() and (result.argv, result.shell) == ([], "")
    assert [step.name for step in result.steps] == ["unpack", "environment"] and len(lines) == 2
    assert build(home, BuildRequest(service="churn", bundle=digest, model="service:Churn")).steps[0].cached


def test_a_dockerfile_becomes_a_command_on_the_platforms_port(tmp_path: Path) -> None:
    home = tmp_path / "home"
    digest = stored(home, {"Dockerfile": DOCKERFILE, "app.py": "", "requirements.txt": "demo\n", "model.bin": "m"})
    result = build(home, BuildRequest(service="s", bundle=digest, dockerfile="Dockerfile", environment={"KEY": "v"}))
    assert result.shell == f"exec gunicorn app:app --bind 0.0.0.0:$PORT --config {result.folder}/g.py"
    assert result.environment["MODEL"] == f"{result.folder}/model.bin" and result.environment["KEY"] == "v"
    assert result.environment["PATH"].startswith(str(Path(result.python).parent))
    assert "PYTHONDONTWRITEBYTECODE" not in result.environment
    assert (result.port, result.health_path) == (8000, "/health")
    assert "libgomp1" in result.warnings[0]


def test_the_files_command_replaces_the_dockerfiles(tmp_path: Path) -> None:
    home = tmp_path / "home"
    digest = stored(home, {"Dockerfile": DOCKERFILE, "requirements.txt": ""})
    result = build(home, BuildRequest(service="s", bundle=digest, dockerfile="Dockerfile", command="python app.py"))
    assert (result.shell, result.argv) == ("python app.py", [])


def test_a_rearranging_dockerfile_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    home = tmp_path / "home"
    text = "FROM python\nWORKDIR /srv\nENV M=/models/m\nCOPY src .\nCOPY weights/m /models/\nCMD python main.py"
    digest = stored(home, {"Dockerfile": text, "src/main.py": "print(1)", "weights/m": "w"})
    result = build(home, BuildRequest(service="s", bundle=digest, dockerfile="Dockerfile"))
    assert sorted(path.name for path in Path(result.workdir).iterdir()) == ["__pycache__", "main.py"]
    assert Path(result.environment["M"]).read_text() == "w" and result.shell == "exec python main.py"


def test_an_engine_builds_the_image_where_it_answers(tmp_path: Path) -> None:
    home = tmp_path / "home"
    program = tmp_path / "bin/docker"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$1" = image ] && exit 1\necho "$@" >> {tmp_path}/calls\n')
    program.chmod(0o755)
    digest = stored(home, {"Dockerfile": DOCKERFILE + "RUN make\n", "requirements.txt": ""})
    request = BuildRequest(service="s", bundle=digest, dockerfile="Dockerfile", docker="auto", environment={"A": "1"})
    result = build(home, request, path=str(program.parent))
    assert (
        result.container
        and f"--publish 127.0.0.1:$PORT:8000 --env PORT=8000 --env A=1 {result.container}" in result.shell
    )
    assert (tmp_path / "calls").read_text().splitlines()[1].startswith("build --tag")
    assert refused(home, bundle=digest, dockerfile="Dockerfile", docker="auto").own_code == "DOCKERFILE_UNSUPPORTED"
    assert refused(home, bundle=digest, dockerfile="Dockerfile", docker="always").own_code == "NO_CONTAINER_ENGINE"


@pytest.mark.parametrize(
    ("model", "code", "said"),
    [
        ("servise:Churn", "MODEL_CODE_NOT_FOUND", "did you mean service:Churn"),
        ("service:Chrun", "MODEL_CODE_NOT_FOUND", "did you mean service:Churn"),
        ("broken:X", "MODEL_SYNTAX", "edit broken.py, line 2"),
        ("pkg.inner:Missing", "MODEL_CODE_NOT_FOUND", "bough.toml"),
    ],
)
def test_a_model_that_cannot_be_found_is_told_before_anything_runs(
    tmp_path: Path, model: str, code: str, said: str
) -> None:
    files = {"service.py": "class Churn: ...\n", "broken.py": "x = 1\ndef (\n", "pkg/inner/__init__.py": "y = 1"}
    problem = refused(tmp_path / "home", bundle=stored(tmp_path / "home", files), model=model)
    assert problem.own_code == code and said in problem.hint


@pytest.mark.parametrize(
    "text",
    [
        "from other import Churn",
        "import x as Churn",
        "try:\n    from a import *\nexcept E: pass",
        "Churn = make()",
        "if True:\n    class Churn: ...",
        "def __getattr__(name): ...",
    ],
)
def test_a_model_may_be_bound_in_any_way(tmp_path: Path, text: str) -> None:
    home = tmp_path / "home"
    build(home, BuildRequest(service="s", bundle=stored(home, {"m.py": text}), model="m:Churn"))


@pytest.mark.parametrize(
    ("request_fields", "code"),
    [({"file": "absent.onnx"}, "FILE_NOT_FOUND"), ({"dockerfile": "Dockerfile"}, "FILE_NOT_FOUND"),
     ({"file": "../../../etc/passwd"}, "PATH_UNSAFE"), ({"dockerfile": "/etc/passwd"}, "PATH_UNSAFE"),
     ({"requirements": "../x.txt"}, "PATH_UNSAFE")],
)  # fmt: skip
def test_files_must_be_in_the_bundle(tmp_path: Path, request_fields: dict[str, str], code: str) -> None:
    home = tmp_path / "home"
    assert refused(home, bundle=stored(home, {"a": ""}), **request_fields).own_code == code


def test_a_dockerfile_without_a_command_needs_one(tmp_path: Path) -> None:
    home = tmp_path / "home"
    digest = stored(home, {"Dockerfile": "FROM python\n"})
    assert "command" in refused(home, bundle=digest, dockerfile="Dockerfile").hint
    assert build(home, BuildRequest(service="s", bundle=digest, dockerfile="Dockerfile", command="x")).shell == "x"


def test_the_service_name_makes_no_other_build() -> None:
    one = BuildRequest(service="a", bundle="b")
    assert request_digest(one, platform="p") == request_digest(
        BuildRequest(service="c", bundle="b", refresh=True), platform="p"
    )
    others = [BuildRequest(service="a", bundle="x"), BuildRequest(service="a", bundle="b", python="3.12")]
    digests = {request_digest(one, platform="p"), request_digest(one, platform="q")}
    assert len(digests | {request_digest(other, platform="p") for other in others}) == 4


# -- the process


@pytest.fixture(scope="session")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("index")
    return offline(shelf(folder / "wheels"), folder / "cache")


KILLS = times("BOUGH_KILLS", quick=8, deep=20)


def start(
    home: Path, request: BuildRequest, variables: dict[str, str], *options: str, **kwargs: Any
) -> subprocess.Popen[str]:  # fmt: skip
    (home / "request.json").write_bytes(msgspec.json.encode(request))
    command = [sys.executable, "-m", "bough.builds.worker", home, home / "request.json", home / "result.json", *options]
    return subprocess.Popen(command, env=variables, text=True, **kwargs)


def finish(
    home: Path, request: BuildRequest, variables: dict[str, str], *options: str
) -> tuple[int, str, BuildResult | Failure]:  # fmt: skip
    process = start(home, request, variables, *options, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = process.communicate(timeout=100)
    return process.returncode, output, parse_result((home / "result.json").read_bytes())


def test_the_worker_writes_its_result_and_logs_each_step(tmp_path: Path, variables: dict[str, str]) -> None:
    home = tmp_path / "home"
    digest = stored(home, {"service.py": "import demo\nclass Churn: ...\n", "requirements.txt": "demo\n"})
    request = BuildRequest(service="churn", bundle=digest, model="service:Churn")
    code, output, result = finish(home, request, {**variables, "PYTHONDONTWRITEBYTECODE": "1"})
    assert code == 0 and isinstance(result, BuildResult)
    assert [step.name for step in result.steps] == ["unpack", "lock", "environment"]
    for word in ("unpack:", "lock:", "environment:", "built churn", "bytecode:"):
        assert word in output
    subprocess.run([result.python, "-c", "import service, msgspec"], cwd=result.workdir, check=True)
    code, output, again = finish(home, request, variables)
    assert isinstance(again, BuildResult) and all(step.cached for step in again.steps) and "bytecode" not in output


def test_whoever_waits_for_its_end_may_leave_out_the_bytecode(tmp_path: Path, variables: dict[str, str]) -> None:
    home = tmp_path / "home"
    digest = stored(home, {"service.py": "class Churn: ...\n", "requirements.txt": "demo\n"})
    request = BuildRequest(service="churn", bundle=digest, model="service:Churn")
    code, output, _ = finish(home, request, variables, "--no-bytecode")
    assert code == 0 and "built churn" in output and "bytecode:" not in output
    assert finish(home, request, variables)[1].count("bytecode:") == 1, "the next one makes up for it"


def test_a_failure_is_data_and_exit_status_1(tmp_path: Path, variables: dict[str, str]) -> None:
    home = tmp_path / "home"
    digest = stored(home, {"requirements.txt": "no-such-thing\n"})
    code, output, failure = finish(home, BuildRequest(service="s", bundle=digest), variables)
    assert code == 1 and isinstance(failure, Failure)
    assert failure.code == "PACKAGE_NOT_FOUND" and "no-such-thing" in failure.message and failure.hint in output
    (home / "request.json").write_text("{")
    assert json.loads((home / "result.json").read_text()).keys() == {"failure"}
    code, _, failure = finish(home, BuildRequest(service="s", bundle="0" * 64), variables)
    assert code == 1 and isinstance(failure, Failure) and failure.code == "BLOB_NOT_FOUND"


def test_the_worker_starts_light(variables: dict[str, str]) -> None:
    code = "import sys, bough.builds.worker; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "sqlalchemy",
        "alembic",
        "starlette",
        "uvicorn",
        "uvloop",
        "httptools",
        "click",
        "pathspec",
        "asyncio",
        "prometheus_client",
    }
    assert not heavy & set(loaded)


@pytest.mark.timeout(600 + 10 * KILLS)
def test_killed_at_any_moment_the_next_build_is_whole(tmp_path: Path, variables: dict[str, str]) -> None:
    """kill -9 at seeded moments, each in a build of something new; then the same build again, which must give an
    environment that works and a bundle that is complete."""
    rng = random.Random(20)
    home = tmp_path / "home"
    finished = 0
    for number in range(KILLS):
        files = {"service.py": f"import demo, msgspec\nclass Churn: number = {number}\n",
                 "requirements.txt": f"# {number}\n{'asks' if number % 2 else 'demo==2.0'}\n"}  # fmt: skip
        request = BuildRequest(service="s", bundle=stored(home, files), model="service:Churn")
        (home / "result.json").unlink(missing_ok=True)
        for marker in (home / "envs").glob("*/bough-ready.json"):
            marker.unlink()  # so that each round makes its environment, over what the last one left
        process = start(home, request, variables, stdout=subprocess.DEVNULL)
        time.sleep(0.05 + rng.random() * 0.3)
        process.kill()
        finished += process.wait() == 0
        if (home / "result.json").exists():  # never a part of one
            assert isinstance(parse_result((home / "result.json").read_bytes()), BuildResult)
        again = Build(
            request,
            home,
            DirectoryBlobs(home / "blobs"),
            UvBuilder(home, variables),
            CommandLineContainers("/nowhere"),
            lambda line: None,
        ).run()
        said = subprocess.check_output(
            [again.python, "-c", "import service; print(service.Churn.number)"], cwd=again.workdir, text=True
        )
        assert int(said) == number and scan(Path(again.folder)).digest == request.bundle
    assert finished < KILLS


def test_the_real_index_serves_a_real_package(tmp_path: Path) -> None:
    home = tmp_path / "home"
    digest = stored(home, {"requirements.txt": "six==1.17.0\n"})
    code, output, result = finish(home, BuildRequest(service="s", bundle=digest), dict(os.environ))
    if isinstance(result, Failure) and result.code == "NETWORK_UNREACHABLE" and "CI" not in os.environ:
        pytest.skip("no package index answers")
    assert code == 0 and isinstance(result, BuildResult), output
    assert (
        subprocess.check_output([result.python, "-c", "import six, msgspec; print(six.__version__)"], text=True)
        == "1.17.0\n"
    )
