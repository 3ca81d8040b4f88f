"""What the process that makes and measures contenders is asked and answers: files between it and the server."""

from __future__ import annotations

import msgspec

from bough.optimizing.models import Contender, Optimization
from bough.registry.models import Input
from bough.runtime.spec import Failure


class KeptFile(msgspec.Struct, frozen=True, kw_only=True):
    """A blob under the path that it has in its version or dataset."""

    path: str
    digest: str


class MadeFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file in the process's folder, and the path that it gets in the version."""

    path: str
    place: str


class OptimizationRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`after`: the files of a student, which was made already; `inputs`: which data was read, in which version."""

    optimization: Optimization
    before: list[KeptFile]
    after: list[KeptFile] = []
    evaluation: list[KeptFile] = []
    calibration: list[KeptFile] = []
    inputs: list[Input] = []


class OptimizationAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`made` replaces files of the version before; `dropped` are paths of it that the result does not have."""

    contenders: list[Contender] = []
    chosen: str = ""
    made: list[MadeFile] = []
    dropped: list[str] = []
    packages: dict[str, str] = {}
    failure: Failure | None = None
