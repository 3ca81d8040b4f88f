"""Git's packets: four hexadecimal digits of length, then bytes; `0000` ends a list. See gitprotocol-pack(5).

Only the beginning of a push is read (which refs it wants to move), and lines for the pusher are written; everything
else passes through unread.
"""

from __future__ import annotations

from collections.abc import Iterator

from bough.kernel.errors import Invalid, TooLarge
from bough.pushes.models import Update

FLUSH = b"0000"
SIGN_OF_LIFE = b"0005\x02"  # an empty line for the pusher: git prints nothing
BAND = "side-band-64k"
LARGEST_HEAD_BYTES = 4 << 20  # some 30,000 refs
_LONGEST_LINE_BYTES = 60_000  # a packet holds 65,515
_HEX = b"0123456789abcdefABCDEF"


def packet(data: bytes) -> bytes:
    return b"%04x" % (len(data) + 4) + data


def told(line: str) -> bytes:
    """A line that the pusher sees as `remote: LINE`."""
    text = line.encode("utf-8", "replace")[:_LONGEST_LINE_BYTES]
    return packet(b"\x02" + text.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n")


class Head:
    """The beginning of a push, read as it passes: `updates` and `capabilities` are there once `complete`."""

    def __init__(self) -> None:
        self.updates: list[Update] = []
        self.capabilities: frozenset[str] = frozenset()
        self.complete = False
        self._waiting = b""
        self._size = 0

    @property
    def listens(self) -> bool:
        """Whether the client takes lines beside the answer."""
        return BAND in self.capabilities

    def feed(self, data: bytes) -> None:
        """Raises `Invalid` (PUSH_INVALID) when this is no push."""
        if self.complete:
            return
        self._size += len(data)
        if self._size > LARGEST_HEAD_BYTES + len(data):
            raise TooLarge("the push moves more refs than Bough takes at once", code="PUSH_TOO_LARGE",
                           hint="push the branches that you work on, one by one")  # fmt: skip
        self._waiting += data
        for line in self._lines():
            self._take(line)

    def _lines(self) -> Iterator[bytes]:
        while not self.complete and len(self._waiting) >= 4:
            digits = self._waiting[:4]
            if any(each not in _HEX for each in digits):
                raise _invalid()
            length = int(digits, 16)
            if length == 0:
                self.complete, self._waiting = True, b""
            elif length < 4:
                raise _invalid()
            elif len(self._waiting) < length:
                return
            else:
                line, self._waiting = self._waiting[4:length], self._waiting[length:]
                yield line

    def _take(self, line: bytes) -> None:
        words, _, capabilities = line.rstrip(b"\n").partition(b"\0")
        if capabilities:
            self.capabilities |= frozenset(capabilities.decode("utf-8", "replace").split())
        old, _, rest = words.decode("utf-8", "surrogateescape").partition(" ")
        new, _, ref = rest.partition(" ")
        if ref.startswith("refs/"):  # else: shallow, push-cert and the like
            self.updates.append(Update(ref=ref, old=old.strip("0") and old, new=new.strip("0") and new))


def _invalid() -> Invalid:
    return Invalid("the request is not a push of git's protocol", code="PUSH_INVALID")
