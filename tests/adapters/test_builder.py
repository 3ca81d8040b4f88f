"""Environments, built by uv from wheels that the tests make; one body for uv and the fake."""

from __future__ import annotations

import functools
import http.server
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bough.adapters.builder import Builder, BuiltEnvironment, EnvironmentRequest
from bough.adapters.builder.complaints import complaint, redact
from bough.adapters.builder.container import CommandLineContainers
from bough.adapters.builder.fake import FakeBuilder
from bough.adapters.builder.interpreters import find, matches, running
from bough.adapters.builder.requirements import read_inputs
from bough.adapters.builder.uv import READY, UvBuilder, find_uv_bin, uv_environment
from bough.kernel.errors import Exhausted, Invalid, Problem, Unavailable, WorkloadFailed
from bough.kernel.files import locked
from tests.adapters.wheels import offline, shelf, wheel


@pytest.fixture(scope="session")
def wheels_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shelf(tmp_path_factory.mktemp("wheels"))


@pytest.fixture
def environment(wheels_folder: Path, tmp_path: Path) -> dict[str, str]:
    return offline(wheels_folder, tmp_path / "cache")


@pytest.fixture
def uv(environment: dict[str, str], tmp_path: Path) -> UvBuilder:
    return UvBuilder(tmp_path / "home", environment)


@pytest.fixture(params=["uv", "fake"])
def builder(request: pytest.FixtureRequest, uv: UvBuilder, tmp_path: Path) -> Builder:
    return uv if request.param == "uv" else FakeBuilder(tmp_path / "home")


def project(tmp_path: Path, requirements: str = "", **files: str) -> str:
    folder = tmp_path / "project"
    folder.mkdir(exist_ok=True)
    if requirements:
        (folder / "requirements.txt").write_text(requirements)
    for name, content in files.items():
        (folder / name.replace("_toml", ".toml").replace("_txt", ".txt")).write_text(content)
    return str(folder)


