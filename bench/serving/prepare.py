"""Makes what the models need, once, in the folder named on the command line: the classifier (trained here on
scikit-learn's breast cancer data), the MiniLM graph, and for each workload 64 requests with the answers that every
peer must give."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import joblib
import minilm
import models
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

REQUESTS = 64
# 64 different sentences, 5 to 20 tokens with their markers: questions of the length that a support search box sees.
OPENINGS = [
    "Where is my order?",
    "How do I reset the password when I no longer have the phone?",
    "The package arrived damaged and one of the two glasses was broken.",
    "Can I pay by invoice?",
    "Please cancel my subscription at the end of the month.",
    "refund",
    "Is there a discount for students, teachers and retired people?",
    "The app crashes each time I open the settings page on my tablet.",
]
SUBJECTS = ["", "Thanks!", "It is about number 4711.", "Urgent.", "Berlin", "I wrote last week.", "Again?", "Both."]


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["BENCH_DATA"] = str(folder)
    data = load_breast_cancer()
    train_x, test_x, train_y, test_y = train_test_split(data.data, data.target, test_size=0.25, random_state=1)
    classifier = LogisticRegression(max_iter=10_000).fit(train_x, train_y)
    joblib.dump(classifier, folder / "logistic.joblib")
    print(f"logistic: accuracy {classifier.score(test_x, test_y):.3f} on {len(test_y)} held-out rows")
    minilm.export(minilm.fetch(folder / "minilm"))
    print(f"minilm: largest difference from the reference {minilm.check(folder / 'minilm'):.1e}")

    requests: dict[str, list[dict[str, Any]]] = {
        "noop": [{"value": 1000 + number} for number in range(REQUESTS)],
        "logistic": [{"features": test_x[number].tolist()} for number in range(REQUESTS)],
        "minilm": [{"text": f"{opening} {subject}".strip()} for opening in OPENINGS for subject in SUBJECTS],
        "stream": [{"seed": number} for number in range(REQUESTS)],
    }
    cases: dict[str, list[dict[str, Any]]] = {}
    for name, items in requests.items():
        if name == "stream":
            answers: list[Any] = [list(models.tokens(item)) for item in items]
        else:
            model = models.load(name)
            answers = [model([item])[0] for item in items]
        cases[name] = [{"request": item, "answer": answer} for item, answer in zip(items, answers, strict=True)]
    partial = folder / "cases.partial"
    partial.write_text(json.dumps(cases))
    partial.rename(folder / "cases.json")


if __name__ == "__main__":
    main()
