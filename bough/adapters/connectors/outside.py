"""HTTP with the standard library, databases with SQLAlchemy: any that it has a driver for in Bough's environment."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from bough.adapters.connectors import Row
from bough.kernel.calling import connection_to
from bough.kernel.errors import Invalid, TooLarge, Unavailable

TIMEOUT_S = 10.0
READ_BYTES = 500


class Outside:
    """Implements `Connectors`."""

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        return self._ask("POST", url, headers, body, READ_BYTES, "webhook = https://HOST/PATH", "WEBHOOK_AWAY")[0]

    def get(self, url: str, headers: Mapping[str, str], most: int) -> tuple[int, bytes]:
        status, body = self._ask("GET", url, headers, None, most + 1, 'url = "https://HOST/PATH"', "SOURCE_AWAY")
        if len(body) > most:
            raise TooLarge(
                f"the answer has more than {most} bytes", code="SOURCE_TOO_LARGE", hint="ask for fewer at once"
            )
        return status, body

    def rows(self, url: str, query: str, values: Row, limit: int) -> Sequence[Row]:
        with self._database(url) as connection:
            found = connection.execute(sa.text(query), dict(values)).mappings().fetchmany(limit)
            return [dict(row) for row in found]

    def execute(self, url: str, statement: str, values: Row) -> None:
        text = sa.text(statement)
        wanted = {name: values.get(name) for name in text._bindparams}
        with self._database(url) as connection:
            connection.execute(text, wanted)

    def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, most: int, hint: str, away: str
    ) -> tuple[int, bytes]:  # fmt: skip
        split = urlsplit(url)
        if split.scheme not in ("http", "https") or not split.hostname:
            raise Invalid("the address is no http or https URL", code="URL_INVALID", hint=hint)
        connection = connection_to(split, TIMEOUT_S)
        try:
            target = (split.path or "/") + (f"?{split.query}" if split.query else "")
            connection.request(method, target, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read(most)
        except (OSError, http.client.HTTPException) as error:
            said = f"{split.hostname} does not answer: {type(error).__name__}"
            raise Unavailable(said, code=away, hint="it is tried again") from error
        finally:
            connection.close()

    @contextlib.contextmanager
    def _database(self, url: str) -> Iterator[sa.Connection]:
        engine: sa.Engine | None = None
        try:
            engine = sa.create_engine(url, poolclass=sa.pool.NullPool, hide_parameters=True)
            with engine.begin() as connection:
                yield connection
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
            said = f"the database's address or driver is not usable: {type(error).__name__}"
            raise Invalid(
                said, code="DATABASE_URL", hint="url = dialect+driver://…, the driver installed beside Bough"
            ) from error
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise Unavailable(
                f"the database cannot be used now: {_first_line(error)}", code="DATABASE_AWAY", hint="it is tried again"
            ) from error
        except sa.exc.SQLAlchemyError as error:
            said = f"the database refuses the statement: {_first_line(error)}"
            raise Invalid(said, code="STATEMENT_INVALID", hint="see query or statement in bough.toml") from error
        finally:
            if engine is not None:
                engine.dispose()


def _first_line(error: Any) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0][:300]
