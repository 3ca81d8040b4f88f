"""`python -m bough.optimizing.worker HOME REQUEST.json RESULT.json`: makes contenders of a model and measures them.

Runs as a unit of the engine with the Python that runs Bough, so that it can be watched, limited and killed; what it
reads is somebody's. Writes contenders beside REQUEST.json. Standard output is its log. RESULT.json appears whole.

As the main function of a process, this file names technologies, as `bough/composition/` does for the server.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bough.adapters.blobs.directory import DirectoryBlobs
from bough.kernel.errors import Invalid, Problem
from bough.kernel.files import write_whole
from bough.optimizing import quantizing, rows, rules, weighing
from bough.optimizing.asked import KeptFile, MadeFile, OptimizationAnswer, OptimizationRequest
from bough.optimizing.models import AFTER, BEFORE, BEST, DYNAMIC, STATIC, Contender, Optimization
from bough.runtime.failures import LoadError
from bough.runtime.loaders import TensorModel
from bough.runtime.loaders.opening import open_file
from bough.runtime.spec import Failure, ModelSpec

PACKAGES = ("onnx", "onnxruntime", "numpy")  # of `bough[optimize]`


def main(arguments: list[str]) -> int:
    if len(arguments) != 3:
        print("usage: python -m bough.optimizing.worker HOME REQUEST.json RESULT.json", file=sys.stderr)
        return 2
    home, request_path, result_path = (Path(argument) for argument in arguments)
    try:
        request = msgspec.json.decode(request_path.read_bytes(), type=OptimizationRequest)
        answer = run(request, DirectoryBlobs(home / "blobs"), request_path.parent)
    except Exception as error:  # the last stop of a process: whatever it is, whoever waits must read why
        answer = OptimizationAnswer(failure=_failure(error))
        print(answer.failure.traceback or answer.failure.message if answer.failure else "")
    write_whole(result_path, msgspec.json.encode(answer))
    for each in answer.contenders:
        print(f"{'passed' if each.passed else 'FAILED'} {each.name}: {each.score:.4g}, {each.bytes} bytes. {each.said}")
    return 1 if answer.failure else 0


def run(request: OptimizationRequest, blobs: DirectoryBlobs, folder: Path) -> OptimizationAnswer:
    of, places = request.optimization, {BEFORE: _laid_out(blobs, request.before, folder / BEFORE)}
    made: dict[str, MadeFile] = {}
    dropped: list[str] = []
    if request.after:
        places[AFTER] = _laid_out(blobs, request.after, folder / AFTER)
    else:
        _needed(of)
        made, dropped = _made(request, blobs, places[BEFORE], folder)
        places |= {name: folder / each.place for name, each in made.items()}
    contenders = measured(of, {name: _opened(place) for name, place in places.items()}, _sizes(request, places),
                        _paths(blobs, request.evaluation))  # fmt: skip
    chosen = rules.choose(contenders)
    return OptimizationAnswer(
        contenders=contenders, chosen=chosen.name if chosen else "", dropped=dropped,
        made=[made[chosen.name]] if chosen and chosen.name in made else [],
        packages={name: importlib.metadata.version(name) for name in PACKAGES if not request.after},
    )  # fmt: skip


def measured(
    of: Optimization, models: dict[str, TensorModel], sizes: dict[str, int], data: Sequence[tuple[str, Path]]
) -> list[Contender]:
    """Every model on the same rows, the version before first."""
    judging, before = of.judging, models[BEFORE]
    samples = rows.read(data, before.inputs, judging.rows, judging.label, judging.hidden)
    said = {
        name: weighing.answers(model, samples.rows, judging.metric, judging.answer) for name, model in models.items()
    }
    labels = samples.labels or said[BEFORE]
    times = weighing.timed(models, samples.rows)
    found: list[Contender] = []
    for name in models:
        p50, p95, core_s = (round(each, 6) for each in times[name])
        loss, worst = rules.judged(judging, labels, said[name], said[BEFORE]) if name != BEFORE else (0.0, 0.0)
        contender = Contender(
            name=name, score=rules.score(judging, labels, said[name]), bytes=sizes[name], p50_ms=p50,
            p95_ms=p95, core_s=core_s, cost=rules.cost(core_s, judging.core_hour), loss=loss,
            worst=worst,
        )  # fmt: skip
        found.append(rules.gated(judging, found[0], contender) if found else contender)
    return found


def _made(
    request: OptimizationRequest, blobs: DirectoryBlobs, before: Path, folder: Path
) -> tuple[dict[str, MadeFile], list[str]]:
    """The contenders by name, and which other files their weights replace."""
    of = request.optimization
    source = _graph(request.before, before)
    model = _opened(before)
    names = [DYNAMIC, STATIC] if of.method == BEST else [of.method]
    calibration = _paths(blobs, request.calibration)
    hidden = [of.judging.label, *of.judging.hidden]
    given: list[Any] = []
    if calibration:
        given = rows.read(calibration, model.inputs, quantizing.CALIBRATION_ROWS, hidden=hidden).rows
    found: dict[str, MadeFile] = {}
    for name in names:
        if name == STATIC and not calibration:
            continue
        target = folder / f"{name}.onnx"
        quantizing.quantized(source, target, name, model.inputs, given)
        found[name] = MadeFile(path=source.relative_to(before).as_posix(), place=target.name)
        print(f"made {name}: {target.stat().st_size} bytes")
    inside = source.parent.relative_to(before)
    return found, [(inside / each).as_posix() for each in quantizing.outside_files(source)]


def _graph(files: Sequence[KeptFile], folder: Path) -> Path:
    graphs = [folder / each.path for each in files if each.path.lower().endswith(".onnx")]
    if len(graphs) != 1:
        said = f"has {len(graphs)} ONNX files" if graphs else "is no ONNX model"
        raise Invalid(
            f"the version {said}, and one is quantized", code="MODEL_NOT_ONNX",
            hint="export it first: torch.onnx.export(…), skl2onnx; or make a smaller one: bough optimize distill",
        )  # fmt: skip
    return graphs[0]


def _opened(place: Path) -> TensorModel:
    spec = ModelSpec(reference=f"file:{place.name}", folder=str(place.parent))
    model = open_file(spec)
    if not isinstance(model, TensorModel):
        raise Invalid(f"{place.name} does not say what it takes", code="MODEL_UNCLEAR", hint="an ONNX or skops file")
    return model


def _laid_out(blobs: DirectoryBlobs, files: Sequence[KeptFile], folder: Path) -> Path:
    """Copies, which whoever reads them may also spoil; checked on the way."""
    shutil.rmtree(folder, ignore_errors=True)
    for each in files:
        place = folder / each.path
        place.parent.mkdir(parents=True, exist_ok=True)
        with blobs.open(each.digest) as source, place.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    return folder


def _sizes(request: OptimizationRequest, places: dict[str, Path]) -> dict[str, int]:
    """Of all files that the version would have."""
    found = {}
    for name, place in places.items():
        if place.is_dir():
            found[name] = sum(each.stat().st_size for each in place.rglob("*") if each.is_file())
        else:
            found[name] = place.stat().st_size
    return found


def _paths(blobs: DirectoryBlobs, files: Sequence[KeptFile]) -> list[tuple[str, Path]]:
    found = [(each.path, blobs.local_path(each.digest)) for each in files]
    return [(path, place) for path, place in found if place is not None]


def _needed(of: Optimization) -> None:
    missing = []
    for name in PACKAGES:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        raise Problem(
            f"Bough's Python has no {', '.join(missing)}",
            code="OPTIMIZER_MISSING",
            hint="pip install 'bough[optimize]'",
        )


def _failure(error: Exception) -> Failure:
    if isinstance(error, Problem):
        return Failure(code=error.own_code, message=error.message, hint=error.hint)
    if isinstance(error, LoadError):
        return Failure(code=error.code, message=str(error), hint=error.hint)
    text = f"{type(error).__name__}: {error}"
    return Failure(code="OPTIMIZATION_CRASHED", message=text, traceback=traceback.format_exc())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
