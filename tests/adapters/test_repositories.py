"""Bare repositories through the git program."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bough.adapters.repositories import Item
from bough.adapters.repositories.git import EXPORTS, GitRepositories
from bough.kernel.errors import Problem
from tests.pushes.remote import Working


@pytest.fixture
def repositories(tmp_path: Path) -> Iterator[GitRepositories]:
    yield GitRepositories(tmp_path / "git")
    assert list((tmp_path / "git" / EXPORTS).iterdir()) == [], "nothing is left behind"


@pytest.fixture
def commit(repositories: GitRepositories, tmp_path: Path) -> str:
    work = Working(tmp_path / "work")
    (work.folder / "deep").mkdir()
    (work.folder / "deep/ü.txt").write_text("deep")
    (work.folder / "run.sh").write_text("#!/bin/sh\n")
    (work.folder / "run.sh").chmod(0o755)
    (work.folder / "link").symlink_to("deep/ü.txt")
    (work.folder / ".gitattributes").write_text("deep export-ignore\n")
    made = work.commit("the subject\n\nand more", a_txt="a")
    repositories.ensure("shop")
    work.git("push", "-q", str(tmp_path / "git/shop.git"), "main")
    return made


def test_making_one_twice_or_at_once_is_making_one(repositories: GitRepositories) -> None:
    threads = [threading.Thread(target=repositories.ensure, args=("shop",)) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert repositories.exists("shop") and not repositories.exists("other")
    assert repositories.refs("shop") == {}


def test_a_commit_is_read_without_a_checkout(repositories: GitRepositories, commit: str) -> None:
    tree = {each.path: each for each in repositories.tree("shop", commit)}
    assert tree.keys() == {".gitattributes", "a.txt", "deep/ü.txt", "link", "run.sh"}
    assert (tree["link"].kind, tree["deep/ü.txt"].size) == ("link", 4)
    assert repositories.read("shop", tree["a.txt"].id) == b"a"
    assert isinstance(tree["a.txt"], Item)
    assert repositories.subject("shop", commit) == "the subject"


def test_a_commit_is_written_out_as_a_checkout_has_it(repositories: GitRepositories, commit: str) -> None:
    with repositories.exported("shop", commit) as folder:
        assert (folder / "deep/ü.txt").read_text() == "deep"
        assert os.access(folder / "run.sh", os.X_OK)
        assert (folder / "link").is_symlink()
    assert not folder.exists()


def test_a_ref_moves_only_from_where_it_is_known_to_be(repositories: GitRepositories, commit: str) -> None:
    ref, other = "refs/bough/live/x/y", "1" * 40
    assert repositories.move("shop", ref, to=commit, was="")
    assert not repositories.move("shop", ref, to=commit, was="")
    assert not repositories.move("shop", ref, to="", was=other)
    assert repositories.refs("shop", "refs/bough/") == {ref: commit}
    assert repositories.move("shop", ref, to="", was=commit)
    assert repositories.refs("shop", "refs/bough/") == {}


def test_what_git_complains_of_is_a_problem_with_its_words(repositories: GitRepositories, commit: str) -> None:
    with pytest.raises(Problem, match="git failed") as found:
        repositories.tree("shop", "1" * 40)
    assert found.value.own_code == "GIT_FAILED"