def python_says(built: BuiltEnvironment, code: str) -> str:
    return subprocess.run([built.python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


_SITE = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"


def _compiled(built: BuiltEnvironment) -> dict[str, int]:
    """The inodes of bytecode by module."""
    site = Path(built.folder) / _SITE
    found = {each: each.parent.parent.relative_to(site) for each in site.glob("**/__pycache__/*.pyc")}
    return {f"{folder}/{each.name.partition('.')[0]}": each.stat().st_ino for each, folder in found.items()}


# -- one body


def test_the_same_request_is_one_environment_and_made_once(builder: Builder, tmp_path: Path) -> None:
    request = EnvironmentRequest(folder=project(tmp_path, "demo\n"))
    first = builder.build(request, print)
    again = builder.build(request, print)
    assert (first.digest, first.python) == (again.digest, again.python)
    assert not first.steps[-1].cached and all(step.cached for step in again.steps)
    assert python_says(first, "print(1 + 1)") == "2"


def test_other_requirements_are_another_environment(builder: Builder, tmp_path: Path) -> None:
    one = builder.build(EnvironmentRequest(folder=project(tmp_path, "demo==1.0\n")), print)
    other = builder.build(EnvironmentRequest(folder=project(tmp_path, "demo==2.0\n")), print)
    nothing = builder.build(EnvironmentRequest(folder=project(tmp_path / "project")), print)
    assert len({one.digest, other.digest, nothing.digest}) == 3


def test_requirements_that_are_not_there_are_refused(builder: Builder, tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        builder.build(EnvironmentRequest(folder=project(tmp_path), requirements=("absent.txt",)), print)
    assert caught.value.own_code == "REQUIREMENTS_MISSING" and "absent.txt" in caught.value.message


def test_a_python_that_is_not_installed_is_named(builder: Builder, tmp_path: Path) -> None:
    with pytest.raises(WorkloadFailed) as caught:
        builder.build(EnvironmentRequest(folder=project(tmp_path), python="3.99"), print)
    assert caught.value.own_code == "PYTHON_NOT_FOUND" and "3.99" in caught.value.message


def test_the_running_python_is_among_the_interpreters(builder: Builder) -> None:
    assert running().version in [one.version for one in builder.interpreters()]


# -- uv


def test_what_is_locked_is_installed_and_a_replica_has_its_needs(uv: UvBuilder, tmp_path: Path) -> None:
    built = uv.build(EnvironmentRequest(folder=project(tmp_path, "asks\n")), print)
    assert python_says(built, "import asks, demo, msgspec; print(demo.VERSION)") == "1.0"
    assert built.packages == 3 and built.size > 0 and built.version == running().version
    lock = next(path for path in (tmp_path / "home/locks").glob("*.txt") if "asks" in path.read_text())
    assert "--hash=sha256:" in lock.read_text() and stat.S_IMODE(lock.stat().st_mode) == 0o600


def test_scripts_of_packages_run_where_they_are(uv: UvBuilder, tmp_path: Path) -> None:
    built = uv.build(EnvironmentRequest(folder=project(tmp_path), packages=("demo==2.0",)), print)
    done = subprocess.run([f"{built.folder}/bin/demo-main"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2.0"


def test_a_users_msgspec_is_left_alone(uv: UvBuilder, tmp_path: Path) -> None:
    built = uv.build(EnvironmentRequest(folder=project(tmp_path, "msgspec==0.22.0\n")), print)
    assert built.packages == 1


def test_a_known_environment_needs_no_uv_at_all(uv: UvBuilder, environment: dict[str, str], tmp_path: Path) -> None:
    request = EnvironmentRequest(folder=project(tmp_path, "demo\n"))
    first = uv.build(request, print)
    assert UvBuilder(tmp_path / "home", environment, uv="/bin/false").build(request, print).digest == first.digest


def test_a_lock_stays_until_it_is_refreshed(wheels_folder: Path, tmp_path: Path) -> None:
    own = shelf(tmp_path / "own")
    builder = UvBuilder(tmp_path / "home", offline(own, tmp_path / "cache"))
    request = EnvironmentRequest(folder=project(tmp_path, "demo\n"))
    first = builder.build(request, print)
    wheel(own, "demo", "3.0")
    assert builder.build(request, print).digest == first.digest
    fresh = builder.build(EnvironmentRequest(folder=request.folder, refresh=True), print)
    assert python_says(fresh, "import demo; print(demo.VERSION)") == "3.0"
    assert python_says(first, "import demo; print(demo.VERSION)") == "2.0"


def test_hashed_requirements_are_taken_as_they_are(uv: UvBuilder, wheels_folder: Path, tmp_path: Path) -> None:
    digest = subprocess.check_output(["sha256sum", wheels_folder / "demo-1.0-py3-none-any.whl"], text=True).split()[0]
    built = uv.build(EnvironmentRequest(folder=project(tmp_path, f"demo==1.0 \\\n    --hash=sha256:{digest}\n")), print)
    assert python_says(built, "import demo; print(demo.VERSION)") == "1.0"
    with pytest.raises(WorkloadFailed) as caught:
        uv.build(EnvironmentRequest(folder=project(tmp_path, f"demo==1.0 --hash=sha256:{'0' * 64}\n")), print)
    assert caught.value.own_code == "HASH_MISMATCH"


def test_pyproject_dependencies_are_read(uv: UvBuilder, tmp_path: Path) -> None:
    toml = '[project]\nname = "x"\nversion = "1"\ndependencies = ["asks"]\n'
    toml += '[project.optional-dependencies]\nmore = ["zzz"]\n'
    built = uv.build(EnvironmentRequest(folder=project(tmp_path, pyproject_toml=toml)), print)
    assert built.packages == 3 and [p.name for p in (tmp_path / "project").iterdir()] == ["pyproject.toml"]


def test_pylock_and_uv_lock_are_taken_as_they_are(uv: UvBuilder, environment: dict[str, str], tmp_path: Path) -> None:
    toml = '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.9"\ndependencies = ["demo==1.0"]\n'
    folder = project(tmp_path, pyproject_toml=toml)
    subprocess.run(
        [find_uv_bin(), "lock", "-q", "--no-index", "--no-python-downloads"], cwd=folder, env=environment, check=True
    )
    from_uv_lock = uv.build(EnvironmentRequest(folder=folder), print)
    export = [
        find_uv_bin(),
        "export",
        "-q",
        "--frozen",
        "--no-emit-project",
        "--format",
        "pylock.toml",
        "-o",
        "pylock.toml",
    ]
    subprocess.run(export, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    from_pylock = uv.build(EnvironmentRequest(folder=folder, requirements=("pylock.toml",)), print)
    for built in (from_uv_lock, from_pylock):
        assert python_says(built, "import demo, msgspec; print(demo.VERSION)") == "1.0"


@pytest.mark.parametrize(
    ("requirements", "code", "said"),
    [
        ("no-such-thing\n", "PACKAGE_NOT_FOUND", "'no-such-thing'"),
        ("demo==9\n", "RESOLUTION_FAILED", "demo==9"),
        ("demo>=2\nasks\n", "RESOLUTION_FAILED", "asks"),
        ("demo\n==x?\n", "REQUIREMENTS_INVALID", "requirements.txt:2"),
    ],
)
def test_failures_say_what_why_and_what_next(
    uv: UvBuilder, tmp_path: Path, requirements: str, code: str, said: str
) -> None:
    lines: list[str] = []
    with pytest.raises(Problem) as caught:
        uv.build(EnvironmentRequest(folder=project(tmp_path, requirements)), lines.append)
    assert caught.value.own_code == code and said in caught.value.message and caught.value.hint
    assert any("error" in line for line in lines)
    assert not list((tmp_path / "home").glob("envs/[0-9a-f]*"))


def test_no_network_is_said_so(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "UV_DEFAULT_INDEX": "http://someone:hunter2@127.0.0.1:9/simple",
                   "UV_CACHE_DIR": str(tmp_path / "cache"), "UV_HTTP_RETRIES": "0"}  # fmt: skip
    lines: list[str] = []
    with pytest.raises(WorkloadFailed) as caught:
        UvBuilder(tmp_path / "home", environment).build(
            EnvironmentRequest(folder=project(tmp_path, "six")), lines.append
        )
    assert caught.value.own_code == "NETWORK_UNREACHABLE"
    said = caught.value.message + "".join(lines)
    assert "hunter2" not in said and "127.0.0.1" not in said


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def address(wheels_folder: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(wheels_folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://someone:hunter2@127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_index_named_in_the_file_is_used_and_kept_nowhere(address: str, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "UV_CACHE_DIR": str(tmp_path / "cache")}
    lines: list[str] = []
    builder = UvBuilder(tmp_path / "home", environment)
    folder = project(tmp_path, f"--no-index\n--find-links {address}\ndemo==1.0\nmsgspec\n")
    built = builder.build(EnvironmentRequest(folder=folder), lines.append)
    assert python_says(built, "import demo; print(demo.VERSION)") == "1.0"
    assert "hunter2" not in "".join(lines)
    kept = [
        p for p in (tmp_path / "home").rglob("*") if p.is_file() and not p.is_symlink() and b"hunter2" in p.read_bytes()
    ]
    assert kept == []


def test_pips_variables_count_where_uvs_are_not_set() -> None:
    given = {"PIP_INDEX_URL": "https://a/simple", "PIP_EXTRA_INDEX_URL": "https://b  https://c", "UV_INDEX": "https://mine",
             "PYTHONDONTWRITEBYTECODE": "1", "VIRTUAL_ENV": "/x", "UV_PYTHON": "3.8"}  # fmt: skip
    result = uv_environment(given, Path("/tmp"))
    assert result["UV_DEFAULT_INDEX"] == "https://a/simple" and result["UV_INDEX"] == "https://mine"
    assert not {"PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "UV_PYTHON"} & result.keys()
    assert "UV_DEFAULT_INDEX" not in uv_environment({**given, "UV_INDEX_URL": "https://d"}, Path("/tmp"))


def test_large_cuda_parts_are_announced_where_no_gpu_is(tmp_path: Path) -> None:
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has a GPU")
    own = shelf(tmp_path / "own")
    wheel(own, "nvidia_cublas", "1.0")
    wheel(own, "torch", "9.0", needs=("nvidia-cublas",))
    lines: list[str] = []
    built = UvBuilder(tmp_path / "home", offline(own, tmp_path / "cache")).build(
        EnvironmentRequest(folder=project(tmp_path, "torch\n")), lines.append
    )
    assert "gigabytes" in built.warnings[0] and "+cpu" in built.warnings[0]
    assert lines.index(f"warning: {built.warnings[0]}") < next(n for n, line in enumerate(lines) if "Installed" in line)


def test_bytecode_is_compiled_on_request_and_never_suppressed(uv: UvBuilder, tmp_path: Path) -> None:
    built = uv.build(EnvironmentRequest(folder=project(tmp_path, "demo\n")), print)
    site = next(Path(built.folder).glob("lib/python*/site-packages"))
    assert not list(site.glob("demo/__pycache__/*"))
    lines: list[str] = []
    uv.compile(built, lines.append)
    uv.compile(built, lines.append)
    assert list(site.glob("demo/__pycache__/*")) and len(lines) == 1


def test_what_somebody_compiles_nobody_else_does_meanwhile(uv: UvBuilder, tmp_path: Path) -> None:
    built = uv.build(EnvironmentRequest(folder=project(tmp_path, "demo\n")), print)
    before, lines = _compiled(built), list[str]()
    with locked(Path(built.folder).parent / f".{Path(built.folder).name}.compiling"):
        uv.compile(built, lines.append)
    assert (_compiled(built), lines) == (before, [])
    uv.compile(built, lines.append)
    assert len(_compiled(built)) > len(before) and len(lines) == 1


def test_bytecode_of_the_same_files_is_taken_from_another_environment(uv: UvBuilder, tmp_path: Path) -> None:
    first = uv.build(EnvironmentRequest(folder=project(tmp_path, "demo==1.0\n")), print)
    uv.compile(first, print)
    both = uv.build(EnvironmentRequest(folder=project(tmp_path, "demo==1.0\nasks\n")), print)
    newer = uv.build(EnvironmentRequest(folder=project(tmp_path, "demo==2.0\n")), print)
    there, taken, other = (_compiled(each) for each in (first, both, newer))
    assert "demo/__init__" in there and taken == there, "and asks was never compiled"
    assert "demo/__init__" not in other and other.items() < there.items(), "another version is other files"
    say = "import demo; print(demo.VERSION, demo.main.__code__.co_filename)"
    assert python_says(both, say) == f"1.0 {both.folder}/{_SITE}/demo/__init__.py"


def test_homes_whose_environments_are_one_folder_share_them(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    request, made = EnvironmentRequest(folder=project(tmp_path, "demo\n")), []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "envs").symlink_to(tmp_path / "shared")
        made.append(UvBuilder(tmp_path / name, environment).build(request, print))
    assert made[0].folder == made[1].folder and [each.steps[-1].cached for each in made] == [False, True]


def test_two_builds_at_once_make_one_environment(environment: dict[str, str], tmp_path: Path) -> None:
    folder = project(tmp_path, "demo\n")
    logs: list[list[str]] = [[] for _ in range(4)]

    def build(lines: list[str]) -> None:
        UvBuilder(tmp_path / "home", environment).build(EnvironmentRequest(folder=folder), lines.append)

    threads = [threading.Thread(target=build, args=(lines,)) for lines in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(any("+ demo" in line for line in lines) for lines in logs) == 1


def test_an_environment_without_its_last_file_is_made_anew(uv: UvBuilder, tmp_path: Path) -> None:
    request = EnvironmentRequest(folder=project(tmp_path, "demo\n"))
    built = uv.build(request, print)
    Path(built.folder, READY).unlink()
    next(Path(built.folder).glob("lib/python*/site-packages/demo/__init__.py")).unlink()
    again = uv.build(request, print)
    assert not again.steps[-1].cached and python_says(again, "import demo; print(demo.VERSION)") == "2.0"


SLOW_UV = """#!/bin/sh
case "$*" in *"pip install"*)
  touch {folder}/started
  n=0; while [ ! -e {folder}/go ] && [ $n -lt 1000 ]; do sleep 0.01; n=$((n+1)); done;;
esac
exec {uv} "$@"
"""
BUILD = """
import os, sys
from pathlib import Path
from bough.adapters.builder import EnvironmentRequest
from bough.adapters.builder.uv import UvBuilder
UvBuilder(Path(sys.argv[1]), os.environ, uv=sys.argv[3]).build(EnvironmentRequest(folder=sys.argv[2]), print)
"""


def test_an_orphaned_uv_is_waited_for(environment: dict[str, str], tmp_path: Path) -> None:
    """Bough is killed while uv installs: the next build may not clear the folder under the hands of that uv."""
    slow = tmp_path / "slow-uv"
    slow.write_text(SLOW_UV.format(folder=tmp_path, uv=find_uv_bin()))
    slow.chmod(0o755)
    folder = project(tmp_path, "demo\n")
    home = tmp_path / "home"
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD, home, folder, slow], env=environment, stdout=subprocess.DEVNULL
    )
    wait_for(lambda: (tmp_path / "started").exists())
    process.send_signal(signal.SIGKILL)
    process.wait()
    results: list[BuiltEnvironment] = []
    builder = UvBuilder(home, environment)
    thread = threading.Thread(target=lambda: results.append(builder.build(EnvironmentRequest(folder=folder), print)))
    thread.start()
    thread.join(0.3)
    assert thread.is_alive() and not results
    (tmp_path / "go").touch()
    thread.join(60)
    assert python_says(results[0], "import demo, msgspec; print(demo.VERSION)") == "2.0"


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
def test_a_full_disk_is_exhausted_and_leaves_no_environment(tmp_path: Path) -> None:
    own = shelf(tmp_path / "own")
    wheel(own, "big", "1.0", size=3 << 20)
    home = tmp_path / "home"
    home.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", home], check=False, capture_output=True
    ).returncode:
        pytest.skip("mount is not allowed here")
    try:
        builder = UvBuilder(home, offline(own, tmp_path / "cache"))
        with pytest.raises(Exhausted) as caught:
            builder.build(EnvironmentRequest(folder=project(tmp_path, "big\n")), print)
        assert caught.value.own_code == "DISK_FULL" and str(home) in caught.value.hint
        assert not list(home.glob("envs/[0-9a-f]*"))
        assert builder.build(EnvironmentRequest(folder=project(tmp_path, "demo\n")), print).packages == 2
    finally:
        subprocess.run(["umount", home], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="a read-only mount needs root; permission bits do not stop root")
def test_a_read_only_home_is_exhausted_and_known_environments_still_serve(
    uv: UvBuilder, environment: dict[str, str], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    known = uv.build(EnvironmentRequest(folder=project(tmp_path, "demo\n")), print)
    if subprocess.run(["mount", "--bind", "-o", "ro", home, home], check=False, capture_output=True).returncode:
        pytest.skip("mount is not allowed here")
    try:
        builder = UvBuilder(home, environment)
        assert builder.build(EnvironmentRequest(folder=project(tmp_path, "demo\n")), print).digest == known.digest
        with pytest.raises(Exhausted) as caught:
            builder.build(EnvironmentRequest(folder=project(tmp_path, "demo==1.0\n")), print)
        assert caught.value.own_code == "NOT_WRITABLE"
    finally:
        subprocess.run(["umount", home], check=True)


# -- interpreters


def test_versions_match_by_their_parts() -> None:
    assert (
        matches("3.11.7", "") and matches("3.11.7", "3") and matches("3.11.7", "3.11") and matches("3.11.7", "3.11.7")
    )
    assert not matches("3.11.7", "3.1") and not matches("3.11.7", "3.11.70")


def test_another_python_is_found_if_there_is_one_and_remembered(uv: UvBuilder, tmp_path: Path) -> None:
    other = next((one for one in uv.interpreters() if not matches(one.version, minor(running().version))), None)
    if other is None or tuple(map(int, other.version.split(".")[:2])) < (3, 9):
        pytest.skip("this machine has one Python")
    request = EnvironmentRequest(folder=project(tmp_path, "demo\n"), python=minor(other.version))
    built = uv.build(request, print)
    assert built.version == other.version
    assert python_says(built, "import sys, demo; print(sys.version_info[1])") == other.version.split(".")[1]
    assert find(minor(other.version), "/bin/false", tmp_path / "home/locks").path == other.path


@pytest.mark.parametrize("bad", ["2.7", "3.x", ">=3.9", "python3", "3.11; rm -rf", "../3"])
def test_a_version_that_is_none_is_refused(uv: UvBuilder, tmp_path: Path, bad: str) -> None:
    with pytest.raises(Invalid) as caught:
        uv.build(EnvironmentRequest(folder=project(tmp_path), python=bad), print)
    assert caught.value.own_code == "PYTHON_INVALID"


def minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


# -- requirements as text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("-e .\n", "REQUIREMENTS_UNSUPPORTED"),
        (".\n", "REQUIREMENTS_UNSUPPORTED"),
        ("./lib\n", "REQUIREMENTS_UNSUPPORTED"),
        ("-r ../other.txt\n", "PATH_UNSAFE"),
        ("-r https://example.org/r.txt\n", "REQUIREMENTS_UNSUPPORTED"),
        ("-r absent.txt\n", "REQUIREMENTS_MISSING"),
        ("-r /etc/passwd\n", "PATH_UNSAFE"),
    ],
)
def test_lines_that_cannot_be_locked_are_refused(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_inputs(Path(project(tmp_path, text)), ("requirements.txt",), ())
    assert caught.value.own_code == code and caught.value.message


def test_included_files_belong_to_the_input(tmp_path: Path) -> None:
    folder = Path(
        project(
            tmp_path, "-r base.txt\n-c limits.txt\ndemo\n", base_txt="six\n-r requirements.txt\n", limits_txt="six<2\n"
        )
    )
    inputs = read_inputs(folder, ("requirements.txt",), ())
    assert [path for path, _ in inputs.files] == ["requirements.txt", "base.txt", "limits.txt"]


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[tool.poetry.dependencies]\nsix = '*'\n", "poetry export"),
        ("[project]\nname='x'\ndynamic=['dependencies']\n", "list them"),
        ("[build-system]\n", "[project]"),
    ],
)
def test_projects_without_static_dependencies_are_refused(tmp_path: Path, toml: str, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_inputs(Path(project(tmp_path, pyproject_toml=toml)), ("pyproject.toml",), ())
    assert said in caught.value.hint


# -- what is said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("fetch https://user:pw@index.corp/simple/x/ failed", "fetch <package index> failed"),
        ("see https://docs.astral.sh/uv", "see https://docs.astral.sh/uv"),
        ("git+https://tok:en@github.com/o/r?x=secret", "git+https://github.com/o/r"),
        ("file:///tmp/http:/a:b@127.0.0.1/x", "file:///tmp/http:/127.0.0.1/x"),
    ],
)
def test_addresses_are_not_shown(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_unknown_trouble_keeps_uvs_own_words(tmp_path: Path) -> None:
    problem = complaint("error: The moon is wrong", tmp_path)
    assert problem.own_code == "ENVIRONMENT_FAILED" and "The moon is wrong" in problem.message
    assert complaint("", tmp_path).own_code == "ENVIRONMENT_FAILED"


# -- containers: no engine runs in the tests, so a scripted stand-in answers for it

ENGINE = """#!/bin/sh
echo "$@" >> {log}
case "$1 $2" in
  info*) exit {info};;
  "image inspect") test -e {log}.built;;
  build*) echo "Step 1/1 : FROM python"; [ {build} = 0 ] && touch {log}.built; exit {build};;
  run*) echo "$@";;
esac
"""


def engine(tmp_path: Path, name: str = "docker", info: int = 0, build: int = 0) -> Path:
    path = tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(ENGINE.format(log=tmp_path / "calls", info=info, build=build))
    path.chmod(0o755)
    return path


def test_an_engine_must_answer_to_count(tmp_path: Path) -> None:
    assert CommandLineContainers(str(tmp_path / "bin")).engine() == ""
    engine(tmp_path, "docker", info=1)
    assert CommandLineContainers(str(tmp_path / "bin")).engine() == ""
    podman = engine(tmp_path, "podman")
    assert CommandLineContainers(str(tmp_path / "bin")).engine() == str(podman)


def test_an_image_is_built_once_and_run_as_a_command(tmp_path: Path) -> None:
    engine(tmp_path)
    containers = CommandLineContainers(str(tmp_path / "bin"))
    lines: list[str] = []
    image = containers.build("/folder", "Dockerfile", "a" * 64, lines.append)
    assert containers.build("/folder", "Dockerfile", "a" * 64, lines.append) == image
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["info", "image", "build", "image"]
    assert "Step 1/1" in lines[0]
    shell = containers.command(image, 8080, {"KEY": "a b", "PORT": "1"})
    done = subprocess.run(
        ["sh", "-c", shell], env={"PORT": "4711", "PATH": "/bin"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == (
        f"run --rm --init --publish 127.0.0.1:4711:8080 --env PORT=8080 --env KEY=a b {image}"
    )


def test_a_failed_image_build_shows_its_last_lines(tmp_path: Path) -> None:
    engine(tmp_path, build=1)
    with pytest.raises(WorkloadFailed, match="Step 1/1") as caught:
        CommandLineContainers(str(tmp_path / "bin")).build("/folder", "Dockerfile", "a" * 64, print)
    assert caught.value.own_code == "IMAGE_BUILD_FAILED"


def test_without_an_engine_nothing_is_built(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        CommandLineContainers(str(tmp_path)).build("/folder", "Dockerfile", "a" * 64, print)
    assert caught.value.own_code == "NO_CONTAINER_ENGINE"
