"""A talking orchard: a Markov chain over words, trained in a moment when the service loads.

It shows the shape of a chat service: messages in, pieces of text out as they are made, the client's parameters by
name. Put a real language model in the place of `Chain` and nothing else changes: see ../orchard-lm.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

ORDER = 2  # words that decide the next one
START, END = "<", ">"
_WORD = re.compile(r"[A-Za-z']+|[.,]")


class Orchard:
    def load(self) -> None:
        self.chain = Chain(Path(__file__).with_name("orchard.txt").read_text())

    def predict(
        self,
        messages: list[dict[str, Any]],
        max_tokens: int = 120,
        temperature: float = 1.0,
        seed: int | None = None,
    ) -> Iterator[str]:
        """The same messages and parameters give the same answer; another `seed` another one."""
        prompt = _last_words(messages)
        source = random.Random(crc32(prompt.encode()) if seed is None else seed)
        for number, word in enumerate(self.chain.words(prompt, temperature, source)):
            if number == max_tokens:
                return
            yield word if number == 0 or word in ".," else f" {word}"

    def count_tokens(self, text: str) -> int:
        return len(_WORD.findall(text))


class Chain:
    """Which words follow which, counted for the last one and the last two words of every paragraph."""

    def __init__(self, text: str) -> None:
        self.following: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        paragraphs = [_WORD.findall(line) for line in text.splitlines()]
        self.counts = Counter(word.lower() for words in paragraphs for word in words)
        self.sentences = [sentence for words in paragraphs for sentence in _sentences(words)]
        for words in paragraphs:
            padded = [START] * ORDER + words + [END]
            for at in range(ORDER, len(padded)):
                for length in range(1, ORDER + 1):
                    self.following[tuple(padded[at - length : at])][padded[at]] += 1

    def words(self, prompt: str, temperature: float, source: random.Random) -> Iterator[str]:
        """Begins with a sentence of the text that is nearest to the prompt, then wanders."""
        said = self._opening(prompt, source)
        yield from said
        while (word := self._next(said, temperature, source)) != END:
            said.append(word)
            yield word

    def _opening(self, prompt: str, source: random.Random) -> list[str]:
        """The first two words of a sentence with the rarest word that the prompt and the text share."""
        shared = [word for word in map(str.lower, _WORD.findall(prompt)) if self.counts[word]]
        sentences = self.sentences
        if shared:
            rarest = min(shared, key=lambda word: (self.counts[word], word))
            sentences = [each for each in sentences if rarest in map(str.lower, each)]
        return source.choice(sentences)[:ORDER]

    def _next(self, said: list[str], temperature: float, source: random.Random) -> str:
        """Mostly after the last two words; one time in ten after the last one alone, or it would only recite."""
        length = 1 if temperature > 0 and source.random() < 0.1 else ORDER
        found = self.following.get(tuple(said[-length:])) or self.following[tuple(said[-1:])]
        if temperature <= 0:
            return found.most_common(1)[0][0]
        weights = [count ** (1 / temperature) for count in found.values()]
        return source.choices(list(found), weights)[0]


def _sentences(words: list[str]) -> Iterator[list[str]]:
    start = 0
    for at, word in enumerate(words):
        if word == ".":
            yield words[start : at + 1]
            start = at + 1


def _last_words(messages: list[dict[str, Any]]) -> str:
    """What the user said last; content is a string or a list of parts, of which the text counts."""
    for message in reversed(messages):
        if message.get("role") == "user":
            content = message.get("content") or ""
            if isinstance(content, str):
                return content
            return " ".join(part.get("text", "") for part in content)
    return ""
