"""`git push` with a real git to a control plane whose builds and replicas are scripted."""

from __future__ import annotations

import base64
import http.client
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bough.pushes.models import DISCARDED, FAILED, LIVE
from bough.pushes.packets import FLUSH, packet
from bough.runtime.spec import Failure
from tests.pushes.remote import TOML, Remote, Working


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    made = Remote(tmp_path / "server")
    yield made
    made.stop()


@pytest.fixture
def work(tmp_path: Path, remote: Remote) -> Working:
    made = Working(tmp_path / "work", remote.url())
    made.commit("first", bough_toml=TOML, service_py="one")
    return made


def test_main_becomes_production_and_the_pusher_sees_its_url(remote: Remote, work: Working) -> None:
    said = work.git("push", "bough", "HEAD")
    assert "remote: main -> shop/main, commit" in said
    assert "remote: shop/main release 1 is live after" in said
    assert "remote:   till  http://127.0.0.1:7400/v1/till/predict" in said
    assert remote.live() == work.git("rev-parse", "HEAD").strip()
    release = remote.plane.call("releases.list", project="shop")[0]
    assert (release.created_by, release.message) == ("developer", "first")


def test_a_branch_gets_an_environment_that_follows_it_and_goes_with_it(remote: Remote, work: Working) -> None:
    work.git("push", "bough", "main")
    work.git("switch", "-q", "-c", "feature/x")
    first = work.commit(service_py="two")
    assert "shop/feature-x release 2 is live" in work.git("push", "bough", "HEAD"), "1 is the parent's"
    assert remote.names() == {"main": "main", "feature-x": "feature/x"}
    second = work.commit(service_py="three")
    work.git("push", "bough", "HEAD")
    assert (remote.live("feature-x"), first != second) == (second, True)
    said = work.git("push", "bough", "--delete", "feature/x")
    assert "feature/x: environment shop/feature-x is discarded" in said
    assert remote.names() == {"main": "main"}
    states = [each.state for each in remote.plane.call("pushes.list", project="shop").pushes]
    assert states == [DISCARDED, LIVE, LIVE, LIVE]


@pytest.mark.parametrize("branch", ["a.b/c_d", "zweig/größe", "分支", "UPPER", "x" * 120, "a/b/c/d/e", "-".join("abc")])
def test_names_that_no_host_could_bear_have_environments_too(remote: Remote, work: Working, branch: str) -> None:
    work.git("push", "bough", "main")
    work.git("switch", "-q", "-c", branch)
    work.commit(service_py="two")
    assert "is live" in work.git("push", "bough", "HEAD")
    assert branch in remote.names().values()
    work.git("push", "bough", f":{branch}")
    assert branch not in remote.names().values()


def test_a_name_with_dots_that_climb_is_refused_by_git_itself(remote: Remote, work: Working) -> None:
    assert "invalid" in work.git("push", "bough", "HEAD:refs/heads/../../etc", fails=True).lower()
    assert not (remote.plane.bough.home.path / "etc").exists()


def test_rewriting_a_branch_is_allowed(remote: Remote, work: Working) -> None:
    work.git("push", "bough", "HEAD")
    work.git("commit", "-q", "--amend", "-m", "other")
    assert "rejected" in work.git("push", "bough", "HEAD", fails=True)
    work.git("push", "--force", "bough", "HEAD")
    assert remote.names() == {"main": "main"}


def test_a_build_that_fails_is_told_and_can_be_pushed_again(remote: Remote, work: Working) -> None:
    work.git("push", "bough", "HEAD")
    live = remote.live()
    remote.plane.builds_fail = Failure(code="BUILD_FAILED", message="no such package", hint="edit requirements.txt")
    work.commit(service_py="two")
    said = work.git("push", "bough", "HEAD")
    assert "main has arrived, but release 2 of shop/main FAILED" in said
    assert "release 1 still serves" in said
    assert "no such package" in said and "edit requirements.txt" in said
    assert remote.live() == live
    remote.plane.builds_fail = None
    assert "release 3 is live" in work.git("push", "bough", "HEAD"), "the very same commit"
    pushes = remote.plane.call("pushes.list", project="shop")
    assert [each.state for each in pushes.pushes] == [LIVE, FAILED, LIVE]
    assert pushes.live == 2 and 0 < pushes.median_s <= pushes.slowest_s


