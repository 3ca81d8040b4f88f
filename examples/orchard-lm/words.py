"""Text as numbers: every word of the orchard has one; what is not known is left out."""

import re
from pathlib import Path

CONTEXT = 24  # words that the model looks back
TEXT = Path(__file__).with_name("orchard.txt")
END = "\n"  # of a paragraph
_WORD = re.compile(r"[A-Za-z']+|[.,]|\n")


def vocabulary(text: str) -> list[str]:
    return sorted({END, *_WORD.findall(text)})


def numbers(text: str, known: list[str]) -> list[int]:
    at = {word: number for number, word in enumerate(known)}
    return [at[word] for word in _WORD.findall(text) if word in at]


def written(word: str, first: bool) -> str:
    """A word as it stands in running text."""
    return word if first or word in ".," else f" {word}"
