"""Brings the traces of an MLflow server over: what each was as a whole, its spans and other files, and what was thought
of it. Servers of MLflow 2 are asked for them in another way, and have spans in files only.

A trace gets the tag `imported.from` when all of it has come, and `imported.files`, how many files that was, so that a
later time passes over it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from bough.entrypoints.mlflow import spans, traces_said
from bough.entrypoints.mlflow.importing_files import Files, place_of
from bough.entrypoints.mlflow.source import FROM, Source
from bough.kernel.errors import Invalid, NotFound

_SEARCH, _SEARCH_2 = "/api/3.0/mlflow/traces/search", "/api/2.0/mlflow/traces"
_KEPT = "mlflow.trace.spansLocation"
_SPANS_FILE = "traces.json"
_FILES = "imported.files"
_PAGE = 100
_SPANS = 5000  # in one request
_LOCATIONS = 100  # experiments that are searched at once

Ask = Callable[..., Any]  # an operation of the project that gets them


class _Assessed(traces_said.Assessed, frozen=True):
    assessment_id: str = ""
    create_time: str = ""
    last_update_time: str = ""


def bring(source: Source, ask: Ask, number: str, experiment: str, counts: Counter[str], files: Files) -> bool:
    """Those of one experiment; says whether it has any. A server of before there were any has none."""
    page, some = list[dict[str, Any]](), False
    ours = ask("experiments.show", id=experiment)
    for each in search(source, [number]):
        some = True
        page.append(each)
        if len(page) == _PAGE:
            _page(source, ask, page, ours, counts, files)
            page = []
    _page(source, ask, page, ours, counts, files)
    return some


def link(source: Source, ask: Ask, runs: Iterable[str], numbers: list[str]) -> None:
    """`runs`: all that came. `numbers`: of the experiments that have traces. What a run has traced itself says so."""
    for run in runs if numbers else ():
        for start in range(0, len(numbers), _LOCATIONS):
            found = list(search(source, numbers[start : start + _LOCATIONS], filter=f"run_id = '{run}'"))
            ids = [each["trace_id"] for each in found if each.get("trace_metadata", {}).get(traces_said.RUN) != run]
            for at in range(0, len(ids), traces_said.MOST_LINKED):
                ask("traces.link", ids=ids[at : at + traces_said.MOST_LINKED], run=run)


def search(source: Source, numbers: list[str], **more: Any) -> Iterator[dict[str, Any]]:
    """Traces of these experiments, the oldest first."""
    places = [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": each}} for each in numbers]
    body: dict[str, Any] = {"locations": places, "max_results": _PAGE, "order_by": ["timestamp_ms ASC"], **more}
    try:
        found = source.post(_SEARCH, **body)
    except (Invalid, NotFound):
        yield from _search_2(source, numbers) if not more else ()  # there a run has traced all that are its
        return
    while True:
        yield from found.get("traces", [])
        if not (token := found.get("next_page_token", "")):
            return
        found = source.post(_SEARCH, **body, page_token=token)


def _search_2(source: Source, numbers: list[str]) -> Iterator[dict[str, Any]]:
    """What a server of MLflow 2 has, as one of MLflow 3 would say it."""
    query: dict[str, Any] = {"experiment_ids": numbers, "max_results": _PAGE, "order_by": ["timestamp_ms ASC"]}
    while True:
        try:
            found = source.get(_SEARCH_2, **query)
        except (Invalid, NotFound):  # of before there were traces
            return
        yield from (traces_said.as_said_later(each) for each in found.get("traces", []))
        if not (token := found.get("next_page_token", "")):
            return
        query["page_token"] = token


def _page(
    source: Source, ask: Ask, found: list[dict[str, Any]], experiment: Any, counts: Counter[str], files: Files
) -> None:
    if not found:
        return
    place = experiment.location.rstrip("/")
    there = {each.id: each for each in ask("traces.several", ids=[each["trace_id"] for each in found]).traces}
    for each in found:
        info, ours = msgspec.convert(each, traces_said.Info), there.get(each["trace_id"])
        thought = msgspec.convert(each.get("assessments", []), list[_Assessed])
        counts.update({"traces": 1, "assessments": len(thought)})
        known = {one.id for one in ours.get("assessments", [])} if ours else set()
        before = ours.get("tags", {}) if ours else {}
        came = before.get(FROM) == source.url
        if not came:
            where = {traces_said.LOCATION: f"{place}/traces/{info.trace_id}/artifacts"}
            tags = {key: value for key, value in info.tags.items() if key != _KEPT}
            whole = msgspec.structs.replace(info, tags=tags, assessments=[])
            ask("traces.put", experiment_id=experiment.id, **traces_said.summary(whole, where))
            _spans(source, ask, info, experiment.id, counts)
        for said in sorted(thought, key=lambda one: one.create_time):
            if said.assessment_id not in known:
                _assess(ask, info.trace_id, said)
        if came and _FILES in before:
            counts["artifacts"] += int(before[_FILES])
            continue
        number = _files(files, info)
        if info.state != "IN_PROGRESS":  # more of it may come
            ask("traces.tag", id=info.trace_id, tags={FROM: source.url, _FILES: str(number)})


def _spans(source: Source, ask: Ask, info: traces_said.Info, experiment: str, counts: Counter[str]) -> None:
    try:
        read = [spans.read(each) for each in _kept(source, info, counts)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Invalid(
            f"{source.url} has spans of {info.trace_id} that cannot be read: {error!r}",
            code="SOURCE_REFUSED", hint="can MLflow's own client read them?",
        ) from error  # fmt: skip
    for start in range(0, len(read), _SPANS):
        batch = {"trace": info.trace_id, "spans": read[start : start + _SPANS], "tags": traces_said.STORED}
        ask("traces.add", experiment_id=experiment, traces=[batch])


def _kept(source: Source, info: traces_said.Info, counts: Counter[str]) -> list[Any]:
    if info.tags.get(_KEPT) == "TRACKING_STORE":
        whole = source.get("/api/3.0/mlflow/traces/get", trace_id=info.trace_id, allow_partial="true")
        return list(whole.get("trace", {}).get("spans", []))
    place = place_of(info.tags.get(traces_said.LOCATION, ""))
    if not place:
        counts["elsewhere"] += 1
        return []
    try:
        with source.download(place, _SPANS_FILE) as content:
            content.seek(0)
            return list(json.loads(content.read())["spans"])
    except (Invalid, NotFound):  # it never got any
        return []


def _files(files: Files, info: traces_said.Info) -> int:
    """Those beside its spans, which are no file here."""
    place = place_of(info.tags.get(traces_said.LOCATION, ""))
    in_a_file = info.tags.get(_KEPT) != "TRACKING_STORE"
    return files.bring(info.trace_id, place, but=_SPANS_FILE if in_a_file else "") if place else 0


def _assess(ask: Ask, trace: str, said: _Assessed) -> None:
    times = {"created_at": said.create_time, "updated_at": said.last_update_time}
    known: Mapping[str, float] = {name: traces_said.seconds_at(text) for name, text in times.items() if text}
    ask("assessments.create", trace=trace, assessment=traces_said.fresh(said), id=said.assessment_id, **known)