def test_a_project_that_is_broken_is_told_with_file_and_line(remote: Remote, work: Working) -> None:
    work.commit(bough_toml=TOML + "replcas = 2\n")
    said = work.git("push", "bough", "HEAD")
    assert "has arrived, but was NOT released" in said
    assert "bough.toml:5" in said and "did you mean 'replicas'?" in said


def test_a_commit_without_a_project_says_what_to_do(remote: Remote, work: Working) -> None:
    work.git("rm", "-q", "bough.toml")
    work.commit()
    assert "there is no bough.toml in this commit" in work.git("push", "bough", "HEAD")


def test_an_environment_that_was_discarded_comes_back_with_the_same_commit(remote: Remote, work: Working) -> None:
    work.git("push", "bough", "HEAD", "HEAD:refs/heads/x")
    remote.plane.call("environments.discard", project="shop", branch="x")
    assert "shop/x release" in work.git("push", "bough", "HEAD:refs/heads/x")
    assert set(remote.names()) == {"main", "x"}
    assert "up-to-date" in work.git("push", "bough", "HEAD:refs/heads/x")


def test_the_first_push_of_a_project_may_be_of_a_branch(remote: Remote, work: Working) -> None:
    assert "shop/x release 1 is live" in work.git("push", "bough", "HEAD:refs/heads/x")
    assert set(remote.names()) == {"main", "x"}


def test_tags_are_kept_and_deploy_nothing(remote: Remote, work: Working) -> None:
    work.git("tag", "v1")
    work.git("push", "bough", "v1")
    assert remote.names() == {}
    assert "refs/tags/v1" in work.git("ls-remote", "bough")


def test_what_was_pushed_can_be_fetched_but_not_what_bough_notes(remote: Remote, work: Working, tmp_path: Path) -> None:
    work.git("push", "bough", "HEAD")
    other = Working(tmp_path / "other", remote.url(role="viewer"))
    other.git("fetch", "-q", "bough")
    assert other.git("rev-parse", "bough/main") == work.git("rev-parse", "HEAD")
    assert "refs/bough" not in other.git("ls-remote", "bough")
    assert "hidden ref" in work.git("push", "bough", "HEAD:refs/bough/live/x", fails=True)


# Rights


def test_without_a_token_git_is_asked_for_one(remote: Remote, work: Working) -> None:
    work.git("remote", "set-url", "bough", f"http://127.0.0.1:{remote.port}/git/shop")
    assert "could not read Username" in work.git("push", "bough", "HEAD", fails=True)


def test_a_wrong_token_is_refused(remote: Remote, work: Working) -> None:
    work.git("remote", "set-url", "bough", remote.url(token="bough_wrong"))
    assert "Authentication failed" in work.git("push", "bough", "HEAD", fails=True)
    assert remote.names() == {}


def test_a_viewer_may_fetch_and_not_push(remote: Remote, work: Working) -> None:
    work.git("push", "bough", "HEAD")
    work.git("remote", "set-url", "bough", remote.url(role="viewer"))
    work.git("fetch", "-q", "bough")
    work.commit(service_py="two")
    said = work.git("push", "bough", "HEAD", fails=True)
    assert "remote: pushing needs the role developer, and viewer is a viewer" in said
    assert "403" in said


def test_a_token_may_come_as_bearer(remote: Remote, work: Working) -> None:
    work.git("remote", "set-url", "bough", f"http://127.0.0.1:{remote.port}/git/shop")
    header = f"http.extraHeader=Authorization: Bearer {remote.tokens['developer']}"
    assert "is live" in work.git("-c", header, "push", "bough", "HEAD")


