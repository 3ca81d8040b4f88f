"""`bough init`: a project to start from."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import click

from bough.entrypoints.cli import first_answer
from bough.entrypoints.cli.drawing import columns_of
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import FILE_NAME, Session
from bough.kernel.errors import Conflict, Invalid
from bough.kernel.files import as_exhausted
from bough.kernel.names import check_name, suggest_name

TEMPLATES = Path(__file__).with_name("templates")
DEFAULT = "minimal"
ABOUT = {
    "minimal": "a plain Python class, nothing to install",
    "model": "a scikit-learn classifier, with the script that trains it",
    "onnx": "a model file, no code",
    "web": "a FastAPI app with a Dockerfile",
    "stream": "answers word by word, for OpenAI's chat clients",
}
_NAME = re.compile(r'^name = "[^"]*"$', re.M)


def run(session: Session, folder: str, template: str, name: str, list_: bool) -> None:
    if list_:
        names = [{"template": key, "about": about} for key, about in ABOUT.items()]
        session.answer(names, text=columns_of([[each["template"], each["about"]] for each in names]))
        return
    root = Path(folder).absolute()
    chosen = check_name(name, "project") if name else suggest_name(root.name)
    written = write(root, template, chosen)
    first_answer.record_init(root)
    here = "" if root == Path.cwd() else f"cd {shlex.quote(folder)} && "
    text = f"{chosen}: {', '.join(written)} in {root}\nnext: {here}bough up && bough deploy"
    session.answer({"project": chosen, "folder": str(root), "template": template, "files": written}, text=text)


def write(root: Path, template: str, name: str) -> list[str]:
    """Lays the template's files into `root`; refuses to touch a file that is there."""
    return lay_out(root, TEMPLATES / template, name)


def lay_out(root: Path, source: Path, name: str) -> list[str]:
    files = sorted(path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    if not files:
        raise Invalid(
            f"there is no template {source.name!r}; there are {', '.join(ABOUT)}",
            code="TEMPLATE_UNKNOWN",
            hint="bough init --list",
        )
    taken = [str(path.relative_to(source)) for path in files if (root / path.relative_to(source)).exists()]
    if taken:
        raise Conflict(
            f"{root} has {', '.join(taken)} already; nothing was written",
            code="PROJECT_EXISTS" if FILE_NAME in taken else "FILE_EXISTS",
            hint="bough init NEW_FOLDER" if FILE_NAME not in taken else "bough deploy, or bough init NEW_FOLDER",
        )
    with as_exhausted(root):
        for path in files:
            target = root / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        project_file = root / FILE_NAME
        project_file.write_text(_NAME.sub(f'name = "{name}"', project_file.read_text("utf-8"), count=1), "utf-8")
    return [str(path.relative_to(source)) for path in files]


command = make(
    "init",
    "Makes a new project.\n\nWrites a few files into FOLDER (the present one without it) and never over a file that is "
    "there. `--list` shows the templates.",
    [
        click.Argument(["folder"], default=".", required=False, metavar="[FOLDER]", help="Made if need be."),
        click.Option(
            ["--template", "-t"], default=DEFAULT, show_default=True, metavar="NAME", help="What to start from."
        ),
        click.Option(["--name"], default="", metavar="NAME", help="The project's name; the folder's without it."),
        click.Option(["--list", "list_"], is_flag=True, help="Show the templates and write nothing."),
    ],
    run,
    examples="Example:\n  bough init hello --template model",
)
