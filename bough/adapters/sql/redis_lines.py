"""Redis's protocol, as much of it as Bough needs: commands as arrays of texts, answers as they come (RESP2)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bough.kernel.errors import Invalid, Unavailable

Word = bytes | str | int | float
CONNECT_S = 2.0


class Line:
    """One connection. Not for several threads at once."""

    def __init__(self, path: Path, user: str, password: str, within_s: float) -> None:
        """Raises `Unavailable` (REDIS_AWAY) where nobody answers at the socket `path`."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(CONNECT_S)
            self._socket.connect(str(path))
            self._socket.settimeout(within_s)
        except OSError as error:
            self._socket.close()
            raise _away(error) from error
        self._answers = self._socket.makefile("rb")
        try:
            self.ask("AUTH", *([user] if user else []), password)
        except BaseException:
            self.close()
            raise

    def ask(self, *words: Word) -> Any:
        """The answer of one command: bytes, a number, None, or a list of such. Raises `Invalid` (REDIS_SAYS)."""
        (answer,) = self.ask_all([words])
        if isinstance(answer, Invalid):
            raise answer
        return answer

    def ask_all(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        """The answers of many commands, sent together; one that failed is its error. Raises `Unavailable`
        (REDIS_AWAY) when the server is gone, or silent for too long."""
        try:
            self._socket.sendall(b"".join(map(_written, commands)))
            return [self._answer() for _ in commands]
        except OSError as error:
            raise _away(error) from error

    def close(self) -> None:
        self._answers.close()
        self._socket.close()

    def _answer(self) -> Any:
        line = self._answers.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("it has closed the connection")
        kind, text = line[:1], line[1:-2]
        if kind == b"+":
            return text
        if kind == b"-":
            return Invalid(
                f"Redis says: {text.decode(errors='replace')}", code="REDIS_SAYS", hint="bough db check NAME"
            )
        if kind == b":":
            return int(text)
        if int(text) < 0:
            return None
        if kind == b"*":
            return [self._answer() for _ in range(int(text))]
        content = self._answers.read(int(text) + 2)
        if len(content) < int(text) + 2:
            raise ConnectionError("it has closed the connection")
        return content[:-2]


@contextlib.contextmanager
def opened(path: Path, user: str, password: str, *, within_s: float = 3600.0) -> Iterator[Line]:
    line = Line(path, user, password, within_s)
    with contextlib.closing(line):
        yield line


def facts(line: Line, section: str) -> dict[str, str]:
    """What INFO says of one matter."""
    said = line.ask("INFO", section).decode()
    return dict(each.split(":", 1) for each in said.splitlines() if ":" in each)


def _written(words: Sequence[Word]) -> bytes:
    texts = [each if isinstance(each, bytes) else str(each).encode() for each in words]
    return b"*%d\r\n" % len(texts) + b"".join(b"$%d\r\n%b\r\n" % (len(each), each) for each in texts)


def _away(error: OSError) -> Unavailable:
    return Unavailable(f"Redis does not answer; {error}", code="REDIS_AWAY", hint="bough db show NAME")
