"""Traffic by the token, as `bough scale simulate` reads it: when each request comes, and for how long it keeps a
replica busy. Lengths of prompts and answers are drawn as they are in practice: many short ones and few long ones."""

import argparse
import math
import random
import time
from collections.abc import Iterator

from service import Writer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=3.0, help="requests a second")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--prompt", type=float, default=200.0, help="tokens of a prompt, in the mean")
    parser.add_argument("--tokens", type=float, default=150.0, help="tokens of an answer, in the mean")
    parser.add_argument("--per-token", type=float, default=0.0, help="seconds; measured when it is not given")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    per_token_s = chosen.per_token or measured()
    print("at,service_s")
    for at, count in requests(chosen.rate, chosen.seconds, chosen.prompt, chosen.tokens, chosen.seed):
        print(f"{at:.3f},{count * per_token_s:.4f}")


def requests(rate: float, seconds: int, prompt: float, answer: float, seed: int) -> Iterator[tuple[float, int]]:
    """When each comes, and how many tokens it reads and writes."""
    draw, at = random.Random(seed), 0.0
    while (at := at + draw.expovariate(rate)) < seconds:
        yield at, length(draw, prompt) + length(draw, answer)


def length(draw: random.Random, mean: float, spread: float = 0.8) -> int:
    return max(1, round(draw.lognormvariate(math.log(mean) - spread * spread / 2, spread)))


def measured(count: int = 200) -> float:
    """Seconds for one token."""
    writer = Writer()
    writer.load()
    began = time.perf_counter()
    list(writer.predict([], max_tokens=count))
    return (time.perf_counter() - began) / count


if __name__ == "__main__":
    main()
