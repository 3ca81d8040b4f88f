"""Files of variables."""

from __future__ import annotations

import pytest

from bough.kernel.errors import Invalid
from bough.secrets.envfile import parse


def test_what_people_write_is_understood_and_nothing_is_expanded() -> None:
    text = (
        "# a comment\n\nPLAIN=a b=c  # why\nexport SHELL_STYLE=yes\nHASH=a#b\nEMPTY=\nSINGLE='a $x \\n # b'\n"
        'DOUBLE="a \\"quoted\\"\\nline $HOME" # why\nLINES="-----BEGIN\nabc\n-----END"\n  SPACED  =  x  \r\nLAST=é'
    )
    assert parse(text, ".env") == {
        "PLAIN": "a b=c",
        "SHELL_STYLE": "yes",
        "HASH": "a#b",
        "EMPTY": "",
        "SINGLE": "a $x \\n # b",
        "DOUBLE": 'a "quoted"\nline $HOME',
        "LINES": "-----BEGIN\nabc\n-----END",
        "SPACED": "x",
        "LAST": "é",
    }


@pytest.mark.parametrize("line", ["hunter22", "A B=hunter22", '="hunter22"', "A='hunter22", 'A="hunter22" x'])
def test_what_is_not_understood_is_named_by_its_line_alone(line: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(f"# one\n{line}\n", ".env")
    assert refused.value.message.startswith(".env:2: ") and "hunter22" not in str(refused.value.detail())
