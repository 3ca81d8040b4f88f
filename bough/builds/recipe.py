"""What a Dockerfile asks for, as data."""

from __future__ import annotations

import msgspec

from bough.kernel.errors import Invalid


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """Files of the build context, and where a container would have them. `source` is relative, `.` for everything, and
    may have wildcards; `target` is absolute; `into` says that it is a folder to put the source into."""

    source: str
    target: str
    into: bool
    line: int


class Ignored(msgspec.Struct, frozen=True, kw_only=True):
    """An instruction that has no effect here, and why that is right."""

    line: int
    instruction: str
    reason: str


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """The final stage of a Dockerfile. `options` are pip's options about where packages come from."""

    python: str = ""
    workdir: str = "/"
    environment: dict[str, str] = {}
    requirements: tuple[str, ...] = ()  # paths in the build context
    packages: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    system_packages: tuple[str, ...] = ()
    port: int = 0
    argv: tuple[str, ...] = ()
    shell: str = ""
    health_path: str = ""
    copies: tuple[Copy, ...] = ()
    ignored: tuple[Ignored, ...] = ()


def unsupported(name: str, line: int, instruction: str, why: str) -> Invalid:
    return Invalid(
        f"{name}:{line}: {instruction}: {why}",
        code="DOCKERFILE_UNSUPPORTED",
        hint='set docker = "auto" to build it where Docker or Podman runs, or write `command` in bough.toml instead',
        file=name, line=line, instruction=instruction,
    )  # fmt: skip
