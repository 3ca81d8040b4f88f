"""Talks as the orchard taught it: the transformer of train.py in numpy, word by word to whoever listens."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import words
from safetensors.numpy import load_file

HEADS = 4


class Orchard:
    models: dict[str, str]  # set before load: where the files of registered versions lie

    def load(self) -> None:
        self.language = Language(Path(self.models["language"]))

    def predict(
        self, messages: list[dict[str, Any]], max_tokens: int = 60, temperature: float = 0.8, seed: int | None = None
    ) -> Iterator[str]:
        """The same messages and parameters give the same answer; another `seed` another one."""
        prompt = str(messages[-1].get("content") or "") if messages else ""
        source = random.Random(crc32(prompt.encode()) if seed is None else seed)
        for number, word in enumerate(self.language.words(prompt, temperature, source)):
            if number == max_tokens:
                return
            yield words.written(word, first=number == 0)


class Language:
    """`weights` as train.py's state_dict names them."""

    def __init__(self, folder: Path) -> None:
        self.known: list[str] = json.loads((folder / "words.json").read_text("utf-8"))
        self.weights = load_file(folder / "language.safetensors")
        self.blocks = 1 + max(int(name.split(".")[1]) for name in self.weights if name.startswith("blocks."))

    def words(self, prompt: str, temperature: float, source: random.Random) -> Iterator[str]:
        """What follows the prompt, to the end of the paragraph."""
        said = [self.known.index(words.END), *words.numbers(prompt, self.known)]
        while True:
            scores = self.scores(np.array(said[-words.CONTEXT :]))
            scores[self.known.index(words.END)] -= 0.0 if len(said) > 2 else np.inf  # at least a word
            if temperature <= 0:
                chosen = int(scores.argmax())
            else:
                shares = np.exp((scores - scores.max()) / temperature)
                chosen = source.choices(range(len(shares)), shares.tolist())[0]
            if self.known[chosen] == words.END:
                return
            said.append(chosen)
            yield self.known[chosen]

    def scores(self, ids: np.ndarray) -> np.ndarray:
        """Of every word to come next."""
        x = self.weights["word.weight"][ids] + self.weights["place.weight"][: len(ids)]
        for at in range(self.blocks):
            x = self._block(f"blocks.{at}.", x)
        found: np.ndarray = self._norm("last.", x[-1:])[0] @ self.weights["word.weight"].T
        return found

    def _block(self, name: str, x: np.ndarray) -> np.ndarray:
        length, width = x.shape
        parts = self._linear(name + "mix.", self._norm(name + "before.", x)).reshape(length, 3, HEADS, width // HEADS)
        query, key, value = parts.transpose(1, 2, 0, 3)
        seen = query @ key.transpose(0, 2, 1) / np.sqrt(width // HEADS)
        seen = np.where(np.tril(np.ones((length, length), bool)), seen, -np.inf)
        seen = np.exp(seen - seen.max(-1, keepdims=True))
        mixed = (seen / seen.sum(-1, keepdims=True) @ value).transpose(1, 0, 2).reshape(length, width)
        x = x + self._linear(name + "out.", mixed)
        inner = np.maximum(self._linear(name + "up.", self._norm(name + "after.", x)), 0)
        return x + self._linear(name + "down.", inner)

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        found: np.ndarray = x @ self.weights[name + "weight"].T + self.weights[name + "bias"]
        return found

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        found: np.ndarray = scaled * self.weights[name + "weight"] + self.weights[name + "bias"]
        return found
