"""`python -m bough.runtime.inspect FOLDER REFERENCE [OPENAI]` prints a model's Signature as JSON.

The module of a class is imported, its `load` is not called; a model file has to be opened. A failure is printed to
standard error as JSON (`spec.Failure`), and the exit status is 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from bough.runtime.models import describe_failure, prepare
from bough.runtime.spec import ModelSpec


def main(arguments: list[str]) -> int:
    if len(arguments) not in (2, 3):
        sys.stderr.write("usage: python -m bough.runtime.inspect FOLDER REFERENCE [chat|embeddings]\n")
        return 2
    folder, reference, *rest = arguments
    spec = ModelSpec(
        reference=reference, folder=str(Path(folder).resolve()), preload="imports", openai=rest[0] if rest else None
    )
    try:
        signature = prepare(spec).signature()
    except Exception as error:  # user code may raise anything
        sys.stderr.buffer.write(msgspec.json.encode(describe_failure(error, spec)) + b"\n")
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(signature) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
