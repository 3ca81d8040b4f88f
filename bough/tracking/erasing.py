"""Forgetting somebody in what programs have reported: traces and artifacts go, and in what runs, logged models and
experiments say their words are replaced."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import sqlalchemy as sa

from bough.kernel.subjects import REWRITTEN, Named, Reached, Subject
from bough.tracking import traces

Open = Callable[[], AbstractContextManager[sa.Connection]]

_EXPERIMENTS = "SELECT id FROM experiment WHERE project = :project"
_RUNS = f"SELECT id FROM run WHERE experiment IN ({_EXPERIMENTS})"
_MODELS = f"SELECT id FROM logged_model WHERE experiment IN ({_EXPERIMENTS})"
_SAID = (  # by what: the tables, whose row it is, and the columns of texts that may be replaced
    ("run", "SELECT id, run_id FROM run", (
        ("run", "id", ("name", "source"), _RUNS),
        ("param", "owner", ("key", "value"), _RUNS),
        ("tag", "owner", ("key", "value"), _RUNS),
        ("input", "owner", ("name", "version", "source", "schema", "profile", "tags"), _RUNS),
        ("metric", "owner", ("key",), f"SELECT owner FROM latest WHERE owner IN ({_RUNS}) AND names(key)"),
        ("latest", "owner", ("key",), _RUNS),
    )),
    ("logged model", "SELECT id, model_id FROM logged_model", (
        ("logged_model", "id", ("name", "message"), _MODELS),
        ("logged_model_param", "owner", ("key", "value"), _MODELS),
        ("logged_model_tag", "owner", ("key", "value"), _MODELS),
        ("logged_model_metric", "owner", ("key", "dataset"), _MODELS),
    )),
    ("experiment", "SELECT id, number FROM experiment", (
        ("experiment_tag", "owner", ("key", "value"), _EXPERIMENTS),
    )),
)  # fmt: skip
_TRACES = """
SELECT t.trace_id, e.number FROM trace t JOIN experiment e ON e.id = t.experiment WHERE t.project = :project AND (
    names(t.request) OR names(t.response) OR names(t.request_id) OR EXISTS (
        SELECT 1 FROM span WHERE owner = t.id AND (names(content) OR names(name))
        UNION ALL SELECT 1 FROM trace_tag WHERE owner = t.id AND (names(key) OR names(value))
        UNION ALL SELECT 1 FROM trace_metadata WHERE owner = t.id AND (names(key) OR names(value))
        UNION ALL SELECT 1 FROM assessment WHERE owner = t.id AND (names(content) OR names(value) OR names(name))))
"""
_ARTIFACTS = f"""
SELECT owner, path, digest FROM artifact WHERE owner IN (
    SELECT run_id FROM run WHERE experiment IN ({_EXPERIMENTS})
    UNION ALL SELECT model_id FROM logged_model WHERE experiment IN ({_EXPERIMENTS})
    UNION ALL SELECT project || '/' || trace_id FROM trace WHERE project = :project)
"""


def reach(write: Open, subject: Subject) -> Reached:
    """All in one transaction, during which programs that report wait."""
    with write() as tx:
        subject.teach(tx)
        named = [*_artifacts(tx, subject), *(_traces(tx, subject) if subject.texts else ())]
        named += _said(tx, subject) if subject.texts else ()
        remains = _experiments(tx, subject) if subject.texts else []
    return Reached(done=named, remains=remains)


def _artifacts(tx: sa.Connection, subject: Subject) -> list[Named]:
    found = []
    for owner, path, digest in tx.exec_driver_sql(_ARTIFACTS, {"project": subject.project}).all():
        if digest in subject.digests or subject.is_in(path):
            found.append(Named(kind="artifact", key=f"{owner} {path}"))
            if not subject.dry_run:
                tx.exec_driver_sql("DELETE FROM artifact WHERE owner = ? AND path = ?", (owner, path))
    return found


def _traces(tx: sa.Connection, subject: Subject) -> list[Named]:
    found = tx.exec_driver_sql(_TRACES, {"project": subject.project}).all()
    for trace, experiment in found if not subject.dry_run else ():
        traces.remove(tx, subject.project, str(experiment), [trace], None, None)
    return [Named(kind="trace", key=trace) for trace, _ in found]


def _said(tx: sa.Connection, subject: Subject) -> list[Named]:
    of_project = {"project": subject.project}
    found = []
    for kind, ids, tables in _SAID:
        owners = set[int]()
        for table, own, columns, rows in tables:
            for column in columns:
                where = f"WHERE {own} IN ({rows}) AND names({column})"
                owners |= set(tx.exec_driver_sql(f"SELECT DISTINCT {own} FROM {table} {where}", of_project).scalars())
                if not subject.dry_run:  # a key that is there already is replaced by what takes its name
                    sql = f"UPDATE OR REPLACE {table} SET {column} = without({column}) {where}"
                    tx.exec_driver_sql(sql, of_project)
        known = {row[0]: row[1] for row in tx.exec_driver_sql(ids)} if owners else {}
        found += [Named(kind=kind, key=str(known[owner]), done=REWRITTEN) for owner in sorted(owners)]
    return found


def _experiments(tx: sa.Connection, subject: Subject) -> list[str]:
    """Their names are what programs find them by."""
    sql = f"SELECT number FROM experiment WHERE id IN ({_EXPERIMENTS}) AND names(name)"
    numbers = tx.exec_driver_sql(sql, {"project": subject.project}).scalars()
    return [f"the name of experiment {each}: bough experiments rename {each} NAME" for each in numbers]
