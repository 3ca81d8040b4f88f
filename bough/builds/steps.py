"""One build, step by step: unpack, read the Dockerfile, lock, make the environment, check."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

from bough.adapters.blobs import Blobs
from bough.adapters.builder import Builder, BuiltEnvironment, Containers, EnvironmentRequest, Step
from bough.builds import ports
from bough.builds.dockerfile import read_dockerfile
from bough.builds.instructions import parse
from bough.builds.layout import Layout, plan_layout
from bough.builds.models import BuildRequest, BuildResult, Bundle
from bough.builds.recipe import Recipe
from bough.builds.reference import check_reference
from bough.builds.rules import digest_of, parse_bundle, relocate, request_digest
from bough.builds.unpack import unpack
from bough.kernel.errors import Invalid, WorkloadFailed

Log = Callable[[str], None]


def this_machine() -> str:
    """Names what a build's result depends on beside its request, for `rules.request_digest`."""
    return f"{platform.system()}-{platform.machine()}-{platform.python_version()}".lower()


class Build:
    """One run. `home` is Bough's folder; bundles go below it, environments where the builder keeps them."""

    def __init__(  # the parts of a build
        self, request: BuildRequest, home: Path, blobs: Blobs, builder: Builder, containers: Containers, log: Log
    ) -> None:
        self._request = request
        self._bundles = home.resolve() / "bundles"
        self._blobs = blobs
        self._builder = builder
        self._containers = containers
        self._log = log
        self._steps: list[Step] = []
        self._warnings: list[str] = []
        self.environment: BuiltEnvironment | None = None

    def run(self) -> BuildResult:
        """Raises what its parts raise; nothing half-made stays behind."""
        request = self._request
        bundle = parse_bundle(self._blobs.read(request.bundle))
        folder = self._unpack(bundle, request.bundle)
        self._check_file(folder)
        if request.dockerfile and request.docker != "never" and self._wants_container():
            return self._in_container(folder, bundle)
        recipe, layout = self._read_dockerfile(folder, bundle)
        place = folder
        if layout.bundle is not None:
            place = self._unpack(layout.bundle, digest_of(layout.bundle.manifest))
        built = self._build_environment(folder, recipe)
        if request.model:
            check_reference(request.model, folder, Path(built.folder))
        return self._result(folder, place, layout, recipe, built, bundle)

    def _unpack(self, bundle: Bundle, digest: str) -> Path:
        started = time.perf_counter()
        target = self._bundles / digest
        made = unpack(bundle, self._blobs, target)
        self._step("unpack", started, not made, f"{len(bundle.entries)} files, {bundle.size / 1e6:.1f} MB")
        return target

    def _check_file(self, folder: Path) -> None:
        for key in ("file", "dockerfile"):
            path = getattr(self._request, key)
            if path and not (folder / path).resolve().is_relative_to(folder):
                raise Invalid(f"{key} = {path!r} lies outside the project's folder", code="PATH_UNSAFE", path=path)
            if path and not (folder / path).exists():
                raise WorkloadFailed(
                    f"the bundle has no {path}", code="FILE_NOT_FOUND",
                    hint=f"check `{key}` in bough.toml, and that .boughignore does not leave the file out",
                )  # fmt: skip

    def _wants_container(self) -> bool:
        if self._request.docker == "always" or self._containers.engine():
            return True
        self._log("docker: no engine answers; the Dockerfile is read without it")
        return False

    def _in_container(self, folder: Path, bundle: Bundle) -> BuildResult:
        request = self._request
        started = time.perf_counter()
        image = self._containers.build(str(folder), request.dockerfile, request_digest(request, platform=""), self._log)
        self._step("image", started, False, image)
        port = request.port or _exposed(_dockerfile(folder, request), request.dockerfile)
        return BuildResult(
            request=request_digest(request, platform=this_machine()), folder=str(folder), workdir=str(folder),
            shell=self._containers.command(image, port, request.environment, request.given), port=port, container=image,
            bundle_bytes=bundle.size, steps=self._steps, warnings=self._warnings,
        )  # fmt: skip

    def _read_dockerfile(self, folder: Path, bundle: Bundle) -> tuple[Recipe, Layout]:
        request = self._request
        if not request.dockerfile:
            return Recipe(), Layout(bundle=None, workdir=".", places={})
        started = time.perf_counter()
        recipe = read_dockerfile(_dockerfile(folder, request), request.dockerfile)
        if not (recipe.argv or recipe.shell or request.command):
            raise Invalid(
                f"{request.dockerfile} has neither CMD nor ENTRYPOINT", code="DOCKERFILE_INVALID",
                hint="add a CMD, or write `command` in bough.toml",
            )  # fmt: skip
        for note in recipe.ignored:
            self._log(f"  {request.dockerfile}:{note.line}: {note.instruction} has no effect: {note.reason}")
        if recipe.system_packages:
            self._warn(f"the Dockerfile installs system packages; if the program misses them, install them on this "
                       f"machine: {' '.join(recipe.system_packages)}")  # fmt: skip
        layout = plan_layout(recipe, bundle, request.dockerfile)
        self._step("dockerfile", started, False, f"Python {recipe.python or 'any'}, {recipe.workdir}")
        return recipe, layout

    def _build_environment(self, folder: Path, recipe: Recipe) -> BuiltEnvironment:
        request = self._request
        own = (request.requirements,) if request.requirements else ()
        built = self._builder.build(
            EnvironmentRequest(
                folder=str(folder), requirements=own or recipe.requirements, packages=() if own else recipe.packages,
                options=recipe.options, python=request.python or recipe.python, refresh=request.refresh,
            ),
            self._log,
        )  # fmt: skip
        self._steps += built.steps
        self._warnings += built.warnings
        self.environment = built
        return built

    def _result(  # noqa: PLR0913, RUF100 - all that the steps have found
        self, folder: Path, place: Path, layout: Layout, recipe: Recipe, built: BuiltEnvironment, bundle: Bundle
    ) -> BuildResult:
        request = self._request
        workdir = os.path.normpath(place / layout.workdir)
        places = {old: os.path.normpath(place / new) for old, new in layout.places.items()}
        environment = {name: relocate(value, places) for name, value in recipe.environment.items()}
        environment |= request.environment
        argv, shell, port = list(recipe.argv), recipe.shell, request.port or recipe.port
        if request.command:
            argv, shell = [], request.command
        elif argv or shell:
            argv = [relocate(word, places) for word in argv]
            argv[:1] = [_program(word) for word in argv[:1]]
            shell = relocate(shell, places)
            port = port or ports.find_port(" ".join(argv) or shell)
            environment, prefix = ports.exports(environment, port)
            if argv:
                argv, shell = ports.argv_with_platform_port(argv, port)
                argv, shell = ([], f"{prefix}exec {' '.join(argv)}") if prefix and argv else (argv, prefix + shell)
            else:
                shell = prefix + ports.replace_shell(ports.bind_platform_port(shell, port))
        environment.setdefault("PATH", f"{built.folder}/bin:{os.environ.get('PATH') or os.defpath}")
        environment.setdefault("VIRTUAL_ENV", built.folder)
        return BuildResult(
            request=request_digest(request, platform=this_machine()), folder=str(folder), workdir=workdir,
            python=built.python, environment_digest=built.digest, environment=environment, argv=argv, shell=shell,
            port=port, health_path=recipe.health_path, packages=built.packages, bundle_bytes=bundle.size,
            environment_bytes=built.size, steps=self._steps, warnings=self._warnings,
        )  # fmt: skip

    def _step(self, name: str, started: float, cached: bool, note: str) -> None:
        step = Step(name=name, seconds=time.perf_counter() - started, cached=cached, note=note)
        self._steps.append(step)
        self._log(f"{name}: {note}{' (known)' if cached else ''} {step.seconds:.2f} s")

    def _warn(self, text: str) -> None:
        self._warnings.append(text)
        self._log(f"warning: {text}")


def _dockerfile(folder: Path, request: BuildRequest) -> str:
    try:
        return (folder / request.dockerfile).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise Invalid(f"{request.dockerfile} is not UTF-8 text", code="DOCKERFILE_INVALID") from error


def _exposed(text: str, name: str) -> int:
    """The port of a Dockerfile that Docker itself has accepted, and that may hold what is not read here."""
    try:
        exposed = [one.rest.split("/")[0] for one in parse(text, name) if one.word == "EXPOSE"]
    except Invalid:
        return 0
    return int(exposed[-1]) if exposed and exposed[-1].isdigit() else 0


def _program(word: str) -> str:
    """`/opt/venv/bin/gunicorn` as `gunicorn`: a container's environment is elsewhere, and first on PATH here."""
    folder, _, name = word.rpartition("/")
    return name if folder.startswith("/") and folder.endswith("/bin") and folder != "/bin" else word
