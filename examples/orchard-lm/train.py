"""A small transformer learns to talk of the orchard: 900 words that were written for these examples.

Two blocks of attention, a hundred thousand weights. It is written as safetensors, which service.py reads without torch.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import torch
import words
from safetensors.torch import save_file
from torch import nn

import bough
from bough import checkpoint

HEADS, BLOCKS, BATCH = 4, 2, 32


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, length, width = x.shape
        parts = self.mix(self.before(x)).view(rows, length, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(rows, length, width))
        return x + self.down(nn.functional.relu(self.up(self.after(x))))


class Language(nn.Module):
    def __init__(self, known: int, width: int) -> None:
        super().__init__()
        self.word, self.place = nn.Embedding(known, width), nn.Embedding(words.CONTEXT, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(BLOCKS))
        self.last = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.word(x) + self.place(torch.arange(x.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.last(x) @ self.word.weight.T


def main() -> None:
    chosen = bough.params(steps=300, lr=0.004, width=64)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    text = words.TEXT.read_text("utf-8")
    known = words.vocabulary(text)
    ids = torch.tensor(words.numbers(text, known))
    model = Language(len(known), chosen["width"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=chosen["lr"])
    data = checkpoint.Samples(len(ids) - words.CONTEXT, batch_size=BATCH, seed=0)
    state = {"model": model, "optimizer": optimizer, "data": data}
    steps = int(chosen["steps"])

    ckpt = checkpoint.open(total=steps).every("auto")
    begun = ckpt.restore(state).step
    loss = torch.tensor(float("nan"))
    with reported() as run:
        for step, rows in zip(range(begun, steps), data, strict=False):
            piece = ids[torch.tensor(rows)[:, None] + torch.arange(words.CONTEXT + 1)]
            scores = model(piece[:, :-1])
            loss = nn.functional.cross_entropy(scores.reshape(-1, len(known)), piece[:, 1:].reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 25 == 0 or step == steps - 1:
                run.log_metrics({"loss": loss.item()}, step=step)
            ckpt.save(step + 1, state)
            if ckpt.should_stop():
                return
        folder = Path(os.environ.get("BOUGH_OUTPUT", "output"))
        folder.mkdir(parents=True, exist_ok=True)
        save_file(model.state_dict(), folder / "language.safetensors")
        (folder / "words.json").write_text(json.dumps(known), "utf-8")
    ckpt.done(state)
    print(f"loss {loss.item():.3f} over {len(known)} words")


class Printed:
    """In place of a run, where nobody keeps one."""

    def log_metrics(self, metrics: dict[str, float], *, step: int = 0) -> None:
        print(step, metrics)


def reported() -> Any:
    """The run that Bough keeps of this job; outside of one, the terminal."""
    return bough.run() if "BOUGH_RUN" in os.environ else contextlib.nullcontext(Printed())


if __name__ == "__main__":
    main()
