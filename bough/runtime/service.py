"""What the author of a model may use. A model service is an ordinary class:

    import bough

    class Churn:
        def load(self) -> None:
            self.model = open_model("churn.bin")        # once, before replicas are forked where that is safe

        @bough.batch(max_size=64)
        def predict(self, rows: list[Customer]) -> list[Answer]:
            return self.model.score(rows)

and `[services.churn] model = "service:Churn"` in bough.toml serves it. Nothing has to be inherited, and without `batch`
or `Reject` nothing has to be imported.

* `load` is optional, takes no argument and runs once, in the folder of the project.
* `warm_up` is optional, too: what only a first call costs (memory that replicas share until they touch it, kernels,
  caches) it takes away by calling `predict` with an example. It runs once in each replica, when the gateway has
  connected and nobody asks; it may be a coroutine. Requests that come meanwhile wait for it unless it awaits: one that
  keeps them waiting for longer than they have is ended with its replica, and the next one does without.
* `predict` takes one item and returns one answer. The body of the request *is* the item: with one parameter the JSON
  value itself, with several an object with those keys (defaults count). Annotations are checked: dataclasses,
  msgspec.Struct, TypedDict, NamedTuple, pydantic models, lists, dicts, numbers, str, bytes, numpy.ndarray; no
  annotation takes any JSON. `bytes` takes the raw body, or a base64 string in JSON.
* With `@bough.batch` it takes a list of items and returns a list of as many answers, in the same order. With several
  parameters each is a list (a column). `numpy.ndarray` takes the items stacked along the first axis. A model that pads
  its items to the longest says `@bough.batch(similar=True)`: a batch is then the request that has waited longest and
  those that are near it in size (bytes of the body), so that less of the work is padding.
* `async def`, generators (each piece is sent as it comes) and async generators work as they are.
* `raise bough.Reject("no such customer", status=404)` refuses one request; in a batch, *return* a `Reject` in the
  item's place. Any other exception is a 500 that names its type, and its traceback goes to the log.
* A class attribute `preload = "imports"` makes `load` run after the fork, in every replica: for anything that does not
  survive a fork (connections, threads, a CUDA context).
* For `openai = "chat"`: `predict(self, messages, ...)` returns or yields pieces of text; of the client's parameters
  (temperature, max_tokens, ...) it gets those that it declares. For `openai = "embeddings"`: text in, list[float] out.
  A method `count_tokens(self, text) -> int` makes the reported usage exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional, TypeVar, Union, overload

DEFAULT_BATCH = 32
_ATTRIBUTE = "__bough_batch__"

F = TypeVar("F", bound=Callable[..., Any])


class Reject(Exception):
    """Refuses a request: the client gets `status`, `code`, `message` and `hint`; nothing is logged as a failure."""

    def __init__(
        self, message: str, *, status: int = 400, code: str = "REJECTED", hint: str = "", **fields: Any
    ) -> None:
        super().__init__(message)
        if not 400 <= status <= 599:
            raise ValueError(f"Reject takes a status from 400 to 599, not {status}")
        self.message, self.status, self.code, self.hint, self.fields = message, status, code, hint, fields


@overload
def batch(function: F) -> F: ...
@overload
def batch(function: None = None, *, max_size: int = DEFAULT_BATCH, similar: bool = False) -> Callable[[F], F]: ...
def batch(
    function: Optional[F] = None, *, max_size: int = DEFAULT_BATCH, similar: bool = False
) -> Union[F, Callable[[F], F]]:
    """Marks a `predict` that takes up to `max_size` items at once. Use it as `@batch` or `@batch(max_size=64)`.
    `similar` asks for items of similar size in one batch; it has no effect on an `async def predict`, which gets its
    requests as they come."""
    if max_size < 1:
        raise ValueError(f"max_size must be at least 1, not {max_size}")

    def mark(method: F) -> F:
        setattr(method, _ATTRIBUTE, (max_size, similar))
        return method

    return mark if function is None else mark(function)


def batch_size(function: Any) -> int:
    """What `batch` said of `function`; 0 when it was not marked."""
    return _marked(function)[0]


def batch_similar(function: Any) -> bool:
    """Whether `batch` asked for items of similar size."""
    return _marked(function)[1]


def _marked(function: Any) -> tuple[int, bool]:
    mark = getattr(function, _ATTRIBUTE, None)  # an object that answers to any name has no mark either
    return mark if isinstance(mark, tuple) else (0, False)
