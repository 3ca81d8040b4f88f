"""Trees: a program writes in a dataset, and no blob is changed; in every way that this machine has."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bough.adapters.blobs.directory import DirectoryBlobs
from bough.data import trees
from bough.data.models import File
from bough.data.trees import CLONE, COPY, OVERLAY, Changes, Tree, Trees, Way
from bough.kernel.errors import Invalid, NotFound
from bough.kernel.trees import remove_tree
from tests.depth import times

SOMEBODY = 65534  # a user without any rights, for when the tests run as root
CONTENTS = {"a": b"one", "b": b"two two", "run": b"#!/bin/sh\n", "sub/c": b"three", "sub/deep/d": b"", "sub2/e": b"1"}

# Does what it is told (a list of words each, in JSON) to the folder $BOUGH_DATA, as a program that may fail at any of
# it, and prints what the folder then holds.
PROGRAM = """
import json, mmap, os, shutil, sys
top = os.environ["BOUGH_DATA"]
os.chdir(top)
def grow(path):
    with open(path, "r+b") as file:
        file.truncate(os.fstat(file.fileno()).st_size + 3)
def map(path):
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[0] = 90
DO = {
    "write": lambda path, text: open(path, "w").write(text),
    "append": lambda path, text: open(path, "a").write(text),
    "same": lambda path: open(path, "r+b").close(),
    "cut": lambda path: os.truncate(path, 1), "grow": grow, "map": map,
    "chmod": lambda path, mode: os.chmod(path, int(mode, 8)),
    "times": lambda path: os.utime(path, (1, 1)),
    "label": lambda path: os.setxattr(path, "user.seen", b"1"),
    "unlink": os.unlink, "rename": os.rename, "move": shutil.move, "link": os.link, "symlink": os.symlink,
    "mkdir": os.mkdir, "rmdir": os.rmdir, "rmtree": shutil.rmtree,
}
for verb, *words in json.loads(sys.argv[1]):
    try:
        DO[verb](*words)
    except (OSError, shutil.Error, ValueError):
        pass
found = {}
for place, _, names in os.walk("."):
    for name in names:
        path = os.path.normpath(os.path.join(place, name))
        if os.path.isfile(path):
            os.chmod(path, os.stat(path).st_mode | 0o400)
            found[path] = [open(path, "rb").read().hex(), bool(os.stat(path).st_mode & 0o100)]
