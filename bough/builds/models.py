"""What builds speak of, as frozen data."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bough.adapters.builder import Step


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a bundle. `path` is relative, with `/`."""

    path: str
    digest: str
    size: int
    executable: bool = False


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a folder, sorted by path. Its manifest is stored as a blob like any file: the manifest's digest is
    the bundle's."""

    entries: tuple[Entry, ...]

    @property
    def manifest(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, every field written."""
        return msgspec.json.encode(self, order="sorted")

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was left out, and why a person should know."""

    path: str
    reason: str


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder holds now. `hashed` counts the files that had to be read; the others were known from before."""

    folder: Path
    bundle: Bundle
    digest: str
    count: int
    size: int
    largest: tuple[Entry, ...]
    notices: tuple[Notice, ...]
    hashed: int


class BuildRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one service needs before it can run."""

    service: str
    bundle: str  # digest of the manifest
    model: str = ""  # module:Class; its file is looked for
    file: str = ""  # a model file; looked for
    command: str = ""  # shell; replaces the Dockerfile's CMD
    dockerfile: str = ""  # path in the bundle
    docker: str = "never"  # never, auto, always
    requirements: str = ""  # path in the bundle; empty: found by name
    python: str = ""  # version; empty: the Dockerfile's, else the one that runs Bough
    environment: dict[str, str] = {}  # laid over the Dockerfile's ENV
    given: list[str] = []  # variables whose values the process gets when it starts: secrets, addresses
    port: int = 0  # fixed port that the command binds; empty: what EXPOSE says
    refresh: bool = False  # resolve again although a lock is there


class BuildResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A service ready to run. Exactly one of `argv` and `shell` is set for a web service, neither for a model service;
    `argv` also runs a container, when `container` says so."""

    request: str  # digest of the request: see `rules.request_digest`
    folder: str  # the unpacked bundle, read-only
    workdir: str
    python: str = ""  # interpreter of the environment; empty in a container
    environment_digest: str = ""
    environment: dict[str, str] = {}
    argv: list[str] = []
    shell: str = ""
    port: int = 0  # the Dockerfile's EXPOSE, for information: the program is given $PORT
    health_path: str = ""
    container: str = ""  # image, when it runs through docker or podman
    packages: int = 0
    bundle_bytes: int = 0
    environment_bytes: int = 0
    steps: list[Step] = []
    warnings: list[str] = []
