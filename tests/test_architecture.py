"""The arrows of ARCHITECTURE.md, read from the imports.

A test that fails here names the file, the line and the rule. Change the rule only together with ARCHITECTURE.md.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "bough"

# Which capability may know which others. `kernel`, interfaces in `adapters/*/__init__` and the wire formats are open to
# all of them.
CAPABILITIES: dict[str, set[str]] = {
    "access": set(),
    "secrets": set(),
    "data": set(),
    "builds": set(),
    "registry": {"environments", "data"},
    "tracking": set(),
    "environments": {"access", "secrets", "data", "builds"},
    "jobs": {"databases", "access", "secrets", "environments", "builds", "data", "serving", "tracking", "capacity"},
    "capacity": set(),
    "databases": {"environments", "data", "secrets"},
    "serving": {"registry", "environments", "builds", "data", "databases"},
    "gateway": {"serving", "environments", "access", "queues"},
    "pushes": {"environments", "builds"},
    "mirrors": {"gateway", "serving", "environments"},
    "forges": {"pushes", "environments", "secrets"},
    "queues": {"environments", "secrets"},
    "features": {"environments", "data"},
    "monitoring": {"registry"},
    "portability": set(),
    "costs": set(),
    "ledger": {"environments", "registry"},
    "gates": {"registry", "environments", "builds", "serving", "gateway", "data"},
    "training": {"jobs", "registry", "optimizing", "tracking", "access", "data"},
    "optimizing": {"gates", "registry", "data"},
    "promotions": {"gates", "registry", "environments", "serving", "gateway"},
    "lineage": {"registry", "serving", "environments", "data", "tracking"},
    "platform": {"gateway"},
    "webhooks": {"secrets"},
    "scaling": {"serving", "gateway", "environments"},
}
WIRE_FORMATS = (
    *("bough.runtime.frames", "bough.runtime.spec", "bough.runtime.checkpoints.progress"),
    # databases in pages, as programs open them
    *(
        "bough.runtime.pages",
        "bough.runtime.pages.format",
        "bough.runtime.pages.extension",
        "bough.runtime.pages.opening",
    ),
)
# What is the main file of a process puts it together, as `composition/` does for the server.
PROCESSES = {
    "bough.gates.worker": ("bough.adapters.blobs", "bough.adapters.tables"),
    "bough.optimizing.worker": ("bough.adapters.blobs", "bough.runtime"),  # opens models as a replica does
    "bough.optimizing.weighing": ("bough.runtime.loaders",),
    "bough.optimizing.rows": ("bough.runtime.loaders",),
    "bough.optimizing.quantizing": ("bough.runtime.loaders",),
    "bough.builds.worker": ("bough.adapters.blobs", "bough.adapters.builder"),
    "bough.entrypoints.node": (  # gives units their devices, and opens their secrets
        *("bough.adapters.engine", "bough.adapters.accelerators", "bough.secrets.vault"),
    ),
    "bough.entrypoints.node_http": ("bough.adapters.engine",),
    "bough.entrypoints.gateway": ("bough.gateway.server", "bough.adapters.queue.sqlite"),
    "bough.entrypoints.mlflow": ("bough.tracking.filters", "bough.tracking.rules"),  # one language of filters
    "bough.entrypoints.server": ("bough.gateway.portholder",),  # keeps the gateway's port while that starts again
    "bough.entrypoints.supervision": (
        *("bough.gateway.portholder", "bough.gateway.certificates"),
        "bough.adapters.engine.remote",
    ),
    "bough.entrypoints.cli.doctor": (  # shows the ladder, ways of trees, devices, and whether the master key is safe
        *("bough.adapters.engine.isolation", "bough.data.trees", "bough.gateway.portholder", "bough.secrets.vault"),
        "bough.adapters.accelerators",
    ),
    "bough.entrypoints.cli.db_shell": ("bough.adapters.sql",),  # asks a server through its socket
    "bough.entrypoints.cli.down": ("bough.adapters.sql",),  # servers of databases end with everything else
    "bough.entrypoints.cli.check_building": ("bough.builds", "bough.adapters.blobs"),  # keeps what the worker reads
    "bough.entrypoints.cli.check_resume": ("bough.builds", "bough.adapters.engine.local_runtime"),  # as a unit has it
    "bough.builds.resuming": ("bough.runtime.checkpoints",),  # reads what a program has saved
    "bough.jobs.saved": ("bough.runtime.checkpoints",),  # and sends it to a bucket
    "bough.jobs.unsent": ("bough.runtime.checkpoints",),  # of which it says what that lacks
    "bough.entrypoints.cli.models_explain": ("bough.registry.explaining",),  # calls an endpoint, from this machine
    # only calculates, so nothing has to run
    "bough.entrypoints.cli.scale_simulate": ("bough.scaling.replaying", "bough.scaling.traces"),
    "bough.entrypoints.cli.secrets_set": ("bough.secrets.envfile",),
    "bough.entrypoints.cli.data_store": ("bough.data", "bough.adapters.blobs.directory"),  # the blobs of this machine
    # packs folders, and reads and writes files of this machine
    "bough.entrypoints.cli": ("bough.data", "bough.builds", "bough.environments.models", "bough.adapters.builder"),
}
DRAWERS = {"utils", "util", "common", "helpers", "helper", "core", "manager", "managers", "misc", "base"}
COMPOSITION = ("bough.app", "bough.composition")
WIRING = (*COMPOSITION, "bough.entrypoints.cli", "bough.entrypoints.reference")


class Import(NamedTuple):
    module: str
    target: str
    file: Path
    line: int
    hidden: bool  # inside a function
    for_types: bool  # under `if TYPE_CHECKING`
    optional: bool  # under `try: … except ImportError`

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}: {self.module} imports {self.target}"


def files() -> list[Path]:
    """All modules but migrations, and the templates of `bough init`, which are a user's code."""
    return sorted(path for path in PACKAGE.rglob("*.py") if not {"versions", "templates"} & set(path.parts))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> frozenset[str]:
    return frozenset(module_of(path) for path in files())


