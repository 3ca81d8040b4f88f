"""OpenLineage events (openlineage.io/spec 2-0-2) as things and edges, and the names that both sides use.

A job of others is one thing, whichever of its runs reports; its details are those of the newest. Datasets whose
namespace is `bough://PROJECT` are things of that project: `dataset/NAME`, `table/NAME`, `feature_view/NAME`. A dataset
of others that gives one of these among its symlinks is the same thing.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from bough.kernel.errors import Invalid
from bough.lineage import models as kinds
from bough.lineage import outside, rules
from bough.lineage.models import Edge, Thing

NAMESPACE = "bough://"
MOST_TEXT, MOST_DATASETS = 2000, 2000  # characters of a name; inputs or outputs of one event
SHOWN_TEXT = 200  # characters of a detail
STATES = {"START": "started", "RUNNING": "running", "COMPLETE": "finished", "ABORT": "killed", "FAIL": "failed",
          "OTHER": ""}  # fmt: skip
_OURS = (kinds.DATASET, kinds.TABLE, kinds.FEATURE_VIEW)


class _Dataset(msgspec.Struct, frozen=True):
    namespace: str
    name: str
    facets: dict[str, Any] | None = None


class _Job(msgspec.Struct, frozen=True):
    namespace: str
    name: str
    facets: dict[str, Any] | None = None


class _Run(msgspec.Struct, frozen=True):
    runId: str
    facets: dict[str, Any] | None = None


class _Event(msgspec.Struct, frozen=True):
    """A RunEvent, a JobEvent (no run) or a DatasetEvent (a dataset alone)."""

    eventTime: str
    producer: str
    schemaURL: str
    eventType: str | None = None
    run: _Run | None = None
    job: _Job | None = None
    inputs: list[_Dataset] | None = None
    outputs: list[_Dataset] | None = None
    dataset: _Dataset | None = None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What an event says. `at`: by its own time."""

    at: float
    things: list[Thing]
    edges: list[Edge]


def read(event: Any) -> Told:
    """An event as plain data. Raises `Invalid` (EVENT_INVALID) for what is not one."""
    try:
        said = msgspec.convert(event, _Event)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    at = _time(said.eventTime)
    if said.dataset is not None and said.job is None and said.run is None:
        return Told(at=at, things=[_dataset(said.dataset)], edges=[])
    if said.job is None:
        raise _invalid("it has neither a job nor a dataset")
    if said.run is not None:
        _check_run(said.run.runId, said.eventType)
    job = _job(said)
    inputs, outputs = _datasets(said.inputs), _datasets(said.outputs)
    edges = [Edge(source=each, target=job, how="read") for each in inputs]
    edges += [Edge(source=job, target=each, how="wrote") for each in outputs]
    return Told(at=at, things=_once([job, *inputs, *outputs]), edges=edges)


def dataset_name(kind: str, name: str) -> str:
    """How a thing of a project is called in its namespace."""
    return f"{kind}/{name}"


def run_id(id: str) -> str:
    """OpenLineage names runs by UUIDs: the same one for the same id, ever."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{NAMESPACE}{id}"))


def _job(said: _Event) -> Thing:
    assert said.job is not None  # noqa: S101 - `read` has looked
    found = outside.job(_full(said.job.namespace, said.job.name))
    details = {"state": STATES.get(said.eventType or "", ""), "run": said.run.runId if said.run else ""}
    details |= {"at": said.eventTime, "producer": said.producer, **_facets(said.job.facets)}
    return msgspec.structs.replace(found, details=_shown(details))


def _dataset(said: _Dataset) -> Thing:
    symlinks = _at(said.facets, "symlinks", "identifiers")
    names = [(said.namespace, said.name)]
    for each in symlinks if isinstance(symlinks, list) else ():
        if isinstance(each, dict):
            names.append((str(each.get("namespace", "")), str(each.get("name", ""))))
    found = next((ours for each in names if (ours := _ours(*each)) is not None), None)
    if found is None:
        found = outside.named(_full(said.namespace, said.name))
    return msgspec.structs.replace(found, details=_shown(_facets(said.facets)))


def _ours(namespace: str, name: str) -> Thing | None:
    kind, _, rest = name.partition("/")
    project = namespace.removeprefix(NAMESPACE)
    if not namespace.startswith(NAMESPACE) or not project or "/" in project or kind not in _OURS or not rest:
        return None
    _check(project)
    _check(rest)
    return rules.thing(kind, project, rest)


def _facets(facets: dict[str, Any] | None) -> dict[str, str]:
    """What of the many facets is shown."""
    fields, owners = _at(facets, "schema", "fields"), _at(facets, "ownership", "owners")
    return {
        "version": _word(_at(facets, "version", "datasetVersion")),
        "fields": ", ".join(_listed(fields, "name", "type")),
        "owners": ", ".join(_listed(owners, "name")),
        "description": _word(_at(facets, "documentation", "description")),
        "code": _word(_at(facets, "sourceCodeLocation", "url")),
    }


def _at(facets: dict[str, Any] | None, facet: str, key: str) -> Any:
    found = (facets or {}).get(facet)
    return found.get(key) if isinstance(found, dict) else None


def _listed(found: Any, *keys: str) -> list[str]:
    every = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    return [" ".join(filter(None, (_word(each.get(key)) for key in keys))) for each in every]


def _word(found: Any) -> str:
    return found if isinstance(found, str) else ""


def _shown(details: dict[str, str]) -> dict[str, str]:
    """Short, and as a database can keep it."""
    return {key: _valid(value)[:SHOWN_TEXT] for key, value in details.items() if value}


def _valid(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _datasets(found: Iterable[_Dataset] | None) -> list[Thing]:
    every = list(found or ())
    if len(every) > MOST_DATASETS:
        raise _invalid(f"it names {len(every):,} datasets, and at most {MOST_DATASETS:,} are read")
    return _once(_dataset(each) for each in every)


def _once(things: Iterable[Thing]) -> list[Thing]:
    return list({each.id: each for each in things}.values())


def _full(namespace: str, name: str) -> str:
    _check(namespace)
    _check(name)
    return f"{namespace.rstrip('/')}/{name}"


def _check(text: str) -> None:
    if not text or len(text) > MOST_TEXT:
        raise _invalid(f"names have 1 to {MOST_TEXT:,} characters")
    if _valid(text) != text or not text.isprintable():
        raise _invalid("a name holds characters that no text should")


def _check_run(id: str, state: str | None) -> None:
    try:
        uuid.UUID(id)
    except ValueError:
        raise _invalid(f"runId: {id[:100]!r} is no UUID") from None
    if state is not None and state not in STATES:
        raise _invalid(f"eventType: {state[:100]!r} is none of {', '.join(STATES)}")


def _time(text: str) -> float:
    try:
        if "t" not in text.lower():
            raise ValueError
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise _invalid(f"eventTime: {text[:100]!r} is no time") from None


def _invalid(why: str) -> Invalid:
    return Invalid(
        f"this is no OpenLineage event; {why}", code="EVENT_INVALID",
        hint="send a RunEvent, a JobEvent or a DatasetEvent: openlineage.io/spec",
    )  # fmt: skip
