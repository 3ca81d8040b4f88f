"""How long calls of a model take: for themselves, and for each item. A straight line through the newest calls."""

from __future__ import annotations

_WEIGHT = 0.1  # of the newest call in the running means
_ALIKE = 1e-9  # a spread of sizes below it tells nothing of a slope


class CallTimes:
    __slots__ = ("_seconds", "_size", "_size_seconds", "_size_size")

    def __init__(self) -> None:
        self._size = self._seconds = self._size_size = self._size_seconds = 0.0  # running means

    def add(self, size: int, seconds: float) -> None:
        weight = _WEIGHT if self._size else 1.0  # the first call counts whole
        self._size += weight * (size - self._size)
        self._seconds += weight * (seconds - self._seconds)
        self._size_size += weight * (size * size - self._size_size)
        self._size_seconds += weight * (size * seconds - self._size_seconds)

    def parts(self) -> tuple[float, float]:
        """Seconds of a call, and of each item in it. While all calls had one size everything counts as the items', so
        that a larger one is not thought to be free; zeros before the first call."""
        if not self._size:
            return 0.0, 0.0
        spread = self._size_size - self._size * self._size
        if spread < _ALIKE:
            return 0.0, self._seconds / self._size
        item_s = (self._size_seconds - self._size * self._seconds) / spread
        item_s = max(0.0, min(item_s, self._seconds / self._size))
        return self._seconds - item_s * self._size, item_s
