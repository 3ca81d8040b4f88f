"""`bough git`: the user's repository and Bough."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import click

from bough.client.contract import operation
from bough.entrypoints.cli import derived, following, githooks
from bough.entrypoints.cli.checkout import Checkout
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.options import common
from bough.entrypoints.cli.session import Session, find_project, project_name
from bough.kernel import platform
from bough.kernel.errors import Conflict, NotFound, Problem

PAUSE_S = 0.3
_FOLLOW, _FOLDER, _COMMAND, _HOME, _URL = "bough.follow", "bough.folder", "bough.command", "bough.home", "bough.url"
_FOREGROUND, _PRODUCTION = "bough.foreground", "bough.production"


def install(session: Session, foreground: bool, production: bool) -> None:
    root = find_project(Path.cwd())
    checkout = Checkout.of(root)
    folder = str(root.resolve().relative_to(checkout.top.resolve()))
    chained = githooks.install(checkout.hooks)
    chosen = {_FOLLOW: "true", _COMMAND: _own_command(), _URL: session.remote}
    chosen |= {_HOME: "" if session.remote else str(session.home.path)}
    chosen |= {_FOREGROUND: "true" if foreground else "", _PRODUCTION: "true" if production else ""}
    for key, value in chosen.items():
        _set(checkout, key, value)
    if folder not in checkout.settings(_FOLDER):
        checkout.git("config", "--local", "--add", _FOLDER, folder)
    answer = {"hooks": str(checkout.hooks), "names": list(githooks.NAMES), "chained": chained,
              "log": str(following.log_of(checkout)), "folder": folder}  # fmt: skip
    text = f"hooks are in {checkout.hooks}: {', '.join(githooks.NAMES)}"
    if chained:
        text += f"\n  run after the ones that were there: {', '.join(chained)}"
    if not production:
        text += "\n  main is production and left alone; --production deploys it at every commit"
    session.answer(answer, text=text + "\n  what they do: bough git log --follow")


def uninstall(session: Session) -> None:
    checkout = Checkout.of(Path.cwd())
    removed = githooks.uninstall(checkout.hooks)
    for key in (_FOLLOW, _FOLDER, _COMMAND, _HOME, _URL, _FOREGROUND, _PRODUCTION):
        _set(checkout, key, "")
    text = f"removed from {checkout.hooks}: {', '.join(removed)}" if removed else "there was nothing to remove"
    session.answer({"hooks": str(checkout.hooks), "removed": removed}, text=text)


def remote(session: Session, name: str, project: str) -> None:
    checkout, project = Checkout.of(Path.cwd()), project or project_name()
    base = (session.remote or platform.load(session.home.path).api_url).rstrip("/")
    url = f"{base}/git/{project}"
    there = checkout.ask("remote", "get-url", name)
    if there and "/git/" not in there:
        raise Conflict(
            f"the remote {name!r} is {there}; that is no Bough",
            code="REMOTE_EXISTS",
            hint="bough git remote --name OTHER",
        )
    checkout.git("remote", *(["set-url", name, url] if there else ["add", name, url]))
    key = f"credential.{base}.helper"
    where = ["--url", session.remote] if session.remote else ["--home", str(session.home.path)]
    helper = "!" + shlex.join([_own_command(), *where, "git", "credential"])
    checkout.ask("config", "--local", "--unset-all", key)
    for value in ("", helper):  # the empty one: no other helper is asked, and none keeps the token
        checkout.git("config", "--local", "--add", key, value)
    session.answer({"name": name, "url": url}, text=f"{name} is {url}\n  git push {name} HEAD")


def credential(session: Session, action: str) -> None:
    """git's side of it: gitcredentials(7). Tokens are only given out, never taken in."""
    asked = dict(line.rstrip("\n").partition("=")[::2] for line in sys.stdin)
    base = urlsplit(session.remote or platform.load(session.home.path).api_url)
    if action != "get" or (asked.get("protocol"), asked.get("host")) != (base.scheme, base.netloc):
        return
    if token := session.token():
        print(f"username=bough\npassword={token}", flush=True)


