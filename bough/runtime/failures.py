"""Why a model could not be brought up, in words that end with what to do.

MODULE_MISSING       the module in `model = "module:Class"` is not in the project
CLASS_MISSING        the module is there, the class is not
LIBRARY_MISSING      the user's code, or the kind of file, needs a package that is not in the environment
FILE_MISSING         a file that the code opens (or the model file itself) is not in the bundle
MODEL_TAMPERED       a file of a registered model is not what was registered, is missing or too many
FORMAT_UNTRUSTED     the file's format runs code when it is read, and nobody said that this is fine
FORMAT_UNKNOWN       no loader knows this file
SIGNATURE_UNSUPPORTED  requests cannot be mapped to this `predict`
SYNTAX_ERROR, PYTHON_MISMATCH   the code, or a saved file, belongs to another Python
LOAD_FAILED          everything else that importing or loading raised
"""

from __future__ import annotations

import re
import sys
import traceback
from typing import Optional

from bough.runtime.items import SignatureUnsupported
from bough.runtime.spec import Failure, ModelSpec

_TRACEBACK_LINES = 30
# Packages whose name on the index is not the one that is imported.
_DISTRIBUTIONS = {
    "sklearn": "scikit-learn", "cv2": "opencv-python-headless", "PIL": "pillow", "yaml": "pyyaml",
    "bs4": "beautifulsoup4", "dotenv": "python-dotenv", "skimage": "scikit-image", "Crypto": "pycryptodome",
    "dateutil": "python-dateutil",
    "jose": "python-jose", "google.protobuf": "protobuf", "fitz": "pymupdf", "attr": "attrs", "faiss": "faiss-cpu",
}  # fmt: skip
_OTHER_PYTHON = re.compile(
    r"bad marshal data|unsupported pickle protocol|bad magic number|cpython-3|requires a different Python"
    r"|code\(\) (takes|argument)|unknown opcode"
)


class LoadError(Exception):
    """A failure that already says what it is."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.hint = code, hint


def describe(error: BaseException, spec: ModelSpec) -> Failure:
    """`error`, raised by importing or loading `spec`, as data for people and programs."""
    found = error if isinstance(error, LoadError) else _recognise(error, spec)
    return Failure(code=found.code, message=str(found), hint=found.hint, traceback=short_traceback(error, spec.folder))


def library_missing(module: str, wanted_by: str = "") -> LoadError:
    name = _DISTRIBUTIONS.get(module) or _DISTRIBUTIONS.get(module.split(".")[0], module.split(".")[0])
    because = f"; {wanted_by} needs it" if wanted_by else ""
    return LoadError(
        "LIBRARY_MISSING",
        f"there is no module {module!r} in the environment{because}",
        f"add {name} to requirements.txt",
    )


def _recognise(error: BaseException, spec: ModelSpec) -> LoadError:
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, SignatureUnsupported):
        return LoadError("SIGNATURE_UNSUPPORTED", str(error), f"edit predict in {spec.reference.split(':')[0]}")
    if isinstance(error, ModuleNotFoundError) and error.name:
        module = spec.reference.partition(":")[0]
        if error.name == module or module.startswith(error.name + "."):
            return LoadError(
                "MODULE_MISSING", f"there is no module {module!r} in the project folder",
                f'check model = "{spec.reference}" in bough.toml, and that .boughignore does not leave the file out',
            )  # fmt: skip
        return library_missing(error.name)
    if isinstance(error, SyntaxError):
        where = f"{error.filename}:{error.lineno}" if error.filename else module_of(spec)
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        return LoadError(
            "SYNTAX_ERROR",
            f"{where}: {error.msg}",
            f"correct it, or set python in bough.toml if it is not for Python {version}",
        )
    if isinstance(error, FileNotFoundError):
        name = error.filename or error
        return LoadError(
            "FILE_MISSING", f"the model opens {name}, which is not there",
            "paths count from the project folder; check that the file is in it and not in .boughignore",
        )  # fmt: skip
    if _OTHER_PYTHON.search(str(error)):
        hint = 'set python = "3.x" in bough.toml to the version that wrote the file, or write it again with this one'
        return LoadError(
            "PYTHON_MISMATCH", f"something belongs to another Python than {sys.version.split()[0]}: {text}", hint
        )
    if isinstance(error, MemoryError):
        return LoadError(
            "LOAD_OUT_OF_MEMORY", "the model does not fit into memory", "raise resources.memory_mb in bough.toml"
        )
    return LoadError(
        "LOAD_FAILED",
        f"{spec.reference} raised {text}",
        "correct what the traceback shows; `bough dev` tries it at once",
    )


def module_of(spec: ModelSpec) -> str:
    return spec.reference.partition(":")[0]


def short_traceback(error: BaseException, folder: str) -> str:
    """The traceback from the first line of the user's code in `folder` on; all of it when it never got there. What we
    found ourselves, without running any of that code, is a sentence: where in Bough is nobody's concern."""
    frames = traceback.extract_tb(error.__traceback__)
    first: Optional[int] = next((n for n, frame in enumerate(frames) if frame.filename.startswith(folder)), None)
    if first is None and isinstance(error, LoadError):
        return f"{error}\n"
    kept = frames[first:] if first is not None else list(frames)
    lines = [*traceback.format_list(kept), *traceback.format_exception_only(type(error), error)]
    return "Traceback (most recent call last):\n" + "".join(lines[-_TRACEBACK_LINES:])
