"""`bough git`: hooks that come and go without a trace, and a remote without a token in its configuration."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from bough.entrypoints.cli import githooks
from bough.entrypoints.cli.main import run
from bough.entrypoints.cli.session import Session
from tests.pushes.remote import TOML, Working

TOKEN = "bough_" + "t" * 43


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Working:
    """A project in a repository, and the present folder."""
    for name in ("BOUGH_URL", "BOUGH_TOKEN", "BOUGH_HOME"):
        monkeypatch.delenv(name, raising=False)
    made = Working(tmp_path / "work")
    for name, value in made.environment.items():
        if name.startswith("GIT_CONFIG"):
            monkeypatch.setenv(name, value)
    home = tmp_path / "home"
    home.mkdir()
    (home / "token").write_text(TOKEN)
    monkeypatch.setenv("BOUGH_HOME", str(home))
    monkeypatch.chdir(made.folder)
    made.commit("first", bough_toml=TOML, service_py="one")
    return made


def bough(*words: str, code: int = 0) -> Any:
    import contextlib
    import io

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert run([*words, "--json"], Session()) == code, said.getvalue()
    return json.loads(said.getvalue().splitlines()[-1])


def recorded(work: Working) -> Path:
    """Makes hooks call something that writes down how it was called, into the file that is returned."""
    said, command = work.folder.parent / "said", work.folder.parent / "recorder"
    command.write_text(f'#!/bin/sh\necho "$@" GIT_DIR=$GIT_DIR >> {said}\n')
    command.chmod(0o755)
    work.git("config", "bough.command", str(command))
    return said


def lines(said: Path, many: int) -> list[str]:
    """The first `many` lines, which come in the background; then it is looked whether more come."""
    ends = time.monotonic() + 60
    while not said.exists() or len(said.read_text().splitlines()) < many:
        assert time.monotonic() < ends, said.read_text() if said.exists() else "nothing was called"
        time.sleep(0.01)
    return [line.removesuffix(" GIT_DIR=") for line in said.read_text().splitlines()]


def foreground(work: Working) -> Path:
    """The same, and git waits for it, so that nothing has to be waited for."""
    bough("git", "install", "--foreground")
    return recorded(work)


def test_what_moves_a_branch_is_handed_over(work: Working) -> None:
    said = foreground(work)
    work.commit(service_py="two")
    work.git("switch", "-q", "-c", "feature/ü")
    work.commit(service_py="three")
    work.git("switch", "-q", "main")
    work.git("merge", "-q", "feature/ü")
    work.git("commit", "-q", "--amend", "-m", "amended")
    moved = "git hook --foreground moved"
    assert lines(said, 7) == [
        f"{moved} main", f"{moved} feature/ü", f"{moved} feature/ü", f"{moved} main", f"{moved} main",
        f"{moved} main", f"{moved} main",
    ]  # fmt: skip


def test_a_branch_that_is_deleted_is_handed_over(work: Working) -> None:
    work.git("branch", "gone/now")
    said = foreground(work)
    work.git("branch", "-D", "gone/now")
    work.git("branch", "new")
    work.git("tag", "v1")
    work.git("tag", "-d", "v1")
    assert set(lines(said, 1)) == {"git hook --foreground gone gone/now"}


def test_in_the_background_git_does_not_wait_and_nothing_is_printed(work: Working) -> None:
    bough("git", "install")
    said = recorded(work)
    command = Path(work.git("config", "bough.command").strip())
    go_on = said.with_name("go-on")
    command.write_text(f"#!/bin/sh\nuntil [ -e {go_on} ]; do sleep 0.05; done\necho late\necho $@ >> {said}\n")
    work.commit(service_py="two")
    assert not said.exists()
    go_on.touch()
    assert lines(said, 1) == ["git hook moved main"]


def test_a_detached_head_and_a_file_checked_out_move_no_branch(work: Working) -> None:
    said = foreground(work)
    work.git("checkout", "-q", "--detach")
    work.commit(service_py="two")
    work.git("checkout", "-q", "HEAD~1", "--", "service.py")
    assert not said.exists()


def test_other_work_trees_hand_over_their_own_branch(work: Working, tmp_path: Path) -> None:
    said = foreground(work)
    work.git("worktree", "add", "-q", "-b", "beside", str(tmp_path / "beside"))
    before = len(lines(said, 1))
    Working(tmp_path / "beside").commit(service_py="two")
    assert lines(said, before + 1)[before:] == ["git hook --foreground moved beside"]


def test_a_hook_that_fails_fails_no_git_command(work: Working) -> None:
    said = foreground(work)
    Path(work.git("config", "bough.command").strip()).write_text("#!/bin/sh\nexit 7\n")
    work.commit(service_py="two")
    work.git("branch", "x")
    work.git("branch", "-D", "x")
    work.git("config", "bough.command", "/nowhere")
    work.environment["PATH"] = "/usr/bin:/bin"
    work.commit(service_py="three")
    assert not said.exists()


def test_packing_refs_looks_like_no_loss_to_what_is_called(work: Working) -> None:
    """git removes loose refs through the same transaction; the branch is still there."""
    bough("git", "install", "--foreground")
    work.git("branch", "kept")
    work.git("pack-refs", "--all", "--prune")
    assert "kept" in work.git("branch")
    assert run(["git", "hook", "--foreground", "gone", "kept"], Session()) == 0


def test_hooks_that_were_there_run_first_and_keep_their_say(work: Working, tmp_path: Path) -> None:
    hooks, ran = work.folder / ".git/hooks", tmp_path / "ran"
    hooks.mkdir(exist_ok=True)
    for name, text in {
        "post-commit": f"echo commit >> {ran}",
        "reference-transaction": f'[ "$1" = prepared ] && grep -q heads/forbidden && exit 1; echo $1 >> {ran}.refs',
    }.items():
        (hooks / name).write_text(f"#!/bin/sh\n{text}\nexit 0\n")
        (hooks / name).chmod(0o755)
    before = {path.name: path.read_bytes() for path in hooks.iterdir()}
    answer = bough("git", "install", "--foreground")
    assert sorted(answer["chained"]) == ["post-commit", "reference-transaction"]
    said = recorded(work)
    work.commit(service_py="two")
    assert ran.read_text() == "commit\n"
    assert "committed" in Path(f"{ran}.refs").read_text()
    work.git("branch", "forbidden", fails=True)
    work.git("branch", "x")
    work.git("branch", "-D", "x")
    assert "git hook --foreground gone x" in lines(said, 2)
    bough("git", "uninstall")
    assert {path.name: path.read_bytes() for path in hooks.iterdir()} == before


def test_installing_twice_is_installing_once(work: Working) -> None:
    hooks = work.folder / ".git/hooks"
    (hooks).mkdir(exist_ok=True)
    (hooks / "post-commit").write_text("#!/bin/sh\nexit 0\n")
    bough("git", "install")
    once = {path.name: path.read_bytes() for path in hooks.iterdir()}
    settings = work.git("config", "--local", "--list")
    assert bough("git", "install")["chained"] == ["post-commit"]
    assert {path.name: path.read_bytes() for path in hooks.iterdir()} == once
    assert work.git("config", "--local", "--list") == settings
    assert bough("git", "uninstall")["removed"] == list(githooks.NAMES)
    assert bough("git", "uninstall")["removed"] == []
    assert "bough" not in work.git("config", "--local", "--list")


def test_a_hook_that_was_changed_after_installing_is_left_alone(work: Working) -> None:
    bough("git", "install")
    mine = work.folder / ".git/hooks/post-merge"
    mine.write_text("#!/bin/sh\n# mine now\n")
    assert "post-merge" not in bough("git", "uninstall")["removed"]
    assert "mine now" in mine.read_text()


def test_the_hooks_folder_that_git_is_told_of_is_used(work: Working, tmp_path: Path) -> None:
    shared = tmp_path / "shared-hooks"
    work.git("config", "core.hooksPath", str(shared))
    assert bough("git", "install", "--foreground")["hooks"] == str(shared)
    said = recorded(work)
    work.commit(service_py="two")
    assert lines(said, 1) == ["git hook --foreground moved main"]
    other = Working(tmp_path / "other")
    other.git("config", "core.hooksPath", str(shared))
    other.commit(a_txt="in a repository that never asked for it")
    assert lines(said, 1) == ["git hook --foreground moved main"]


def test_without_a_repository_or_a_project_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert bough("git", "install", code=2)["error"]["code"] == "PROJECT_FILE_MISSING"
    (tmp_path / "bough.toml").write_text(TOML)
    assert bough("git", "install", code=2)["error"]["code"] == "REPOSITORY_MISSING"
    assert bough("git", "uninstall", code=2)["error"]["hint"] == "git init"


def test_the_remote_is_set_up_without_a_token_in_it(work: Working) -> None:
    answer = bough("git", "remote")
    assert answer == {"name": "bough", "url": "http://127.0.0.1:7401/git/shop"}
    bough("git", "remote")
    text = (work.folder / ".git/config").read_text()
    assert TOKEN not in text and text.count("helper") == 2
    work.environment["BOUGH_HOME"] = os.environ["BOUGH_HOME"]
    filled = work.run_with("protocol=http\nhost=127.0.0.1:7401\n\n", "credential", "fill")
    assert f"password={TOKEN}" in filled
    work.git("remote", "set-url", "bough", "https://example.org/other.git")
    assert bough("git", "remote", code=5)["error"]["code"] == "REMOTE_EXISTS"


def test_no_other_host_is_told_the_token(work: Working, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    import io

    for asked in ("protocol=http\nhost=127.0.0.1:7402\n", "protocol=https\nhost=127.0.0.1:7401\n", ""):
        monkeypatch.setattr("sys.stdin", io.StringIO(asked))
        assert run(["git", "credential", "get"], Session()) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("protocol=http\nhost=127.0.0.1:7401\n"))
    assert run(["git", "credential", "store"], Session()) == 0
    assert capsys.readouterr().out == ""
    monkeypatch.setattr("sys.stdin", io.StringIO("protocol=http\nhost=127.0.0.1:7401\n"))
    assert run(["git", "credential", "get"], Session()) == 0
    assert capsys.readouterr().out == f"username=bough\npassword={TOKEN}\n"


def test_a_bough_that_does_not_run_is_a_line_in_the_log(work: Working) -> None:
    bough("git", "install")
    command = work.folder.parent / "never"
    work.git("config", "bough.command", str(command))
    import subprocess
    import sys

    called = subprocess.run(
        [sys.executable, "-m", "bough.entrypoints.cli.main", "git", "hook", "moved", "main"], env=work.environment
        | {"PYTHONPATH": str(Path(__file__).parents[3])}, cwd=work.folder, capture_output=True, text=True,
    )  # fmt: skip
    assert (called.returncode, called.stdout, called.stderr) == (0, "", "")
    assert "Bough is not running" in bough("git", "log")["text"]
