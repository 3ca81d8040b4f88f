"""Commands made from the contract, and errors as a person and a program see them. All in this process."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bough.client import Client, Record
from bough.entrypoints.cli.main import run
from bough.entrypoints.cli.session import Session
from bough.kernel.errors import Conflict, NotFound, Problem


class Recorded:
    """A transport that answers what the test says, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}

    def call(self, name: str, fields: Mapping[str, Any], key: str) -> Any:
        self.asked.append((name, dict(fields)))
        answer = self.answers.get(name, {})
        if isinstance(answer, Problem):
            raise answer
        return answer

    def stream(self, name: str, fields: Mapping[str, Any]) -> Iterator[Any]:
        yield from self.call(name, fields, "")

    def upload(self, digest: str, content: Any, size: int) -> None:
        self.asked.append(("upload", {"digest": digest, "size": size}))

    def close(self) -> None:
        pass


@pytest.fixture
def server() -> Recorded:
    return Recorded()


@pytest.fixture
def bough(
    server: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in a project called shop: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOUGH_HOME", str(tmp_path / "home"))
    for name in ("BOUGH_URL", "BOUGH_TOKEN", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "bough.toml").write_text('name = "shop"\n')

    def call(*words: str, connected: bool = True) -> tuple[int, str, str]:
        session = Session()
        if connected:
            session.use(Client(transport=server))
        code = run(list(words), session)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


Bough = Callable[..., tuple[int, str, str]]


def test_help_of_everything_is_shown_without_a_server(bough: Bough) -> None:
    code, out, _ = bough("--help", connected=False)
    assert code == 0
    assert "deploy" in out
    assert "rollback" in out
    for words in (["deploy"], ["releases"], ["releases", "show"], ["keys", "create"]):
        assert bough(*words, "--help", connected=False)[0] == 0


def test_many_words_for_an_option_are_part_of_its_help_and_none_is_none_of_them(
    bough: Bough, server: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    _, out, _ = bough("jobs", "list", "--help", connected=False)
    assert "--state STATE" in out and max(map(len, out.splitlines())) <= 60
    assert bough("jobs", "list", "--json")[0] == bough("jobs", "list", "--state", "failed", "--json")[0] == 0
    assert [fields.get("state", "") for _, fields in server.asked] == ["", "failed"]
    assert bough("jobs", "list", "--state", "")[0] == 2


def test_what_has_no_default_is_an_argument_and_the_project_comes_from_the_file(bough: Bough, server: Recorded) -> None:
    assert bough("releases", "show", "3", "--json")[0] == 0
    assert server.asked == [("releases.show", {"project": "shop", "number": 3, "environment": "main"})]


def test_options_override_what_the_folder_says(bough: Bough, server: Recorded) -> None:
    bough("releases", "--project", "other", "-e", "staging", "--limit", "2")
    assert server.asked == [("releases.list", {"project": "other", "environment": "staging", "limit": 2})]


def test_a_project_that_may_be_left_out_is_left_out(bough: Bough, server: Recorded) -> None:
    bough("branch", "list")
    assert server.asked == [("environments.list", {"project": ""})]


def test_lists_are_repeated_and_maps_are_pairs(bough: Bough, server: Recorded, tmp_path: Path) -> None:
    bough("keys", "create", "--services", "a", "--services", "b")
    assert server.asked[0][1]["services"] == ["a", "b"]
    bough("releases", "plan", "@bough.toml", "--bundles", ".=abc", "--bundles", "sub=def")
    assert server.asked[1][1]["bundles"] == {".": "abc", "sub": "def"}
    assert server.asked[1][1]["file"] == 'name = "shop"\n'
    assert bough("releases", "plan", "x", "--bundles", "abc")[0] == 2


def test_hyphens_in_commands_stand_for_underscores_in_names(bough: Bough, server: Recorded) -> None:
    bough("principals", "set-role", "ada", "admin")
    assert server.asked == [("principals.set_role", {"name": "ada", "role": "admin"})]


def test_the_answer_is_a_table_or_one_line_of_json(bough: Bough, server: Recorded) -> None:
    server.answers["principals.list"] = [
        {"id": "p1", "name": "ada", "role": "admin", "created_at": 0.0},
        {"id": "p2", "name": "bartholomew", "role": "viewer", "created_at": 0.0},
    ]
    _, out, _ = bough("principals", "list")
    lines = out.splitlines()
    assert lines[0].split() == ["ID", "NAME", "ROLE", "CREATED"]
    assert lines[1].index("admin") == lines[2].index("viewer")
    _, out, _ = bough("principals", "list", "--json")
    assert json.loads(out) == server.answers["principals.list"]
    assert out.count("\n") == 1


def test_common_options_stand_anywhere(bough: Bough, server: Recorded) -> None:
    server.answers["whoami"] = {"name": "ada"}
    for words in (["--json", "whoami"], ["whoami", "--json"]):
        assert json.loads(bough(*words)[1]) == {"name": "ada"}


def test_a_stream_prints_a_line_for_every_item(bough: Bough, server: Recorded) -> None:
    server.answers["releases.follow"] = [{"kind": "log", "text": "a"}, {"kind": "done", "state": "live"}]
    _, out, _ = bough("releases", "follow", "rel_1", "--json")
    assert [json.loads(line)["kind"] for line in out.splitlines()] == ["log", "done"]


def test_an_error_is_three_lines_and_its_own_exit_code(bough: Bough, server: Recorded) -> None:
    server.answers["whoami"] = Conflict("it is taken; somebody was faster", code="TAKEN", hint="bough status")
    code, out, err = bough("whoami")
    assert (code, out) == (5, "")
    assert err.splitlines() == ["error: it is taken", "  why: somebody was faster (TAKEN)", "  try: bough status"]


def test_an_error_as_json_is_on_stdout(bough: Bough, server: Recorded) -> None:
    server.answers["whoami"] = NotFound("nobody", hint="look elsewhere", name="x")
    code, out, err = bough("whoami", "--json")
    assert (code, err) == (4, "")
    assert json.loads(out) == {
        "error": {"code": "NOT_FOUND", "message": "nobody", "hint": "look elsewhere", "fields": {"name": "x"}}
    }


@pytest.mark.parametrize(
    "words", [["whomai"], ["whoami", "--wrong"], ["releases", "show"], ["releases", "show", "x"], ["logs", "-n", "x"]]
)
def test_wrong_words_end_with_2_and_point_to_help(bough: Bough, words: list[str]) -> None:
    code, out, err = bough(*words)
    assert (code, out) == (2, "")
    assert "--help" in err.splitlines()[-1]
    code, out, err = bough(*words, "--json")
    assert (code, err) == (2, "")
    assert json.loads(out)["error"]["code"] == "USAGE"


def test_a_command_that_is_nearly_right_is_suggested(bough: Bough) -> None:
    assert "did you mean 'deploy'?" in bough("depoly")[2]


def test_a_fault_of_our_own_is_no_traceback(bough: Bough, server: Recorded) -> None:
    server.answers["whoami"] = object()  # cannot be JSON
    code, out, err = bough("whoami", "--json")
    assert code == 1
    assert json.loads(out)["error"]["code"] == "INTERNAL"
    assert "Traceback" not in out + err


@pytest.mark.parametrize("value", ["abc", "", "nan", "inf"])
def test_a_metric_is_a_number(bough: Bough, server: Recorded, value: str) -> None:
    code, _, err = bough("models", "register", "churn", "bough.toml", "--metric", f"auc={value}")
    assert (code, err.splitlines()[0]) == (2, f"error: Invalid value for --metric: auc={value} is no number")
    assert not [name for name, _ in server.asked if name == "models.register"]


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize("words", [["jobs", "costs", "--days"], ["plan", "train", "fit", "--deadline-h"]])
def test_what_json_cannot_carry_is_refused_as_it_was_typed(
    bough: Bough, server: Recorded, words: list[str], value: str
) -> None:
    code, _, err = bough(*words, value)
    assert code == 2 and f"{value!r} is no number that can be counted with" in err and server.asked == []


@pytest.mark.parametrize(("flag", "asks"), [("--run", "runs.show"), ("--parent", "models.resolve")])
def test_a_version_is_not_registered_as_made_from_what_there_is_not(
    bough: Bough, server: Recorded, flag: str, asks: str
) -> None:
    server.answers[asks] = NotFound("there is no such thing", code="UNKNOWN", hint="look")
    assert bough("models", "register", "churn", "bough.toml", flag, "churn/7")[0] == 4
    assert {name for name, _ in server.asked} == {asks}, "nothing is sent"


def test_services_that_print_nothing_are_said_to(bough: Bough, server: Recorded) -> None:
    server.answers["services.logs"] = []
    assert bough("logs") == (0, "", "no service has printed anything since it started\n")
    assert bough("logs", "churn") == (0, "", "churn has printed nothing since it started\n")
    assert bough("logs", "--json") == (0, "", "")
    server.answers["services.logs"] = [Record(service="churn", text="hello", cursor="1")]
    assert bough("logs") == (0, "churn | hello\n", "")


def test_a_file_that_cannot_be_written_or_read_is_named(bough: Bough, server: Recorded, tmp_path: Path) -> None:
    server.answers["models.card"] = Record(card={}, text="page")
    code, _, err = bough("models", "card", "churn/1", "--html", "none/deeper/card.html")
    assert (code, err.splitlines()[0]) == (4, "error: there is no none/deeper")
    code, _, err = bough("models", "card", "churn/1", "--html", str(tmp_path))
    assert (code, err.splitlines()[0]) == (2, f"error: {tmp_path} cannot be used: Is a directory")
    assert bough("models", "card", "churn/1", "--html", "bough.toml/card.html")[0] == 2
    assert (tmp_path / "bough.toml").read_text() == 'name = "shop"\n'


def test_without_a_running_bough_the_first_command_says_up(bough: Bough, tmp_path: Path) -> None:
    code, _, err = bough("status", connected=False)
    assert (code, err.splitlines()[-1]) == (3, "  try: bough up")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/token").write_text("bough_x\n")
    code, _, err = bough("status", connected=False)
    assert (code, err.splitlines()[-1]) == (6, "  try: bough up")
    assert "NOT_RUNNING" in err


def test_a_remote_bough_needs_its_token(bough: Bough) -> None:
    code, _, err = bough("whoami", "--url", "http://127.0.0.1:1", connected=False)
    assert (code, "TOKEN_MISSING" in err) == (3, True)


def test_outside_of_a_project_the_hint_is_init(bough: Bough, tmp_path: Path) -> None:
    (tmp_path / "bough.toml").unlink()
    code, _, err = bough("status")
    assert (code, err.splitlines()[-1]) == (2, "  try: bough init")


def test_what_makes_a_release_follows_it_unless_told_not_to(bough: Bough, server: Recorded) -> None:
    release = {"id": "rel_1", "project": "shop", "environment": "main", "number": 4, "state": "pending"}
    server.answers["releases.rollback"] = release
    server.answers["releases.follow"] = [
        {"kind": "done", "at": 1.0, "state": "live", "data": {"release": release | {"state": "live"}, "services": []}}
    ]
    code, out, _ = bough("rollback")
    assert (code, "release 4 is live" in out) == (0, True)
    assert [name for name, _ in server.asked] == ["releases.rollback", "releases.follow"]
    server.asked.clear()
    assert json.loads(bough("rollback", "--detach", "--json")[1])["state"] == "pending"
    assert [name for name, _ in server.asked] == ["releases.rollback"]


# The program itself, in a process


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def bough_process(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bough.entrypoints.cli.main", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), **options)


def test_help_imports_no_server_library_and_stays_instant() -> None:
    code = (
        "import sys, time; from bough.entrypoints.cli.main import run; code = run(['--help']);"
        "unwanted = {'sqlalchemy', 'starlette', 'uvicorn', 'asyncio', 'bough.app'} & sys.modules.keys();"
        "print(time.process_time(), file=sys.stderr); sys.exit(', '.join(unwanted) or code)"
    )
    spent = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
        assert done.returncode == 0, done.stderr
        spent.append(float(done.stderr))
    assert min(spent) < 0.5


def test_no_command_and_no_node_loads_what_only_the_server_needs() -> None:
    code = (
        "import importlib, sys; from bough.entrypoints.cli import main;"
        "words = [*main.HAND_WRITTEN, *main.IN_PLACE, *(f'{group}_{each}' for group in main.IN_GROUPS"
        " for each in main.IN_GROUPS[group])];"
        "[importlib.import_module(f'bough.entrypoints.cli.{each}') for each in words];"
        "import bough.entrypoints.node, bough.entrypoints.keeper;"
        "unwanted = {'sqlalchemy', 'alembic', 'duckdb', 'starlette', 'uvicorn', 'asyncio', 'bough.app'};"
        "sys.exit(', '.join(unwanted & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr


def test_a_reader_that_stops_reading_is_no_error() -> None:
    command = f"{sys.executable} -m bough.entrypoints.cli.main --help | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment())
    assert done.stderr == ""
    assert done.returncode in (0, 141)


def test_nothing_is_coloured_without_a_terminal(tmp_path: Path) -> None:
    done = bough_process("status", "--home", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr + done.stdout


def test_colour_on_a_terminal_and_none_with_no_color(tmp_path: Path) -> None:
    def on_a_terminal(**extra: str) -> bytes:
        leader, follower = os.openpty()
        command = [sys.executable, "-m", "bough.entrypoints.cli.main", "status"]
        started = environment() | {"TERM": "xterm"} | extra
        done = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, cwd=tmp_path, env=started)
        done.wait(60)
        os.close(follower)
        text, deadline = b"", time.monotonic() + 60
        while b"try:" not in text and time.monotonic() < deadline:
            text += os.read(leader, 4096)
        os.close(leader)
        return text

    assert b"\x1b[31merror" in on_a_terminal()
    assert b"\x1b" not in on_a_terminal(NO_COLOR="1")


def test_scaling_is_simulated_without_a_running_bough(bough: Bough, tmp_path: Path) -> None:
    """With the `scale` of the project file; what is given beside it goes first."""
    (tmp_path / "busy.csv").write_text("10\n" * 300)
    (tmp_path / "bough.toml").write_text(
        'name = "shop"\n[services.churn]\nmodel = "service:Churn"\n'
        'scale = { max = 4, signals = [], warm = 0, steps = [{ signal = "load", reaches = 0.7, add = 2 }] }\n'
    )
    words = ("scale", "simulate", "busy.csv", "--service-s", "1", "--json")
    code, out, _ = bough(*words, "--service", "churn", connected=False)
    found = json.loads(out)
    assert (code, found["requests"], max(each["active"] for each in found["curve"])) == (0, 3000, 4)
    code, out, _ = bough(*words, "--service", "churn", "--policy", "kpa", connected=False)
    assert (code, max(each["active"] for each in json.loads(out)["curve"])) == (0, 4), "its steps are not KPA's"
    code, out, _ = bough(*words, "--policy", "kpa", "--step", "queue>=5 +3", connected=False)
    assert code == 2 and "knows no steps" in out
    code, out, _ = bough(*words, "--step", "queue>=5 +3", "--signals", "", "--max", "6", connected=False)
    assert code == 0 and json.loads(out)["reasons"].get("queue>=5")
    code, out, _ = bough(*words[:-1], "--service", "churn", "--max", "20", "--picture", "c.svg", connected=False)
    assert code == 0 and "load>=0.7" in out
    assert "<title>load&gt;=0.7</title>" in (tmp_path / "c.svg").read_text()
    code, _, err = bough("scale", "simulate", "busy.csv", "--service", "nobody", connected=False)
    assert code != 0 and "churn" in err
    code, _, err = bough("scale", "simulate", "busy.csv", "--step", "queue>=many +3", connected=False)
    assert code != 0 and "queue>=10 +2" in err
    code, _, err = bough("scale", "simulate", "busy.csv", "--signals", "rumour", connected=False)
    assert code != 0 and "'rumour' is not one of load" in err
    code, _, err = bough("scale", "simulate", "busy.csv", "--min", "5", "--max", "2", connected=False)
    assert code != 0 and "2 is less than min = 5" in err


@pytest.mark.parametrize(
    "words",
    [
        ("scale", "simulate", "t.csv", "--picture"), ("scale", "show", "churn", "--picture"),
        ("promotions", "timeline", "p", "--picture"), ("runs", "compare", "a", "--picture"),
        ("tables", "diff", "a", "b", "--picture"), ("lineage", "churn/1", "--svg"), ("plan", "train", "fit", "--svg"),
    ],
)  # fmt: skip
def test_a_picture_is_svg_and_is_not_written_under_another_ending(
    bough: Bough, tmp_path: Path, words: tuple[str, ...]
) -> None:
    code, _, err = bough(*words, "curve.png", connected=False)
    assert (code, "curve.png" in err, "curve.svg" in err) == (2, True, True)
    assert not (tmp_path / "curve.png").exists()


def test_a_trace_that_cannot_be_read_is_named_and_a_pipe_is_read(bough: Bough, tmp_path: Path) -> None:
    packed = gzip.compress(b"5\n6\n")
    (tmp_path / "cut.gz").write_bytes(packed[:-9])
    (tmp_path / "bad.gz").write_bytes(packed[:10] + b"\xff" * 20)
    for name in ("cut.gz", "bad.gz", "."):
        code, _, err = bough("scale", "simulate", name, connected=False)
        assert (code, "TRACE_INVALID" in err) == (2, True), err
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(packed,))
    writer.start()
    code, out, _ = bough("scale", "simulate", "pipe", connected=False)
    writer.join()
    assert code == 0 and "11 requests in 2 s" in out


def test_what_a_late_request_weighed_is_drawn_where_it_was_learnt_and_only_there(bough: Bough, tmp_path: Path) -> None:
    """A burst that comes with no warning makes many late, so their weight rises; with `--late-cost` it is said."""
    (tmp_path / "bursts.csv").write_text(("2\n" * 420 + "60\n" * 60) * 5)
    words = ("scale", "simulate", "bursts.csv", "--service-s", "0.5", "--warm", "0", "--picture", "c.svg")
    code, out, _ = bough(*words, connected=False)
    assert code == 0 and "late cost▏" in out
    assert "weight of a late request, 10.0 to " in (tmp_path / "c.svg").read_text()
    code, out, _ = bough(*words, "--late-cost", "10", connected=False)
    assert code == 0 and "late cost▏" not in out
    assert "weight of a late request" not in (tmp_path / "c.svg").read_text()
