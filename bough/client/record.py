"""What an operation answers: plain data whose fields can be read with a dot."""

from __future__ import annotations

from typing import Any


class Record(dict[str, Any]):
    """A JSON object. `release.state` and `release["state"]` are the same; unset optional fields are absent."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no field {name!r}; there are {', '.join(self) or 'none'}") from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self]


def record(value: Any) -> Any:
    """`value` with every JSON object in it as a `Record`."""
    if isinstance(value, dict):
        return Record((key, record(item)) for key, item in value.items())
    if isinstance(value, list):
        return [record(item) for item in value]
    return value
