"""Whether `module:Class` can be found, judged by the text of the project: long before anything is imported."""

from __future__ import annotations

import ast
import difflib
from pathlib import Path

from bough.kernel.errors import WorkloadFailed


def check_reference(reference: str, folder: Path, environment: Path | None) -> None:
    """Raises `WorkloadFailed`: MODEL_CODE_NOT_FOUND (no such module or name), MODEL_SYNTAX (file and line). A module
    that the project does not have may be an installed package; its content is not looked at."""
    module, _, name = reference.partition(":")
    path = _module_file(folder, module)
    if path is None:
        if environment is not None and _is_installed(environment, module):
            return
        near = difflib.get_close_matches(module, _modules(folder), 1)
        raise WorkloadFailed(
            f"there is no module {module!r}: neither {module.replace('.', '/')}.py in the bundle nor a package",
            code="MODEL_CODE_NOT_FOUND",
            hint=f"did you mean {near[0]}:{name}?" if near else "check `model` in bough.toml and .boughignore",
        )
    shown = path.relative_to(folder).as_posix()
    try:
        tree = ast.parse(path.read_bytes(), filename=shown)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise WorkloadFailed(
            f"{shown}:{line} is not valid Python: {error}", code="MODEL_SYNTAX", hint=f"edit {shown}, line {line}"
        ) from error
    names = _names(tree)
    if name in names or "*" in names or "__getattr__" in names:
        return
    near = difflib.get_close_matches(name, sorted(names), 1)
    classes = ", ".join(sorted(node.name for node in tree.body if isinstance(node, ast.ClassDef))) or "none"
    raise WorkloadFailed(
        f"{shown} has no {name!r}; its classes: {classes}",
        code="MODEL_CODE_NOT_FOUND",
        hint=f"did you mean {module}:{near[0]}?" if near else "check `model` in bough.toml",
    )


def _module_file(folder: Path, module: str) -> Path | None:
    base = folder.joinpath(*module.split("."))
    return next((path for path in (base.with_name(base.name + ".py"), base / "__init__.py") if path.is_file()), None)


def _is_installed(environment: Path, module: str) -> bool:
    top = module.split(".")[0]
    places = environment.glob("lib/python*/site-packages")
    return any((place / top).is_dir() or any(place.glob(f"{top}.*")) for place in places)


def _modules(folder: Path) -> list[str]:
    return [".".join(path.relative_to(folder).with_suffix("").parts) for path in folder.rglob("*.py")]


def _names(tree: ast.Module) -> set[str]:
    """All that the top level binds, also inside `if` and `try`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                names.add(node.name)
            case ast.Import() | ast.ImportFrom():
                names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
            case ast.Name(ctx=ast.Store()):
                names.add(node.id)
    return names
