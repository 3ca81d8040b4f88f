"""Every error of a TOML file names file, line and key; every value knows where it came from."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bough.kernel.errors import ProjectFileInvalid
from bough.kernel.platform import Platform, load, save
from bough.kernel.settings import Document, Lines

TEXT = '''\
# a comment with name = "not this"
name = "shop"
dotted.key = 1

[services.churn]
command = """
replicas = 3
[not.a.header]
"""
batch = { max_size = 4 }   # inline
args = [
  "a = b",
]

[services."quoted name".tags]
"a.b" = "c"

[[many]]
x = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("name",), 2),
        (("dotted", "key"), 3),
        (("dotted",), 3),
        (("services",), 5),
        (("services", "churn"), 5),
        (("services", "churn", "command"), 6),
        (("services", "churn", "replicas"), 5),  # stands in a string: the table is the nearest place
        (("services", "churn", "batch", "max_size"), 10),
        (("services", "churn", "args"), 11),
        (("services", "quoted name", "tags", "a.b"), 16),
        (("many", "x"), 19),
        (("absent",), 1),
    ],
)
def test_keys_are_found_where_they_stand(path: tuple[str, ...], line: int) -> None:
    assert Lines(TEXT).of(path) == line


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: int = 0


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    inner: Inner = Inner()
    each: dict[str, Inner] = {}
    words: dict[str, str] = {}


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        ("", 1, "", "missing required field `name`"),
        ("name = 3", 1, "name", "expected text, got a whole number"),
        ('name = "a"\nnmae = "b"', 2, "nmae", "unknown key; did you mean 'name'?"),
        ('name = "a"\nzzz = "b"', 2, "zzz", "unknown key"),
        ('name = "a"\n[inner]\nsice = 1', 3, "inner.sice", "unknown key; did you mean 'size'?"),
        ('name = "a"\n[inner]\nsize = "x"', 3, "inner.size", "expected a whole number, got text"),
        ('name = "a"\n[each.one]\nsize = 1\n[each.two]\nsise = 1', 5, "each.two.sise", "did you mean 'size'?"),
        ('name = "a"\n[words]\none = "1"\ntwo = 2', 4, "words.two", "expected text, got a whole number"),
        ('name = "a"\ninner = 3', 2, "inner", "expected a table, got a whole number"),
        ('name = "a"\n[[inner]]\nsize = 1', 2, "inner", "expected a table, got a list"),
    ],
)
def test_an_error_names_file_line_and_key(text: str, line: int, key: str, says: str) -> None:
    document = Document(text, "some.toml")
    with pytest.raises(ProjectFileInvalid) as raised:
        document.decode((), document.data, Outer)
    error = raised.value
    assert error.fields == {"file": "some.toml", "line": line, "key": key}
    assert error.message.startswith(f"some.toml:{line}: {key}")
    assert says in error.message
    assert f"line {line}" in error.hint


@pytest.mark.parametrize(
    ("text", "line"), [('name = "a"\nname = "b"', 2), ("x = ", 1), ("\n\n[a", 3), ("a = " + "[" * 5000, 1)]
)
def test_what_is_not_toml_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(ProjectFileInvalid) as raised:
        Document(text, "some.toml")
    assert raised.value.fields["line"] == line
    assert raised.value.message.startswith(f"some.toml:{line}: ")


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ProjectFileInvalid) as raised:
        Document.read(tmp_path / "bough.toml")
    assert (raised.value.own_code, raised.value.hint) == ("PROJECT_FILE_MISSING", "bough init")
    assert str(tmp_path) in raised.value.message


def test_a_file_of_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bough.toml").write_bytes('name = "ü"'.encode("latin-1"))
    with pytest.raises(ProjectFileInvalid, match="UTF-8"):
        Document.read(tmp_path / "bough.toml")


def test_a_table_that_is_something_else_is_refused_at_its_place() -> None:
    document = Document("\na = 3")
    assert document.table(("b", "c")) == {}
    with pytest.raises(ProjectFileInvalid, match=r"bough\.toml:2: a: must be a table"):
        document.table(("a", "c"))


@given(st.text(alphabet=st.sampled_from("ab.=[]\"'# \n{},1"), max_size=80))
def test_no_text_whatever_makes_the_reader_fail_otherwise(text: str) -> None:
    lines = text.splitlines()
    try:
        document = Document(text)
        document.decode((), document.data, Outer)
    except ProjectFileInvalid as error:
        assert 1 <= error.fields["line"] <= max(len(lines), 1) + 1


# --- settings of the platform


def test_platform_settings_come_back_as_they_were_saved(tmp_path: Path) -> None:
    assert load(tmp_path) == Platform()
    wanted = Platform(gateway_host="0.0.0.0", gateway_port=8080)
    save(tmp_path, wanted)
    assert load(tmp_path) == wanted
    assert [path.name for path in tmp_path.iterdir()] == ["settings.toml"], "nothing is left beside it"
    assert (wanted.gateway_url, wanted.gateway_is_local) == ("http://127.0.0.1:8080", False)


def test_a_mistake_in_the_platform_settings_is_placed_too(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text('gateway_host = "::1"\ngateway_prot = 1\n')
    named = re.escape(str(tmp_path / "settings.toml"))  # whole, for there may be several homes
    with pytest.raises(ProjectFileInvalid, match=rf"{named}:2: gateway_prot: .*'gateway_port'"):
        load(tmp_path)
