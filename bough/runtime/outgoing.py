"""One streamed answer on its way out: which replies its pieces become."""

from __future__ import annotations

from bough.runtime.answers import explain
from bough.runtime.frames import CHUNK, END, WHOLE, Reply
from bough.runtime.protocols.work import Stream, Work


class Outgoing:
    """Until the first bytes leave, a failure is still an ordinary error answer with its own status."""

    __slots__ = ("_begun", "number", "stream", "work")

    def __init__(self, work: Work, stream: Stream) -> None:
        self.work, self.stream, self.number, self._begun = work, stream, work.number, False

    def chunk(self, data: bytes, replies: list[Reply]) -> None:
        if data:
            replies.append(Reply(self.number, 200, data, CHUNK, self._headers()))

    def end(self, data: bytes, replies: list[Reply]) -> None:
        """A stream that kept everything to its end (a plain chat completion) is an ordinary answer."""
        whole = not self._begun and not self.stream.headers
        replies.append(Reply(self.number, 200, data, WHOLE if whole else END, self._headers()))

    def broken(self, error: BaseException, data: bytes, replies: list[Reply]) -> None:
        reject = explain(self.number, error)
        if not self._begun and not data:
            replies.append(self.work.refuse(self.number, reject))
        else:
            replies.append(Reply(self.number, 200, data + self.stream.fail(reject), END, self._headers()))

    def _headers(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return self.stream.headers
