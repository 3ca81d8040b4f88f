"""What is derived from the operations is complete and up to date."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from bough.client import Client
from bough.client.contract import contract
from bough.composition.verbs import OPERATION_MODULES
from bough.entrypoints.cli import derived as derived_commands
from bough.entrypoints.cli import options
from bough.entrypoints.cli.main import HAND_WRITTEN, application
from bough.entrypoints.reference.__main__ import derived, stale
from bough.entrypoints.reference.pages import leaves, pages
from bough.kernel import errors
from bough.kernel.operations import Operation, collect

ROOT = Path(__file__).parents[2]
OPERATIONS = collect(OPERATION_MODULES)
DOCUMENT = json.loads((ROOT / "docs/openapi.json").read_text("utf-8"))


def test_every_derived_file_is_up_to_date() -> None:
    assert stale(ROOT, derived(OPERATIONS) | pages()) == []


def test_a_change_is_noticed_and_shown(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\ntwo\n")
    assert stale(tmp_path, {"a": "one\ntwo\n"}) == []
    assert stale(tmp_path, {"a": "one\n2\n", "b": "new\n"}) == ["a is out of date: -two", "b is out of date: +new"]


def test_no_field_takes_the_name_of_an_option_that_every_command_has() -> None:
    """Both would be one value on the command line."""
    common = {str(each.name) for each in options.common()}
    taken = {(name, field["name"]) for name, each in contract()["operations"].items() for field in each["fields"]
             if field["name"] in common}  # fmt: skip
    assert taken == set()


def test_one_of_a_few_texts_is_typed_as_it_is_and_checked() -> None:
    fields = {field["name"]: field for field in contract()["operations"]["forges.add"]["fields"]}
    assert fields["kind"]["choices"] == ["gitea", "github", "gitlab"]
    with pytest.raises(click.BadParameter, match="gitea"):
        derived_commands.parameters(contract()["operations"]["forges.add"])[2].type.convert("svn", None, None)


def test_no_page_of_a_command_that_is_gone_is_left() -> None:
    kept = {str(path.relative_to(ROOT)) for path in (ROOT / "docs/cli").glob("*.md")}
    assert kept == pages().keys()


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda each: each.name)
def test_every_operation_has_a_route_a_method_a_command_and_a_sentence(operation: Operation[Any, Any]) -> None:
    described = DOCUMENT["paths"][operation.path][operation.method.lower()]
    assert described["operationId"] == operation.name
    assert described["x-role"] == operation.role.name.lower()
    found: Any = Client(transport=_NoTransport())
    for part in operation.name.split("."):
        found = getattr(found, part)
    assert found.__doc__ == operation.help
    command = command_of(operation.command.replace("_", "-").split())
    assert command.help
    assert command.help.startswith(operation.help[:40])
    assert operation.help.partition("\n")[0].endswith(".") or "\n" in operation.help


def command_of(words: list[str]) -> click.Command:
    found: click.Command = application()
    for word in words:
        assert isinstance(found, click.Group)
        member = found.get_command(click.Context(found), word)
        assert member is not None, words
        found = member
    return found


def test_every_command_is_in_the_table_of_operations_and_every_operation_has_all_its_ways_in() -> None:
    page = (ROOT / "docs/cli/operations.md").read_text()
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| `")
    ]
    of_operations = {row[0]: row for row in rows if len(row) == 5}
    assert of_operations.keys() == OPERATIONS.keys() and all(all(row) for row in of_operations.values())
    listed = {row[1] for row in of_operations.values()} | {row[0] for row in rows if len(row) == 2}
    assert listed == {f"bough {words}" for words, _ in leaves(application()) if words}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda each: each.name)
def test_every_request_refuses_what_it_does_not_know(operation: Operation[Any, Any]) -> None:
    assert operation.request.__struct_config__.forbid_unknown_fields
    assert operation.request.__struct_config__.frozen


def test_the_contract_holds_exactly_the_operations() -> None:
    assert contract()["operations"].keys() == OPERATIONS.keys()


def test_at_most_thirteen_commands_are_written_by_hand_and_their_sentences_agree() -> None:
    """Eleven work with the folder or the machine of who types; so do `check`, which needs no Bough, and `git`."""
    assert len(HAND_WRITTEN) <= 13
    for name, sentence in HAND_WRITTEN.items():
        command = importlib.import_module(f"bough.entrypoints.cli.{name}").command
        assert command.name == name
        assert command.help.partition("\n")[0] == sentence


def test_every_option_of_a_command_says_what_it_is_for() -> None:
    for name in HAND_WRITTEN:
        silent = [each.name for each in command_of([name]).params if not getattr(each, "help", "")]
        assert silent == [], name


def test_every_class_of_error_has_its_exit_code_in_the_page() -> None:
    page = (ROOT / "docs/cli/exit-codes.md").read_text()
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.Problem)]
    for kind in kinds:
        assert re.search(rf"^\| {kind.exit_code} \|.*\b{kind.__name__} \({kind.http_status}\)", page, re.M), kind


def test_check_says_nothing_when_all_is_well() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bough.entrypoints.reference", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


class _NoTransport:
    """Methods are looked at, not called."""

    def call(self, name: str, fields: Any, key: str) -> Any:
        raise AssertionError(name)

    def stream(self, name: str, fields: Any) -> Any:
        raise AssertionError(name)

    def upload(self, digest: str, content: Any, size: int) -> None:
        raise AssertionError(digest)

    def close(self) -> None:
        pass


def test_no_two_types_of_the_api_have_one_name() -> None:
    """Else the document calls them by their modules, and generators of clients leave their verbs out."""
    assert [name for name in DOCUMENT["components"]["schemas"] if "." in name] == []
