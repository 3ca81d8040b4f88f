"""`python -m bough.runtime.serve REFERENCE --socket PATH`: one replica, without node, zygote or gateway.

For tests, benchmarks and `bough dev`. REFERENCE is `module:Class` or `file:PATH` in `--folder` (here by default);
ready.json and error.json are written beside the socket.
"""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path

import msgspec

from bough.runtime import replica
from bough.runtime.models import describe_failure, prepare
from bough.runtime.spec import SOCKET_NAME, ModelSpec, UnitSpec


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bough.runtime.serve")
    parser.add_argument("reference")
    parser.add_argument("--socket", required=True, type=Path)
    parser.add_argument("--folder", default=".", type=Path)
    parser.add_argument("--loader", default="auto")
    parser.add_argument("--preload", default="auto")
    parser.add_argument("--openai", choices=["chat", "embeddings"])
    parser.add_argument("--max-batch", default=0, type=int)
    parser.add_argument("--concurrency", default=0, type=int)
    parser.add_argument("--trust", action="store_true")
    parser.add_argument("--sample-per-s", default=20, type=int)
    parser.add_argument("--name", default="model", help="what it is called in answers")
    given = parser.parse_args(arguments)
    if given.socket.name != SOCKET_NAME:
        parser.error(f"the socket must be called {SOCKET_NAME}")
    folder = given.socket.resolve().parent
    spec = ModelSpec(
        reference=given.reference, folder=str(given.folder.resolve()), loader=given.loader, preload=given.preload,
        openai=given.openai, max_batch=given.max_batch, concurrency=given.concurrency, trust=given.trust,
        sample_per_s=given.sample_per_s,
    )  # fmt: skip
    try:
        prepared = prepare(spec)
        gc.collect()
        return replica.run(
            prepared,
            UnitSpec(unit=given.name, attempt=1, kind="replica", model=spec, labels={"service": given.name}),
            folder,
        )
    except Exception as error:  # user code may raise anything
        failure = describe_failure(error, spec)
        Path(folder, "error.json").write_bytes(msgspec.json.encode(failure))
        sys.stderr.write(f"{failure.traceback}\n{failure.code}: {failure.message}\n{failure.hint}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
