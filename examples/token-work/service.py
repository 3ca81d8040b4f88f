"""A writer whose work is its tokens: a small recurrent network with weights drawn from a fixed seed.

It has learnt nothing, so it costs what a language model of its size would and says nothing. Put a real one in the place
of `Network` and nothing else changes: see ../orchard-lm.
"""

import math
import random
import re
from collections.abc import Iterator
from typing import Any
from zlib import crc32

WIDTH = 48  # a token costs about 2 * WIDTH² multiplications: half a millisecond in Python
_TEXT = (
    "a token is one step of work and the next waits for it so long texts take long and short ones do not but who "
    "asks twice gets both at their time while more machines answer more people none of them sooner"
)
WORDS = _TEXT.split()
_WORD = re.compile(r"\w+|[^\w\s]")


class Writer:
    def load(self) -> None:
        self.network = Network()

    def predict(
        self, messages: list[dict[str, Any]], max_tokens: int = 120, temperature: float = 1.0, seed: int | None = None
    ) -> Iterator[str]:
        """Exactly `max_tokens` tokens, so that what is asked for is what it costs."""
        prompt = tokens(" ".join(_text(message) for message in messages))
        source = random.Random(crc32(" ".join(prompt).encode()) if seed is None else seed)
        state = self.network.begin()
        for word in prompt:
            state = self.network.step(state, crc32(word.encode()))
        said = 0
        for number in range(max_tokens):
            state = self.network.step(state, said)
            said = self.network.choose(state, temperature, source)
            yield WORDS[said] if number == 0 else f" {WORDS[said]}"

    def count_tokens(self, text: str) -> int:
        return len(tokens(text))


class Network:
    """`steps` is how many tokens it has read and written: its work."""

    def __init__(self) -> None:
        draw = random.Random(7)
        scale = 1.6 / math.sqrt(WIDTH)
        self.steps = 0
        self.mixing = [[draw.gauss(0.0, scale) for _ in range(WIDTH)] for _ in range(WIDTH)]
        self.reading = [[draw.gauss(0.0, 1.0) for _ in range(WIDTH)] for _ in WORDS]

    def begin(self) -> list[float]:
        return [0.0] * WIDTH

    def step(self, state: list[float], token: int) -> list[float]:
        self.steps += 1
        said = self.reading[token % len(WORDS)]
        return [
            math.tanh(sum(weight * each for weight, each in zip(row, state, strict=True)) + said[place])
            for place, row in enumerate(self.mixing)
        ]

    def choose(self, state: list[float], temperature: float, source: random.Random) -> int:
        scores = [sum(weight * each for weight, each in zip(row, state, strict=True)) for row in self.reading]
        if temperature <= 0:
            return max(range(len(scores)), key=lambda place: (scores[place], -place))
        best = max(scores)
        weights = [math.exp((score - best) / (4 * temperature)) for score in scores]
        return source.choices(range(len(scores)), weights)[0]


def tokens(text: str) -> list[str]:
    return _WORD.findall(text)


def _text(message: dict[str, Any]) -> str:
    """Content is a string or a list of parts, of which the text counts."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
