"""How long tests look that could look for ever: at examples of a property, at moments of a kill.

`make test` looks as often as somebody who waits for it has patience; `make test-deep`, which also gates every change
(.ci/run), as often as finds what is rare. A variable of the environment sets one number by itself.
"""

from __future__ import annotations

import os

DEEP = bool(os.environ.get("BOUGH_DEEP"))


def times(variable: str, *, quick: int, deep: int) -> int:
    return int(os.environ.get(variable) or (deep if DEEP else quick))
