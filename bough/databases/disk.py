"""Where databases lie, and the path that always leads to the one that an environment has now:
`<root>/<project>/<environment>/<name>.db`, a symbolic link."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from bough.adapters.sql import Adopting, SqlEngine
from bough.databases import rules
from bough.databases.models import Instance, Place
from bough.kernel.errors import Invalid
from bough.kernel.files import as_exhausted


class Databases:
    """The engines of this home, by name."""

    def __init__(
        self, root: Path, engines: Mapping[str, SqlEngine], given: Callable[[], Mapping[str, str]],
        own: tuple[str, Adopting] | None = None, *, sealed: Callable[[str, str, str], str],
    ) -> None:  # fmt: skip
        """`given`: what programs get beside the URLs. `own`: the engine whose servers are the user's, and its name.
        `sealed`: of a project, a name and a text, what only a program's node opens."""
        self.root, self.engines, self.given = root, dict(engines), given
        self.own, self.sealed = own, sealed
        if own is not None:
            self.engines[own[0]] = own[1]

    def engine(self, name: str) -> SqlEngine:
        if name not in self.engines:
            known = ", ".join(sorted(self.engines))
            raise Invalid(f"there is no engine {name!r}", code="ENGINE_UNKNOWN", hint=f"use one of {known}")
        return self.engines[name]

    def shown(self, place: Place, name: str) -> Path:
        return self.root / "environments" / place[0] / place[1] / f"{name}.db"

    def show(self, made: Instance) -> None:
        """Lets the environment's path lead to it; at one go."""
        link = self.shown((made.project, made.environment), made.name)
        target = self.engine(made.engine).path(made.handle)
        with as_exhausted(link.parent):
            link.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh = link.with_name(f".{link.name}.{secrets.token_hex(4)}")
            fresh.symlink_to(os.path.relpath(target, link.parent))
            fresh.replace(link)

    def hide(self, place: Place, name: str) -> None:
        link = self.shown(place, name)
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        for folder in (link.parent, link.parent.parent):
            with contextlib.suppress(OSError):  # another database lies there
                folder.rmdir()

    def url(self, made: Instance) -> str:
        shown = self.shown((made.project, made.environment), made.name)
        return self.engine(made.engine).url(made.handle, shown)

    def shown_url(self, made: Instance) -> str:
        """The same for everybody to read: without the password."""
        before, secret, after = self.sealed_url(made)
        if not secret:
            before, secret, after = rules.around_password(before)
        return f"{before}{'***' if secret else ''}{after}"

    def sealed_url(self, made: Instance) -> tuple[str, str, str]:
        """As `Adopting` has it: of another database without a secret."""
        if self.own is not None and made.engine == self.own[0]:
            return self.own[1].sealed_url(made.handle)
        return self.url(made), "", ""

    def sweep(self, live: Collection[str], older_than_s: float) -> int:
        return sum(engine.sweep(live, older_than_s) for engine in self.engines.values())
