"""The workloads as a Bough project: plain classes, typed by what JSON they take. Batching is on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

import models

import bough


class Value(TypedDict):
    value: int


class Row(TypedDict):
    features: list[float]


class Chance(TypedDict):
    probability: float
    label: int


class Text(TypedDict):
    text: str


class Embedding(TypedDict):
    embedding: list[float]


class Seed(TypedDict):
    seed: int


class Token(TypedDict):
    token: str


class Noop:
    def load(self) -> None:
        self.model = models.load("noop")

    @bough.batch(max_size=models.MAX_BATCH["noop"])
    def predict(self, items: list[Value]) -> list[Value]:
        return self.model(items)


class Logistic:
    def load(self) -> None:
        self.model = models.load("logistic")

    @bough.batch(max_size=models.MAX_BATCH["logistic"])
    def predict(self, items: list[Row]) -> list[Chance]:
        return self.model(items)


class Minilm:
    def load(self) -> None:
        self.model = models.load("minilm")

    @bough.batch(max_size=models.MAX_BATCH["minilm"], similar=True)
    def predict(self, items: list[Text]) -> list[Embedding]:
        return self.model(items)


class Stream:
    def predict(self, item: Seed) -> Iterator[Token]:
        for token in models.tokens(item):
            yield {"token": token}
