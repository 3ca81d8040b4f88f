"""What Bough says of a process does not repeat its secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from bough.runtime import answers, redaction
from bough.runtime.spec import SECRETS_VARIABLE

VALUE = 'p@ss "wörd"\n-----line-of-a-key-----\n'
ENVIRONMENT = {
    "URL": f"postgres://app:{VALUE}@host/db",
    "PIN": "123",
    SECRETS_VARIABLE: json.dumps({"URL": ["postgres://app:", "@host/db"], "PIN": ["", ""]}),
}


@pytest.fixture(autouse=True)
def learned() -> Iterator[None]:
    redaction.learn(ENVIRONMENT)
    yield
    redaction._known.clear()


@pytest.mark.parametrize(
    "shown",
    [VALUE, repr(VALUE), json.dumps(VALUE), json.dumps(VALUE, ensure_ascii=False), quote(VALUE), quote(VALUE, safe=""),
     VALUE.strip(), "-----line-of-a-key-----", ENVIRONMENT["URL"]],
)  # fmt: skip
def test_a_value_is_replaced_in_every_usual_form(shown: str) -> None:
    said = redaction.redact(f"cannot connect: {shown} is wrong")
    assert "w" not in said.replace("wrong", "") and "line-of" not in said and "[secret in URL]" in said


def test_too_short_values_and_other_texts_are_left_alone() -> None:
    assert redaction.redact("123 postgres host") == "123 postgres host"


def test_a_failed_request_is_answered_and_logged_without_the_value(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError(f"no {VALUE.strip()}")
    except ValueError as error:
        reject = answers.explain(1, error)
    assert "[secret in URL]" in str(reject)
    assert "line-of-a-key" not in str(reject) + capsys.readouterr().err
