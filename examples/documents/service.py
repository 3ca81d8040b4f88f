"""What kind of document a text is: naive Bayes over words, learnt from `letters.json` when it is loaded."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import bough

WORD = re.compile(r"[a-z]{3,}")


@dataclass
class Document:
    text: str


@dataclass
class Kind:
    label: str
    certainty: float


class Classifier:
    def load(self) -> None:
        samples = json.loads(Path("letters.json").read_text("utf-8"))
        self.words = {label: Counter(WORD.findall(" ".join(texts).lower())) for label, texts in samples.items()}
        known = set().union(*self.words.values())
        self.sizes = {label: sum(words.values()) + len(known) for label, words in self.words.items()}

    @bough.batch(max_size=32)
    def predict(self, documents: list[Document]) -> list[Kind | bough.Reject]:
        return [self.classify(each.text) for each in documents]

    def classify(self, text: str) -> Kind | bough.Reject:
        found = WORD.findall(text.lower())
        if not found:
            return bough.Reject("there are no words in it", status=422)  # a dead letter: no retry will find any
        scores = {
            label: sum(math.log((words[word] + 1) / self.sizes[label]) for word in found)
            for label, words in self.words.items()
        }
        best = max(scores, key=lambda label: scores[label])
        rest = sum(math.exp(score - scores[best]) for score in scores.values())
        return Kind(best, round(1 / rest, 3))
