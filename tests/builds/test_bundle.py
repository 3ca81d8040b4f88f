"""From a folder to a bundle and back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bough.adapters.blobs.directory import DirectoryBlobs
from bough.adapters.blobs.memory import MemoryBlobs
from bough.builds.bundle import scan, store
from bough.builds.models import Bundle, Entry
from bough.builds.rules import check_paths, parse_bundle
from bough.builds.unpack import unpack
from bough.kernel.errors import Invalid, NotFound, Problem, TooLarge
from bough.kernel.trees import remove_tree

# Put together here, so that this file itself carries no secret.
GITHUB = "gh" + "p_" + "a1B2" * 9
AWS = "AK" + "IA" + "Q3EGRZB5XTNCOXYZ"
PRIVATE = "-----BEGIN RSA " + "PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA" * 4


def write(folder: Path, **files: str) -> Path:
    return write_all(folder, {name.replace("__", "."): content for name, content in files.items()})


def write_all(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def paths(folder: Path) -> list[str]:
    return [entry.path for entry in scan(folder).bundle.entries]


def entry(path: str) -> Entry:
    return Entry(path=path, digest="0" * 64, size=0)


def test_the_digest_depends_on_paths_content_and_executability_alone(tmp_path: Path) -> None:
    first = write_all(tmp_path / "a", {"app.py": "x = 1", "lib/m.py": ""})
    second = write_all(tmp_path / "b", {"lib/m.py": "", "app.py": "x = 1"})
    os.utime(second / "app.py", (1, 1))
    (second / "lib").chmod(0o700)
    assert scan(first).digest == scan(second).digest
    (second / "app.py").chmod(0o755)
    assert scan(first).digest != scan(second).digest


def test_what_no_program_needs_stays_out(tmp_path: Path) -> None:
    write_all(
        tmp_path,
        {
            "app.py": "",
            ".git/config": "",
            ".venv/x": "",
            "node_modules/m/i.js": "",
            "pkg/__pycache__/m.pyc": "",
            "old.pyc": "",
            ".bough/cache": "",
            "x.swp": "",
            "mine/pyvenv.cfg": "",
            "mine/lib/site.py": "",
            "pkg/m.py": "",
            ".dockerignore": "",
        },
    )
    assert paths(tmp_path) == [".dockerignore", "app.py", "pkg/m.py"]
    assert scan(tmp_path).notices == ()


def test_the_project_file_stays_out_and_is_searched_for_secrets_all_the_same(tmp_path: Path) -> None:
    write_all(tmp_path, {"bough.toml": 'name = "a"', "service.py": "pass", "templates/bough.toml": 'name = "b"'})
    first = scan(tmp_path)
    assert [entry.path for entry in first.bundle.entries] == ["service.py", "templates/bough.toml"]
    write_all(tmp_path, {"bough.toml": 'name = "a"\n[services.web]\ntimeout_s = 5'})
    assert scan(tmp_path).digest == first.digest
    write_all(tmp_path, {".boughignore": "!bough.toml"})
    assert "bough.toml" in [entry.path for entry in scan(tmp_path).bundle.entries]
    (tmp_path / ".boughignore").unlink()
    write_all(tmp_path, {"bough.toml": PRIVATE})
    with pytest.raises(Invalid) as caught:
        scan(tmp_path)
    assert caught.value.own_code == "SECRET_IN_BUNDLE"


def test_boughignore_is_gitignore_with_negation(tmp_path: Path) -> None:
    write_all(
        tmp_path,
        {
            ".boughignore": "*.csv\n!keep.csv\nbuild/\n/top\ndocs/**/draft\n!venv\n",
            "a.csv": "",
            "keep.csv": "",
            "build/x": "",
            "sub/build/y": "",
            "top": "",
            "sub/top": "",
            "docs/a/b/draft": "",
            "venv/ours.py": "",
        },
    )
    assert paths(tmp_path) == [".boughignore", "keep.csv", "sub/top", "venv/ours.py"]


def test_a_bad_pattern_is_named_with_its_line(tmp_path: Path) -> None:
    write_all(tmp_path, {".boughignore": "*.csv\n!\n"})
    with pytest.raises(Invalid) as caught:
        scan(tmp_path)
    assert caught.value.own_code == "IGNORE_INVALID" and ".boughignore:2" in caught.value.message


@pytest.mark.parametrize(
    "name", [".env", ".env.production", "tls/server.pem", "id_rsa", "credentials.json", ".aws/config"]
)
def test_files_named_like_secrets_are_left_out_with_a_notice(tmp_path: Path, name: str) -> None:
    write_all(tmp_path, {"app.py": "", name: "x", ".env.example": "KEY="})
    result = scan(tmp_path)
    assert [e.path for e in result.bundle.entries] == [".env.example", "app.py"]
    assert [notice.path for notice in result.notices] in ([name], [name.split("/")[0]])
    assert ".boughignore" in result.notices[0].reason


def test_a_negation_ships_a_file_in_spite_of_its_name(tmp_path: Path) -> None:
    write_all(tmp_path, {".boughignore": "!ca.pem\n", "ca.pem": "public", "other.pem": "x"})
    assert "ca.pem" in paths(tmp_path) and "other.pem" not in paths(tmp_path)


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        (f"a = 1\ntoken = '{GITHUB}'\n", 2, "a GitHub token"),
        (f"\n\nkey: {AWS}", 3, "an AWS access key"),
        (PRIVATE, 1, "a private key"),
        ('{"private_key": "' + PRIVATE.replace("\n", "\\n") + '"}', 1, "a private key"),
        ("aws_secret" + "_access_key = " + "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzzzz", 1, "an AWS secret key"),
    ],
)
def test_a_secret_in_a_file_stops_everything_and_says_where(tmp_path: Path, content: str, line: int, what: str) -> None:
    write_all(tmp_path, {"app.py": "", "conf/settings.py": content})
    for cache in (None, tmp_path / ".bough/c", tmp_path / ".bough/c"):  # a remembered file is refused as well
        with pytest.raises(Invalid) as caught:
            scan(tmp_path, cache=cache)
        assert caught.value.own_code == "SECRET_IN_BUNDLE" and what in caught.value.message
        assert f"conf/settings.py:{line}" in caught.value.message
        assert "!conf/settings.py" in caught.value.hint
        assert content.strip() not in caught.value.message
    write_all(tmp_path, {".boughignore": caught.value.fields["ignore"]})
    assert paths(tmp_path) == [".boughignore", "app.py"]
    write_all(tmp_path, {".boughignore": "!conf/settings.py"})
    assert "conf/settings.py" in paths(tmp_path)


@pytest.mark.parametrize(
    "content", ["if '-----BEGIN PRIVATE KEY-----' in text:\n    pass", "AKIAIOSFODNN7EXAMPLE", "hf_hub_download(name)"]
)
def test_text_about_secrets_is_no_secret(tmp_path: Path, content: str) -> None:
    assert paths(write_all(tmp_path, {"app.py": content})) == ["app.py"]


def test_links_inside_are_followed_as_files(tmp_path: Path) -> None:
    write_all(tmp_path, {"real/data.txt": "data"})
    (tmp_path / "one").symlink_to("real/data.txt")
    (tmp_path / "all").symlink_to(tmp_path / "real")
    result = scan(tmp_path)
    assert [e.path for e in result.bundle.entries] == ["all/data.txt", "one", "real/data.txt"]
    assert len({e.digest for e in result.bundle.entries}) == 1


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "../"])
def test_links_that_point_outside_are_refused(tmp_path: Path, target: str) -> None:
    write_all(tmp_path, {"outside": "secret", "project/app.py": ""})
    (tmp_path / "project/link").symlink_to(target)
    with pytest.raises(Invalid) as caught:
        scan(tmp_path / "project")
    assert caught.value.own_code == "LINK_OUTSIDE" and "link" in caught.value.message
    write_all(tmp_path, {"project/.boughignore": "/link"})
    assert paths(tmp_path / "project") == [".boughignore", "app.py"]


def test_a_link_to_an_enclosing_folder_is_refused_and_one_to_nothing_noted(tmp_path: Path) -> None:
    write_all(tmp_path, {"a/b/c": ""})
    (tmp_path / "dangling").symlink_to("nowhere")
    assert [n.path for n in scan(tmp_path).notices] == ["dangling"]
    (tmp_path / "a/b/up").symlink_to("../../a")
    with pytest.raises(Invalid, match="contains it"):
        scan(tmp_path)


def test_a_link_does_not_bring_in_what_its_target_would_not(tmp_path: Path) -> None:
    write_all(tmp_path, {".env": "PASSWORD=1", ".git/config": "x"})
    (tmp_path / "settings").symlink_to(".env")
    (tmp_path / "git").symlink_to(".git")
    assert paths(tmp_path) == []


def test_pipes_and_sockets_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Invalid) as caught:
        scan(tmp_path)
    assert caught.value.own_code == "SPECIAL_FILE"


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")).write_text("")
    with pytest.raises(Invalid) as caught:
        scan(tmp_path)
    assert caught.value.own_code == "PATH_UNSAFE"


def test_too_large_names_the_largest(tmp_path: Path) -> None:
    write_all(tmp_path, {"small": "x", "big.bin": "x" * 5000})
    with pytest.raises(TooLarge) as caught:
        scan(tmp_path, limit_bytes=4000)
    assert caught.value.fields["largest"][0].startswith("big.bin")
    with pytest.raises(TooLarge):
        scan(tmp_path, limit_files=1)
    assert scan(tmp_path).largest[0].path == "big.bin"


def test_a_second_scan_reads_only_what_changed(tmp_path: Path) -> None:
    cache = tmp_path / ".bough/scan"
    write_all(tmp_path, {f"m{n}.py": str(n) for n in range(20)})
    past = 1_600_000_000
    first = scan(tmp_path, cache=cache)
    assert first.hashed == 20
    threading.Event().wait(0.06)  # files younger than SETTLED_NS are not trusted; ctime cannot be set
    assert scan(tmp_path, cache=cache).hashed == 20
    assert scan(tmp_path, cache=cache).hashed == 0
    write_all(tmp_path, {"m3.py": "9"})
    os.utime(tmp_path / "m3.py", (past, past))
    changed = scan(tmp_path, cache=cache)
    assert changed.hashed == 1 and changed.digest != first.digest
    cache.write_bytes(b"\xff damaged")
    assert scan(tmp_path, cache=cache).digest == changed.digest


def test_store_sends_only_what_is_missing_and_the_manifest_last(tmp_path: Path) -> None:
    blobs = MemoryBlobs()
    write_all(tmp_path, {"a": "aaa", "b": "bb", "copy": "aaa"})
    first = scan(tmp_path)
    assert store(first, blobs) == 5 and store(first, blobs) == 0
    assert parse_bundle(blobs.read(first.digest)) == first.bundle
    write_all(tmp_path, {"a": "changed"})
    second = scan(tmp_path)
    write_all(tmp_path, {"a": "changed again"})
    with pytest.raises(Invalid) as caught:
        store(second, blobs)
    assert caught.value.own_code == "DIGEST_MISMATCH" and not blobs.has(second.digest)


# -- paths and manifests, which also come from the network


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a/./b",
        "a//b",
        "a/",
        "a\\..\\b",
        "a\0b",
        "a\nb",
        ".git/hooks/post-checkout",
        ".GIT/config",
        "a/__pycache__/m.pyc",
        "a" * 256,
        "b/" * 600 + "c",
        "\udce9",
    ],
)
def test_unsafe_paths_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_paths([path])
    assert caught.value.own_code == "PATH_UNSAFE"
    with pytest.raises(Invalid):
        unpack(Bundle(entries=(entry(path),)), MemoryBlobs(), tmp_path / "t")
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    "both",
    [
        ["a", "a"],
        ["README", "readme"],
        ["caf\u00e9", "cafe\u0301"],
        ["a", "a/b"],
        ["a/b", "a"],
        ["A/x", "a/y"],
        ["ﬁle", "file"],
        ["straße", "STRASSE"],
    ],
)
def test_paths_that_meet_are_refused(both: list[str]) -> None:
    with pytest.raises(Invalid) as caught:
        check_paths(both)
    assert caught.value.own_code == "PATH_UNSAFE"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("ab./\\\0A é\u0301", max_size=8), max_size=6))
def test_accepted_paths_always_land_below_the_folder(paths: list[str]) -> None:
    try:
        check_paths(paths)
    except Invalid as error:
        assert error.own_code == "PATH_UNSAFE"
        return
    placed = [os.path.normpath(f"/srv/folder/{path}") for path in paths]
    assert all(place.startswith("/srv/folder/") for place in placed)
    assert len({place.casefold() for place in placed}) == len(paths)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.text(max_size=5) | st.integers() | st.booleans(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["entries", "path", "digest", "size"]), inner)
            ),
        ).map(msgspec.json.encode),
    )
)
def test_any_manifest_is_read_or_refused(manifest: bytes) -> None:
    try:
        bundle = parse_bundle(manifest)
    except Invalid:
        return
    assert bundle.manifest == manifest


@pytest.mark.parametrize(
    "manifest",
    [b'{"entries":[]} ', b'{"entries":[{"digest":"00","executable":false,"path":"a","size":1}]}',
     b'{"entries":[{"digest":"%s","executable":false,"path":"a","size":-1}]}' % (b"0" * 64),
     b'{"entries":[{"digest":"%s","executable":false,"path":"../a","size":1}]}' % (b"0" * 64)],
)  # fmt: skip
def test_a_forged_manifest_is_refused(manifest: bytes) -> None:
    with pytest.raises(Invalid):
        parse_bundle(manifest)


# -- unpacking


def bundled(tmp_path: Path, files: dict[str, str]) -> tuple[Bundle, DirectoryBlobs]:
    blobs = DirectoryBlobs(tmp_path / "blobs")
    result = scan(write_all(tmp_path / "source", files))
    store(result, blobs)
    return result.bundle, blobs


def test_unpacking_gives_the_same_files_read_only_and_without_copies(tmp_path: Path) -> None:
    write_all(tmp_path / "source", {"run.sh": "#!/bin/sh\n"})
    (tmp_path / "source/run.sh").chmod(0o755)
    bundle, blobs = bundled(tmp_path, {"app.py": "x = 1\n", "pkg/m.py": "", "data/d.txt": "d"})
    target = tmp_path / "bundles/d"
    assert unpack(bundle, blobs, target) and not unpack(bundle, blobs, target)
    assert scan(target).bundle == bundle
    assert (target / "app.py").stat().st_nlink == 2
    assert oct((target / "data").stat().st_mode & 0o777) == "0o555" and os.access(target / "run.sh", os.X_OK)
    assert len({path.stat().st_mtime for path in target.rglob("*") if path.is_file()}) == 1
    assert (target / "pkg/__pycache__").is_dir() and not (target / "data/__pycache__").exists()
    remove_tree(target)
    assert not target.exists()


def test_bytecode_of_a_bundle_is_cached_beside_it(tmp_path: Path) -> None:
    bundle, blobs = bundled(tmp_path, {"app.py": "x = 1\n"})
    unpack(bundle, blobs, tmp_path / "t")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-c", "import app"], cwd=tmp_path / "t", env=environment, check=True)
    assert len(list((tmp_path / "t/__pycache__").iterdir())) == 1


def test_without_local_files_unpacking_copies(tmp_path: Path) -> None:
    blobs = MemoryBlobs()
    result = scan(write_all(tmp_path / "source", {"a": "1"}))
    store(result, blobs)
    unpack(result.bundle, blobs, tmp_path / "t")
    assert scan(tmp_path / "t").bundle == result.bundle


def test_an_incomplete_or_damaged_bundle_leaves_no_folder(tmp_path: Path) -> None:
    bundle, blobs = bundled(tmp_path, {"a": "1", "b": "2"})
    path = blobs.local_path(bundle.entries[1].digest)
    assert path
    path.chmod(0o644)
    path.write_text("3")
    with pytest.raises(Problem) as caught:
        unpack(bundle, blobs, tmp_path / "bundles/t")
    assert caught.value.own_code == "BLOB_DAMAGED"
    with pytest.raises(NotFound) as missing:
        unpack(bundle, blobs, tmp_path / "bundles/t")
    assert missing.value.own_code == "BUNDLE_INCOMPLETE"
    assert [p.name for p in (tmp_path / "bundles").iterdir()] == [".t.lock"]


def test_many_unpack_one_bundle_at_once(tmp_path: Path) -> None:
    bundle, blobs = bundled(tmp_path, {f"{n}.py": str(n) for n in range(50)})
    made: list[bool] = []
    threads = [threading.Thread(target=lambda: made.append(unpack(bundle, blobs, tmp_path / "t"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False] * 7 + [True] and scan(tmp_path / "t").bundle == bundle