def test_a_protected_production_takes_the_code_and_not_the_release(remote: Remote, work: Working) -> None:
    work.git("push", "bough", "HEAD")
    remote.plane.call("environments.protect", project="shop", branch="main")
    work.commit(service_py="two")
    said = work.git("push", "bough", "HEAD")
    assert "NOT released" in said and "ENVIRONMENT_PROTECTED" in said
    work.git("remote", "set-url", "bough", remote.url(role="approver"))
    assert "release 2 is live" in work.git("push", "bough", "HEAD")


@pytest.mark.parametrize("name", ["..", "Shop", "a--b", "x" * 41, "%2e%2e", "a%2fb"])
def test_a_project_whose_name_is_none_is_refused(remote: Remote, work: Working, name: str) -> None:
    work.git("remote", "set-url", "bough", remote.url(name))
    work.git("push", "bough", "HEAD", fails=True)
    assert [each.name for each in remote.plane.bough.home.repositories.glob("*.git")] == []


# What a tree may hold


def test_links_out_of_the_tree_and_folders_outside_are_not_followed(remote: Remote, work: Working) -> None:
    (work.folder / "secret").symlink_to("/etc/passwd")
    (work.folder / "home").symlink_to(remote.plane.bough.home.path)
    work.commit()
    said = work.git("push", "bough", "HEAD")
    assert "left out secret: a link that leads out of the repository" in said
    assert "is live" in said
    work.commit(bough_toml=TOML + 'path = "../../../../../../../../etc"\n')
    assert "FOLDER_OUTSIDE" in work.git("push", "bough", "HEAD")
    (work.folder / "service.py").unlink()
    (work.folder / ".boughignore").symlink_to(remote.plane.bough.home.token)
    work.commit(bough_toml=TOML)
    assert "left out .boughignore" in work.git("push", "bough", "HEAD")


def test_submodules_and_lfs_pointers_are_named(remote: Remote, work: Working) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 5\n"
    work.commit(model_onnx=pointer)
    work.git("update-index", "--add", "--cacheinfo", "160000," + "1" * 40 + ",vendor/lib")
    work.git("commit", "-q", "-m", "submodule")
    said = work.git("push", "bough", "HEAD")
    assert "submodules are not part of a push and stay empty: vendor/lib" in said
    assert "of files in Git LFS only the pointers came: model.onnx" in said
    assert "is live" in said


def test_a_secret_in_the_commit_is_not_deployed(remote: Remote, work: Working) -> None:
    work.commit(key_py="AWS_SECRET = 'AKIAIOSFODNN7ABCDEFG'\n-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n")
    said = work.git("push", "bough", "HEAD")
    assert "SECRET_IN_BUNDLE" in said and "NOT released" in said


def test_a_project_in_a_folder_of_the_tree(remote: Remote, work: Working) -> None:
    (work.folder / "services").mkdir()
    work.git("mv", "bough.toml", "service.py", "services/")
    work.commit()
    assert "shop/main release 1 is live" in work.git("push", "bough", "HEAD")


def test_hooks_and_configuration_do_nothing_on_the_server(remote: Remote, work: Working, tmp_path: Path) -> None:
    work.git("push", "bough", "HEAD")
    hooks = remote.plane.bough.home.repositories / "shop.git/hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "post-receive").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (hooks / "post-receive").chmod(0o755)
    work.commit(service_py="two")
    work.git("push", "bough", "HEAD")
    assert not (tmp_path / "ran").exists()


def test_a_damaged_object_is_refused(remote: Remote, work: Working) -> None:
    tree = subprocess.run(
        ["git", "hash-object", "-t", "tree", "--literally", "-w", "--stdin"], cwd=work.folder, capture_output=True,
        input=b"100644 .git\0" + bytes.fromhex(work.git("hash-object", "service.py").strip()), check=True,
    ).stdout.decode().strip()  # fmt: skip
    commit = work.git("commit-tree", "-m", "evil", tree).strip()
    assert "contains '.git'" in work.git("push", "bough", f"{commit}:refs/heads/evil", fails=True)
    assert remote.names() == {}