print(json.dumps(found))
"""


class Ground:
    """Blobs, trees, and who runs programs in them."""

    def __init__(self, folder: Path) -> None:
        self.blobs = DirectoryBlobs(folder / "blobs")
        self.trees = Trees(folder / "trees", self.blobs)
        self.files = [
            File(path=f"d/{path}", digest=self.blobs.put(content), size=len(content), executable=path == "run")
            for path, content in CONTENTS.items()
        ]

    def make(self, name: str, how: str, *, writable: bool = True) -> Tree:
        return self.trees.make(name, self.files, "d", writable=writable, how=how)

    def run(self, tree: Tree, *words: str) -> subprocess.CompletedProcess[bytes]:
        given = {**os.environ, "BOUGH_DATA": tree.path}
        return subprocess.run([*tree.launcher, *words], env=given, capture_output=True, timeout=60)

    def check_blobs(self) -> None:
        for file, content in zip(self.files, CONTENTS.values(), strict=True):
            path = self.blobs.path(file.digest)
            status = path.stat()
            assert path.read_bytes() == content
            assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o444, os.geteuid())
            assert "user.seen" not in os.listxattr(path)


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def possible(how: str, folder: Path) -> None:
    way = next(each for each in trees.ways(folder) if each.name == how)
    if not way.available:
        pytest.skip(f"no {how} here: {way.why_not}")


@pytest.fixture(params=[CLONE, OVERLAY, COPY])
def how(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    possible(request.param, tmp_path)
    return str(request.param)


def after(changes: Changes) -> dict[str, tuple[bytes, bool]]:
    """The dataset once these changes have been written back."""
    found = {path: (content, path == "run") for path, content in CONTENTS.items() if path not in changes.removed}
    return found | {each.path: (Path(each.place).read_bytes(), each.executable) for each in changes.files}


def test_what_a_program_does_to_a_tree_is_known_and_changes_no_blob(ground: Ground, how: str) -> None:
    tree = ground.make("t", how)
    script = (
        "cd $BOUGH_DATA && printf more >> a && chmod +x b && rm sub/c && mv sub2/e moved && rm -r sub2 && mkdir sub2 "
        "&& printf new > sub2/n && ln -s ../a sub2/l && printf x > run"
    )
    assert ground.run(tree, "sh", "-c", script).stderr == b""
    changes = trees.changes(tree)
    assert changes.removed == ["sub/c", "sub2/e"]
    assert after(changes) == {
        "a": (b"onemore", False), "b": (b"two two", True), "run": (b"x", True), "sub/deep/d": (b"", False),
        "moved": (b"1", False), "sub2/n": (b"new", False), "sub2/l": (b"onemore", False),
    }  # fmt: skip
    ground.check_blobs()
    ground.trees.remove("t")
    assert not Path(tree.folder).exists()


def test_a_program_that_changes_nothing_has_changed_nothing(ground: Ground, how: str) -> None:
    tree = ground.make("t", how)
    assert ground.run(tree, "sh", "-c", "cat $BOUGH_DATA/a $BOUGH_DATA/sub/c").stdout == b"onethree"
    assert trees.changes(tree) == Changes(files=[], removed=[])


@pytest.mark.parametrize("script", ["echo x > a", "rm a", "chmod 777 a", "mv a z", "touch z", "rm -r sub", ": > sub/c"])
def test_a_tree_for_reading_refuses_every_change(ground: Ground, script: str, tmp_path: Path) -> None:
    """Root's, too: in an overlay the kernel does. Elsewhere the files are the program's own."""
    possible(OVERLAY, tmp_path)
    tree = ground.make("t", OVERLAY, writable=False)
    done = ground.run(tree, "sh", "-c", f"cd $BOUGH_DATA && cat a && {script}")
    assert done.returncode and done.stdout == b"one" and b"Read-only file system" in done.stderr
    ground.check_blobs()


@pytest.mark.parametrize("how", [CLONE, COPY])
def test_a_tree_for_reading_without_an_overlay_is_made_of_other_files(ground: Ground, how: str, tmp_path: Path) -> None:
    possible(how, tmp_path)
    tree = ground.make("t", how, writable=False)
    assert ground.run(tree, "sh", "-c", "chmod -R u+w $BOUGH_DATA && rm -r $BOUGH_DATA/*").returncode == 0
    ground.check_blobs()


EXAMPLES = times("BOUGH_EXAMPLES", quick=12, deep=30)
PATHS = st.sampled_from([*CONTENTS, "sub", "sub/deep", "sub2", "new", "sub/new", "sub2/b/x", "."])
TEXTS = st.sampled_from(["", "one", "x" * 700])
OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(["write", "append"]), PATHS, TEXTS),
    st.tuples(st.sampled_from(["same", "cut", "grow", "map", "times", "label"]), PATHS),
    st.tuples(st.sampled_from(["unlink", "mkdir", "rmdir", "rmtree"]), PATHS),
    st.tuples(st.sampled_from(["rename", "move", "link"]), PATHS, PATHS),
    st.tuples(st.just("chmod"), PATHS, st.sampled_from(["0", "444", "755", "600"])),
)


@pytest.mark.parametrize("way", [CLONE, OVERLAY, COPY])
@given(operations=st.lists(OPERATIONS, max_size=12))
@settings(max_examples=EXAMPLES)
def test_whatever_a_program_does_no_blob_changes_and_nothing_of_it_is_missed(
    way: str, operations: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("ground")
    possible(way, folder)
    ground = Ground(folder)
    tree = ground.make("t", way)
    done = ground.run(tree, sys.executable, "-S", "-c", PROGRAM, json.dumps(operations))
    assert done.returncode == 0, done.stderr
    seen = {path: (bytes.fromhex(content), x) for path, (content, x) in json.loads(done.stdout).items()}
    ground.check_blobs()
    assert after(trees.changes(tree)) == seen
    ground.trees.remove("t")
    assert [*(folder / "trees").iterdir()] == []


HARM = (
    "cd $BOUGH_DATA && printf x > a && dd if=/dev/zero of=b bs=1 count=1 conv=notrunc 2>&1 && truncate -s 0 sub/c "
    "&& chmod 777 run && mv sub2/e sub2/f && ln b b2 && printf x >> b2 && rm -r sub"
)


@pytest.mark.parametrize("how", [CLONE, OVERLAY, COPY])
def test_a_user_without_rights_can_do_all_that_and_harms_no_blob(how: str) -> None:
    def work(folder: Path) -> None:
        way = next(each for each in trees.ways(folder) if each.name == how)
        if not way.available:
            print(way.why_not, file=sys.stderr)
            os._exit(77)
        ground = Ground(folder)
        tree = ground.make("t", how)
        done = ground.run(tree, "sh", "-c", f"{HARM} && id -u")
        assert done.returncode == 0, done
        assert done.stdout.split()[-1] == str(os.geteuid()).encode()  # it is who it is outside
        changes = trees.changes(tree)
        assert changes.removed == ["sub/c", "sub/deep/d", "sub2/e"]
        assert {each.path for each in changes.files} == {"a", "b", "b2", "run", "sub2/f"}
        ground.check_blobs()
        ground.trees.remove("t")

    as_somebody(work)


def test_a_user_without_rights_reads(tmp_path: Path) -> None:
    possible(OVERLAY, tmp_path)

    def work(folder: Path) -> None:
        ground = Ground(folder)
        tree = ground.make("t", OVERLAY, writable=False)
        for attempt in ("printf x > a", "chmod u+w a", "rm a", "truncate -s 0 a", "mv a z", "rmdir sub"):
            assert ground.run(tree, "sh", "-c", f"cd $BOUGH_DATA && cat a && {attempt}").returncode, attempt
        ground.check_blobs()

    as_somebody(work)


def as_somebody(work: Callable[[Path], None]) -> None:
    """Runs `work` in a process of an ordinary user, with a folder of its own; here when the tests are run by one."""
    folder = Path(tempfile.mkdtemp(prefix="bough-trees-"))
    try:
        if os.geteuid() != 0:
            work(folder)
            return
        os.chown(folder, SOMEBODY, SOMEBODY)
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups([])
                os.setgid(SOMEBODY)
                os.setuid(SOMEBODY)
                work(folder)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == 77:
            pytest.skip("not possible for an ordinary user here")
        assert status == 0
    finally:
        remove_tree(folder)


def test_links_are_followed_inside_the_tree_and_refused_outside(ground: Ground, how: str) -> None:
    tree = ground.make("t", how)
    ground.run(tree, "sh", "-c", "cd $BOUGH_DATA && ln -s sub/c l && ln -s $BOUGH_DATA/l m && ln -s ../b sub/n")
    found = after(trees.changes(tree))
    assert (found["l"][0], found["m"][0], found["sub/n"][0]) == (b"three", b"three", b"two two")
    for number, target in enumerate(["/etc/passwd", "../tree.json", "nothing", "sub", "../../x"]):
        bad = ground.make(f"t{number}", how)
        ground.run(bad, "sh", "-c", f"ln -s {target} $BOUGH_DATA/bad")
        with pytest.raises(Invalid) as caught:
            trees.changes(bad)
        assert caught.value.own_code == "LINK_OUTSIDE"


def test_what_is_no_file_is_refused_and_what_was_closed_is_read(ground: Ground, how: str) -> None:
    tree = ground.make("t", how)
    ground.run(tree, "sh", "-c", "cd $BOUGH_DATA && printf x > a && chmod 0 a sub && chmod 0 .")
    assert after(trees.changes(tree))["a"] == (b"x", False)
    tree = ground.make("t2", how)
    ground.run(tree, "sh", "-c", "mkfifo $BOUGH_DATA/pipe")
    with pytest.raises(Invalid) as caught:
        trees.changes(tree)
    assert caught.value.own_code == "SPECIAL_FILE"


def test_a_file_where_a_folder_was_and_the_other_way_round(ground: Ground, how: str) -> None:
    tree = ground.make("t", how)
    ground.run(tree, "sh", "-c", "cd $BOUGH_DATA && rm -r sub a && printf file > sub && mkdir a && printf x > a/b")
    changes = trees.changes(tree)
    assert changes.removed == ["a", "sub/c", "sub/deep/d"]
    assert {each.path for each in changes.files} == {"sub", "a/b"}


HOLDER = """
import os, subprocess, sys
from pathlib import Path
from bough.adapters.blobs.directory import DirectoryBlobs
from bough.data.models import File
from bough.data.trees import Trees
folder, how = Path(sys.argv[1]), sys.argv[2]
blobs = DirectoryBlobs(folder / "blobs")
trees = Trees(folder / "trees", blobs)
with trees.held() as (name, descriptor):
    tree = trees.make(name, [File(path="d/a", digest=blobs.put(b"one"), size=3)], "d", writable=True, how=how)
    script = "printf x > $BOUGH_DATA/a && echo $$ && exec sleep 100"
    given = {**os.environ, "BOUGH_DATA": tree.path}
    subprocess.run([*tree.launcher, "sh", "-c", script], env=given, pass_fds=(descriptor,))
