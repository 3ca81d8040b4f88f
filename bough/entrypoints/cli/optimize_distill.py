"""`bough optimize distill`: a job that trains a small model on a large one's answers, ready to run."""

from __future__ import annotations

import json
from pathlib import Path

import click

from bough.data.models import File
from bough.data.transfer import get
from bough.entrypoints.cli import data_store, init
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session, project_name

TEMPLATE = Path(__file__).parents[2] / "optimizing/templates/distill"
_JOB = """
[jobs.distill]
kind = "train"
command = "python distill.py"
register = {student}
data = [{dataset}]
params = {{ transfer = {transfer}, label = {label}, width = 96, epochs = 120 }}

[jobs.distill.distill]  # the student is registered only if it passes
teacher = {teacher}
data = {data}
label = {label}
metric = {metric}
max_loss = {max_loss}
"""


def run(
    session: Session, teacher: str, transfer: str, data: str, local: Path, project: str, environment: str, student: str,
    label: str, metric: str, max_loss: float,
) -> None:  # fmt: skip
    client, project = session.client(), project or project_name()
    place = {"project": project, "environment": environment}
    version = client.models.resolve(model=teacher, **place)
    files = [File(**each) for each in client.models.files(model=teacher, **place)]
    written = init.lay_out(local, TEMPLATE, project)
    progress = data_store.progress(session, "fetching the teacher", len(files), sum(each.size for each in files))
    get([(each, local / "teacher" / each.path) for each in files], local, data_store.store(session), progress)
    progress.end()
    said = {
        "student": student or f"{version.name}-small", "dataset": transfer.partition("/")[0], "transfer": transfer,
        "label": label, "teacher": f"{version.name}/{version.number}", "data": data, "metric": metric,
    }  # fmt: skip
    with (local / "bough.toml").open("a", encoding="utf-8") as file:  # JSON's texts are TOML's
        file.write(_JOB.format(max_loss=max_loss, **{key: json.dumps(value) for key, value in said.items()}))
    text = f"{', '.join(written)} and teacher/ ({said['teacher']}) in {local}\nnext: cd {local} && bough train"
    session.answer({**said, "folder": str(local), "files": written}, text=text)


command = make(
    "distill",
    "Writes a job that trains a small student on a teacher's answers.\n\nThe student is measured beside its teacher "
    "when the job has succeeded, and registered only if it loses at most --max-loss and is smaller or faster; the "
    "teacher is its parent. The teacher is an ONNX model with one input; distill.py is yours to change.",
    [
        click.Argument(["teacher"], metavar="TEACHER", help="NAME@ALIAS or NAME/NUMBER."),
        click.Argument(["transfer"], metavar="TRANSFER", help="DATASET/PATH with rows to learn from: NPZ or CSV."),
        click.Argument(["data"], metavar="DATA", help="DATASET/PATH with rows to measure on."),
        data_store.local("local", "Folder to write into; made if need be."),
        *data_store.common(),
        click.Option(["--as", "student"], default="", metavar="MODEL", help="The student's model; NAME-small."),
        click.Option(["--label"], default="", metavar="COLUMN", help="The right answer; the teacher's without it."),
        click.Option(["--metric"], default="accuracy", show_default=True, help="accuracy, f1, auc, rmse or mae."),
        click.Option(["--max-loss"], type=float, default=0.02, show_default=True, help="Of the metric, at most."),
    ],
    run,
    examples="Example:\n  bough optimize distill digits@champion images/train.npz images/test.npz small --label digit",
)
