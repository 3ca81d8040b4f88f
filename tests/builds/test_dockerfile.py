"""Dockerfiles read without Docker."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bough.builds.dockerfile import read_dockerfile
from bough.builds.layout import plan_layout
from bough.builds.models import Bundle, Entry
from bough.builds.recipe import Recipe
from bough.kernel.errors import Invalid


def read(text: str) -> Recipe:
    return read_dockerfile(text)


def bundle(*paths: str) -> Bundle:
    return Bundle(entries=tuple(Entry(path=path, digest=f"{n:064d}", size=1) for n, path in enumerate(sorted(paths))))


USUAL = """\
# syntax=docker/dockerfile:1
FROM python:3.11-slim
WORKDIR /code
ENV PYTHONUNBUFFERED=1 \\
    # a comment inside
    MODEL_PATH=/code/models/m.onnx
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
COPY ./requirements.txt /code/requirements.txt
RUN pip install --no-cache-dir --upgrade -r /code/requirements.txt
COPY . /code
EXPOSE 8080
USER nobody
HEALTHCHECK --interval=5s CMD curl --fail http://localhost:8080/healthz || exit 1
CMD ["gunicorn", "app:app", "--bind", "0.0.0.0:8080", "-k", "uvicorn.workers.UvicornWorker"]
"""


def test_the_usual_dockerfile_is_understood() -> None:
    recipe = read(USUAL)
    assert (recipe.python, recipe.workdir, recipe.port, recipe.health_path) == ("3.11", "/code", 8080, "/healthz")
    assert recipe.environment == {"PYTHONUNBUFFERED": "1", "MODEL_PATH": "/code/models/m.onnx"}
    assert recipe.requirements == ("requirements.txt",)
    assert recipe.argv[:2] == ("gunicorn", "app:app")
    assert recipe.system_packages == ("libgomp1",)
    assert {(note.line, note.instruction) for note in recipe.ignored} == {(7, "RUN"), (12, "USER")}
    layout = plan_layout(recipe, bundle("app.py", "requirements.txt", "models/m.onnx"))
    assert (layout.bundle, layout.workdir, layout.places) == (None, ".", {"/code": "."})


@pytest.mark.parametrize(
    ("tag", "python"),
    [("python:3.12", "3.12"), ("python:3.12.4-slim-bookworm", "3.12"), ("python", ""), ("python:latest", ""),
     ("python:3-alpine", "3"), ("docker.io/library/python:3.11@sha256:abc", "3.11"), ("python:slim", ""),
     ("registry.example:5000/mirror/python:3.10", "3.10"), ("ghcr.io/astral-sh/uv:python3.13-bookworm-slim", "3.13")],
)  # fmt: skip
def test_the_python_version_comes_from_the_tag(tag: str, python: str) -> None:
    assert read(f"FROM {tag}\n").python == python


def test_arguments_and_variables_are_filled_in() -> None:
    recipe = read(
        "ARG VERSION=3.11\nFROM python:${VERSION}-slim\nARG VERSION\nARG DIR=app\nARG UNSET\n"
        "ENV HOME_DIR=/srv/$DIR OTHER=${UNSET:-default} ESCAPED=\\$DIR LEGACY=${DIR:+yes}\n"
        'ENV OLD some  value\nENV QUOTED="a b" V=$VERSION\nWORKDIR $HOME_DIR\nWORKDIR sub\n'
    )
    assert recipe.python == "3.11" and recipe.workdir == "/srv/app/sub"
    assert recipe.environment == {
        "HOME_DIR": "/srv/app", "OTHER": "default", "ESCAPED": "$DIR", "LEGACY": "yes", "OLD": "some  value",
        "QUOTED": "a b", "V": "3.11",
    }  # fmt: skip
    assert read_dockerfile("ARG V=3.9\nFROM python:$V", arguments={"V": "3.12"}).python == "3.12"


@pytest.mark.parametrize(
    ("lines", "argv", "shell"),
    [
        ('CMD ["a", "b c"]', ("a", "b c"), ""),
        ("CMD a 'b c' && d", (), "a 'b c' && d"),
        ('ENTRYPOINT ["a"]\nCMD ["b"]', ("a", "b"), ""),
        ('ENTRYPOINT ["a"]\nCMD b c', ("a", "/bin/sh", "-c", "b c"), ""),
        ('ENTRYPOINT a b\nCMD ["ignored"]', (), "a b"),
        ('CMD ["first"]\nCMD ["last"]', ("last",), ""),
        ("CMD [ 'single' ]", (), "[ 'single' ]"),
    ],
)
def test_cmd_and_entrypoint_meet_as_in_docker(lines: str, argv: tuple[str, ...], shell: str) -> None:
    recipe = read(f"FROM python\n{lines}")
    assert (recipe.argv, recipe.shell) == (argv, shell)


def test_the_escape_directive_and_windows_line_ends_are_respected() -> None:
    recipe = read("# escape=`\r\nFROM python:3.12\r\nENV A=1 `\r\n    B=2\r\n")
    assert recipe.environment == {"A": "1", "B": "2"}


@pytest.mark.parametrize(
    ("run", "requirements", "packages"),
    [
        ("pip install -r requirements.txt", ("requirements.txt",), ()),
        ("pip3 install --requirement=requirements.txt gunicorn==23.0", ("requirements.txt",), ("gunicorn==23.0",)),
        ("python -m pip install --upgrade pip setuptools && pip install 'uvicorn[standard]>=0.2' flask", (),
         ("uvicorn[standard]>=0.2", "flask")),
        ("uv pip install --system --no-cache -r requirements.txt", ("requirements.txt",), ()),
        ("--mount=type=cache,target=/var/cache/pip pip install -rrequirements.txt", ("requirements.txt",), ()),
        ("uv sync --frozen --no-dev", ("pyproject.toml",), ()),
        ("pip install --no-cache-dir .", ("pyproject.toml",), ()),
        ('["pip", "install", "six"]', (), ("six",)),
        ("python -m venv /opt/venv && . /opt/venv/bin/activate && pip install six > /dev/null 2>&1", (), ("six",)),
        ("PIP_NO_CACHE_DIR=1 pip install six; mkdir -p /data", (), ("six",)),
    ],
)  # fmt: skip
def test_installing_lines_are_understood(run: str, requirements: tuple[str, ...], packages: tuple[str, ...]) -> None:
    recipe = read(f"FROM python:3.12\nWORKDIR /app\nCOPY . .\nRUN {run}\n")
    assert (recipe.requirements, recipe.packages) == (requirements, packages)


def test_an_index_for_torch_is_kept_as_an_option() -> None:
    recipe = read("FROM python\nRUN pip install torch --index-url https://download.pytorch.org/whl/cpu")
    assert recipe.options == ("--extra-index-url https://download.pytorch.org/whl/cpu",)


def test_a_bind_mount_counts_as_copied() -> None:
    recipe = read(
        "FROM python\nWORKDIR /app\n"
        "RUN --mount=type=bind,source=deps/requirements.txt,target=requirements.txt "
        "python -m pip install -r requirements.txt"
    )
    assert recipe.requirements == ("deps/requirements.txt",)


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("FROM node:20\n", 1, "FROM"),
        ("FROM python\nRUN curl -o m.bin https://example.org/m\n", 2, "RUN"),
        ("FROM python\nCOPY . .\nRUN python train.py\n", 3, "RUN"),
        ("FROM python\nRUN pip install -r requirements.txt\n", 2, "RUN"),
        ("FROM python\nRUN poetry install\n", 2, "RUN"),
        ("FROM python\nRUN <<EOF\npip install x\nEOF\n", 2, "RUN"),
        ("FROM python\nCOPY <<EOF /x\nhello\nEOF\n", 2, "COPY"),
        ("FROM python\nADD https://example.org/x /x\n", 2, "ADD"),
        ("FROM python\nADD app.tar.gz /app\n", 2, "ADD"),
        ("FROM python\nCOPY ../other /app\n", 2, "COPY"),
        ("FROM node AS web\nRUN npm run build\nFROM python\nCOPY --from=web /dist /app/static\n", 4, "COPY"),
        ("FROM python AS b\nRUN pip wheel -w /w .\nFROM python\n", 2, "RUN"),
        ("FROM python\nONBUILD RUN x\n", 2, "ONBUILD"),
        ("FROM python\nCOPY --from=busybox /bin/x /bin/x\n", 2, "COPY"),
        ('FROM python\nSHELL ["powershell"]\n', 2, "SHELL"),
        ("FROM python\nRUN pip install $(cat list)\n", 2, "RUN"),
    ],
)
def test_what_cannot_be_done_is_refused_by_line(text: str, line: int, word: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(text)
    assert caught.value.own_code == "DOCKERFILE_UNSUPPORTED"
    assert f"Dockerfile:{line}: {word}" in caught.value.message
    assert "docker = " in caught.value.hint and "command" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "RUN x\n", "FROM\n", "FROM a b c d\n", "FROM python\nEXPOSE http\n", "FROM python\nCOPY one\n",
             "FROM python\nENV\n", "FROM python\nCMD\n", "FROM python\n123\n", "\0"],
)  # fmt: skip
def test_what_is_no_dockerfile_is_invalid(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(text)
    assert caught.value.own_code == "DOCKERFILE_INVALID"


def test_stages_of_python_are_one_environment() -> None:
    recipe = read(
        "FROM python:3.12 AS builder\nWORKDIR /build\nCOPY requirements.txt .\nRUN python -m venv /opt/venv\n"
        "RUN /opt/venv/bin/pip install -r requirements.txt\nCOPY src ./src\n"
        "FROM python:3.12-slim\nWORKDIR /app\nCOPY --from=builder /opt/venv /opt/venv\n"
        'COPY --from=builder /build/src .\nENV PATH="/opt/venv/bin:$PATH"\nCMD ["python", "main.py"]\n'
    )
    assert recipe.requirements == ("requirements.txt",) and "PATH" not in recipe.environment
    assert [(copy.source, copy.target) for copy in recipe.copies] == [("src", "/app")]
    assert recipe.argv == ("python", "main.py")


def test_a_stage_may_continue_another() -> None:
    recipe = read("FROM python:3.12 AS base\nENV A=1\nFROM base AS test\nENV B=2\nFROM base\nENV C=3\n")
    assert recipe.environment == {"A": "1", "C": "3"}


def test_uv_copied_from_its_image_is_passed_over() -> None:
    recipe = read("FROM python:3.12\nCOPY --from=ghcr.io/astral-sh/uv:0.9 /uv /uvx /bin/\nRUN uv pip install six")
    assert recipe.packages == ("six",) and recipe.copies == ()


def test_variables_that_would_harm_are_dropped_with_a_reason() -> None:
    recipe = read("FROM python\nENV PYTHONDONTWRITEBYTECODE=1 PORT=9000 KEEP=1\nCMD exec app --port $PORT")
    assert recipe.environment == {"KEEP": "1"} and recipe.port == 9000
    assert len(recipe.ignored) == 2


def test_the_first_exposed_tcp_port_counts() -> None:
    assert read("FROM python\nENV PORT=1234\nEXPOSE 53/udp 8000/tcp 9000\n").port == 8000


@pytest.mark.parametrize(
    ("check", "path"),
    [
        ("CMD curl -f http://localhost/ || exit 1", "/"),
        ("CMD wget -qO- http://127.0.0.1:8000/health?x=1", "/health?x=1"),
        ('CMD ["curl", "http://0.0.0.0:8000"]', "/"),
        ("NONE", ""),
        ("CMD test -f /tmp/ok", ""),
        (
            "--interval=5s --timeout=3s CMD python -c \"import urllib.request as r; r.urlopen('http://localhost:80/ping')\"",
            "/ping",
        ),
    ],
)
def test_health_checks_give_their_path(check: str, path: str) -> None:
    assert read(f"FROM python\nHEALTHCHECK {check}").health_path == path


# -- layouts


def test_a_subfolder_copied_alone_makes_a_layout_of_its_own() -> None:
    recipe = read(
        "FROM python\nWORKDIR /app\nCOPY src/ .\nCOPY conf/*.yml ./settings/\nCOPY model.bin /models/m.bin\nCMD x"
    )
    files = bundle("src/main.py", "src/pkg/a.py", "conf/a.yml", "conf/b.txt", "model.bin", "README.md")
    layout = plan_layout(recipe, files)
    assert layout.bundle is not None
    assert [entry.path for entry in layout.bundle.entries] == [
        "app/main.py", "app/pkg/a.py", "app/settings/a.yml", "models/m.bin",
    ]  # fmt: skip
    assert layout.workdir == "app" and layout.places == {"/app": "app", "/models": "models"}


@pytest.mark.parametrize(
    ("lines", "workdir", "places"),
    [
        ("WORKDIR /app\nCOPY . .", ".", {"/app": "."}),
        ("WORKDIR /app\nCOPY . /app/", ".", {"/app": "."}),
        ("WORKDIR /code\nCOPY ./app /code/app", ".", {"/code": "."}),
        ("COPY . /srv\nWORKDIR /srv/app", "app", {"/srv": "."}),
        (
            "WORKDIR /app\nCOPY requirements.txt /tmp/\nRUN pip install -r /tmp/requirements.txt\nCOPY . .",
            ".",
            {"/app": "."},
        ),
        ("WORKDIR /app\nCOPY main.py /app", ".", {"/app": "."}),
        ("COPY . /", ".", {"/": "."}),
        ("WORKDIR /app", ".", {"/app": "."}),
    ],
)
def test_a_project_copied_as_it_is_needs_no_layout(lines: str, workdir: str, places: dict[str, str]) -> None:
    layout = plan_layout(read(f"FROM python\n{lines}"), bundle("main.py", "app/m.py", "requirements.txt"))
    assert (layout.bundle, layout.workdir, layout.places) == (None, workdir, places)


def test_later_copies_win_and_missing_sources_are_named() -> None:
    files = bundle("a/x", "b/x")
    layout = plan_layout(read("FROM python\nWORKDIR /w\nCOPY a .\nCOPY b ."), files)
    assert layout.bundle and [entry.digest for entry in layout.bundle.entries] == [files.entries[1].digest]
    with pytest.raises(Invalid, match=r"the bundle has no nothing\.txt"):
        plan_layout(read("FROM python\nCOPY nothing.txt /app/"), files)


# -- never anything but our own errors

_WORDS = st.sampled_from(
    [
        "FROM",
        "python:3.12",
        "python",
        "AS",
        "a",
        "RUN",
        "COPY",
        "ADD",
        "--from=a",
        "--from=0",
        "--mount=type=bind,target=x",
        ".",
        "/app",
        "ENV",
        "A=$B",
        "A=",
        "${A:-",
        "${A:+x}",
        "=",
        "\\",
        "\n",
        "\n",
        "#",
        "CMD",
        '["a"',
        '"]',
        "'",
        '"',
        "pip",
        "install",
        "-r",
        "x.txt",
        "EXPOSE",
        "80",
        "²",
        "HEALTHCHECK",
        "NONE",
        "[",
        "]",
        "ARG",
        "WORKDIR",
        "&&",
        ";",
        "|",
        "*",
        "..",
        "é",
        "\r",
        "ENTRYPOINT",
        "# escape=`\n",
        "`",
        "LABEL",
        "SHELL",
        "http://localhost:80/x",
        "<<EOF",
        "uv",
        "sync",
        "--index-url",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_WORDS, max_size=30).map(" ".join) | st.text(max_size=80), st.booleans())
def test_any_text_is_read_or_refused(text: str, headed: bool) -> None:
    try:
        recipe = read_dockerfile(("FROM python\n" if headed else "") + text)
        plan_layout(recipe, bundle("main.py", "x.txt"))
    except Invalid as error:
        assert error.own_code in ("DOCKERFILE_UNSUPPORTED", "DOCKERFILE_INVALID")