def log(session: Session, follow: bool, lines: int) -> None:
    place = following.log_of(Checkout.of(Path.cwd()))
    try:
        file = place.open("r", encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise NotFound(
            "no hook has done anything here yet", code="LOG_NOT_FOUND", hint="bough git install, then commit"
        ) from None
    with file:
        for text in file.readlines()[-lines:] if lines else ():
            session.answer({"text": text.rstrip("\n")}, text=text.rstrip("\n"))
        while follow:
            if text := file.readline():
                session.answer({"text": text.rstrip("\n")}, text=text.rstrip("\n"))
            else:
                time.sleep(PAUSE_S)


def hook(session: Session, event: str, branch: str, foreground: bool) -> None:
    """Ends well whatever happens: what went wrong stands in the log."""
    try:
        checkout = Checkout.of(Path.cwd())
        session.home_option = session.home_option or "".join(checkout.settings(_HOME))
        session.url_option = session.url_option or "".join(checkout.settings(_URL))
        if foreground:
            _each_folder(session, checkout, event, branch)
            return
        with following.logged(checkout):
            _each_folder(session, checkout, event, branch)
    except (Problem, OSError) as error:
        session.note(str(error))


def _each_folder(session: Session, checkout: Checkout, event: str, branch: str) -> None:
    does = following.moved if event == "moved" else following.gone
    for folder in checkout.settings(_FOLDER):
        try:
            does(session, checkout, branch, folder)
        except Problem as problem:
            session.note(following.say(problem))


def _set(checkout: Checkout, key: str, value: str) -> None:
    if value:
        checkout.git("config", "--local", "--replace-all", key, value)
    else:
        checkout.ask("config", "--local", "--unset-all", key)


def _own_command() -> str:
    """Hooks run with a PATH of their own."""
    beside = Path(sys.executable).with_name("bough")
    found = str(beside) if beside.exists() else shutil.which("bough")
    if not found:
        raise NotFound("the command bough is not on the PATH", code="COMMAND_MISSING", hint="pip install .")
    return found


def _group() -> click.Group:
    group = click.Group("git", help=_HELP, params=common())
    for each in (
        make("install", _INSTALL, [
            click.Option(["--foreground"], is_flag=True, help="git waits, and shows what happens."),
            click.Option(["--production"], is_flag=True, help="Deploy main as well, at every commit."),
        ], install),
        make("uninstall", _UNINSTALL, [], uninstall),
        make("remote", _REMOTE, [
            click.Option(["--name"], default="bough", show_default=True, help="Name of the remote."),
            click.Option(["--project"], default="", metavar="NAME", help="Project; that of the nearest bough.toml."),
        ], remote, examples="Examples:\n  bough git remote\n  git push bough HEAD"),
        make("log", "Prints what hooks have done in this repository.", [
            click.Option(["--follow", "-f"], is_flag=True, help="Go on as lines come."),
            click.Option(["--lines", "-n"], type=click.IntRange(0), default=100, show_default=True,
                         help="How many of the last lines."),
        ], log),
        make("credential", "Tells git the token of this Bough; git itself calls it (gitcredentials).", [
            click.Argument(["action"], metavar="ACTION", help="What git wants: get, store, erase."),
        ], credential),
        make("hook", "What the hooks call.", [
            click.Argument(["event"], type=click.Choice(["moved", "gone"]), help="What happened to the branch."),
            click.Argument(["branch"], help="The branch."),
            click.Option(["--foreground"], is_flag=True, help="Say it here and not in the log."),
        ], hook),
        derived.build("pushes.list", operation("pushes.list")),
    ):  # fmt: skip
        group.add_command(each)
    return group


_HELP = """Lets git drive environments: a remote to push to, or hooks that follow what is committed."""

_INSTALL = """Installs hooks that keep an environment for every branch.

After a commit, merge, rebase or checkout the branch's environment is made or updated, in the background; after the
branch is deleted it is discarded. No git command waits or fails because of it. Hooks that are there go on working."""

_UNINSTALL = "Takes the hooks away again; hooks that were there before get their names back."

_REMOTE = """Adds a remote that deploys what is pushed to it.

git gets the token from `bough git credential` when it needs it; none is written into .git/config."""

command = _group()
