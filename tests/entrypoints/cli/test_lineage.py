"""`bough lineage` prints a tree that reads from the thing outwards."""

from __future__ import annotations

from bough.entrypoints.cli.lineage import tree


def thing(id: str, **fields: object) -> dict[str, object]:
    kind, _, name = id.partition(":")
    return {"id": id, "kind": kind, "name": name} | fields


FOUND = {
    "start": "version:churn/3",
    "things": [
        thing("version:churn/3", details={"by": "ann", "digest": "d"}), thing("run:r1"),
        thing("table:orders", version="#17"), thing("service:main/churn"), thing("python_environment:e"),
    ],
    "arrows": [
        {"source": "run:r1", "target": "version:churn/3", "how": "made"},
        {"source": "table:orders", "target": "run:r1", "how": "training"},
        {"source": "python_environment:e", "target": "run:r1", "how": "code"},
        {"source": "table:orders", "target": "version:churn/3", "how": "input"},
        {"source": "version:churn/3", "target": "service:main/churn"},
    ],
    "more": ["table:orders"],
}  # fmt: skip


def test_the_tree() -> None:
    assert tree(FOUND) == [
        "version churn/3  (by ann)",
        "",
        "made from:",
        "├─ run r1  (made)",
        "│  ├─ python environment e",
        "│  └─ table orders @#17  (training) …",
        "└─ table orders @#17  (input) …",
        "",
        "made with it:",
        "└─ service main/churn",
    ]


def test_one_direction_and_nothing_in_it() -> None:
    assert tree(FOUND, down=True)[2:] == ["made with it:", "└─ service main/churn"]
    alone = FOUND | {"arrows": []}
    assert tree(alone) == ["version churn/3  (by ann)", "", "made from: nothing", "", "made with it: nothing"]
