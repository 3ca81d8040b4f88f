"""Which version of a program saved a checkpoint, and how the present one differs."""

from __future__ import annotations

import hashlib
import platform
import sys
from pathlib import Path

_LIBRARIES = ("numpy", "torch", "sklearn", "scipy")
_NOT_OWN = ("/site-packages/", "/dist-packages/", str(Path(__file__).resolve().parents[2]))  # Bough itself neither


def own_files() -> dict[str, str]:
    """The program's own files as far as it has imported them: path below the folder of its main file, and digest."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    if not main:
        return {}
    folder = Path(main).resolve().parent
    paths = [folder / Path(main).name]
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        if isinstance(name, str) and name.startswith(f"{folder}/") and not any(word in name for word in _NOT_OWN):
            paths.append(Path(name))
    return {str(path.relative_to(folder)): _digest(path) for path in sorted({*paths}) if path.suffix == ".py"}


def differences(saved: dict[str, str]) -> list[str]:
    """What has become of the files that the program consisted of when it saved. Files that are new say nothing: whether
    they matter shows in those that import them."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    folder = Path(main).resolve().parent if main else None
    if folder is None or not saved:
        return []
    found = []
    for name, digest in saved.items():
        path = folder / name
        if not path.exists():
            found.append(f"{name} is gone")
        elif _digest(path) != digest:
            found.append(f"{name} has changed")
    return found


def libraries() -> dict[str, str]:
    """Versions of what numbers depend on."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        if (module := sys.modules.get(name)) is not None:
            found[name] = str(getattr(module, "__version__", ""))
    return found


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError:
        return ""
