"""`bough models explain`: which inputs a served model's answers come from, found by asking it."""

from __future__ import annotations

import contextlib
import csv
import http.client
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import msgspec

from bough.entrypoints.cli import data_store
from bough.entrypoints.cli.drawing import columns_of
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session, project_name
from bough.kernel.errors import Invalid, NotFound, WorkloadFailed


def run(
    session: Session, service: str, data: Path, target: str, project: str, environment: str, rows: int, repeats: int,
    each_row: tuple[int, ...], named: bool, model: str,
) -> None:  # fmt: skip
    from bough.registry import explaining  # brings numpy

    project = project or project_name()
    names, table, answers = _read(data, target, rows)
    url = _url(session, project, environment, service)
    predict = _asking(url, names if named or _takes(url, names) else [])
    if each_row:
        if wrong := [at for at in each_row if at >= len(table)]:
            raise Invalid(f"there is no row {wrong[0]}", code="EXPLAIN_DATA_INVALID", hint=f"0 to {len(table) - 1}")
        found = explaining.attributions(predict, [table[at] for at in each_row], table, names)
        told = [msgspec.structs.replace(each, row=at) for each, at in zip(found, each_row, strict=True)]
        session.answer(msgspec.to_builtins(told), text="\n\n".join(_drawn(each) for each in told))
        return
    whole = explaining.importances(predict, table, answers, names, repeats=repeats)
    if model:
        fields = {"project": project, "environment": environment, "model": model}
        session.client().models.explained(**fields, explanation=msgspec.to_builtins(whole))
    lines = [[each.input, f"{each.mean:.4f}", f"± {each.spread:.4f}"] for each in whole.importances]
    kept = f"\nkept with {model}" if model else ""
    text = f"{whole.score} {whole.baseline:.4f} on {whole.rows} rows; how much worse without\n"
    session.answer(msgspec.to_builtins(whole), text=text + columns_of([["INPUT", "MEAN", ""], *lines]) + kept)


def _read(path: Path, target: str, most: int) -> tuple[list[str], list[list[Any]], list[Any]]:
    """Names, rows and right answers of a CSV file with a heading."""
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        listed = [row for _, row in zip(range(most), reader, strict=False)]
        names = [name for name in reader.fieldnames or [] if name != target]
    if target and listed and target not in listed[0]:
        raise Invalid(
            f"{path} has no column {target!r}", code="EXPLAIN_DATA_INVALID", hint=f"it has {', '.join(names[:20])}"
        )
    table = [[_value(row[name]) for name in names] for row in listed]
    return names, table, [_value(row[target]) for row in listed] if target else [0.0] * len(listed)


def _value(text: str) -> Any:
    try:
        return float(text) if any(char in text for char in ".eEnN") else int(text)
    except ValueError:
        return text


def _url(session: Session, project: str, environment: str, service: str) -> str:
    for each in session.client().services.list(project=project, environment=environment):
        if each.service == service:
            return str(each.url)
    raise NotFound(f"{project}/{environment} has no service {service!r}", code="SERVICE_NOT_FOUND", hint="bough status")


def _takes(url: str, names: list[str]) -> bool:
    """Whether the columns are the names of the service's inputs, each of them."""
    split = urlsplit(url)
    connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", f"/v2/models/{split.path.split('/')[2]}")
        answer = connection.getresponse()
        content = answer.read()
    if answer.status != 200:
        return False
    return {each["name"] for each in json.loads(content).get("inputs", [])} == set(names)


def _asking(url: str, names: list[str]) -> Callable[[list[list[Any]]], list[Any]]:
    """One request for each row, on one connection; an object by name where the model knows names."""
    split = urlsplit(url)
    connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=60)

    def predict(rows: list[list[Any]]) -> list[Any]:
        answers = []
        for row in rows:
            body = json.dumps(dict(zip(names, row, strict=True)) if names else row)
            connection.request("POST", split.path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise WorkloadFailed(
                    f"the model answers {answer.status}: {content[:300].decode('utf-8', 'replace')}",
                    code="EXPLAIN_REFUSED", hint="look whether the columns are the model's inputs, or try --named",
                )  # fmt: skip
            answers.append(json.loads(content))
        return answers

    return predict


def _drawn(each: Any) -> str:
    ordered = sorted(each.values.items(), key=lambda pair: -abs(pair[1]))
    lines = [["row " + str(each.row), f"{each.answer:.4f}"], ["usually", f"{each.base:.4f}"]]
    return columns_of([*lines, *([name, f"{value:+.4f}"] for name, value in ordered)])


command = make(
    "explain",
    "Says which inputs a service's answers come from, by asking it.\n\nImportances over all rows: how much worse the "
    "answers are when a column is shuffled (scikit-learn). With --row, Shapley values of single answers (shap). Needs "
    "pip install 'bough[explain]' where the command runs; the model's own code is not touched.",
    [
        click.Argument(["service"], metavar="SERVICE", help="A model service that is live."),
        click.Option(["--data"], required=True, metavar="CSV",
                     type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Rows, with a heading."),
        click.Option(["--target"], default="", metavar="COLUMN", help="The column with the right answers."),
        *data_store.common(),
        click.Option(["--rows"], default=200, show_default=True, type=click.IntRange(1, 10_000), help="Rows at most."),
        click.Option(["--repeats"], default=5, show_default=True, type=click.IntRange(1, 100),
                     help="How often each column is shuffled."),
        click.Option(["--row", "each_row"], multiple=True, type=click.IntRange(min=0), metavar="NUMBER",
                     help="Explain the answer to this row, from 0, instead. Repeatable."),
        click.Option(["--named"], is_flag=True,
                     help="Send rows as objects, not as lists, also where columns are not called as the inputs are."),
        click.Option(["--model"], default="", metavar="MODEL", help="Keep the importances with this version."),
    ],
    run,
    examples="Examples:\n  bough models explain scorer --data rows.csv --target churned --model churn@champion\n"
    "  bough models explain scorer --data rows.csv --target churned --row 0",
)  # fmt: skip
