"""Builder: makes the Python environment that a program asks for.

Promises: what a digest names is complete or absent, also after kill -9 at any moment; the same locked requirements,
Python and machine give the same digest, and nothing is made twice, also when many ask at once; requirements are locked
with hashes before anything is installed; no index address or password is printed or kept; no interpreter is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

Log = Callable[[str], None]


class EnvironmentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to install. Everything empty asks for a Python with nothing but what a replica itself needs."""

    folder: str  # the unpacked bundle; never written to
    requirements: tuple[str, ...] = ()  # paths in `folder`: requirements files, or one pyproject.toml or pylock.toml
    packages: tuple[str, ...] = ()  # requirements written inline
    options: tuple[str, ...] = ()  # lines of a requirements file about where packages come from; kept nowhere
    python: str = ""  # 3, 3.12 or 3.12.4; empty: the one that runs Bough
    refresh: bool = False  # resolve again although a lock is there


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One part of a build. `cached`: it was there already."""

    name: str
    seconds: float
    cached: bool = False
    note: str = ""


class BuiltEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    digest: str
    folder: str
    python: str  # interpreter inside `folder`
    version: str  # such as 3.11.7
    packages: int
    size: int  # bytes; files shared with other environments count in each
    steps: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = ()


class Interpreter(msgspec.Struct, frozen=True, kw_only=True):
    """A Python on this machine. `path` is the real executable, not one inside a virtual environment."""

    path: str
    version: str
    implementation: str = "cpython"


class Builder(Protocol):
    def build(self, request: EnvironmentRequest, log: Log) -> BuiltEnvironment:
        """The environment for `request`, made now or earlier. Blocks, for minutes if packages must be fetched; `log`
        gets lines as they come. Idempotent. Raises `Invalid` for requirements that cannot be read, `WorkloadFailed`
        (PACKAGE_NOT_FOUND, RESOLUTION_FAILED, PYTHON_NOT_FOUND, NETWORK_UNREACHABLE, …), `Exhausted`."""

    def compile(self, environment: BuiltEnvironment, log: Log) -> None:
        """Compiles all bytecode of an environment, so that no start has to. Optional, idempotent, and safe to kill or
        to run beside programs that use the environment. Returns at once where another process is at it."""

    def interpreters(self) -> list[Interpreter]:
        """Every Python that `python` may ask for, newest first."""


class Containers(Protocol):
    """Docker or Podman, where one answers. Programs run through it as ordinary commands."""

    def engine(self) -> str:
        """Its program, such as /usr/bin/docker; empty when none is installed or none answers."""

    def build(self, folder: str, dockerfile: str, digest: str, log: Log) -> str:
        """The image of `dockerfile` (a path in `folder`), built now or earlier; `digest` stands for all that goes into
        it. Blocks. Raises `WorkloadFailed` (IMAGE_BUILD_FAILED) or `Unavailable` (NO_CONTAINER_ENGINE)."""

    def command(self, image: str, port: int, environment: dict[str, str], given: Sequence[str] = ()) -> str:
        """A shell command that runs `image` in the foreground and gives its `port` (0: the one in PORT) out on
        127.0.0.1:$PORT. Pure. Ends with the container, and the container with it."""