# Size and company


def test_fifty_megabytes_arrive(remote: Remote, work: Working) -> None:
    work.commit(model_bin=random.Random(1).randbytes(50 << 20))
    assert "is live" in work.git("push", "bough", "HEAD")


def test_more_than_the_limit_is_refused_with_gits_words(tmp_path: Path) -> None:
    remote = Remote(tmp_path / "small", limit_bytes=1 << 20)
    work = Working(tmp_path / "large", remote.url())
    work.commit(bough_toml=TOML, service_py="one", model_bin=random.Random(2).randbytes(8 << 20))
    assert "exceeds maximum allowed size" in work.git("push", "bough", "HEAD", fails=True)
    assert remote.names() == {}
    remote.stop()


def test_a_push_that_breaks_off_has_changed_nothing(remote: Remote, work: Working) -> None:
    work.git("push", "bough", "HEAD")
    commit = work.git("rev-parse", "HEAD").strip()
    login = base64.b64encode(f"me:{remote.tokens['developer']}".encode()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", remote.port, timeout=60)
    connection.putrequest("POST", "/git/shop/git-receive-pack")
    connection.putheader("Authorization", f"Basic {login}")
    connection.putheader("Content-Length", "100000")
    wish = packet(f"{commit} {'0' * 40} refs/heads/main\0 report-status side-band-64k".encode())
    connection.endheaders(wish + FLUSH + b"and never the rest")
    connection.close()
    work.commit(service_py="two")
    assert "release 2 is live" in work.git("push", "bough", "HEAD")


def test_a_pusher_who_goes_away_has_pushed_all_the_same(remote: Remote, work: Working) -> None:
    pushing = subprocess.Popen(
        ["git", "push", "bough", "HEAD"], cwd=work.folder, env=work.environment, stderr=subprocess.PIPE, text=True
    )
    assert pushing.stderr
    while "on its way" not in pushing.stderr.readline():
        assert pushing.poll() is None
    pushing.kill()
    pushing.communicate()
    ends = time.monotonic() + 60
    while not remote.plane.call("pushes.list", project="shop").pushes:
        assert time.monotonic() < ends
        time.sleep(0.02)
    assert remote.live() == work.git("rev-parse", "HEAD").strip()
    assert "up-to-date" in work.git("push", "bough", "HEAD")


def test_pushes_to_several_branches_at_once_all_become_live(remote: Remote, work: Working, tmp_path: Path) -> None:
    work.git("push", "bough", "HEAD")
    clones = []
    for at in range(4):
        clone = Working(tmp_path / f"clone-{at}", remote.url())
        clone.git("pull", "-q", "bough", "main")
        clone.git("switch", "-q", "-c", f"branch-{at}")
        clone.commit(service_py=f"content {at}")
        clones.append(clone)
    said = together(clones)
    assert all("is live" in each for each in said), said
    assert set(remote.names()) == {"main", *(f"branch-{at}" for at in range(4))}


def test_of_two_pushes_to_one_branch_the_later_one_decides(remote: Remote, work: Working, tmp_path: Path) -> None:
    work.git("push", "bough", "HEAD")
    clones = []
    for at in range(3):
        clone = Working(tmp_path / f"clone-{at}", remote.url())
        clone.git("pull", "-q", "bough", "main")
        clone.commit(service_py=f"content {at}")
        clones.append(clone)
    together(clones, "--force")
    shown = work.git("ls-remote", "bough", "refs/heads/main").split()[0]
    assert remote.live() == shown


def together(clones: list[Working], *options: str) -> list[str]:
    said = [""] * len(clones)

    def push(at: int) -> None:
        done = clones[at].run("push", *options, "bough", "HEAD")
        said[at] = done.stdout + done.stderr

    threads = [threading.Thread(target=push, args=(at,)) for at in range(len(clones))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return said
