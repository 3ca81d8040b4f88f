"""The project file: five lines are enough, mistakes are placed, environments lie over it."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bough.kernel.errors import ProjectFileInvalid
from bough.kernel.project import Project, json_schema, resolve
from bough.kernel.settings import Document
from bough.kernel.workloads import DEFAULTS, Job, Service

FIVE_LINES = """\
name = "shop"

[services.churn]
model = "service:Churn"
"""
BASE = 'name = "a"\n[services.s]\ncommand = "x"\n'


def project(text: str, environment: str = "main") -> Project:
    return resolve(Document(text), environment)


def refused(text: str, environment: str = "main") -> ProjectFileInvalid:
    with pytest.raises(ProjectFileInvalid) as raised:
        project(text, environment)
    return raised.value


def test_five_lines_are_a_project() -> None:
    found = project(FIVE_LINES)
    assert (found.name, found.environment, list(found.services), found.jobs) == ("shop", "main", ["churn"], {})
    churn = found.services["churn"]
    assert (churn.model, churn.replicas, churn.is_web) == ("service:Churn", 1, False)


# --- kinds


def test_the_four_kinds_have_policies_of_their_own() -> None:
    """A service must not run twice nor wait; training loses most when interrupted; ETL may simply run again."""
    jobs = "".join(f'[jobs.{kind}]\nkind = "{kind}"\ncommand = "x"\n' for kind in ("job", "train", "finetune", "etl"))
    found = project(BASE + jobs + '[jobs.plain]\ncommand = "x"\n')
    policies = {
        kind: (job.timeout_s, job.retries, job.capacity, job.cost_center)
        for kind, job in found.jobs.items()
        if kind != "plain"
    }
    assert len(set(policies.values())) == 4
    assert policies["train"] == (86_400.0, 3, "auto", "training")
    assert policies["etl"] == (7_200.0, 2, "on-demand", "data")
    assert policies["job"] == (3_600.0, 0, "on-demand", "jobs")
    assert found.services["s"].cost_center == "inference"
    plain = found.jobs["plain"]
    assert (plain.timeout_s, plain.retries, plain.capacity, plain.cost_center) == policies["job"]
    assert len({DEFAULTS[kind]["cost_center"] for kind in DEFAULTS}) == 5


def test_an_environment_that_changes_the_kind_changes_its_defaults() -> None:
    text = 'name = "a"\n[jobs.j]\ncommand = "x"\n[environments.main.jobs.j]\nkind = "train"\n'
    assert project(text).jobs["j"].retries == DEFAULTS["train"]["retries"]
    assert project(text, "preview").jobs["j"].retries == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'python = "foo"\nname = "a"\n',
            "bough.toml:1: python: 'foo' is no version of Python: write 3, 3.11 or 3.11.7",
        ),
        ('name = "a"\n[services.s]\npython = "2.7"\ncommand = "x"\n', "bough.toml:3: services.s.python: '2.7' is no"),
        ('name = "a"\n[jobs.j]\ncommand = "x"\npython = "3.4"\n', "bough.toml:4: jobs.j.python: Python 3.4 is too old"),
        (
            'name = "a"\n[jobs.j]\ncommand = "x"\n[environments.main.jobs.j]\npython = "3.11 or so"\n',
            "bough.toml:5: environments.main.jobs.j.python: '3.11 or so' is no",
        ),
    ],
)
def test_what_no_python_can_be_is_refused_where_it_is_written(text: str, said: str) -> None:
    with pytest.raises(ProjectFileInvalid) as caught:
        project(text)
    assert caught.value.message.startswith(said)


@pytest.mark.parametrize("version", ["", "3", "3.9", "3.11", "3.14.2"])
def test_any_python_from_the_oldest_on_may_be_asked_for(version: str) -> None:
    assert project(f'name = "a"\npython = "{version}"\n[jobs.j]\ncommand = "x"\n').jobs["j"].python == version


def test_what_is_written_beats_the_default_of_the_kind() -> None:
    job = project('name = "a"\n[jobs.j]\nkind = "train"\ncommand = "x"\nretries = 0\n').jobs["j"]
    assert (job.retries, job.capacity) == (0, "auto")


# --- environments and origins

LAYERED = """\
name = "shop"
python = "3.12"

[services.churn]
model = "service:Churn"
replicas = 2
env = { A = "base", B = "base" }

