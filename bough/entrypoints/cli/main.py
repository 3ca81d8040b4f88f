"""`bough`: finds the command that is wanted, imports only that one, and turns every error into three short lines."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import click

from bough.entrypoints.cli import derived
from bough.entrypoints.cli.options import common
from bough.entrypoints.cli.session import Session, colour_on
from bough.kernel.errors import Detail, Exhausted, Invalid, NotFound, Problem
from bough.kernel.files import as_exhausted

# Written by hand, in the order of a first day; the sentence is what `bough --help` shows without importing the module.
HAND_WRITTEN = {
    "init": "Makes a new project.",
    "up": "Starts Bough on this machine.",
    "deploy": "Deploys the project in this folder and prints its URLs.",
    "train": "Runs a job with the files of this folder and follows it to its end.",
    "plan": "Says what a deploy would change.",
    "open": "Prints the URLs of the services.",
    "logs": "Prints the output of services.",
    "dev": "Serves the project in this folder, again after every change.",
    "explain": "Shows every setting's value and where it came from.",
    "check": "Checks what a program promises, before it is deployed.",
    "doctor": "Shows what this machine can do.",
    "git": "Lets git drive environments: a remote to push to, or hooks that follow what is committed.",
    "down": "Stops Bough on this machine.",
}
# Members of groups that read or write files of this machine, in modules `GROUP_WORD`; one that is named as an operation
# takes its place.
IN_GROUPS = {
    "audit": ("export",),
    "baselines": ("add",),
    "chaos": ("preempt",),
    "ci": ("init", "run"),
    "data": ("get", "mount", "put", "run", "verify"),
    "db": ("add", "backup", "migrate", "restore", "shell"),
    "export": ("mlflow",),
    "import": ("mlflow",),
    "jobs": ("logs",),
    "mirrors": ("page",),
    "models": ("card", "explain", "get", "register", "sbom"),
    "promotions": ("timeline",),
    "optimize": ("distill", "quantize"),
    "runs": ("compare",),
    "scale": ("show", "simulate"),
    "secrets": ("set",),
    "tables": ("append", "create", "diff", "export", "query", "upsert"),
}
# Operations without a group whose answer is drawn in a way of its own, in modules of that name.
IN_PLACE = ("lineage",)
_EVERYDAY = ("status", "releases", "rollback")
INTERRUPTED, PIPE_CLOSED = 130, 141
GARBAGE = 100_000  # new objects before one looks for garbage: more than a command loads, little for one that goes on


class Bough(click.Group):
    """Commands are looked up by name; help needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*HAND_WRITTEN, *sorted({*_tree(), *IN_GROUPS} - HAND_WRITTEN.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in HAND_WRITTEN:
            module = importlib.import_module(f"bough.entrypoints.cli.{cmd_name}")
            found: click.Command = module.command
            return found
        entry = _tree().get(cmd_name, {} if cmd_name in IN_GROUPS else None)
        if entry is None:
            return None
        return _command(cmd_name, entry)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """As click does, with the nearest name when there is none."""
        import difflib

        if not self.get_command(ctx, args[0]):
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), 1)
            raise click.UsageError(
                f"there is no command {args[0]!r}" + (f"; did you mean {near[0]!r}?" if near else ""), ctx
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        tree: dict[str, Any] = {name: {} for name in IN_GROUPS} | _tree()
        every = dict(HAND_WRITTEN) | {
            name: _summary(name, entry) for name, entry in tree.items() if name not in HAND_WRITTEN
        }
        first = [*HAND_WRITTEN][:4] + list(_EVERYDAY) + [*HAND_WRITTEN][4:]
        for title, names in (("Commands", first), ("More", sorted(every.keys() - set(first)))):
            with formatter.section(title):
                formatter.write_dl([(name, every[name]) for name in names])


def _tree() -> dict[str, Any]:
    """First word -> {"": (name, operation), second word: (name, operation)}."""
    from bough.client.contract import contract

    tree: dict[str, Any] = {word: {} for word in IN_GROUPS}
    for name, operation in contract()["operations"].items():
        first, _, second = operation["command"].partition(" ")
        tree.setdefault(first, {})[second] = (name, operation)
    return tree


def _command(word: str, entry: dict[str, Any]) -> click.Command:
    if word in IN_PLACE:
        return _member(word)
    by_hand = {second: _member(f"{word}_{second}") for second in IN_GROUPS.get(word, ())}
    members = {second: derived.build(*found) for second, found in sorted(entry.items()) if second}
    members = dict(sorted((members | by_hand).items()))
    name, operation = entry.get("", ("", None))
    if not members:
        return derived.build(name, operation)
    return derived.as_group(name, operation, word, members)


def _member(module: str) -> click.Command:
    found: click.Command = importlib.import_module(f"bough.entrypoints.cli.{module}").command
    return found


def _summary(word: str, entry: dict[str, Any]) -> str:
    members = sorted({second for second in entry if second}.union(IN_GROUPS.get(word, ())))
    if "" in entry:
        text: str = entry[""][1]["help"].partition("\n")[0]
        return text + (f" Also: {', '.join(members)}." if members else "")
    return ", ".join(members)


def application() -> Bough:
    return Bough(
        "bough",
        params=[
            *common(),
            click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version),
        ],
        help="Bough takes a model from a folder to a URL, on your own machines.",
        epilog="Start with: bough init hello && cd hello && bough up && bough deploy",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )


def run(arguments: list[str], session: Session | None = None) -> int:
    """Runs one command; returns its exit code (kernel/errors.py, docs/cli/exit-codes.md)."""
    session = session or Session()
    session.json = "--json" in arguments  # also for errors in the words before it
    try:
        application().main(arguments, prog_name="bough", standalone_mode=False, obj=session)
    except Problem as problem:
        return report(session, problem)
    except click.exceptions.NoArgsIsHelpError as asked:
        print(asked.ctx.get_help() if asked.ctx else "")
        return 0
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "bough"
        return report(session, Invalid(error.format_message(), code="USAGE", hint=f"{path} --help"))
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:  # `bough logs | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except Exception as error:  # a fault of Bough's own: said in the same three lines, with the traceback on request
        if isinstance(error, OSError) and error.filename:
            return report(session, of_file(error))
        if os.environ.get("BOUGH_DEBUG"):
            traceback.print_exc()
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = f"bough failed: {type(error).__name__}: {error}; at {place.filename}:{place.lineno}"
        return report(session, Problem(what, hint="run it again with BOUGH_DEBUG=1 and report what it prints"))
    finally:
        session.close()
    return 0


def of_file(error: OSError) -> Problem:
    """What is wrong with a file that a command was told of."""
    path = Path(os.fsdecode(error.filename))
    try:
        with as_exhausted(path):
            raise error
    except Exhausted as problem:
        return problem
    except FileNotFoundError:
        there = next(each for each in (path, *path.parents) if each.exists() or each == each.parent)
        missing = path if path.parent == there else path.parent
        return NotFound(f"there is no {missing}", code="PATH_NOT_FOUND", hint=f"ls {there}")
    except OSError:
        return Invalid(f"{path} cannot be used: {error.strerror}", code="PATH_UNUSABLE", hint=f"ls -ld {path}")


def report(session: Session, problem: Problem) -> int:
    """What happened, why, what to do: three lines on stderr, or `{"error": …}` on stdout with --json."""
    detail = problem.detail()
    if session.json:
        from bough.entrypoints.cli.drawing import as_json

        print(as_json({"error": detail}), flush=True)
        return problem.exit_code
    for line in lines_of(detail, colour_on(sys.stderr)):
        print(line, file=sys.stderr)
    return problem.exit_code


def lines_of(detail: Detail, colour: bool) -> list[str]:
    what, _, why = detail.message.partition("; ")
    label = "\x1b[31merror\x1b[0m" if colour else "error"
    lines = [f"{label}: {what}", f"  why: {why} ({detail.code})" if why else f"  why: {detail.code}"]
    return lines + ([f"  try: {detail.hint}"] if detail.hint else [])


def _version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        import bough

        print(f"bough {bough.__version__}")
        context.exit()


def main() -> NoReturn:
    """The installed command. Looking for garbage in what it loads, and in all of it once more as the interpreter ends,
    would be a quarter of a short one."""
    gc.set_threshold(GARBAGE)
    code = run(sys.argv[1:])
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    main()
