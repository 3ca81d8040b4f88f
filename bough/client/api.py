"""`client.releases.list(project="shop")`: names looked up in the contract. Editors see the types in `api.pyi`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bough.client.contract import contract
from bough.client.record import Record
from bough.kernel.errors import Invalid


class Api:
    """Every operation as a method; groups of operations as attributes."""

    def call(self, name: str, /, **fields: Any) -> Any:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        return _member(self.call, name, self)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *sorted({each.partition(".")[0] for each in contract()["operations"]})]


class Group:
    """The operations of one noun."""

    def __init__(self, call: Callable[..., Any], prefix: str) -> None:
        self._call, self._prefix = call, prefix

    def __getattr__(self, name: str) -> Any:
        return _member(self._call, f"{self._prefix}.{name}", self)

    def __dir__(self) -> list[str]:
        start = self._prefix + "."
        return sorted(each.removeprefix(start) for each in contract()["operations"] if each.startswith(start))


def _member(call: Callable[..., Any], name: str, owner: object) -> Any:
    found = contract()["operations"].get(name)
    if found is None:
        if any(each.startswith(name + ".") for each in contract()["operations"]):
            return Group(call, name)
        raise AttributeError(f"there is no operation {name!r}; there are {', '.join(dir(owner)[-40:])}")

    known = {field["name"] for field in found["fields"]}

    def method(**fields: Any) -> Any:
        if unknown := sorted(fields.keys() - known - {"idempotency_key"}):
            raise Invalid(
                f"{name} has no field {unknown[0]!r}",
                code="REQUEST_INVALID",
                hint=f"it has {', '.join(sorted(known)) or 'none'}",
            )
        return call(name, **fields)

    method.__name__, method.__qualname__ = name.rpartition(".")[2], name
    method.__doc__ = found["help"]
    return method


def __getattr__(name: str) -> Any:
    """The types that `api.pyi` names exist for editors and type checkers; at run time all of them are records."""
    if name in {each.rpartition(".")[2] for each in contract()["schemas"]}:
        return Record
    raise AttributeError(name)
