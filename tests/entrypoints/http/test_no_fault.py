"""No input makes the API fail: schemathesis makes requests from the OpenAPI document, valid ones and others."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

from bough.access import operations as access
from bough.adapters.engine.fake import FakeEngine
from bough.app import Bough
from bough.composition.verbs import OPERATION_MODULES
from bough.entrypoints.http.app import build
from bough.kernel.clock import VirtualClock
from bough.kernel.context import Principal, Role
from bough.kernel.operations import collect
from bough.kernel.platform import Platform
from tests.depth import times
from tests.plane import laid

pytestmark = pytest.mark.filterwarnings("ignore")

EXAMPLES = times("API_EXAMPLES", quick=2, deep=10)  # of each operation and mode


class Plane:
    """A whole control plane, whose caller is always an admin."""

    def __init__(self, folder: Path) -> None:
        clock = VirtualClock()
        self._bough = Bough(laid(folder / "home"), Platform(), durable=False, engine=FakeEngine(clock), clock=clock)
        self.operations, self.blobs = self._bough.operations, self._bough.blobs
        with self._bough.database.write() as tx:
            access.bootstrap(tx, self._bough.home.token, clock.now())

    def authenticate(self, token: str) -> Principal:
        return Principal(id="pri_x", name="admin", role=Role.ADMIN)


class Requests:
    """What schemathesis makes of the OpenAPI document; it takes seconds to load, which only this file needs."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():  # of its own dependencies
            warnings.simplefilter("ignore")
            library = importlib.import_module("schemathesis")
            checks = importlib.import_module("schemathesis.specs.openapi.checks")
        self._schema = library.openapi.from_asgi("/api/v1/openapi.json", build(Plane(folder)))
        self._modes = library.GenerationMode
        self.checks = [
            library.checks.not_a_server_error, checks.status_code_conformance, checks.response_schema_conformance
        ]  # fmt: skip

    def of(self, operation: str, *, valid: bool) -> SearchStrategy[Any]:
        found = self._schema.find_operation_by_id(operation)
        if not valid and not (found.query or found.body):
            pytest.skip("there is nothing to get wrong")
        strategy: SearchStrategy[Any] = found.as_strategy(
            generation_mode=self._modes.POSITIVE if valid else self._modes.NEGATIVE
        )
        return strategy


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> Requests:
    return Requests(tmp_path_factory.mktemp("plane"))


def names() -> list[str]:
    """Streams too: nothing that is made up exists, so none of them has anything to wait for."""
    return [*collect(OPERATION_MODULES), "blobs.put"]


@pytest.mark.parametrize("valid", [True, False], ids=["valid", "wrong"])
@pytest.mark.parametrize("name", names())
def test_no_request_makes_the_server_fail(requests: Requests, name: str, valid: bool) -> None:
    @given(case=requests.of(name, valid=valid))
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def check(case: Any) -> None:
        case.call_and_validate(checks=requests.checks, headers={"Authorization": "Bearer x"})

    check()
