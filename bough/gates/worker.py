"""`python -m bough.gates.worker HOME REQUEST.json RESULT.json`: the gates that read a version's files.

Runs as a unit of the engine with the Python that runs Bough, so that it can be watched, limited and killed; what it
reads is somebody's. Standard output is its log. RESULT.json appears whole.

As the main function of a process, this file names technologies, as `bough/composition/` does for the server.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from bough.adapters.blobs import Blobs
from bough.adapters.blobs.directory import DirectoryBlobs
from bough.adapters.tables.duckdb import DuckTables
from bough.data.tables.store import TableFiles
from bough.gates import reading, scanning, trying
from bough.gates.asked import CANDIDATE, CHAMPION, DataFile, GateAnswer, GateRequest, TrainingData
from bough.gates.models import GateResult
from bough.kernel.files import write_whole
from bough.registry.rules import files_in
from bough.runtime.spec import Failure

MOST_FINDINGS = 50
FILES = "files"  # of datasets, as a source of training data


def main(arguments: list[str]) -> int:
    if len(arguments) != 3:
        print("usage: python -m bough.gates.worker HOME REQUEST.json RESULT.json", file=sys.stderr)
        return 2
    home, request_path, result_path = (Path(argument) for argument in arguments)
    try:
        request = msgspec.json.decode(request_path.read_bytes(), type=GateRequest)
        results = list(run(request, DirectoryBlobs(home / "blobs")))
    except Exception as error:  # the last stop of a process: whatever it is, whoever waits must read why
        text = f"{type(error).__name__}: {error}"
        failure = Failure(code="GATES_CRASHED", message=text, traceback=traceback.format_exc())
        write_whole(result_path, msgspec.json.encode(GateAnswer(failure=failure)))
        print(failure.traceback)
        return 1
    write_whole(result_path, msgspec.json.encode(GateAnswer(results=results)))
    for each in results:
        print(f"{'passed' if each.passed else 'FAILED'} {each.gate}: {each.said}")
    return 0


def run(request: GateRequest, blobs: DirectoryBlobs) -> Iterator[GateResult]:
    gates = request.run.gates
    if gates.scan:
        yield scan(request, blobs)
    if gates.data is not None and request.trained is not None and request.trained_before is not None:
        before, after = (_sample(each, gates.data.rows, blobs) for each in (request.trained_before, request.trained))
        yield trying.compare(gates.data, before, after)
    candidate, champion = (request.replicas.get(who, "") for who in (CANDIDATE, CHAMPION))
    if gates.evaluation is not None:
        rows = reading.rows(_paths(blobs, request.evaluation), gates.evaluation.rows)
        yield from trying.evaluate(gates.evaluation, rows, candidate, champion)
    if gates.load is not None:
        rows = reading.rows(_paths(blobs, request.load), gates.load.requests) if request.load else []
        yield trying.load(gates.load, rows, request.signature, candidate)


def scan(request: GateRequest, blobs: Blobs) -> GateResult:
    files, findings = files_in(blobs.read(request.version.digest)), list[scanning.Finding]()
    for each in files:
        with blobs.open(each.digest) as content, tempfile.TemporaryFile() as copy:
            head = content.read(scanning.HEAD_BYTES)
            copy.write(head)
            if scanning.may_run(each.path, head):  # weights in other formats need not be read to their end
                shutil.copyfileobj(content, copy, 1 << 20)
                copy.seek(0)
                findings += scanning.scan(each.path, copy, request.run.gates.allow)
    figures = {"files": len(files), "findings": [f"{place}: {what}" for place, what in findings[:MOST_FINDINGS]]}
    if not findings:
        return GateResult(gate="scan", passed=True, said=f"{len(files)} files run nothing unknown", figures=figures)
    place, what = findings[0]
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return GateResult(gate="scan", passed=False, said=f"{place} {what}{more}", figures=figures)


def _sample(data: TrainingData, most: int, blobs: DirectoryBlobs) -> dict[str, list[dict[str, Any]]]:
    """At most so many rows of each source that a version was trained on: its files are one, each table is another."""
    found = {FILES: reading.rows(_paths(blobs, data.files), most, seed=0)} if data.files else {}
    with tempfile.TemporaryDirectory() as folder:
        files, tables = TableFiles(blobs, Path(folder) / "copies"), DuckTables(Path(folder))
        for name, version in data.tables.items():
            found[name] = reading.table_rows(tables, files, version, most, seed=0)
    return found


def _paths(blobs: DirectoryBlobs, files: list[DataFile]) -> list[tuple[str, Path]]:
    found = [(each.path, blobs.local_path(each.digest)) for each in files]
    return [(path, place) for path, place in found if place is not None]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