"""


def test_a_tree_stays_while_its_program_lives_and_is_swept_when_all_were_killed(ground: Ground, how: str) -> None:
    folder = ground.blobs.root.parent
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder), how], stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    program = int(holder.stdout.readline())
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert ground.trees.sweep() == 0 and len(list((folder / "trees").glob("run-*/tree.json"))) == 1
    os.kill(program, signal.SIGKILL)
    ends = time.monotonic() + 60
    while ground.trees.sweep() == 0:
        assert time.monotonic() < ends
        time.sleep(0.02)
    assert [*(folder / "trees").iterdir()] == []
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    ground.check_blobs()


def test_a_tree_goes_with_the_block_unless_it_is_kept(ground: Ground, how: str) -> None:
    with ground.trees.held() as (name, _):
        gone = ground.make(name, how)
        assert ground.trees.find(name) == gone == ground.make(name, how)
    with ground.trees.held() as (name, _):
        kept = ground.make(name, how)
        ground.run(kept, "sh", "-c", "printf x > $BOUGH_DATA/new")
        ground.trees.keep(name)
    assert not Path(gone.folder).exists() and ground.trees.sweep() == 0
    assert (Path(kept.changed_folder) / "new").read_text() == "x"


def test_a_tree_is_whole_or_absent(ground: Ground, how: str) -> None:
    ground.blobs.path(ground.files[-1].digest).unlink()
    with pytest.raises(NotFound):
        ground.make("t", how)
    assert ground.trees.find("t") is None and [*(ground.blobs.root.parent / "trees").iterdir()] == []


def test_the_best_way_is_chosen_and_a_missing_one_is_said() -> None:
    every = [Way(name=name, available=True) for name in (CLONE, OVERLAY, COPY)]
    poor = [Way(name=CLONE, available=False), Way(name=OVERLAY, available=False, why_not="because"), every[2]]
    assert [trees.choose(found, writable=True) for found in (every, [poor[0], *every[1:]], poor)] == [
        CLONE,
        OVERLAY,
        COPY,
    ]
    assert [trees.choose(found, writable=False) for found in (every, poor)] == [OVERLAY, COPY]
    assert trees.choose(every, writable=True, how=COPY) == COPY
    with pytest.raises(Invalid, match="because"):
        trees.choose(poor, writable=True, how=OVERLAY)


def test_without_the_tools_an_overlay_is_not_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "unshare" in trees.ways(tmp_path)[1].why_not
