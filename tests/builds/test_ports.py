"""Fixed ports become $PORT, and nothing else does."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bough.builds.ports import argv_with_platform_port, bind_platform_port, exports, find_port, replace_shell
from bough.builds.rules import relocate


@pytest.mark.parametrize(
    ("argv", "shell"),
    [
        (["gunicorn", "--bind", "0.0.0.0:8080", "app:app"], "exec gunicorn --bind 0.0.0.0:$PORT app:app"),
        (["gunicorn", "--bind=0.0.0.0:8080", "app:app"], "exec gunicorn --bind=0.0.0.0:$PORT app:app"),
        (["gunicorn", "-b", ":8080", "app:app"], "exec gunicorn -b :$PORT app:app"),
        (["gunicorn", "-b:8080", "app:app"], "exec gunicorn -b:$PORT app:app"),
        (["uvicorn", "m:app", "--host", "0.0.0.0", "--port", "80"], "exec uvicorn m:app --host 0.0.0.0 --port $PORT"),
        (["uvicorn", "m:app", "--port=8000"], "exec uvicorn m:app --port=$PORT"),
        (["hypercorn", "m:app", "--bind", "[::]:8000"], "exec hypercorn m:app --bind '[::]:'\"$PORT\"''"),
        (["streamlit", "run", "a.py", "--server.port=8501"], "exec streamlit run a.py --server.port=$PORT"),
        (["flask", "run", "-p", "5000"], "exec flask run -p $PORT"),
        (["python", "manage.py", "runserver", "0.0.0.0:8080"], "exec python manage.py runserver 0.0.0.0:$PORT"),
        (["python", "-m", "http.server", "8080"], "exec python -m http.server $PORT"),
        (["waitress-serve", "--listen=*:8080", "a:b"], "exec waitress-serve '--listen=*:'\"$PORT\"'' a:b"),
    ],
)
def test_known_ways_to_name_a_port(argv: list[str], shell: str) -> None:
    assert argv_with_platform_port(argv, 8080) == ([], shell)
    given = subprocess.run(
        ["sh", "-c", shell.replace("exec ", "printf '%s\\n' ")],
        env={"PORT": "4711", "PATH": "/bin:/usr/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert len(given) == len(argv) and sum("4711" in word for word in given) == 1


@pytest.mark.parametrize(
    "argv",
    [
        ["python", "app.py"],
        ["gunicorn", "--timeout", "8080", "a:b"],
        ["x", "--workers=8080"],
        ["x", "18080"],
        ["x", "8080.txt"],
        ["x", "http://api.example:8080/v1"],
        ["x", "8080:"],
        ["python", "-c", "print(1)"],
        ["uvicorn", "--port", "$PORT"],
    ],
)
def test_what_is_no_bound_port_stays(argv: list[str]) -> None:
    assert argv_with_platform_port(argv, 8080) == (argv, "")


@pytest.mark.parametrize(
    ("command", "result"),
    [
        ("uvicorn app:app --host 0.0.0.0 --port 8000", "uvicorn app:app --host 0.0.0.0 --port $PORT"),
        ("gunicorn -b '0.0.0.0:8000' a:b", "gunicorn -b '0.0.0.0:'\"$PORT\"'' a:b"),
        ('gunicorn -b "0.0.0.0:8000" a:b', 'gunicorn -b "0.0.0.0:$PORT" a:b'),
        ("uvicorn a:b --port ${PORT:-8000}", "uvicorn a:b --port ${PORT:-8000}"),
        ("migrate && uvicorn a:b --port 8000", "migrate && uvicorn a:b --port $PORT"),
    ],
)
def test_shell_commands(command: str, result: str) -> None:
    assert bind_platform_port(command, 8000) == result


def test_a_shell_given_as_words_keeps_its_words() -> None:
    words, shell = argv_with_platform_port(["sh", "-c", "uvicorn a:b --port 80"])
    assert (words, shell) == (["sh", "-c", "uvicorn a:b --port $PORT"], "")


def test_the_port_is_found_without_expose() -> None:
    assert find_port("gunicorn --bind 0.0.0.0:9000 a:b") == 9000 and find_port("python app.py 9000") == 0


def test_variables_that_name_the_port_follow_it() -> None:
    assert exports({"UVICORN_PORT": "80", "DB_PORT": "5432"}, 80) == (
        {"DB_PORT": "5432"},
        "export UVICORN_PORT=$PORT; ",
    )
    assert exports({"UVICORN_PORT": "80"}, 0) == ({"UVICORN_PORT": "80"}, "")


def test_only_simple_commands_replace_the_shell() -> None:
    assert replace_shell("uvicorn a:b --port $PORT") == "exec uvicorn a:b --port $PORT"
    for command in ("a && b", "A=1 b", "exec a", "cd x; a", "a | b", "a > log", "export A=1"):
        assert replace_shell(command) == command


@given(st.lists(st.text("ab-:=.'\"\\ 0189[]*$", max_size=8), min_size=1, max_size=6))
def test_words_survive_the_shell(words: list[str]) -> None:
    kept, shell = argv_with_platform_port(words, 80)
    if not shell:
        assert kept == words
    else:
        assert len(shlex.split(shell)) == len(words) + 1


def test_only_whole_path_parts_move() -> None:
    places = {"/app": "/b/1", "/app/data": "/d"}
    assert relocate("/app/m.onnx:/application:/app", places) == "/b/1/m.onnx:/application:/b/1"
    assert relocate("--data=/app/data/x", places) == "--data=/d/x"
    assert relocate("http://h/app x/app", places) == "http://h/app x/app"
    assert relocate("/", {"/": "/b"}) == "/"
