"""Answers of `tables.query` as Arrow tables and pandas frames. Needs `pip install 'bough[data]'`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from bough.client.client import Client
from bough.kernel.errors import Invalid

if TYPE_CHECKING:
    import pandas
    import pyarrow


def arrow(client: Client, sql: str, **fields: Any) -> pyarrow.Table:
    """The whole answer of a SELECT. `fields` are those of `tables.query`: `project`, `environment`, `at`."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise Invalid("pyarrow is not installed", code="EXTRA_MISSING", hint="pip install 'bough[data]'") from error
    found = client.call("tables.query", sql=sql, output="parquet", **fields)
    return pyarrow.parquet.read_table(io.BytesIO(b"".join(client.download(found.blob))))


def pandas_frame(client: Client, sql: str, **fields: Any) -> pandas.DataFrame:
    """The same as a pandas frame."""
    return arrow(client, sql, **fields).to_pandas()
