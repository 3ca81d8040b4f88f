"""Tables through branches as people make them: branch, change both sides, merge."""

from __future__ import annotations

from pathlib import Path

import pytest

from bough.kernel.errors import Conflict
from tests.data.tables.conftest import Shop
from tests.plane import Plane

FILE = 'name = "shop"\n[services.api]\nmodel = "service:Api"\n'


class Deployed(Shop):
    """Production comes from a release, as it does for people."""

    def __init__(self, folder: Path) -> None:
        Plane.__init__(self, folder)
        self.folder, self._files = folder, 0
        self.create(FILE)


def test_a_merge_of_branches_merges_tables_row_by_row(tmp_path: Path) -> None:
    shop = Deployed(tmp_path)
    shop.do("create", "orders", key=["id"], blob=shop.file("SELECT range AS id, 0 AS v FROM range(100)"))
    shop.call("environments.create", project="shop", branch="try")
    shop.do("update", "orders", set={"v": "1"}, where="id < 10", environment="try")
    shop.do("update", "orders", set={"v": "2"}, where="id BETWEEN 9 AND 20")
    with pytest.raises(Conflict, match="table:orders#9"):
        shop.call("environments.merge", project="shop", branch="try")
    assert shop.rows("SELECT v, count(*) FROM orders GROUP BY v ORDER BY v") == [[0, 88], [2, 12]]
    shop.call("environments.merge", project="shop", branch="try", per_key={"table:orders#9": "theirs"})
    assert shop.rows("SELECT v, count(*) FROM orders GROUP BY v ORDER BY v") == [[0, 79], [1, 10], [2, 11]]
    shop.bough.stop()
