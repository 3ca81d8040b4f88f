"""What can be read from a job's files about how it takes interruptions, before it is run."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

from bough.builds.contract import BROKEN, KEPT, UNPROVEN, Promise

_SEEDS = {
    "torch": ("torch.manual_seed", "manual_seed"),
    "numpy": ("np.random.seed", "numpy.random.seed", "default_rng", "RandomState"),
    "random": ("random.seed", "random.Random"),
    "sklearn": ("random_state",),
}
_WITHOUT_STATE = "DataLoader"


def read(files: Iterable[Path]) -> list[Promise]:
    """The promises `uses` and `seeded`. A program may do all of it in a way that reading does not see: what is missing
    is broken only where nothing could make up for it."""
    words: set[str] = set()
    imported: set[str] = set()
    shuffled: list[str] = []
    for path in files:
        try:
            tree = ast.parse(path.read_text("utf-8"))
        except (SyntaxError, UnicodeDecodeError, OSError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
                words |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
                words |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                words |= {name, name.rpartition(".")[2], *(word.arg or "" for word in node.keywords)}
                if name.rpartition(".")[2] == _WITHOUT_STATE and _shuffles(node):
                    shuffled.append(f"{path.name}:{node.lineno}")
    return [_uses(words), _seeded(words, imported), *_ordered(shuffled)]


def _uses(words: set[str]) -> Promise:
    if not words & {"bough.checkpoint", "bough.checkpoint.open"}:
        return Promise(
            name="uses",
            state=BROKEN,
            detail="no file imports bough.checkpoint",
            hint="docs/checkpoints.md has an example",
        )
    missing = [each for each in ("restore", "should_stop") if not {each, "steps"} & words]
    if missing:
        return Promise(name="uses", state=BROKEN, detail=f"no file calls {' or '.join(missing)}",
                       hint="for step in ckpt.steps(total, state): … does both")  # fmt: skip
    return Promise(name="uses", state=KEPT, detail="restores, saves and stops")


def _seeded(words: set[str], imported: set[str]) -> Promise:
    without = [name for name, seeds in _SEEDS.items() if name in imported and not words & {*seeds}]
    if without:
        return Promise(name="seeded", state=UNPROVEN, detail=f"nothing seeds {', '.join(without)}",
                       hint="a run that nothing interrupts can be repeated only with seeds")  # fmt: skip
    return Promise(name="seeded", state=KEPT)


def _ordered(shuffled: list[str]) -> list[Promise]:
    if not shuffled:
        return []
    instead = "checkpoint.Samples(…).through(lambda batches: DataLoader(…, batch_sampler=batches))"
    detail = f"{', '.join(shuffled)} shuffles without a position"
    return [Promise(name="order", state=UNPROVEN, detail=detail, hint=instead)]


def _shuffles(call: ast.Call) -> bool:
    return any(
        word.arg == "shuffle" and isinstance(word.value, ast.Constant) and word.value.value for word in call.keywords
    )