[environments.preview.services.churn]
replicas = 1
env = { B = "preview", C = "preview" }
"""


def test_an_environment_lies_over_the_file_and_the_file_over_the_defaults() -> None:
    main, preview = project(LAYERED).services["churn"], project(LAYERED, "preview").services["churn"]
    assert (main.replicas, preview.replicas) == (2, 1)
    assert (main.python, preview.python) == ("3.12", "3.12")
    assert main.env == {"A": "base", "B": "base"}
    assert preview.env == {"A": "base", "B": "preview", "C": "preview"}
    assert project(LAYERED, "another") == msgspec.structs.replace(project(LAYERED), environment="another")


def test_every_value_knows_where_it_came_from() -> None:
    origins = project(LAYERED, "preview").origins
    assert origins["name"] == "bough.toml:1"
    assert origins["services.churn.python"] == "bough.toml:2"
    assert origins["services.churn.model"] == "bough.toml:5"
    assert origins["services.churn.replicas"] == "bough.toml:10"
    assert origins["services.churn.timeout_s"] == "default of a service"
    assert {f"services.churn.{field.name}" for field in msgspec.structs.fields(Service)} <= set(origins)
    assert project(LAYERED).origins["services.churn.replicas"] == "bough.toml:6"


# --- mistakes

MISTAKES = {
    "no name": ('[services.s]\ncommand = "x"', 1, "name", "missing"),
    "bad name": ('name = "My Shop"', 1, "name", "try 'my-shop'"),
    "unknown section": (FIVE_LINES + "[service.b]", 5, "service", "did you mean 'services'"),
    "unknown key": (FIVE_LINES + "replica = 2", 5, "services.churn.replica", "did you mean 'replicas'"),
    "unknown key deep": (BASE + "[services.s.batch]\nmax_sise = 2", 5, "services.s.batch.max_sise", "'max_size'"),
    "wrong type": (BASE + 'replicas = "two"', 4, "services.s.replicas", "expected a whole number, got text"),
    "not a number": (BASE + "timeout_s = nan", 4, "services.s.timeout_s", "expected a number > 0.0"),
    "endless": (BASE + "resources.cpus = inf", 4, "services.s.resources.cpus", "<="),
    "absurd": (BASE + "replicas = 99999999999999999999999", 4, "services.s.replicas", "<="),
    "negative": (BASE + "replicas = -1", 4, "services.s.replicas", ">= 0"),
    "one of many": (BASE + '[services.s.tags]\na = "x"\nb = 3', 6, "services.s.tags.b", "expected text"),
    "service is no table": ('name = "a"\n[services]\nt = 3', 3, "services.t", "a table"),
    "service's name": ('name = "a"\n[services."a.b"]\ncommand = "x"', 2, "services.a.b", "cannot be the name"),
    "a choice": (BASE + 'access = "all"', 4, "services.s.access", "not one of auto, public, key"),
    "a kind": ('name = "a"\n[jobs.j]\nkind = "trian"\ncommand = "x"', 3, "jobs.j.kind", "job, train, finetune, etl"),
    "a service as job": (
        'name = "a"\n[jobs.j]\nkind = "service"\ncommand = "x"',
        3,
        "jobs.j.kind",
        "job, train, finetune, etl",
    ),
    "nothing to run": ('name = "a"\n[services.s]\nreplicas = 1', 2, "services.s", "it has none"),
    "two ways to run": (BASE + 'model = "a:B"', 4, "services.s.model", "needs exactly one of"),
    "model without class": ('name = "a"\n[services.s]\nmodel = "service"', 3, "services.s.model", "module:Class"),
    "same route": (BASE + '[services.t]\ncommand = "x"\nroute = "s"', 4, "services.t", "same api and route"),
    "environment is no table": (BASE + "[environments]\nmain = 3", 5, "environments.main", "a table"),
    "override of nothing": (
        BASE + "[environments.main.services.z]\nreplicas = 1",
        4,
        "environments.main.services.z",
        "no [services.z]",
    ),
    "mistake in the override": (
        BASE + "[environments.main.services.s]\nreplicas = -1",
        5,
        "environments.main.services.s.replicas",
        ">= 0",
    ),
    "mistake below an override": (
        BASE + "replicas = -1\n[environments.main.services.s]\ntimeout_s = 3",
        4,
        "services.s.replicas",
        ">= 0",
    ),
    "choice in the override": (
        BASE + '[environments.main.services.s]\naccess = "x"',
        5,
        "environments.main.services.s.access",
        "not one of",
    ),
    "another environment": (
        BASE + "[environments.preview]\nservice = 3",
        5,
        "environments.preview.service",
        "'services'",
    ),
}


@pytest.mark.parametrize(("text", "line", "key", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_placed_and_named(text: str, line: int, key: str, says: str) -> None:
    error = refused(text)
    assert (error.fields["file"], error.fields["line"]) == ("bough.toml", line), error.message
    assert error.fields["key"].startswith(key)
    assert error.message.startswith(f"bough.toml:{line}: {key}")
    assert says in error.message + error.hint


def test_two_versions_of_a_service_may_share_a_route() -> None:
    text = BASE + '[services.t]\ncommand = "x"\nroute = "s"\napi = "v2"\n'
    assert sorted(project(text).services) == ["s", "t"]


def test_a_command_may_replace_the_command_of_a_dockerfile() -> None:
    service = project('name = "a"\n[services.s]\ndockerfile = "Dockerfile"\ncommand = "x"\n').services["s"]
    assert service.is_web


# --- anything at all

WORDS = st.sampled_from(
    [
        *("name", "services", "jobs", "environments", "main", "preview", "a", "b-c", "A.b", ""),
        *Service.__struct_fields__,
        *Job.__struct_fields__,
    ]
)
SCALARS = (
    st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(["a:B", "auto", "service", "train", "x", 0, 1, 30, 2**63, 2**64])
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=4))
FIELDS = st.sampled_from(sorted({*Service.__struct_fields__, *Job.__struct_fields__}))
WORKLOADS = st.fixed_dictionaries({"command": st.just("x")}, optional={}) | st.dictionaries(FIELDS, VALUES, max_size=4)
SECTION = st.dictionaries(st.sampled_from(["a", "b-c", "A.b"]), WORKLOADS | VALUES, max_size=2)
OVERRIDES = st.dictionaries(st.sampled_from(["services", "jobs"]), SECTION) | VALUES
PROJECTS = st.fixed_dictionaries(
    {"name": st.just("a") | SCALARS},
    optional={
        "services": SECTION,
        "jobs": SECTION,
        "tags": st.dictionaries(WORDS, SCALARS, max_size=2),
        "python": SCALARS,
        "environments": st.dictionaries(
            st.sampled_from(["main", "preview"]),
            st.dictionaries(st.sampled_from(["services", "jobs"]), SECTION) | VALUES,
        ),
    },
)


def toml(value: Any) -> str:
    """`value` as TOML, tables inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value).replace("\x7f", "\\u007f") if not isinstance(value, str) else text_as_toml(value)


