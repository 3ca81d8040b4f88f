"""Which loader opens a file: the one that the project names, else by what the file is called."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from bough.runtime.failures import LoadError
from bough.runtime.spec import ModelSpec

_SUFFIXES = {
    ".skops": "sklearn", ".joblib": "sklearn", ".pkl": "sklearn", ".pickle": "sklearn", ".onnx": "onnx",
    ".pt": "torchscript", ".pt2": "torchscript", ".ts": "torchscript", ".pth": "torchscript",
    ".safetensors": "safetensors",
}  # fmt: skip


def open_file(spec: ModelSpec) -> Any:
    """The model in the file of `spec`; raises `LoadError`."""
    path = Path(spec.folder, spec.reference.removeprefix("file:"))
    if not path.exists():
        there = ", ".join(sorted(p.name for p in path.parent.iterdir())[:8]) if path.parent.is_dir() else ""
        raise LoadError(
            "FILE_MISSING", f"there is no {path.name} in the project" + (f"; beside it are {there}" if there else ""),
            "check file = in bough.toml, and that .boughignore does not leave it out",
        )  # fmt: skip
    if path.is_dir() and spec.loader != "mlflow":
        path = _inside(path)
    kind = spec.loader if spec.loader != "auto" else _guess(path)
    return importlib.import_module(f"bough.runtime.loaders.{kind}").open_model(path, spec)


def _inside(folder: Path) -> Path:
    """The model of a folder that is not MLflow's: the only file in it whose kind is known."""
    if (folder / "MLmodel").exists():
        return folder
    known = sorted(each for each in folder.rglob("*") if each.suffix.lower() in _SUFFIXES and each.is_file())
    if len(known) == 1:
        return known[0]
    said = f"several: {', '.join(each.name for each in known[:8])}" if known else "none"
    raise LoadError(
        "FORMAT_UNKNOWN", f"of the files that are known to hold a model there are {said}",
        'write a class that loads it, and name the version in models = { NAME = "models:/…" }',
    )  # fmt: skip


def _guess(path: Path) -> str:
    if path.is_dir() and (path / "MLmodel").exists():
        return "mlflow"
    if kind := _SUFFIXES.get(path.suffix.lower()):
        return kind
    raise LoadError(
        "FORMAT_UNKNOWN", f"nothing here opens {path.name}: known are {', '.join(_SUFFIXES)} and MLflow folders",
        'set loader = "sklearn" (or onnx, torchscript, safetensors, mlflow) in bough.toml, or write a class',
    )  # fmt: skip
