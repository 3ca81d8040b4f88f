"""Signed versions: what signing and verifying a gigabyte costs beside hashing it, and how fast an alias is resolved.

    python bench/registry/signing.py [FOLDER]    the home lies under FOLDER (default: the temporary folder)

Prints one JSON line; medians of five. `hash` is hashlib.file_digest over the same files, warm. `sign` and `check` are
what registering and deploying do, with digests that the store knows; `verify` reads all bytes as `bough models verify`
does, `load` as a replica does before it loads.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bough.adapters.engine.fake import FakeEngine
from bough.app import Bough
from bough.data.models import File
from bough.kernel.clock import SystemClock
from bough.kernel.context import SYSTEM
from bough.kernel.platform import Platform
from bough.registry import rules, store, trusting
from bough.registry.checking import check_bytes
from bough.registry.keys import Keyring
from bough.registry.signing import sign_files
from bough.runtime import verified
from bough.runtime.spec import RegisteredModel

FILES, FILE_BYTES = 8, 128 << 20
VERSIONS = 2000


def main(folder: str | None) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        clock = SystemClock()
        bough = Bough(Path(place) / "home", Platform(), engine=FakeEngine(clock), clock=clock)
        print(json.dumps(measured(bough, Path(place))))
        bough.stop()


def measured(bough: Bough, place: Path) -> dict[str, float]:
    def call(operation: str, /, **fields: object) -> object:
        return bough.operations.call(operation, {"project": "shop", **fields}, SYSTEM)

    bough.operations.call("projects.create", {"name": "shop"}, SYSTEM)
    files, folder = written(bough, place / "model")
    listed = [{"path": each.path, "digest": each.digest, "size": each.size} for each in files]
    call("signers.create", name="ci")
    register = timed(lambda: call("models.register", name="big", files=listed, aliases=["champion"]))
    with bough.database.read() as tx:
        by = trusting.automatic(tx, "shop")
    assert by is not None
    ring = Keyring(bough.home.path, os.environ)
    hashed = timed(lambda: [digest(folder / each.path) for each in files])
    manifest = rules.manifest_of(files)
    (folder.parent / verified.LIST_NAME).write_bytes(manifest)
    model = RegisteredModel(reference="big/1", folder=str(folder), digest=rules.digest_of(manifest))
    small = [{"path": "m", "digest": bough.blobs.put(b"x"), "size": 1}]
    for _ in range(VERSIONS):
        call("models.register", name="many", files=small, sign=False)
    call("models.alias", name="many", alias="champion", version=VERSIONS // 2)
    found = {
        "gigabytes": sum(each.size for each in files) / 1e9,
        "hash_s": hashed,
        "register_signed_s": register,
        "sign_s": timed(lambda: sign_files(bough.blobs, ring, by, "big", files)),
        "check_s": timed(lambda: checked(bough, files)),
        "verify_s": timed(lambda: check_bytes(bough.blobs, files, "big/1")),
        "load_s": timed(lambda: verified.check(model)),
        "resolve_ms": timed(lambda: [call("models.resolve", model="many@champion") for _ in range(200)]) / 200 * 1e3,
    }
    ratios = {f"{name}_of_hash": hashed / found[f"{name}_s"] for name in ("verify", "load")}
    return {name: round(value, 4) for name, value in (found | ratios).items()}


def written(bough: Bough, folder: Path) -> tuple[list[File], Path]:
    folder.mkdir()
    files = []
    for number in range(FILES):
        path = folder / f"part-{number}.bin"
        path.write_bytes(os.urandom(1 << 20) * (FILE_BYTES >> 20))
        with path.open("rb") as stream:
            files.append(File(path=path.name, digest=bough.blobs.put(stream), size=FILE_BYTES))
    return files, folder


def digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def checked(bough: Bough, files: list[File]) -> None:
    with bough.database.read() as tx:
        trusting.check(tx, ("shop", "main"), store.resolve(tx, ("shop", "main"), "big@champion"), files, bough.blobs)


def timed(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