def text_as_toml(value: str) -> str:
    return '"' + "".join(f"\\U{ord(each):08x}" if not each.isalnum() else each for each in value) + '"'


@given(PROJECTS | st.dictionaries(WORDS, VALUES, max_size=4), st.sampled_from(["main", "preview"]))
def test_random_projects_are_taken_or_refused_with_their_place(data: dict[str, Any], environment: str) -> None:
    text = "\n".join(f"{toml(key)} = {toml(value)}" for key, value in data.items())
    try:
        resolve(Document(text), environment)
    except ProjectFileInvalid as error:
        assert error.fields["file"] == "bough.toml"
        assert 1 <= error.fields["line"] <= max(len(text.splitlines()), 1)
        assert isinstance(error.fields["key"], str)
        assert error.hint


@given(st.text(max_size=120))
def test_random_text_is_refused_or_taken(text: str) -> None:
    with contextlib.suppress(ProjectFileInvalid):
        resolve(Document(text))


# --- JSON Schema

SCHEMA = jsonschema_rs.validator_for(json_schema())


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if (isinstance(value, float) and not math.isfinite(value)) or (isinstance(value, int) and abs(value) >= 2**63):
        return str(value)  # JSON has no such number; where anything goes, text does
    return value


@given(PROJECTS)
def test_what_is_accepted_is_valid_by_the_published_schema(data: dict[str, Any]) -> None:
    document = Document("\n".join(f"{toml(key)} = {toml(value)}" for key, value in data.items()))
    try:
        resolve(document)
    except ProjectFileInvalid:
        return
    SCHEMA.validate(plain(document.data))


@pytest.mark.parametrize("text", [FIVE_LINES, LAYERED])
def test_examples_are_valid_by_the_schema(text: str) -> None:
    SCHEMA.validate(Document(text).data)


@pytest.mark.parametrize(
    "name",
    [
        "no name", "unknown section", "unknown key", "unknown key deep", "wrong type", "negative", "one of many",
        "a choice", "choice in the override",
    ],
)  # fmt: skip
def test_an_editor_finds_the_plain_mistakes_by_the_schema(name: str) -> None:
    assert not SCHEMA.is_valid(Document(MISTAKES[name][0]).data)


def test_steps_of_scaling_are_read_and_their_mistakes_are_placed() -> None:
    text = FIVE_LINES + "scale = { max = 9, steps = [{ signal = 'queue', reaches = 10, add = 2 }] }\n"
    assert project(text).services["churn"].scale.steps[0].name == "queue>=10"
    for wrong, said in (
        ("steps = [{ signal = 'queue', reaches = 10, add = 2 }]", "max"),
        ("max = 9, steps = [{ signal = 'mood', reaches = 10, add = 2 }]", "mood"),
        ("max = 9, steps = [{ signal = 'queue', reaches = 10, add = 0 }]", "add"),
    ):
        error = refused(FIVE_LINES + f"scale = {{ {wrong} }}\n")
        assert said in str(error) and error.fields, wrong


QUEUE = '\n[services.churn]\nmodel = "service:Churn"\n[queues.ticks]\nhandler = "churn"\nschedule = "{}"\n'


@pytest.mark.parametrize("schedule", ["61 * * * *", "0 24 * * *", "0 0 0 * *", "0 0 * 13 *", "0 0 * * 8", "0 0 * *"])
def test_a_queues_schedule_that_never_comes_is_refused_at_its_line(schedule: str) -> None:
    problem = refused(f'name = "shop"{QUEUE.format(schedule)}')
    assert "bough.toml:6: queues.ticks.schedule" in problem.message and "is no schedule: " in problem.message


@pytest.mark.parametrize("schedule", ["*/90 * * * *", "59 23 31 12 7", "0,30 9-17 * jan mon#2", "0 3 L * *"])
def test_a_queues_schedule_as_cron_has_it_is_taken(schedule: str) -> None:
    assert resolve(Document(f'name = "shop"{QUEUE.format(schedule)}')).queues["ticks"].schedule == schedule
