"""Edges that others' records hold already: what versions say of how they came to be, what releases pin.

Each function gives every edge of a record, and `Derived.touching` asks for the records that could name a thing and
keeps the edges that do. So a edge is found from either of its ends, and there is nothing to keep in step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
import sqlalchemy as sa

from bough.environments import store as environments
from bough.environments.models import Release
from bough.kernel.errors import NotFound
from bough.lineage import models as kinds
from bough.lineage import outside, rules, runs
from bough.lineage.models import Edge, Thing
from bough.lineage.runs import TrackedRuns
from bough.registry import store as registry
from bough.registry.models import Facts, Input, Version
from bough.serving import store as deployments
from bough.serving.models import STOPPED
from bough.tracking.models import Run, Source

_MODEL = "model"  # an input that is a version itself
_STATE = "version"  # how one state of a thing comes from it
_MADE = (kinds.VERSION, kinds.RUN, kinds.BUNDLE, kinds.RELEASE, kinds.DEPLOYMENT, kinds.SERVICE, _MODEL)
_NOT_READ = (
    *(kinds.RUN, kinds.PARAMETERS, kinds.COMMIT, kinds.BUNDLE, kinds.PYTHON_ENVIRONMENT),
    *(kinds.RELEASE, kinds.DEPLOYMENT, kinds.SERVICE, kinds.JOB),
)
_SHOWN_PARAMETERS = 4


class Derived:
    """What an environment's records say. `past`: releases that served once count as well."""

    def __init__(self, tx: sa.Connection, place: tuple[str, str], tracked: TrackedRuns, *, past: bool = False) -> None:
        self._tx, self._place, self._past, self._tracked = tx, place, past, tracked
        self._records: dict[str, Version] = {}
        self._runs: dict[str, Run | None] = {}
        self._edges: dict[str, list[Edge]] = {}  # of versions
        self._named: dict[tuple[str, str], list[str]] | None = None  # what facts say -> ids of versions
        self._versions: dict[str, Thing] = {}
        self._names: dict[str, str] = {}  # of versions, now
        self._reported: dict[str, list[Edge]] = {}
        self._readers: dict[tuple[str, str], list[Run]] = {}

    def ahead(self, things: Sequence[Thing], backward: bool) -> None:
        """Reads what `touching` is about to be asked for: a statement for many things, not for each."""
        unknown = [each.id for each in things if each.id not in self._reported]
        self._reported |= outside.edges(self._tx, unknown)
        mine = [each for each in things if not backward or each.kind in _MADE]
        self._read_records(each.id.partition(":")[2] for each in mine if each.kind == kinds.VERSION)
        self._read_records(id for each in mine for id in self._versions_that_name(each))
        self._read_runs(mine)

    def touching(self, thing: Thing, backward: bool) -> list[Edge]:
        """Every edge to `thing` (`backward`) or from it, by records and by what others have reported."""
        found: dict[tuple[str, str], Edge] = {}
        if thing.id not in self._reported:
            self._reported |= outside.edges(self._tx, [thing.id])
        for edge in (*self._derived(thing, backward), *self._reported[thing.id]):
            mine = edge.target if backward else edge.source
            if mine.id == thing.id and edge.source.id != edge.target.id:
                found.setdefault((edge.source.id, edge.target.id), edge)
        return list(found.values())

    def known(self, thing: Thing) -> list[Edge]:
        """Edges that show that there is such a thing."""
        to = [each for each in self.touching(thing, True) if each.how != _STATE]
        return to + self.touching(thing, False)

    def _derived(self, thing: Thing, backward: bool) -> Iterator[Edge]:
        if backward and thing.kind not in _MADE:  # no record of ours says how it came to be
            if thing.version:
                yield Edge(source=_unversioned(thing), target=thing, how=_STATE)
            return
        yield from self._of_versions(thing)
        yield from self._of_runs(thing)
        yield from self._of_releases(thing)

    def version(self, version: Version) -> Thing:
        """A version under the name that it has now."""
        if version.id not in self._versions:
            name = self._names.get(version.id) or registry.name_now(self._tx, self._place, version)
            self._versions[version.id] = rules.known_by(
                kinds.VERSION, version.id, f"{name}/{version.number}",
                digest=version.digest[: rules.SHORT], by=version.by, environment=version.environment,
                signed=", ".join(each.signer for each in version.signed),
            )  # fmt: skip
        return self._versions[version.id]

    # --- versions

    def _record(self, id: str) -> Version:
        """A version; raises `NotFound` (MODEL_VERSION_NOT_FOUND)."""
        if id not in self._records:
            self._records[id] = registry.by_id(self._tx, id)
        return self._records[id]

    def _read_records(self, ids: Iterable[str]) -> None:
        found = registry.by_ids(self._tx, [id for id in dict.fromkeys(ids) if id not in self._records])
        self._records |= {each.id: each for each in found}
        self._names |= registry.names_now(self._tx, self._place, found)

    def _of_versions(self, thing: Thing) -> Iterator[Edge]:
        seen: set[str] = set()
        for id in self._versions_that_name(thing):
            if id in seen:
                continue
            seen.add(id)
            if id not in self._edges:
                self._edges[id] = list(self._edges_of_version(self._record(id)))
            yield from self._edges[id]

    def _versions_that_name(self, thing: Thing) -> list[str]:
        """Ids of those that could name a thing."""
        if thing.kind == kinds.RUN:
            return self._saying("run", self._run_id(thing))
        if thing.kind == kinds.PARAMETERS:
            of, _, id = thing.id.partition(":")[2].partition("/")
            if of == kinds.RUN:
                return self._saying("run", id)
            return [id]
        if thing.kind == kinds.VERSION:
            own = self._record(thing.id.partition(":")[2])
            return [own.id, *self._that_refer_to({own.reference, thing.name})]
        if thing.kind == _MODEL:
            return self._that_refer_to({thing.name})
        if thing.kind in (kinds.COMMIT, kinds.BUNDLE, kinds.PYTHON_ENVIRONMENT):
            return self._saying(thing.kind, thing.id.partition(":")[2])
        if thing.kind in (kinds.RELEASE, kinds.DEPLOYMENT, kinds.SERVICE, kinds.JOB):
            return []
        return self._saying("name", thing.name)

    def _saying(self, field: str, value: str) -> list[str]:
        """Versions by what their facts say. All facts are read once: a search for each thing would read them all each
        time."""
        if self._named is None:
            self._named = {}
            for id, facts in registry.facts_of_all(self._tx, self._place[0]):
                said = [("run", facts.run), ("commit", facts.commit), ("bundle", facts.bundle)]
                said += [("python_environment", facts.python_environment), ("parent", facts.parent)]
                for key in {*said, *(("name", each.name) for each in facts.inputs)}:
                    self._named.setdefault(key, []).append(id)
        return self._named.get((field, value), [])

    def _that_refer_to(self, references: set[str]) -> list[str]:
        """Those that were trained on from a version, or from what it gives, by any of the names that it had."""
        names = references | {each.rpartition("/")[0] for each in references}
        said = [("parent", each) for each in sorted(references)] + [("name", each) for each in sorted(names) if each]
        return [id for key in said for id in self._saying(*key)]

    def _edges_of_version(self, version: Version) -> Iterator[Edge]:
        facts, made = version.facts, self.version(version)
        by: Thing = made
        if facts.run:
            by = self.run(facts.run)
            yield Edge(source=by, target=made, how="made")
        for each in facts.inputs:
            source = self._input(each)
            yield Edge(source=source, target=by, how=each.role or "input")
            if source.version and source.kind != kinds.VERSION:
                yield Edge(source=_unversioned(source), target=source, how=_STATE)
        yield from _code(facts, by)
        if facts.parameters and not (facts.run and self._run(facts.run)):  # else the run says them
            of = f"{kinds.RUN}/{facts.run}" if facts.run else f"{kinds.VERSION}/{version.id}"
            yield Edge(source=_parameters(of, facts.parameters), target=by, how="parameters")
        if facts.parent:
            yield Edge(source=self._reference(facts.parent), target=made, how="trained on from")

    def _input(self, said: Input) -> Thing:
        if said.kind == _MODEL:
            return self._reference(f"{said.name}/{said.version}" if said.version else said.name)
        if said.kind == kinds.OUTSIDE:
            return outside.named(said.name, said.version)
        return rules.thing(said.kind, self._place[0], said.name, said.version, digest=said.digest[: rules.SHORT])

    def _reference(self, text: str) -> Thing:
        """A version as somebody wrote it; what is not known here is shown as it was written."""
        name, _, number = text.rpartition("/")
        if name and number.isdecimal() and number.isascii() and len(number) < 10:
            if id := registry.id_of(self._tx, self._place[0], name, int(number)):
                return self.version(self._record(id))
            try:
                return self.version(registry.version(self._tx, self._place, name, int(number)))
            except NotFound:
                pass
        return rules.thing(_MODEL, self._place[0], text)

    # --- runs

    def run(self, id: str) -> Thing:
        """A run under the name that it has now."""
        return runs.thing(self._place[0], id, self._run(id))

    def _run(self, id: str) -> Run | None:
        if id not in self._runs:
            self._runs[id] = self._tracked.get(self._place[0], id)
        return self._runs[id]

    def _read_runs(self, things: Sequence[Thing]) -> None:
        wanted = [id for each in things if (id := self._own_run(each)) and id not in self._runs]
        wanted += [each.facts.run for each in self._records.values() if each.facts.run not in (*self._runs, "")]
        self._runs |= self._tracked.several(self._place[0], list(dict.fromkeys(wanted)))
        for kind in dict.fromkeys(each.kind for each in things):
            names = [name for each in things if each.kind == kind for name in self._read_as(each)[1]]
            self._read_readers(_MODEL if kind == kinds.VERSION else kind, names)

    def _read_readers(self, kind: str, names: Iterable[str]) -> None:
        unknown = [name for name in dict.fromkeys(names) if (kind, name) not in self._readers]
        if unknown:
            found = self._tracked.that_read(self._place[0], kind, unknown)
            self._readers |= {(kind, name): runs for name, runs in found.items()}

    def _read_as(self, thing: Thing) -> tuple[str, list[str]]:
        """Kind and names under which a run says that it has read a thing; no names: none can say so."""
        if thing.kind in _NOT_READ:
            return thing.kind, []
        if thing.kind == kinds.VERSION:
            known_as = {self._record(thing.id.partition(":")[2]).reference, thing.name}
            return _MODEL, sorted(known_as | {each.rpartition("/")[0] for each in known_as})
        return thing.kind, sorted({thing.name, thing.name.rpartition("/")[0]})

    def _own_run(self, thing: Thing) -> str:
        """The run that a thing is, or is of; empty for others."""
        if thing.kind == kinds.RUN:
            return self._run_id(thing)
        of, _, id = thing.id.partition(":")[2].partition("/")
        return id if thing.kind == kinds.PARAMETERS and of == kinds.RUN else ""

    def _run_id(self, thing: Thing) -> str:
        return thing.id.removeprefix(f"{kinds.RUN}:{self._place[0]}/")

    def _of_runs(self, thing: Thing) -> Iterator[Edge]:
        for run in self._runs_that_name(thing):
            self._runs.setdefault(run.id, run)
            yield from self._edges_of_run(run)

    def _runs_that_name(self, thing: Thing) -> list[Run]:
        project, rest = self._place[0], thing.id.partition(":")[2]
        if thing.kind in (kinds.RUN, kinds.PARAMETERS):
            own = self._own_run(thing)
            found = self._run(own) if own else None
            return [found] if found else []
        if thing.kind in (kinds.COMMIT, kinds.BUNDLE, kinds.PYTHON_ENVIRONMENT):
            commit = rest if thing.kind == kinds.COMMIT else ""
            return self._tracked.with_code(project, _text(thing.kind, rest), commit)
        kind, names = self._read_as(thing)
        self._read_readers(kind, names)
        read = [run for name in names for run in self._readers[kind, name]]
        return read + (self._tracked.that_made(project, thing.name) if thing.kind == _MODEL else [])

    def _edges_of_run(self, run: Run) -> Iterator[Edge]:
        made = self.run(run.id)
        for each in run.inputs:
            source = self._input(Input(kind=each.kind, name=each.name, version=each.version))
            yield Edge(source=source, target=made, how=each.context or "input")
            if source.version and source.kind != kinds.VERSION:
                yield Edge(source=_unversioned(source), target=source, how=_STATE)
        yield from _code(run.source, made)
        if run.params:
            yield Edge(source=_parameters(f"{kinds.RUN}/{run.id}", run.params), target=made, how="parameters")
        for output in run.outputs:
            yield Edge(source=made, target=self._reference(output.model), how="made")

    # --- releases

    def _of_releases(self, thing: Thing) -> Iterator[Edge]:
        for release in self._releases_that_name(thing):
            yield from self._edges_of_release(release)

    def _releases_that_name(self, thing: Thing) -> list[Release]:
        project, rest = self._place[0], thing.id.partition(":")[2]
        if thing.kind == kinds.COMMIT:
            return environments.releases_naming(self._tx, project, commit=rest, past=self._past)
        if thing.kind in (kinds.VERSION, kinds.BUNDLE):
            return environments.releases_naming(self._tx, project, said=rest, past=self._past)
        if thing.kind == kinds.DEPLOYMENT and (found := deployments.get(self._tx, rest)) is not None:
            return environments.releases_naming(
                self._tx, project, said=found.digest, environment_name=found.environment, past=self._past
            )
        if thing.kind == kinds.RELEASE:
            return [environments.find(self._tx, rest)[0]]
        if thing.kind == kinds.SERVICE and thing.project == project:
            environment = thing.name.partition("/")[0]
            return environments.releases_naming(self._tx, project, environment_name=environment, past=self._past)
        return []

    def _edges_of_release(self, release: Release) -> Iterator[Edge]:
        """Release and deployments each come from code and versions. What comes of a version is told by the deployment
        that loads it: a release holds other services too."""
        made = _release(release)
        if release.commit:
            yield Edge(source=rules.known_by(kinds.COMMIT, release.commit, release.commit[: rules.SHORT]),
                       target=made, how="code")  # fmt: skip
        for name, each in sorted(environments.find(self._tx, release.id)[1].services.items()):
            service = rules.thing(kinds.SERVICE, release.project, f"{release.environment}/{name}")
            loads = self._deployment(release, name, each.digest) or service
            bundle = rules.known_by(kinds.BUNDLE, each.bundle, each.bundle[: rules.SHORT])
            if loads is not service:
                yield Edge(source=loads, target=service, how="answers for")
            for target in (made, loads):
                yield Edge(source=bundle, target=target, how="code")
                for word, pin in sorted(each.models.items()):
                    version = self.version(self._record(pin.id))
                    yield Edge(source=version, target=target, how="pinned" if target is made else f"as {word}")
            if release.commit:
                yield _holds(release.commit, each.bundle)

    def _deployment(self, release: Release, service: str, digest: str) -> Thing | None:
        found = deployments.of_service(self._tx, (release.project, release.environment), service, digest)
        if found is None or found.state == STOPPED:
            return None
        return rules.known_by(
            kinds.DEPLOYMENT,
            found.id,
            f"{release.environment}/{service}",
            state=found.state,
            release=f"{found.release}",
        )