@cache
def imports() -> tuple[Import, ...]:
    return tuple(found for path in files() for found in imports_of(path))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imports_of(path: Path) -> Iterator[Import]:
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    for node, hidden, for_types, optional in placed(tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            start = ".".join(filter(None, (base, node.module)))
            names = [f"{start}.{alias.name}" for alias in node.names]
        for name in names:
            yield Import(module_of(path), name, path, node.lineno, hidden, for_types, optional)


def placed(
    node: ast.AST, hidden: bool = False, for_types: bool = False, optional: bool = False
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool, bool, bool]]:
    """The imports at and below a statement, and where they stand; expressions hold none."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node, hidden, for_types, optional
        return
    hidden = hidden or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for_types = for_types or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    tried: list[ast.stmt] = []
    if isinstance(node, ast.Try) and "ImportError" in "".join(ast.unparse(each) for each in node.handlers):
        tried = node.body
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.stmt | ast.excepthandler | ast.match_case):
            yield from placed(inner, hidden, for_types, optional or inner in tried)


def own(found: Import) -> str:
    """The module of Bough that an import reaches; empty for others."""
    if found.target.split(".")[0] != "bough":
        return ""
    return found.target if found.target in modules() else found.target.rpartition(".")[0]


def under(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def is_interface(module: str) -> bool:
    return bool(re.fullmatch(r"bough\.adapters\.\w+", module)) and module in modules()


def allowed(module: str, target: str) -> bool:
    """Whether the arrow from `module` to `target` is one that ARCHITECTURE.md draws."""
    own_part = ".".join(module.split(".")[:2])
    if under(target, *next((allows for name, allows in PROCESSES.items() if under(module, name)), ())):
        return True
    if module in ("bough", "bough.checkpoint"):  # what a user imports: the runtime's vocabulary
        return under(target, "bough.runtime")
    if target == "bough":  # for the version only
        return not under(module, "bough.runtime")
    if under(module, "bough.runtime"):
        return under(target, "bough.runtime")
    if under(module, "bough.kernel"):
        return under(target, "bough.kernel")
    if under(module, *COMPOSITION) or (under(target, own_part) and not under(module, "bough.adapters")):
        return True
    if under(target, "bough.kernel") or (target in WIRE_FORMATS and not under(module, "bough.client")):
        return True
    if under(module, "bough.client"):
        return False
    if under(module, "bough.adapters"):
        return under(target, ".".join(module.split(".")[:3]))
    if under(module, "bough.entrypoints"):
        return under(target, "bough.client", *COMPOSITION) or is_interface(target)
    others = {f"bough.{name}" for name in CAPABILITIES[own_part.removeprefix("bough.")]}
    return is_interface(target) or under(target, *others)


def test_the_page_draws_these_arrows() -> None:
    """The column `knows` of the table of folders."""
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)/` \|.*\| ([\w, ]*)\|$", page, re.M)
    drawn = {name: set(filter(None, knows.strip().split(", "))) for name, knows in rows if name in CAPABILITIES}
    there = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    assert drawn == {name: knows for name, knows in CAPABILITIES.items() if name in there}


def test_every_arrow_is_one_that_the_design_draws() -> None:
    wrong = [str(found) for found in imports() if (target := own(found)) and not allowed(found.module, target)]
    assert not wrong, "\n".join(["forbidden arrows:", *wrong])


def test_every_package_has_its_place() -> None:
    """A new folder is a decision: it goes into CAPABILITIES with its arrows."""
    placed = {"adapters", "client", "composition", "entrypoints", "kernel", "runtime", *CAPABILITIES}
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} <= placed


def test_no_cycle() -> None:
    """Imports for types alone do not count: they say a name, they need nothing at run time."""
    arrows: dict[str, set[str]] = {}
    for found in imports():
        if not found.for_types and (target := own(found)) and target != found.module:
            arrows.setdefault(found.module, set()).add(target)
    cycles = [
        " -> ".join(cycle) for start in sorted(arrows) if (cycle := way_back(start, arrows)) and start == min(cycle)
    ]
    assert not cycles, "\n".join(["import cycles:", *cycles])


def way_back(start: str, arrows: dict[str, set[str]]) -> list[str]:
    """The shortest way from `start` to itself."""
    ways, seen = [[start]], {start}
    for way in ways:
        for target in sorted(arrows.get(way[-1], ())):
            if target == start:
                return [*way, start]
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    return []


def test_capabilities_do_not_know_each_other_in_a_circle() -> None:
    arrows = {name: set(others) for name, others in CAPABILITIES.items()}
    assert [name for name in arrows if way_back(name, arrows)] == []


def test_folders_of_one_capability_do_not_know_each_other_in_a_circle() -> None:
    """Of `gateway/lanes/` and `gateway/routing/`, for example, one stands on the other."""
    arrows: dict[str, set[str]] = {}
    for found in imports():
        folder, other = folder_of(found.module), folder_of(own(found))
        if folder and other and not found.for_types and folder != other and capability(folder) == capability(other):
            arrows.setdefault(folder, set()).add(other)
    assert [name for name in arrows if way_back(name, arrows)] == []


def folder_of(module: str) -> str:
    """The folder inside a capability that a module lies in; empty for a module that lies in none."""
    names = module.split(".")
    inside = len(names) > 3 or (len(names) == 3 and (PACKAGE / names[1] / names[2]).is_dir())
    return ".".join(names[:3]) if inside and names[1] in CAPABILITIES else ""


def capability(folder: str) -> str:
    return folder.split(".")[1]


def test_no_own_import_hides_in_a_function() -> None:
    """Except where it makes a command start faster, and in composition."""
    hidden = [str(found) for found in imports() if found.hidden and own(found) and not under(found.module, *WIRING)]
    assert not hidden, "\n".join(["imports inside functions:", *hidden])


def test_the_runtime_needs_the_standard_library_and_msgspec_only() -> None:
    """It lies in users' environments. What a user's own model needs (a framework) is imported where it is used."""
    wrong = [
        str(found)
        for found in imports()
        if under(found.module, "bough.runtime")
        and not found.hidden
        and not (found.for_types or found.optional)
        and not own(found)
        and found.target.split(".")[0] not in {*sys.stdlib_module_names, "msgspec"}
    ]
    assert not wrong, "\n".join(wrong)


def test_the_client_needs_no_server_library() -> None:
    server = {"sqlalchemy", "alembic", "starlette", "uvicorn", "uvloop", "httptools", "click"}
    wrong = [
        str(found)
        for found in imports()
        if under(found.module, "bough.client", "bough.runtime") and found.target.split(".")[0] in server
    ]
    assert not wrong, "\n".join(wrong)


def test_there_is_no_drawer() -> None:
    """A file is named after what it is about."""
    found = [path.relative_to(ROOT) for path in PACKAGE.rglob("*") if path.stem.lower() in DRAWERS]
    assert found == []


@pytest.mark.parametrize(
    "path",
    [path for path in files() if path.name == "__init__.py"],
    ids=lambda path: str(path.relative_to(PACKAGE).parent),
)
def test_a_package_opens_with_its_card(path: Path) -> None:
    """A sentence and what it promises, at most 25 lines; then, in an interface, names and signatures, and no code."""
    parsed = tree(path)
    card = ast.get_docstring(parsed) or ""
    assert len(card) > 20, f"{path.relative_to(ROOT)} does not say what the package is"
    assert len(card.splitlines()) <= 25
    body = [
        node
        for outer in parsed.body
        for node in (outer.body if isinstance(outer, ast.ClassDef) else [outer])
        if not isinstance(node, ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign | ast.Expr | ast.Pass)
    ]
    code = [
        node.lineno
        for node in body
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or len(statements(node)) > 1
    ]
    assert code == [], f"{path.relative_to(ROOT)} has code in lines {code}"


def statements(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
    """What a function does beside its docstring and `...`; one returned expression is still a signature."""
    return [
        node
        for node in function.body
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) and not isinstance(node, ast.Pass)
    ]


def test_capability_files_have_the_agreed_names_or_say_what_they_are() -> None:
    """Every module opens with a sentence: it is the first thing that a newcomer reads."""
    silent = [path.relative_to(ROOT) for path in files() if not ast.get_docstring(tree(path))]
    assert silent == []


def test_every_noun_of_a_card_is_in_the_list_of_words() -> None:
    """One word per thing: what a card calls a noun stands in docs/words.md. `Nouns: a (what), b, c (what)`."""
    words = (ROOT / "docs/words.md").read_text("utf-8").lower()
    missing = [
        f"{path.parent.name}: {noun}"
        for path in files()
        if path.name == "__init__.py"
        for noun in nouns(ast.get_docstring(tree(path)) or "")
        if not re.search(rf"^\| {re.escape(noun)}s? \|", words, re.M)
    ]
    print("docs/words.md misses:", ", ".join(missing) or "nothing")
    assert not missing, f"docs/words.md misses {', '.join(missing)}"


def nouns(card: str) -> list[str]:
    found = re.search(r"^Nouns: (.*?)\.$(?=\n[A-Z]\w*:|\Z)", card, re.S | re.M)
    flat = re.sub(r"\([^()]*\)", "", found[1] if found else "")
    return [" ".join(noun.split()).lower() for noun in flat.split(",") if noun.strip()]