def release_thing(tx: sa.Connection, place: tuple[str, str], number: int) -> Thing:
    return _release(environments.find_number(tx, place, number)[0])


def _release(release: Release) -> Thing:
    name = f"{release.environment}/{release.number}"
    return rules.known_by(kinds.RELEASE, release.id, name, state=release.state, by=release.created_by)


def _code(said: Facts | Source, by: Thing) -> Iterator[Edge]:
    for kind, id in (
        (kinds.COMMIT, said.commit), (kinds.BUNDLE, said.bundle), (kinds.PYTHON_ENVIRONMENT, said.python_environment),
    ):  # fmt: skip
        if id:
            yield Edge(source=rules.known_by(kind, id, id[: rules.SHORT]), target=by, how="code")
    if said.commit and said.bundle:
        yield _holds(said.commit, said.bundle)


def _parameters(of: str, parameters: Mapping[str, str]) -> Thing:
    said = [f"{key}={value}" for key, value in sorted(parameters.items())]
    shown = ", ".join(said[:_SHOWN_PARAMETERS]) + (", …" if len(said) > _SHOWN_PARAMETERS else "")
    return rules.known_by(kinds.PARAMETERS, of, shown, **parameters)


def _unversioned(thing: Thing) -> Thing:
    if thing.kind == kinds.OUTSIDE:
        return outside.named(thing.name)
    return rules.thing(thing.kind, thing.project, thing.name)


def _holds(commit: str, bundle: str) -> Edge:
    source = rules.known_by(kinds.COMMIT, commit, commit[: rules.SHORT])
    return Edge(source=source, target=rules.known_by(kinds.BUNDLE, bundle, bundle[: rules.SHORT]), how="holds")


def _text(field: str, value: str) -> str:
    """A field as it stands in a row of JSON."""
    return f'"{field}":{msgspec.json.encode(value).decode()}'
